import {ConnectionLostError, RPCError, rpcBus} from "@web/core/network/rpc";
import {_t} from "@web/core/l10n/translation";
import {browser} from "@web/core/browser/browser";
import {reactive} from "@odoo/owl";
import {registry} from "@web/core/registry";

// The server forgets a watcher after 75 s
const WATCH_INTERVAL_MS = 30000;
// While a heartbeat is shown, which nothing is notified of
const HEARTBEAT_INTERVAL_MS = 10000;
// While a connection is on its way to another state
const FIRST_INTERVAL_MS = 2000;
// Until the subscription that a call led to must have been made
const CONFIRM_MS = 4000;
// For a notification that is on its way
const GRACE_MS = 2000;
// For the bus to come back by itself, as it does after Odoo's hourly cut
const BUS_PATIENCE_MS = 3000;
// For the server to answer, from the first doubt whether it is there
const LOST_MS = 8000;
// A timer that comes later than that has slept
const LATE_MS = 2000;
// From one view to the next
const LINGER_MS = 3000;
const DEBOUNCE_MS = 150;
// All open browsers are told to read again at the same time
const SPREAD_MS = 1000;
const RECENT_MS = 30000;
const SETTLED = new Set(["connected", "stopped", "unconfigured", "auth_failed"]);
// Whoever gets one of these may not look any longer.
const REFUSALS = new Set([
    "odoo.exceptions.AccessDenied",
    "odoo.exceptions.AccessError",
    "odoo.http.SessionExpiredException",
]);

/**
 * @param {Error} error
 * @returns {Boolean} whether asking again is of no use
 */
export function isRefusal(error) {
    return error instanceof RPCError && REFUSALS.has(error.exceptionName);
}

/**
 * Keeps the views of this page current while somebody looks at them.
 *
 * A follower is one view's model. It gets "onChanges(changes, tables)" with the
 * changed entities, "onInstances(instances, changedIds)" with how the instances are,
 * and "refresh(options)" when it has to read again what it shows. Nobody watches, and
 * the server sends nothing, while there is no follower or the page is hidden.
 */
export class HaLive {
    constructor(bus, orm, notification) {
        this.bus = bus;
        this.orm = orm.silent;
        this.notification = notification;
        this.followers = new Set();
        this.instances = new Map();
        // The same, for components to render
        this.shown = reactive({instances: []});
        // What came lately, for records read meanwhile
        this.recent = new Map();
        this.channels = new Set();
        this.watching = false;
        this.isBusAway = false;
        // The server does not answer
        this.isLost = false;
        // Something may have been missed
        this.mustRead = false;
        // Something is to be looked at again soon
        this.mustConfirm = false;
        // Notifications that are older than what was read
        this.mutedUpTo = 0;
        // The last notification that came, or that what was read includes
        this.seenId = 0;
        this.delay = FIRST_INTERVAL_MS;
        this.call = 0;
        bus.subscribe("odoo_ha_addon.states", this.onStates.bind(this));
        bus.subscribe("odoo_ha_addon.connection", this.onConnection.bind(this));
        bus.addEventListener("BUS:DISCONNECT", () => this.onAway());
        for (const name of ["BUS:CONNECT", "BUS:RECONNECT"]) {
            bus.addEventListener(name, () => this.onBack());
        }
        document.addEventListener("visibilitychange", () => this.update());
        rpcBus.addEventListener("RPC:RESPONSE", ({detail}) => {
            if (this.isLost && this.watching && !detail.error) {
                this.watchSoon();
            }
        });
    }

    /**
     * @param {Object} follower
     * @returns {Function} to call when it is over
     */
    follow(follower) {
        this.followers.add(follower);
        this.update();
        return () => {
            this.followers.delete(follower);
            this.update();
        };
    }

    /** An instance is shown: a new one, or one whose heartbeat grows old. */
    expectInstance() {
        if (this.watching) {
            this.watchSoon();
        }
    }

    /** What came lately about an entity that has just been read, else undefined. */
    recentChange(entityId) {
        const found = this.recent.get(entityId);
        return found && Date.now() - found.at < RECENT_MS ? found.change : undefined;
    }

