import {ConnectionLostError, RPCError} from "@web/core/network/rpc";
import {browser} from "@web/core/browser/browser";
import {registry} from "@web/core/registry";

// The server forgets a watcher after 75 s
const WATCH_INTERVAL_MS = 30000;
// While a connection is on its way to another state
const FIRST_INTERVAL_MS = 2000;
// From one view to the next
const LINGER_MS = 3000;
const DEBOUNCE_MS = 150;
// All open browsers are told to read again at the same time
const SPREAD_MS = 1000;
const RECENT_MS = 30000;
const SETTLED = new Set(["connected", "stopped", "unconfigured", "auth_failed"]);

/**
 * Keeps the views of this page current while somebody looks at them.
 *
 * A follower is one view's model. It gets "onChanges(changes, tables)" with the
 * changed entities, "onInstances(instances, changedIds)" with how the instances are,
 * and "refresh(options)" when it has to read again what it shows. Nobody watches, and
 * the server sends nothing, while there is no follower or the page is hidden.
 */
export class HaLive {
    constructor(bus, orm) {
        this.bus = bus;
        this.orm = orm.silent;
        this.followers = new Set();
        this.instances = new Map();
        // What came lately, for records read meanwhile
        this.recent = new Map();
        this.channels = new Set();
        this.watching = false;
        // Something may have been missed
        this.mustRead = false;
        // Notifications that are older than what was read
        this.mutedUpTo = 0;
        this.delay = FIRST_INTERVAL_MS;
        this.call = 0;
        bus.subscribe("odoo_ha_addon.states", this.onStates.bind(this));
        bus.subscribe("odoo_ha_addon.connection", this.onConnection.bind(this));
        bus.addEventListener("BUS:DISCONNECT", () => {
            this.mustRead = true;
        });
        for (const name of ["BUS:CONNECT", "BUS:RECONNECT"]) {
            bus.addEventListener(name, () => this.onBack());
        }
        document.addEventListener("visibilitychange", () => this.update());
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

    /** An instance is shown; it may be a new one. */
    expect(instanceId) {
        if (this.watching && !this.instances.has(instanceId)) {
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
        try {
            const answer = await this.orm.call("ha.instance", "watch_live", []);
            if (call !== this.call) {
                // Stopped, or another call has taken this one's place
                return;
            }
            this.takeInstances(answer.instances);
            if (this.mustRead) {
                this.mustRead = this.bus.workerState === "DISCONNECTED";
                this.mutedUpTo = answer.bus_id;
                this.recent.clear();
                this.followers.forEach((follower) => follower.refresh());
            }
        } catch (error) {
            if (error instanceof RPCError) {
                // Whoever may not watch finds out why with the next thing they do.
                console.warn("Live views have stopped:", error.message);
                this.stop();
                return;
            }
            if (!(error instanceof ConnectionLostError)) {
                throw error;
            }
            this.mustRead = true;
        }
        if (call === this.call) {
            this.timer = browser.setTimeout(() => this.watch(), this.nextDelay());
        }
    }

    watchSoon() {
        browser.clearTimeout(this.timer);
        this.timer = browser.setTimeout(() => this.watch(), DEBOUNCE_MS);
    }

    /** A while until the next call, longer each time; less while something is to come. */
    nextDelay() {
        const states = [...this.instances.values()].map((row) => row.connection_state);
        if (states.every((state) => SETTLED.has(state))) {
            return WATCH_INTERVAL_MS;
        }
        const delay = this.delay;
        this.delay = Math.min(delay * 1.5, WATCH_INTERVAL_MS);
        return delay;
    }

    takeInstances(rows) {
        const before = this.instances;
        this.instances = new Map(rows.map((row) => [row.id, row]));
        const changed = new Set();
        for (const row of rows) {
            if (before.get(row.id)?.connection_state !== row.connection_state) {
                changed.add(row.id);
            }
        }
        if (changed.size) {
            this.delay = FIRST_INTERVAL_MS;
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
        // At the first time there is nothing that has changed.
        const news = before.size ? changed : new Set();
        this.followers.forEach((follower) => follower.onInstances(rows, news));
    }

    onBack() {
        if (this.mustRead && this.watching) {
            this.watch();
        }
    }

    onConnection(_payload, {id}) {
        if (this.watching && id > this.mutedUpTo) {
            this.watchSoon();
        }
    }

    async onStates(payload, {id}) {
        if (!this.watching || id <= this.mutedUpTo) {
            return;
        }
        if (payload.refetch) {
            const options = {records: payload.records};
            const delay = Math.random() * SPREAD_MS;
            this.followers.forEach((follower) => follower.refresh(options, delay));
            return;
        }
        await this.loadTables();
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
    dependencies: ["bus_service", "orm"],
    start: (env, {bus_service: bus, orm}) => new HaLive(bus, orm),
});
