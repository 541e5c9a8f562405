/* global Chart */
/** How a history chart looks: configurations of Chart.js, from what is shown. */
import {formatDuration, toLocaleDateTimeString} from "@web/core/l10n/dates";
import {_t} from "@web/core/l10n/translation";
import {formatFloat} from "@web/core/utils/numbers";
import {indexAt} from "./chart_data.esm";

const {DateTime} = luxon;
const HELD_MODE = "ha_held";
const MIN_AREA_WIDTH = 2;
const HATCH_STEP = 6;
// Room above and below a line, as a part of its height
const GRACE = 0.05;
const LABEL_PADDING = 6;
const TIME_FORMATS = {
    millisecond: {hour: "numeric", minute: "2-digit", second: "2-digit"},
    second: {hour: "numeric", minute: "2-digit", second: "2-digit"},
    minute: {hour: "numeric", minute: "2-digit"},
    hour: {hour: "numeric", minute: "2-digit"},
    day: {day: "numeric", month: "short"},
    week: {day: "numeric", month: "short"},
    month: {month: "short", year: "numeric"},
};

/** A number as the user's language writes it, with the unit. */
export function numberText(value, unit) {
    const digits = Math.abs(value) < 1 ? 6 : 3;
    const text = formatFloat(value, {digits: [16, digits], trailingZeros: false});
    return unit ? `${text} ${unit}` : text;
}

export function timeText(ms) {
    const options = {showDate: true, showTime: true, showSeconds: true};
    return toLocaleDateTimeString(DateTime.fromMillis(ms), options);
}

function durationText(ms) {
    const seconds = Math.round(ms / 1000);
    return seconds < 60
        ? _t("%(seconds)s s", {seconds})
        : formatDuration(seconds, true);
}

const beginOf = {
    line: ({x}) => x,
    bar: ({x}) => x[0],
};

/** What held at the time under the pointer, wherever the pointer is in height. */
function heldAt(chart, event) {
    const {data} = chart.data.datasets[0];
    const {left, right} = chart.chartArea;
    const scale = chart.scales.x;
    const time = scale.getValueForPixel(Math.min(Math.max(event.x, left), right));
    chart.haTime = time;
    const index = indexAt(data, time, beginOf[chart.config.type]);
    const element = chart.getDatasetMeta(0).data[index];
    return element && data[index].y !== null ? [{datasetIndex: 0, index, element}] : [];
}

/** Shades the times of which something may be missing. */
const gapsPlugin = {
    id: "ha_gaps",
    afterDatasetsDraw(chart) {
        const {bottom, left, right, top} = chart.chartArea;
        const {ctx} = chart;
        const {areas, areaColors} = chart.data;
        for (const area of areas) {
            const begin = Math.max(chart.scales.x.getPixelForValue(area.from), left);
            const end = Math.min(chart.scales.x.getPixelForValue(area.to), right);
            const width = Math.max(end - begin, MIN_AREA_WIDTH);
            ctx.save();
            ctx.beginPath();
            ctx.rect(begin, top, width, bottom - top);
            ctx.clip();
            ctx.strokeStyle = ctx.fillStyle = areaColors[area.state];
            ctx.globalAlpha = 0.15;
            ctx.fillRect(begin, top, width, bottom - top);
            ctx.globalAlpha = 0.55;
            ctx.lineWidth = 1;
            ctx.beginPath();
            // The same lines whatever the area, so that neighbours match
            const first = Math.floor(begin / HATCH_STEP) * HATCH_STEP;
            for (let x = first - (bottom - top); x < begin + width; x += HATCH_STEP) {
                ctx.moveTo(x, bottom);
                ctx.lineTo(x + bottom - top, top);
            }
            ctx.stroke();
            ctx.restore();
        }
    },
};

/** Black or white, whichever reads better on a colour like "#rrggbb". */
function readableOn(color) {
    const [red, green, blue] = [1, 3, 5].map((at) =>
        parseInt(color.slice(at, at + 2), 16)
    );
    return 0.299 * red + 0.587 * green + 0.114 * blue > 140 ? "#111827" : "#ffffff";
}

/** Writes the state into its bar where there is room. */
const labelsPlugin = {
    id: "ha_labels",
    afterDatasetDraw(chart, {meta}, {font}) {
        const {ctx} = chart;
        ctx.save();
        ctx.font = font;
        ctx.textBaseline = "middle";
        const {data} = chart.data.datasets[0];
        meta.data.forEach((bar, index) => {
            const {base, x, y} = bar.getProps(["base", "x", "y"], true);
            const {text} = data[index];
            const room = Math.abs(x - base) - 2 * LABEL_PADDING;
            if (room > 12 && ctx.measureText(text).width <= room) {
                ctx.fillStyle = readableOn(bar.options.backgroundColor);
                ctx.fillText(text, Math.min(x, base) + LABEL_PADDING, y + 1);
            }
        });
        ctx.restore();
    },
};

