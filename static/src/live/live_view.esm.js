import {ConnectionLostError, RPCError} from "@web/core/network/rpc";
import {LISTS, NOTIFIED, STATE_FIELDS} from "./live_fields.esm";
import {omit, pick} from "@web/core/utils/objects";
import {onMounted, onWillUnmount, reactive, toRaw, useEffect} from "@odoo/owl";
import {browser} from "@web/core/browser/browser";
import {getFieldsSpec} from "@web/model/relational_model/utils";
import {groupBy} from "@web/core/utils/arrays";
import {stateText} from "./state_text.esm";
import {useService} from "@web/core/utils/hooks";

const REFRESH_INTERVAL_MS = 3000;
const ALWAYS_READ = new Set([...NOTIFIED, ...STATE_FIELDS.map(({name}) => name)]);
const FOLLOWED = new Set(["ha.entity", "ha.instance"]);

/**
 * What a notification means for the fields of one loaded record.
 *
 * @param {Object} data the record's present values
 * @param {Object} change as the server sends it
 * @param {Object} tables texts of states
 * @returns {Object} values as the server would return them
 */
function valuesOf(data, change, tables) {
    const values = pick(change, ...NOTIFIED);
    if ("state" in change && tables && "domain" in data) {
        values.state_display = stateText({...data, ...change}, tables);
    }
    return values;
}

/** Change values of a record in place that its user cannot change. */
function applyValues(record, values) {
    const known = pick(values, ...Object.keys(record.activeFields));
    for (const name in known) {
        // An onchange may have put an older one there.
        delete record._changes[name];
    }
    record._applyValues(known);
}

/** Follows what Home Assistant does with the records that one view has loaded. */
export class LiveFollower {
    constructor(model, orm, live) {
        this.model = model;
        this.orm = orm.silent;
        this.live = live;
        this.wanted = null;
        this.notBefore = 0;
    }

    /** Every loaded record of ours, those in lists of a form included. */
    get records() {
        const {root} = this.model;
        if (!root || this.model.useSampleModel) {
            return [];
        }
        const found = [];
        for (const record of root.records || [root]) {
            found.push(record);
            for (const name of LISTS[record.resModel] || []) {
                found.push(...(record.data[name]?.records || []));
            }
        }
        return found.filter(({resId, resModel}) => resId && FOLLOWED.has(resModel));
    }

    stop() {
        this.stopped = true;
        browser.clearTimeout(this.timer);
    }

    /** Do something with the records when no save or load is under way. */
    change(callback) {
        return this.model.mutex.exec(() => {
            if (!this.stopped) {
                this.records.forEach(callback);
            }
        });
    }

    onChanges(changes, tables) {
        const byId = new Map(changes.map((change) => [change.id, change]));
        this.change((record) => {
            const change = record.resModel === "ha.entity" && byId.get(record.resId);
            if (!change) {
                return;
            }
            applyValues(record, valuesOf(record.data, change, tables));
            if (change.attributes_changed && this.shows(record, "attributes_display")) {
                this.refresh();
            }
        });
    }

    onInstances(instances, changedIds) {
        const byId = new Map(instances.map((row) => [row.id, row]));
        let readAgain = false;
        this.change((record) => {
            if (record.resModel === "ha.instance") {
                readAgain = readAgain || changedIds.has(record.resId);
                if (byId.has(record.resId)) {
                    applyValues(record, omit(byId.get(record.resId), "id", "active"));
                }
                return;
            }
            const instance = byId.get(record.data.instance_id?.id);
            if (instance) {
                const isStale = instance.connection_state !== "connected";
                applyValues(record, {is_stale: isStale});
            }
        }).then(() => readAgain && this.refresh());
    }

    shows(record, name) {
        return name in record.activeFields;
    }

    /**
     * Read again what is shown: soon, but not more often than every few seconds.
     *
     * @param {Object} options
     * @param {Boolean} options.records also which records there are
     * @param {Number} delay milliseconds
     */
    refresh({records = false} = {}, delay = 0) {
        const pending = this.wanted;
        this.wanted = {records: records || Boolean(pending?.records)};
        if (pending || this.stopped) {
            return;
        }
        const wait = Math.max(delay, this.notBefore - Date.now(), 0);
        this.timer = browser.setTimeout(() => this.refreshNow(), wait);
    }

