/** What a history chart says in words: its legend, and a text instead of it. */
import {numberText, timeText} from "./chart_config.esm";
import {_t} from "@web/core/l10n/translation";

/**
 * The legend: a state each, and what the shading means.
 *
 * @param {Object} shown as for "chartConfig"
 * @returns {Object[]} {key, text, style, hatched}
 */
export function legendOf({areas, colors, kind, segments}) {
    const items = new Map();
    for (const {state, text} of kind === "text" ? segments : []) {
        const style = `background-color: ${colors.get(state)}`;
        items.set(state, {key: `state ${state}`, text, style});
    }
    const legend = [...items.values()];
    if (areas.some(({state}) => state === "missing")) {
        legend.push({
            key: "missing",
            text: _t("Incomplete"),
            style: "color: var(--ha-chart-missing)",
            hatched: true,
        });
    }
    if (areas.some(({state}) => state !== "missing")) {
        legend.push({
            key: "pending",
            text: _t("Incomplete, being fetched"),
            style: "color: var(--ha-chart-pending)",
            hatched: true,
        });
    }
    return legend;
}

function numberSummary({series, unit}) {
    const values = series.map(({y}) => y).filter((y) => y !== null);
    if (!values.length) {
        return _t("No number in this time.");
    }
    return _t("Lowest %(low)s, highest %(high)s, last %(last)s.", {
        low: numberText(Math.min(...values), unit),
        high: numberText(Math.max(...values), unit),
        last: numberText(values.at(-1), unit),
    });
}

function textSummary({segments}) {
    const last = segments.at(-1);
    return _t("%(count)s changes; %(state)s since %(time)s.", {
        count: segments.length - 1,
        state: last.text,
        time: timeText(last.x[0]),
    });
}

/**
 * The chart for those who do not see it.
 *
 * @param {String} name of the entity
 * @param {Object} shown as for "chartConfig"
 * @returns {String}
 */
export function summaryOf(name, shown) {
    const {areas, from, kind, to} = shown;
    const parts = [
        _t("History of %(name)s from %(from)s to %(to)s.", {
            name,
            from: timeText(from),
            to: timeText(to),
        }),
        kind === "number" ? numberSummary(shown) : textSummary(shown),
    ];
    if (areas.length) {
        parts.push(_t("Incomplete in %(count)s places.", {count: areas.length}));
    }
    parts.push(_t("Arrow keys go through the changes."));
    return parts.join(" ");
}
