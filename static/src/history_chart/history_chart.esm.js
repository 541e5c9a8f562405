/* global Chart */
import {AssetsLoadingError, loadBundle} from "@web/core/assets";
import {Component, onWillUnmount, status, useEffect, useRef, useState} from "@odoo/owl";
import {ConnectionLostError, RPCError} from "@web/core/network/rpc";
import {
    colorStates,
    gapAreas,
    numberSeries,
    pointsSince,
    textSegments,
} from "./chart_data.esm";
import {deserializeDateTime, serializeDateTime} from "@web/core/l10n/dates";
import {getColors, hexToRGBA} from "@web/core/colors/colors";
import {legendOf, summaryOf} from "./chart_words.esm";
import {KeepLast} from "@web/core/utils/concurrency";
import {STATE_FIELDS} from "../live/live_fields.esm";
import {_t} from "@web/core/l10n/translation";
import {browser} from "@web/core/browser/browser";
import {chartConfig} from "./chart_config.esm";
import {cookie} from "@web/core/browser/cookie";
import {registry} from "@web/core/registry";
import {standardWidgetProps} from "@web/views/widgets/standard_widget_props";
import {stateText} from "../live/state_text.esm";
import {useService} from "@web/core/utils/hooks";

const {DateTime} = luxon;
const HOUR_MS = 3600000;
const RANGES = [
    {name: "day", label: _t("24 hours"), ms: 24 * HOUR_MS},
    {name: "week", label: _t("7 days"), ms: 7 * 24 * HOUR_MS},
    {name: "month", label: _t("30 days"), ms: 30 * 24 * HOUR_MS},
    {name: "year", label: _t("1 year"), ms: 365 * 24 * HOUR_MS},
];
const MIN_POINTS = 300;
const MAX_POINTS = 1500;
// More than that many times as many have come live: read again, thinned out
const MAX_GROWTH = 4;
const DRAW_INTERVAL_MS = 30000;
// While Home Assistant is being asked for what is missing
const FETCHING_INTERVAL_MS = 10000;
const REFRESH_INTERVAL_MS = 5000;
const KEYS = {ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity};

/**
 * The history of an entity as a chart, for its form: numbers as a line, texts as a
 * band of colours. Reads nothing before it is seen, and follows what happens then.
 */
export class HistoryChart extends Component {
    static template = "odoo_ha_addon.HistoryChart";
    static props = {...standardWidgetProps};

    setup() {
        this.orm = useService("orm").silent;
        this.live = useService("ha_live");
        this.root = useRef("root");
        this.canvas = useRef("canvas");
        this.keepLast = new KeepLast();
        this.ranges = RANGES;
        this.state = useState({
            range: "day",
            loading: false,
            error: "",
            spoken: "",
            drawing: 0,
        });
        this.forget();
        useEffect(
            (resId) => {
                this.forget();
                if (resId) {
                    return this.loadWhenSeen();
                }
            },
            () => [this.props.record.resId]
        );
        // A person has just switched recording on or off
        useEffect(
            () => {
                if (this.answer) {
                    this.load();
                }
            },
            () => [this.props.record.data.is_recorded]
        );
        useEffect(
            (canvas) => this.draw(canvas),
            () => [this.canvas.el, this.state.drawing]
        );
        onWillUnmount(() => {
            this.forget();
            this.drop();
        });
    }

    // What is shown ---------------------------------------------------------------

    get rangeMs() {
        return RANGES.find(({name}) => name === this.state.range).ms;
    }

    get isRecorded() {
        return this.props.record.data.is_recorded;
    }

    get canRecord() {
        return !this.isRecorded && !this.props.readonly;
    }

    /** What the chart shows, or null when there is nothing to draw. */
    get shown() {
        // What has been drawn is what the rest describes
        return this.state.drawing ? this.picture : null;
    }

    get notice() {
        if (!this.answer) {
            return "";
        }
        if (!this.isRecorded) {
            const remedy = this.props.readonly
                ? _t("A manager can switch that on.")
                : _t("Set Keep History to Always, or change what its instance keeps.");
            const what = this.shown
                ? _t("The history of this entity is not kept any more.")
                : _t("The history of this entity is not kept.");
            return `${what} ${remedy}`;
        }
        if (!this.shown) {
            return _t(
                "Nothing is known of this time yet. Each change of the state is kept from now on."
            );
        }
        if (!this.answer.is_reduced) {
            return "";
        }
        return this.shown.kind === "number"
            ? _t("More changes than fit: lowest and highest values are shown.")
            : _t("More changes than fit: not each of them is shown.");
    }