    async refreshNow() {
        const {records} = this.wanted;
        this.wanted = null;
        this.notBefore = Date.now() + REFRESH_INTERVAL_MS;
        try {
            if (records && this.canReload) {
                await this.model.load();
            } else {
                await this.readAgain();
            }
        } catch (error) {
            if (error instanceof RPCError) {
                // What is shown may not be read any more; opening it again tells why.
                console.warn("A live view has stopped:", error.message);
                this.stop();
                return;
            }
            if (!(error instanceof ConnectionLostError)) {
                throw error;
            }
            // The web client says that the server is away
            this.refresh({records});
        }
    }

    /** Whether loading the whole list anew disturbs nobody. */
    get canReload() {
        const {root} = this.model;
        return Boolean(root?.records) && !root.editedRecord && !root.selection.length;
    }

    async readAgain() {
        const {root} = this.model;
        const groups = groupBy(this.records, ({resModel}) => resModel);
        if (root?.resId && LISTS[root.resModel] && !FOLLOWED.has(root.resModel)) {
            groups[root.resModel] = [root];
        }
        await Promise.all(Object.values(groups).map((some) => this.readRecords(some)));
    }

    async readRecords(records) {
        const [{activeFields, context, evalContext, fields, resModel}] = records;
        const names = this.readableNames(records[0]);
        const ids = [...new Set(records.map(({resId}) => resId))];
        const rows = await this.orm.webRead(resModel, ids, {
            context,
            specification: getFieldsSpec(
                pick(activeFields, ...names),
                fields,
                evalContext
            ),
        });
        const byId = new Map(rows.map((row) => [row.id, row]));
        await this.model.mutex.exec(() => {
            for (const record of this.stopped ? [] : records) {
                const row = byId.get(record.resId);
                if (row) {
                    const kept = Object.keys(record._changes);
                    const news = names.filter((name) => !kept.includes(name));
                    record._applyValues(pick(row, ...news));
                }
            }
        });
    }

    /** Fields that no user changes, and lists that are shown from their beginning. */
    readableNames({activeFields, data, fields, resModel}) {
        return Object.keys(activeFields).filter((name) => {
            const {readonly, type} = fields[name];
            if (["one2many", "many2many"].includes(type)) {
                return LISTS[resModel]?.includes(name) && !data[name].offset;
            }
            return readonly || (resModel === "ha.entity" && ALWAYS_READ.has(name));
        });
    }
}

/**
 * Keep the records of a view's model current while the view is there.
 *
 * @param {Object} model a RelationalModel
 */
export function useHaLive(model) {
    const live = useService("ha_live");
    const orm = useService("orm");
    // Without a callback: what is only read here must not render anything.
    const follower = new LiveFollower(reactive(toRaw(model)), orm, live);
    let leave = null;
    onMounted(() => {
        leave = live.follow(follower);
    });
    onWillUnmount(() => {
        leave();
        follower.stop();
    });
    useEffect(
        (resId) => {
            if (resId && model.root.resModel === "ha.instance") {
                live.expect(resId);
            }
        },
        () => [model.root?.resId]
    );
}

/**
 * A view whose records follow Home Assistant.
 *
 * @param {Object} view as registered in the category "views"
 * @returns {Object}
 */
export function liveView(view) {
    class LiveController extends view.Controller {
        setup() {
            super.setup();
            useHaLive(this.model);
        }
    }
    class LiveRecord extends view.Model.Record {
        /**
         * What was read may be older than what has been notified of meanwhile.
         *
         * @override
         */
        _setData(data, options) {
            super._setData(data, options);
            const {ha_live: live} = this.model.env.services;
            const change =
                this.resModel === "ha.entity" && live.recentChange(this.resId);
            if (change && !(data.last_updated > change.last_updated)) {
                applyValues(this, valuesOf(this.data, change, live.tables));
            }
        }
    }
    class LiveModel extends view.Model {
        static Record = LiveRecord;
    }
    return {...view, Controller: LiveController, Model: LiveModel};
}
