import {LISTS, NOTIFIED, STATE_FIELDS} from "./live_fields.esm";
import {omit, pick} from "@web/core/utils/objects";
import {onWillDestroy, reactive, toRaw, useEffect} from "@odoo/owl";
import {ConnectionNotice} from "./connection_notice.esm";
import {_t} from "@web/core/l10n/translation";
import {browser} from "@web/core/browser/browser";
import {getFieldsSpec} from "@web/model/relational_model/utils";
import {groupBy} from "@web/core/utils/arrays";
import {isRefusal} from "./live_service.esm";
import {stateText} from "./state_text.esm";
import {useService} from "@web/core/utils/hooks";

const REFRESH_INTERVAL_MS = 3000;
// Until a load that is under way has ended
const LOAD_PATIENCE_MS = 50;
const ALWAYS_READ = new Set([...NOTIFIED, ...STATE_FIELDS.map(({name}) => name)]);
// With room for a notice
const TEMPLATES = {
    form: "odoo_ha_addon.LiveFormView",
    kanban: "odoo_ha_addon.LiveKanbanView",
    list: "odoo_ha_addon.LiveListView",
};
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

/** Which records a list has, or is about to get, in which order and groups. */
function shapeOf({groups, records}) {
    return groups
        ? groups.map((group) => [
              group.value,
              group.count,
              shapeOf(group.list || group),
          ])
        : records.map((record) => record.resId || record.id);
}

function rowsOf({groups, records}) {
    return groups ? groups.flatMap(rowsOf) : records;
}

function isSameList(root, data) {
    const [before, after] = [root, data].map((list) => JSON.stringify(shapeOf(list)));
    return root.count === data.length && before === after;
}