function gapLines(chart) {
    const inside = chart.data.areas.filter(
        ({from, to}) => from <= chart.haTime && chart.haTime <= to
    );
    return inside.map(({from, to}) =>
        _t("Incomplete from %(from)s to %(to)s", {
            from: timeText(from),
            to: timeText(to),
        })
    );
}

/** A tick that begins a new day, month or year among others stands out. */
function tickWeight(scale, tick) {
    const isSpecial = tick?.major && scale.ticks.some(({major}) => !major);
    return isSpecial ? "bold" : "normal";
}

function commonOptions({from, to}, theme, tooltip) {
    return {
        animation: false,
        maintainAspectRatio: false,
        interaction: {mode: HELD_MODE},
        scales: {
            x: {
                type: "time",
                min: from,
                max: to,
                time: {displayFormats: TIME_FORMATS},
                border: {color: theme.grid},
                grid: {color: theme.grid},
                ticks: {
                    color: theme.text,
                    maxRotation: 0,
                    autoSkipPadding: 24,
                    major: {enabled: true},
                    font: ({scale, tick}) => ({weight: tickWeight(scale, tick)}),
                },
            },
        },
        plugins: {
            legend: {display: false},
            tooltip: {
                displayColors: false,
                footerFont: {weight: "normal", style: "italic"},
                callbacks: {
                    ...tooltip,
                    footer: ([item]) => (item ? gapLines(item.chart) : ""),
                },
            },
        },
    };
}

/** A point between two breaks of the line has no line to be seen by. */
function loneRadius(series) {
    const isBreak = (item) => !item || item.y === null;
    return ({dataIndex: i}) =>
        series[i] && isBreak(series[i - 1]) && isBreak(series[i + 1]) ? 2 : 0;
}

/**
 * Where the axis of numbers has to end: its room above and below the line must not
 * reach beyond zero when no number does.
 *
 * @param {Array<Object>} series items with y, a number or null
 * @returns {Object} min or max, or neither
 */
export function axisLimits(series) {
    let [low, high] = [Infinity, -Infinity];
    for (const {y} of series) {
        if (y !== null) {
            low = Math.min(low, y);
            high = Math.max(high, y);
        }
    }
    const room = (high - low) * GRACE;
    if (low >= 0 && low <= room) {
        return {min: 0};
    }
    return high <= 0 && -high <= room ? {max: 0} : {};
}

function lineConfig(shown, theme) {
    const {series, unit} = shown;
    const options = commonOptions(shown, theme, {
        title: ([item]) => numberText(item.raw.y, unit),
        label: ({raw}) => timeText(raw.x),
    });
    options.scales.y = {
        grace: `${100 * GRACE}%`,
        ...axisLimits(series),
        border: {display: false},
        grid: {color: theme.grid},
        title: {display: Boolean(unit), text: unit || "", color: theme.text},
        ticks: {
            color: theme.text,
            maxTicksLimit: 6,
            callback: (value) => numberText(value),
        },
    };
    return {
        type: "line",
        data: {
            areas: shown.areas,
            areaColors: theme.gaps,
            datasets: [
                {
                    data: series,
                    parsing: false,
                    normalized: true,
                    stepped: true,
                    borderColor: theme.line,
                    borderWidth: shown.isReduced ? 1 : 1.75,
                    backgroundColor: theme.area,
                    fill: shown.isReduced ? false : "start",
                    pointRadius: loneRadius(series),
                    pointBackgroundColor: theme.line,
                    pointHoverRadius: 4,
                },
            ],
        },
        options,
        plugins: [gapsPlugin],
    };
}

function barConfig(shown, theme) {
    const {colors, segments} = shown;
    const options = commonOptions(shown, theme, {
        title: ([item]) => item.raw.text,
        label: ({raw}) => {
            const [begin, end] = raw.x;
            const params = {
                from: timeText(begin),
                to: timeText(end),
                duration: durationText(end - begin),
            };
            if (end >= shown.to) {
                return begin > shown.from
                    ? [_t("since %(from)s", params), params.duration]
                    : [_t("all the time")];
            }
            return begin > shown.from
                ? [_t("%(from)s – %(to)s", params), params.duration]
                : [_t("until %(to)s", params)];
        },
    });
    options.indexAxis = "y";
    options.scales.y = {display: false};
    options.plugins.ha_labels = {font: theme.font};
    return {
        type: "bar",
        data: {
            areas: shown.areas,
            areaColors: theme.gaps,
            labels: [""],
            datasets: [
                {
                    data: segments,
                    backgroundColor: segments.map(({state}) => colors.get(state)),
                    barPercentage: 1,
                    categoryPercentage: 1,
                    minBarLength: 1,
                },
            ],
        },
        options,
        plugins: [labelsPlugin, gapsPlugin],
    };
}

/**
 * The configuration of a chart.
 *
 * @param {Object} shown kind ("number" or "text"), from, to, areas; for numbers
 *     series and unit; for texts segments and colors (a Map by state)
 * @param {Object} theme colours and font
 * @returns {Object}
 */
export function chartConfig(shown, theme) {
    Chart.Interaction.modes[HELD_MODE] = heldAt;
    return (shown.kind === "number" ? lineConfig : barConfig)(shown, theme);
}
