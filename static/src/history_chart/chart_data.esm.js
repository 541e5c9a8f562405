/**
 * What a history chart draws, computed from what the server returns. Knows no
 * component and no Chart.js; all times are epoch milliseconds.
 */
import {isActive} from "../fields/entity_icon/entity_icons.esm";

/** States in which an entity has nothing to tell. */
export const SILENT_STATES = new Set(["unavailable", "unknown", ""]);

/**
 * Points from a time on; the one that held at that time begins there.
 *
 * @param {Array[]} points [[at, …], …] ascending
 * @param {Number} from
 * @returns {Array[]}
 */
export function pointsSince(points, from) {
    const later = points.findIndex(([at]) => at > from);
    const first = (later < 0 ? points.length : later) - 1;
    if (first < 0) {
        return points;
    }
    const [, ...values] = points[first];
    return [[from, ...values], ...points.slice(first + 1)];
}

/**
 * The line of a number: each value holds until the next, the last one until now.
 *
 * @param {Array[]} points [[at, value|null], …]
 * @param {Number} from
 * @param {Number} to
 * @returns {Object[]} {x, y}; the line is broken where y is null
 */
export function numberSeries(points, from, to) {
    const series = [];
    let held = null;
    for (const [x, y] of pointsSince(points, from)) {
        if (y === null && held !== null) {
            series.push({x, y: held});
        }
        series.push({x, y});
        held = y;
    }
    if (held !== null) {
        series.push({x: to, y: held});
    }
    return series;
}

/**
 * The stretches of time in which a text state held.
 *
 * @param {Array[]} points [[at, state, text], …]
 * @param {Number} from
 * @param {Number} to
 * @returns {Object[]} {x: [begin, end], y, state, text}
 */
export function textSegments(points, from, to) {
    const segments = [];
    for (const [at, state, text] of pointsSince(points, from)) {
        const last = segments.at(-1);
        if (last && last.state === state) {
            continue;
        }
        if (last) {
            last.x[1] = at;
        }
        segments.push({x: [at, Math.max(at, to)], y: "", state, text: text || state});
    }
    return segments;
}

/**
 * Times of which something may be missing, within the range shown.
 *
 * @param {Array[]} gaps [[begin, end|null, state], …]
 * @param {Number} from
 * @param {Number} to
 * @returns {Object[]} {from, to, state}
 */
export function gapAreas(gaps, from, to) {
    return gaps
        .map(([begin, end, state]) => ({
            from: Math.max(begin, from),
            to: end === null ? to : Math.min(end, to),
            state,
        }))
        .filter((area) => area.to >= area.from);
}

/** The index of the last item that begins at or before a time; -1 without one. */
export function indexAt(items, time, beginOf) {
    let low = 0,
        high = items.length;
    while (low < high) {
        const middle = (low + high) >> 1;
        if (beginOf(items[middle]) <= time) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low - 1;
}

/**
 * Give each state its colour, and let it keep that.
 *
 * @param {Map} known colours by state; gets those of new states
 * @param {String} domain of the entity
 * @param {String[]} states
 * @param {Object} theme colours: resting, silent, active and a list "others"
 */
export function colorStates(known, domain, states, theme) {
    const taken = new Set(known.values());
    const free = [theme.active, ...theme.others].filter((color) => !taken.has(color));
    for (const state of [...new Set(states)].sort()) {
        if (known.has(state)) {
            continue;
        }
        if (SILENT_STATES.has(state)) {
            known.set(state, theme.silent);
        } else if (!isActive(domain, state) && isActive(domain, "?")) {
            known.set(state, theme.resting);
        } else {
            known.set(
                state,
                free.shift() || theme.others[known.size % theme.others.length]
            );
        }
    }
}