    update() {
        browser.clearTimeout(this.lingerTimer);
        if (document.hidden) {
            this.stop();
        } else if (!this.followers.size) {
            this.lingerTimer = browser.setTimeout(() => this.stop(), LINGER_MS);
        } else if (!this.watching) {
            this.watching = true;
            this.delay = FIRST_INTERVAL_MS;
            this.mustRead = true;
            this.mustConfirm = true;
            this.watch();
        }
    }

    stop() {
        if (!this.watching) {
            return;
        }
        this.watching = false;
        this.call += 1;
        browser.clearTimeout(this.timer);
        browser.clearTimeout(this.graceTimer);
        browser.clearTimeout(this.awayTimer);
        this.trust();
        for (const channel of this.channels) {
            this.bus.deleteChannel(channel);
        }
        this.channels.clear();
        this.recent.clear();
    }

    /**
     * Tell the server that somebody watches, and learn how the instances are. All
     * that is shown is read again when notifications may have been missed.
     */
    async watch() {
        const call = ++this.call;
        browser.clearTimeout(this.timer);
        this.doubt();
        try {
            const answer = await this.orm.call("ha.instance", "watch_live", [
                this.seenId,
            ]);
            if (call !== this.call) {
                // Stopped, or another call has taken this one's place
                return;
            }
            this.trust();
            this.takeInstances(answer.instances);
            if (this.mustRead) {
                this.mustRead =
                    this.isBusAway || this.bus.workerState === "DISCONNECTED";
                this.mutedUpTo = answer.bus_id;
                this.seenId = Math.max(this.seenId, answer.bus_id);
                this.recent.clear();
                this.readAll({records: true});
            } else if (answer.sent_id > this.seenId) {
                this.expectNotification(answer.sent_id);
            }
            this.schedule(this.nextDelay());
        } catch (error) {
            if (call === this.call) {
                this.failed(error);
            }
        }
    }

    /** Show that the server is lost, unless it answers in time. */
    doubt() {
        if (this.lostTimer || this.isLost) {
            return;
        }
        const due = Date.now() + LOST_MS;
        this.lostTimer = browser.setTimeout(() => {
            this.lostTimer = undefined;
            if (Date.now() > due + LATE_MS) {
                // The page was asleep.
                this.doubt();
            } else {
                this.showLost();
            }
        }, LOST_MS);
    }

    trust() {
        browser.clearTimeout(this.lostTimer);
        this.lostTimer = undefined;
        this.isLost = false;
    }

    /** How the instances are nobody knows: what is shown of them may be old. */
    showLost() {
        this.isLost = true;
        const lost = {
            connection_state: "unsupervised",
            connection_message: _t(
                "Odoo's server does not answer: what is shown may be old."
            ),
            connection_remedy: _t("This page goes on by itself as soon as it answers."),
        };
        const rows = [...this.instances.values()];
        this.takeInstances(rows.map((row) => (row.active ? {...row, ...lost} : row)));
    }

    watchSoon() {
        this.schedule(DEBOUNCE_MS);
    }

    schedule(delay) {
        browser.clearTimeout(this.timer);
        this.timer = browser.setTimeout(() => this.watch(), delay);
    }

    /** Read again what a notification would have told, unless it comes. */
    expectNotification(id) {
        browser.clearTimeout(this.graceTimer);
        this.graceTimer = browser.setTimeout(() => {
            if (this.seenId < id) {
                this.seenId = id;
                this.readAll({records: true});
            }
        }, GRACE_MS);
    }

    readAll(options, delay) {
        this.followers.forEach((follower) => follower.refresh(options, delay));
    }

    /**
     * A request of a live view was in vain. Unless the user may not look any longer,
     * all is read again as soon as the server answers.
     */
    failed(error) {
        if (isRefusal(error)) {
            this.stop();
            this.tellEnd(error);
            return;
        }
        const isServers = error instanceof RPCError;
        if (this.watching && (isServers || error instanceof ConnectionLostError)) {
            this.mustRead = true;
            this.schedule(this.lostTimer ? FIRST_INTERVAL_MS : this.growDelay());
        }
        if (!isServers) {
            // The web client says that the server is away.
            throw error;
        }
        console.warn("Live views will try again:", error.message);
    }

    /** Say that something on the screen does not change any more. */
    tellEnd(error) {
        this.notification.add(error.data?.message || error.message, {
            sticky: true,
            title: _t("Not updated any longer"),
            type: "warning",
        });
    }