/** Follows what Home Assistant does with the records that one view has loaded. */
export class LiveFollower {
    constructor(model, orm, live) {
        this.model = model;
        this.orm = orm.silent;
        this.live = live;
        // What is to be read: {values, records}
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

    /** Names by id of the instances whose entities are loaded. */
    get instanceIds() {
        const entities = this.records.filter(({resModel}) => resModel === "ha.entity");
        const instances = entities.map(({data}) => data.instance_id).filter(Boolean);
        return new Map(instances.map(({id, display_name: name}) => [id, name]));
    }

    get showsHeartbeat() {
        return "last_heartbeat" in (this.model.root?.activeFields || {});
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
            if (change.attributes_changed && this.showsAttributes(record)) {
                this.refresh();
            }
        });
        const isDescribed = changes.some((change) => change.attributes_changed);
        if (
            this.model.loadsUnderWay &&
            isDescribed &&
            this.showsAttributes(this.model.config)
        ) {
            this.refresh();
        }
        const isMoved = changes.some((change) => "state" in change);
        if (isMoved && this.isChosenBy("ha.entity", NOTIFIED)) {
            this.refresh({records: true});
        }
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
        if (changedIds.size && this.isChosenBy("ha.instance", ["connection_state"])) {
            this.refresh({records: true});
        }
    }

    /** Whether it is still what the view is about. */
    isShown(root) {
        return toRaw(root) === toRaw(this.model.root);
    }

    /** Whether it shows attributes, which notifications do not bring. */
    showsAttributes({activeFields}) {
        return "attributes_display" in activeFields;
    }

    /** Whether such fields decide which records a list shows, and in which group. */
    isChosenBy(resModel, names) {
        const {config} = this.model.root || {};
        if (config?.resModel !== resModel || config.isMonoRecord) {
            return false;
        }
        const conditions = (config.domain || []).filter(Array.isArray);
        const groups = (config.groupBy || []).map((group) => group.split(":"));
        return [...conditions, ...groups].some(([name]) => names.includes(name));
    }

    /**
     * Read again what is shown: soon, but not more often than every few seconds.
     *
     * @param {Object} options
     * @param {Boolean} options.records also which records there are
     * @param {Number} delay milliseconds
     */
    refresh({records = false} = {}, delay = 0) {
        if (this.stopped) {
            return;
        }
        const pending = this.wanted;
        this.wanted = {values: true, records: records || Boolean(pending?.records)};
        if (!pending?.values) {
            this.schedule(Math.max(delay, this.notBefore - Date.now(), 0));
        }
    }

    schedule(delay) {
        browser.clearTimeout(this.timer);
        this.timer = browser.setTimeout(() => this.refreshNow(), delay);
    }

    async refreshNow() {
        if (this.model.loadsUnderWay) {
            // What they bring may be older than what we have been told of.
            this.schedule(LOAD_PATIENCE_MS);
            return;
        }
        const {values, records} = this.wanted;
        const isList = Boolean(this.model.root?.records);
        this.wanted = null;
        this.notBefore = Date.now() + REFRESH_INTERVAL_MS;
        if (records && isList && !this.canReload) {
            this.reloadLater();
        }
        try {
            if (records && isList && this.canReload) {
                await this.reload();
            } else if (values) {
                await this.readAgain(records);
            }
        } catch (error) {
            if (this.stopped) {
                return;
            }
            if (!isRefusal(error)) {
                this.live.failed(error);
                return;
            }
            this.stop();
            this.live.tellEnd(error);
        }
    }

    /** Whether loading the whole list anew disturbs nobody. */
    get canReload() {
        const {root} = this.model;
        return !root.editedRecord && !root.selection.length;
    }

    reloadLater() {
        this.wanted = {values: false, ...this.wanted, records: true};
        this.schedule(REFRESH_INTERVAL_MS);
    }

    /** Load the list anew; what is shown is replaced only when it must be. */
    reload() {
        const {mutex, root} = this.model;
        const commit = (data) => {
            if (this.stopped || !this.isShown(root)) {
                return;
            }
            if (isSameList(root, data)) {
                this.takeRows(this.records, rowsOf(data));
            } else if (this.canReload) {
                root._setData(data);
            } else {
                this.reloadLater();
            }
        };
        return mutex.exec(() => this.model._updateConfig(root.config, {}, {commit}));
    }

    async readAgain(withLists) {
        const {root} = this.model;
        const groups = groupBy(this.records, ({resModel}) => resModel);
        if (withLists && root?.resId && !FOLLOWED.has(root.resModel)) {
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
        await this.model.mutex.exec(() => this.takeRows(records, rows));
        if (!rows.length && this.isShown(records[0]) && !this.stopped) {
            this.stop();
            this.live.tellEnd(new Error(_t("This record no longer exists.")));
        }
    }

    /** Bring what was read into the records that are shown. */
    takeRows(records, rows) {
        const byId = new Map(rows.map((row) => [row.id, row]));
        for (const record of this.stopped ? [] : records) {
            const row = byId.get(record.resId);
            if (row) {
                const kept = Object.keys(record._changes);
                const names = record.isInEdition
                    ? this.readableNames(record)
                    : Object.keys(record.activeFields);
                const news = names.filter((name) => !kept.includes(name));
                record._applyValues(pick(row, ...news));
                record._applyRecent(row);
            }
        }
    }

    /** Fields that no user changes, and lists that are shown from their beginning. */
    readableNames({activeFields, data, fields, resModel}) {
        return Object.keys(activeFields).filter((name) => {
            const {readonly, type} = fields[name];
            if (type === "one2many") {
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
 * @returns {LiveFollower}
 */
export function useHaLive(model) {
    const live = useService("ha_live");
    const orm = useService("orm");
    // Without a callback: what is only read here must not render anything.
    const follower = new LiveFollower(reactive(toRaw(model)), orm, live);
    // From now on: what changes while the view is being loaded counts, too.
    const leave = live.follow(follower);
    onWillDestroy(() => {
        leave();
        follower.stop();
    });
    useEffect(
        (resId) => {
            if (resId && model.root.resModel === "ha.instance") {
                live.expectInstance();
            }
        },
        () => [model.root?.resId]
    );
    return follower;
}

/**
 * A view whose records follow Home Assistant.
 *
 * @param {Object} view as registered in the category "views"
 * @returns {Object}
 */
export function liveView(view) {
    class LiveController extends view.Controller {
        static template = TEMPLATES[view.type];
        static components = {...view.Controller.components, ConnectionNotice};

        setup() {
            super.setup();
            this.follower = useHaLive(this.model);
        }
    }
    class LiveRecord extends view.Model.Record {
        /** @override */
        _setData(data, options) {
            super._setData(data, options);
            this._applyRecent(data);
        }

        /** What was read may be older than what has been notified of meanwhile. */
        _applyRecent(data) {
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
        // Not even for a moment is a state of yesterday shown as the present one.
        static withCache = false;

        loadsUnderWay = 0;

        /** @override */
        async _loadData() {
            this.loadsUnderWay += 1;
            try {
                return await super._loadData(...arguments);
            } finally {
                this.loadsUnderWay -= 1;
            }
        }
    }
    return {...view, Controller: LiveController, Model: LiveModel};
}