    get legend() {
        return legendOf(this.shown);
    }

    get summary() {
        return summaryOf(this.answer.name, this.shown);
    }

    // Reading ------------------------------------------------------------------------

    forget() {
        this.keepLast.add(Promise.resolve());
        this.unfollow?.();
        this.unfollow = null;
        browser.clearTimeout(this.drawTimer);
        browser.clearTimeout(this.refreshTimer);
        this.refreshTimer = null;
        this.answer = null;
        this.picture = null;
        this.pointed = null;
        this.colors = new Map();
        this.state.drawing = 0;
        this.state.error = "";
    }

    /** @returns {Function} stops waiting */
    loadWhenSeen() {
        const observer = new IntersectionObserver((entries) => {
            // An observer tells of what it has seen before it was disconnected, too
            const isThere = status(this) === "mounted" && !this.unfollow;
            if (isThere && entries.some(({isIntersecting}) => isIntersecting)) {
                observer.disconnect();
                this.unfollow = this.live.follow(this);
                this.load();
            }
        });
        observer.observe(this.root.el);
        return () => observer.disconnect();
    }

    show(range) {
        if (range !== this.state.range) {
            this.state.range = range;
            this.load();
        }
    }

    /** Read what the chart shows, and draw it. */
    async load() {
        if (status(this) !== "mounted") {
            return;
        }
        browser.clearTimeout(this.refreshTimer);
        this.refreshTimer = null;
        this.readAt = Date.now();
        this.state.loading = true;
        const from = DateTime.fromMillis(this.readAt - this.rangeMs);
        const width = this.root.el.clientWidth;
        this.wanted = Math.round(Math.min(Math.max(width, MIN_POINTS), MAX_POINTS));
        const reading = Promise.all([
            this.orm.call("ha.entity", "get_history_chart", [
                [this.props.record.resId],
                serializeDateTime(from),
                false,
                this.wanted,
            ]),
            loadBundle("web.chartjs_lib"),
        ]);
        try {
            const [[answer]] = await this.keepLast.add(reading);
            this.take(answer);
        } catch (error) {
            this.state.loading = false;
            if (error instanceof ConnectionLostError) {
                // The web client says so; what is shown stays.
                this.refresh();
            } else if (
                error instanceof RPCError ||
                error instanceof AssetsLoadingError
            ) {
                this.state.error = _t("The history could not be read: %(message)s", {
                    message: error.data?.message || error.message,
                });
                if (error instanceof AssetsLoadingError) {
                    // A server that has just started has not made the library yet.
                    this.refresh();
                }
            } else {
                throw error;
            }
        }
    }

    take(answer) {
        this.answer = answer;
        this.state.loading = false;
        this.state.error = "";
        this.redraw();
        if (answer.gaps.some(([, , state]) => state !== "missing")) {
            this.refreshTimer = browser.setTimeout(
                () => this.load(),
                FETCHING_INTERVAL_MS
            );
        }
    }

    // Following ------------------------------------------------------------------------

    /** Read again, soon, but not more often than every few seconds. */
    refresh(_options, delay = 0) {
        if (!this.unfollow) {
            return;
        }
        browser.clearTimeout(this.refreshTimer);
        const earliest = (this.readAt || 0) + REFRESH_INTERVAL_MS - Date.now();
        this.refreshTimer = browser.setTimeout(
            () => this.load(),
            Math.max(delay, earliest, 0)
        );
    }

    onInstances() {
        // How the instance is, the form shows
    }

    onChanges(changes, tables) {
        const {data, resId} = this.props.record;
        const change = changes.find(({id}) => id === resId);
        if (!change || !("state" in change) || !this.answer || !this.isRecorded) {
            return;
        }
        const {kind, points} = this.answer;
        if (!points.length || points.length > MAX_GROWTH * this.wanted) {
            this.refresh();
            return;
        }
        const changed = change.last_changed || change.last_updated;
        const moment = changed ? deserializeDateTime(changed) : DateTime.now();
        const [lastAt] = points.at(-1);
        // Notifications carry whole seconds
        const at = Math.max(moment.toMillis(), lastAt);
        if (kind === "number") {
            points.push([at, change.is_numeric ? change.state_number : null]);
        } else {
            points.push([at, change.state, stateText({...data, ...change}, tables)]);
        }
        this.redraw();
    }