    /** A while until the next call, longer each time; less while something is to come. */
    nextDelay() {
        const states = [...this.instances.values()].map((row) => row.connection_state);
        if (!states.every((state) => SETTLED.has(state))) {
            return this.growDelay();
        }
        this.delay = FIRST_INTERVAL_MS;
        const {mustConfirm} = this;
        this.mustConfirm = false;
        if (mustConfirm) {
            return CONFIRM_MS;
        }
        const isBeatShown = [...this.followers].some((one) => one.showsHeartbeat);
        return isBeatShown ? HEARTBEAT_INTERVAL_MS : WATCH_INTERVAL_MS;
    }

    growDelay() {
        const {delay} = this;
        this.delay = Math.min(delay * 1.5, WATCH_INTERVAL_MS);
        return delay;
    }

    takeInstances(rows) {
        const before = this.instances;
        this.instances = new Map(rows.map((row) => [row.id, row]));
        this.shown.instances = rows;
        const changed = new Set();
        for (const row of rows) {
            if (before.get(row.id)?.connection_state !== row.connection_state) {
                changed.add(row.id);
            }
        }
        if (changed.size) {
            this.delay = FIRST_INTERVAL_MS;
            // A view that is just being loaded may have been read before.
            this.mustConfirm = true;
        }
        const wanted = new Set(
            rows.filter((row) => row.active).map((row) => `ha_instance:${row.id}`)
        );
        for (const channel of wanted) {
            if (!this.channels.has(channel)) {
                this.bus.addChannel(channel);
            }
        }
        for (const channel of this.channels) {
            if (!wanted.has(channel)) {
                this.bus.deleteChannel(channel);
            }
        }
        this.channels = wanted;
        // At the first time nothing has changed, and a lost server cannot be asked.
        const news = before.size && !this.isLost ? changed : new Set();
        this.followers.forEach((follower) => follower.onInstances(rows, news));
        const isOther = (row) => before.get(row.id)?.active !== row.active;
        if (before.size && (rows.length !== before.size || rows.some(isOther))) {
            this.readAll({records: true});
        }
    }

    onAway() {
        this.isBusAway = true;
        this.mustRead = true;
        browser.clearTimeout(this.awayTimer);
        if (this.watching) {
            this.doubt();
            const delay = BUS_PATIENCE_MS + Math.random() * SPREAD_MS;
            this.awayTimer = browser.setTimeout(() => this.watch(), delay);
        }
    }

    onBack() {
        this.isBusAway = false;
        browser.clearTimeout(this.awayTimer);
        if (this.mustRead && this.watching) {
            this.mustConfirm = true;
            this.watch();
        }
    }

    /** Whether a notification says something new. */
    isNews(id) {
        if (!this.watching || id <= this.mutedUpTo) {
            return false;
        }
        this.seenId = Math.max(this.seenId, id);
        return true;
    }

    onConnection(_payload, {id}) {
        if (this.isNews(id)) {
            this.watchSoon();
        }
    }

    async onStates(payload, {id}) {
        if (!this.isNews(id)) {
            return;
        }
        if (payload.refetch) {
            this.readAll({records: payload.records}, Math.random() * SPREAD_MS);
            return;
        }
        try {
            await this.loadTables();
        } catch (error) {
            this.failed(error);
            return;
        }
        if (!this.watching) {
            return;
        }
        const at = Date.now();
        for (const change of payload.changes) {
            const earlier = this.recentChange(change.id);
            this.recent.set(change.id, {at, change: {...earlier, ...change}});
        }
        this.followers.forEach((follower) =>
            follower.onChanges(payload.changes, this.tables)
        );
    }

    /** How states read for people, in the user's language; once for each page. */
    async loadTables() {
        this.loading =
            this.loading || this.orm.call("ha.entity", "get_state_texts", []);
        try {
            this.tables = await this.loading;
        } catch (error) {
            this.loading = undefined;
            throw error;
        }
    }
}

registry.category("services").add("ha_live", {
    dependencies: ["bus_service", "notification", "orm"],
    start: (env, {bus_service: bus, notification, orm}) =>
        new HaLive(bus, orm, notification),
});
