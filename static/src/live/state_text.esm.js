import {formatDateTime} from "@web/core/l10n/dates";
import {user} from "@web/core/user";

const {DateTime} = luxon;
const DATE = /^\d{4}-\d\d-\d\d/;
const SLUG = /^[a-z0-9]+(_[a-z0-9]+)*$/;

function words(name) {
    if (!SLUG.test(name)) {
        return name;
    }
    return name.charAt(0).toUpperCase() + name.slice(1).replaceAll("_", " ");
}

function momentText(state) {
    const iso = state.replace(/^(.{10})\s/, "$1T");
    const moment = DATE.test(iso) && DateTime.fromISO(iso, {zone: "utc"});
    return moment && moment.isValid
        ? formatDateTime(moment, {tz: user.tz || "UTC"})
        : state;
}

function onOffText(domain, deviceClass, state, tables) {
    const meanings =
        (domain === "update" && tables.update) ||
        (domain === "binary_sensor" && tables.binary[deviceClass]);
    return meanings ? meanings[state === "on" ? 0 : 1] : tables.states[state];
}

function plainText(domain, deviceClass, state, tables) {
    if (domain === "sensor" && deviceClass !== "enum") {
        return state;
    }
    return Object.hasOwn(tables.states, state) ? tables.states[state] : words(state);
}

/**
 * The state of an entity in words, as the server computes it ("state_display").
 *
 * @param {Object} entity its fields domain, device_class, unit, state, is_numeric, and
 *     attributes as far as they are known
 * @param {Object} tables the texts in the user's language, as "get_state_texts" of
 *     ha.entity returns them
 * @returns {String|false}
 */
export function stateText(entity, tables) {
    const {device_class: deviceClass, domain, state, unit} = entity;
    if (!state) {
        return false;
    }
    if (state === "unavailable" || state === "unknown") {
        return tables.states[state];
    }
    if (tables.literal_domains.includes(domain)) {
        return entity.attributes?.mode === "password" ? tables.secret : state;
    }
    if (entity.is_numeric) {
        return unit ? `${state} ${unit}` : state;
    }
    if (tables.moment_domains.includes(domain) || deviceClass === "timestamp") {
        return momentText(state);
    }
    const isSwitch = state === "on" || state === "off";
    return (isSwitch ? onOffText : plainText)(domain, deviceClass, state, tables);
}