    // Drawing --------------------------------------------------------------------------

    redraw() {
        browser.clearTimeout(this.drawTimer);
        this.drawTimer = browser.setTimeout(() => this.redraw(), DRAW_INTERVAL_MS);
        const {gaps, is_reduced: isReduced, kind, points, unit} = this.answer;
        // Home Assistant's clock may be ahead
        const to = Math.max(Date.now(), ...points.slice(-1).map(([at]) => at));
        const from = to - this.rangeMs;
        this.answer.points = pointsSince(points, from);
        this.picture = null;
        if (points.length) {
            const areas = gapAreas(gaps, from, to);
            this.picture = {kind, unit, from, to, areas, isReduced};
            if (kind === "number") {
                this.picture.series = numberSeries(points, from, to);
            } else {
                const segments = textSegments(points, from, to);
                const states = segments.map(({state}) => state);
                const {domain} = this.props.record.data;
                colorStates(this.colors, domain, states, this.theme());
                Object.assign(this.picture, {segments, colors: this.colors});
            }
        }
        this.state.drawing += 1;
    }

    /** Colours and font of the page, whatever its theme. */
    theme() {
        const style = getComputedStyle(this.root.el);
        const color = (name) => style.getPropertyValue(`--ha-chart-${name}`).trim();
        const pending = color("pending");
        return {
            line: color("line"),
            area: hexToRGBA(color("line"), 0.12),
            grid: color("grid"),
            text: color("text"),
            active: color("active"),
            resting: color("resting"),
            silent: color("silent"),
            others: getColors(cookie.get("color_scheme"), "lg").filter(
                (_c, i) => i % 3 === 1
            ),
            gaps: {missing: color("missing"), pending, open: pending},
            font: `12px ${style.fontFamily}`,
        };
    }

    draw(canvas) {
        if (this.chart && this.chart.canvas !== canvas) {
            this.drop();
        }
        if (!canvas || !this.picture) {
            return;
        }
        const {data, options, plugins, type} = chartConfig(this.picture, this.theme());
        if (this.chart && this.chart.config.type !== type) {
            this.drop();
        }
        if (this.chart) {
            this.chart.data = data;
            this.chart.options = options;
            this.chart.update("none");
        } else {
            this.chart = new Chart(canvas, {data, options, plugins, type});
        }
    }

    drop() {
        this.chart?.destroy();
        // The figure that goes away loses the focus, and has nothing to point at
        this.chart = null;
    }

    // Acting ---------------------------------------------------------------------------

    /** A manager wants the history of this entity from now on. */
    async record() {
        await this.props.record.update({record_history: "always"});
        await this.props.record.save();
    }

    onKeydown(event) {
        const step = KEYS[event.key];
        if (!step || !this.chart) {
            return;
        }
        event.preventDefault();
        const {data} = this.chart.data.datasets[0];
        const last = data.length - 1;
        const within = (index) => Math.min(Math.max(index, 0), last);
        let index = within((this.pointed ?? last + 1) + step);
        while (data[index].y === null && index !== within(index + step)) {
            index = within(index + step);
        }
        this.point(index);
    }

    /**
     * Show what an item of the chart says, as if the pointer were there.
     *
     * @param {Number|null} index
     */
    point(index) {
        this.pointed = index;
        if (!this.chart) {
            return;
        }
        const item = index !== null && this.chart.data.datasets[0].data[index];
        const active = item && item.y !== null ? [{datasetIndex: 0, index}] : [];
        this.chart.haTime = item ? [item.x].flat()[0] : undefined;
        this.chart.setActiveElements(active);
        this.chart.tooltip.setActiveElements(active, {x: 0, y: 0});
        this.chart.update("none");
        const {body, title} = this.chart.tooltip;
        this.state.spoken = active.length
            ? [...title, ...body.flatMap(({lines}) => lines)].join(", ")
            : "";
    }
}

export const historyChart = {
    component: HistoryChart,
    fieldDependencies: [
        ...STATE_FIELDS,
        {name: "domain", type: "char", readonly: true},
        {name: "is_recorded", type: "boolean", readonly: true},
    ],
};

registry.category("view_widgets").add("ha_history_chart", historyChart);
