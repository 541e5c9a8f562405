/* global Chart */
import {
    colorStates,
    gapAreas,
    indexAt,
    numberSeries,
    pointsSince,
    textSegments,
} from "@odoo_ha_addon/history_chart/chart_data.esm";
import {describe, expect, getFixture, test} from "@odoo/hoot";
import {makeMockEnv, preloadBundle} from "@web/../tests/web_test_helpers";
import {chartConfig} from "@odoo_ha_addon/history_chart/chart_config.esm";

describe.current.tags("headless");

preloadBundle("web.chartjs_lib");

const THEME = {
    active: "#f5a300",
    resting: "#aaaaaa",
    silent: "#eeeeee",
    others: ["#0000ff", "#ff0000"],
};

test("the point that held when the range begins, begins with it", () => {
    const points = [
        [10, 1],
        [20, 2],
        [30, 3],
    ];
    expect(pointsSince(points, 25)).toEqual([
        [25, 2],
        [30, 3],
    ]);
    expect(pointsSince(points, 20)).toEqual([
        [20, 2],
        [30, 3],
    ]);
    expect(pointsSince(points, 5)).toEqual(points);
    expect(pointsSince(points, 40)).toEqual([[40, 3]]);
    expect(pointsSince([], 40)).toEqual([]);
});

test("a number holds until it is none, and until now", () => {
    const points = [
        [0, 5],
        [10, null],
        [20, 7],
    ];
    expect(numberSeries(points, 0, 30)).toEqual([
        {x: 0, y: 5},
        {x: 10, y: 5},
        {x: 10, y: null},
        {x: 20, y: 7},
        {x: 30, y: 7},
    ]);
    expect(numberSeries([[0, null]], 5, 30)).toEqual([{x: 5, y: null}]);
});

test("equal texts one after the other are one stretch", () => {
    const points = [
        [0, "off", "Off"],
        [10, "on", "On"],
        [15, "on", "On"],
        [20, "off", "Off"],
    ];
    expect(textSegments(points, 5, 30)).toEqual([
        {x: [5, 10], y: "", state: "off", text: "Off"},
        {x: [10, 20], y: "", state: "on", text: "On"},
        {x: [20, 30], y: "", state: "off", text: "Off"},
    ]);
});

test("gaps are cut to the range, and one that goes on ends now", () => {
    const gaps = [
        [0, 5, "missing"],
        [5, 15, "missing"],
        [20, null, "open"],
    ];
    expect(gapAreas(gaps, 10, 30)).toEqual([
        {from: 10, to: 15, state: "missing"},
        {from: 20, to: 30, state: "open"},
    ]);
});

test("what held at a time is found", () => {
    const begins = [10, 20, 30];
    const at = (time) => indexAt(begins, time, (begin) => begin);
    expect([5, 10, 19, 20, 99].map(at)).toEqual([-1, 0, 0, 1, 2]);
});

test("a state keeps its colour when others come", () => {
    const colors = new Map();
    colorStates(colors, "light", ["off", "on", "unavailable"], THEME);
    expect([...colors]).toEqual([
        ["off", "#aaaaaa"],
        ["on", "#f5a300"],
        ["unavailable", "#eeeeee"],
    ]);
    colorStates(colors, "light", ["blue", "on"], THEME);
    expect(colors.get("on")).toBe("#f5a300");
    expect(colors.get("blue")).toBe("#0000ff");
});

test("many states share colours rather than having none", () => {
    const colors = new Map();
    const states = ["a", "b", "c", "d", "e"];
    colorStates(colors, "select", states, THEME);
    expect(states.every((state) => colors.get(state))).toBe(true);
});

/** Lowest and highest value of the axis on which such numbers are drawn. */
function axisOf(...values) {
    const series = values.map((y, x) => ({x, y}));
    const shown = {kind: "number", from: 0, to: values.length, areas: [], series};
    const canvas = document.createElement("canvas");
    getFixture().append(canvas);
    const chart = new Chart(canvas, chartConfig(shown, {gaps: {}}));
    const {max, min} = chart.scales.y;
    chart.destroy();
    canvas.remove();
    return [min, max];
}

test("the axis does not go beyond zero when no value does", async () => {
    await makeMockEnv();
    expect(axisOf(0, 0.5, null, 1)[0]).toBe(0);
    expect(axisOf(0.001, 0.9)[0]).toBe(0);
    expect(axisOf(0, 0)[0]).toBe(0);
    expect(axisOf(0, -30, -200)[1]).toBe(0);
    expect(axisOf(-0.2, 0, 10)[0]).toBeLessThan(0);
    expect(axisOf(20, 21)[0]).toBeWithin(19, 20);
    expect(axisOf(null)[0]).not.toBe(NaN);
});
