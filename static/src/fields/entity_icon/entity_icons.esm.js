/**
 * Which icon an entity gets, and whether it is "on". Knows no component, so that
 * every view, field and dashboard can use it.
 */

const FALLBACK_ICON = "fa-microchip";

const DOMAIN_ICONS = {
    air_quality: "fa-leaf",
    alarm_control_panel: "fa-shield",
    automation: "fa-cogs",
    binary_sensor: "fa-dot-circle-o",
    button: "fa-hand-pointer-o",
    calendar: "fa-calendar",
    camera: "fa-video-camera",
    climate: "fa-thermometer-half",
    conversation: "fa-comment-o",
    counter: "fa-calculator",
    cover: "fa-window-maximize",
    date: "fa-calendar-o",
    datetime: "fa-clock-o",
    device_tracker: "fa-map-marker",
    event: "fa-flash",
    fan: "fa-asterisk",
    geo_location: "fa-map-o",
    group: "fa-object-group",
    humidifier: "fa-tint",
    image: "fa-picture-o",
    image_processing: "fa-eye",
    input_boolean: "fa-toggle-on",
    input_button: "fa-hand-pointer-o",
    input_datetime: "fa-clock-o",
    input_number: "fa-sliders",
    input_select: "fa-list-ul",
    input_text: "fa-font",
    lawn_mower: "fa-pagelines",
    light: "fa-lightbulb-o",
    lock: "fa-lock",
    mailbox: "fa-envelope-o",
    media_player: "fa-music",
    notify: "fa-commenting-o",
    number: "fa-sliders",
    person: "fa-user",
    plant: "fa-leaf",
    remote: "fa-gamepad",
    scene: "fa-magic",
    schedule: "fa-calendar-check-o",
    script: "fa-list-alt",
    select: "fa-list-ul",
    sensor: "fa-area-chart",
    siren: "fa-bullhorn",
    stt: "fa-microphone",
    sun: "fa-sun-o",
    switch: "fa-toggle-on",
    tag: "fa-tag",
    text: "fa-font",
    time: "fa-clock-o",
    timer: "fa-hourglass-half",
    todo: "fa-check-square-o",
    tts: "fa-volume-up",
    update: "fa-arrow-circle-up",
    vacuum: "fa-recycle",
    valve: "fa-tint",
    wake_word: "fa-microphone",
    water_heater: "fa-shower",
    weather: "fa-cloud",
    zone: "fa-map-marker",
};

const DEVICE_CLASS_ICONS = {
    battery: "fa-battery-half",
    battery_charging: "fa-battery-half",
    carbon_dioxide: "fa-cloud",
    carbon_monoxide: "fa-cloud",
    cold: "fa-snowflake-o",
    connectivity: "fa-plug",
    current: "fa-bolt",
    date: "fa-calendar-o",
    door: "fa-sign-in",
    duration: "fa-hourglass-half",
    energy: "fa-bolt",
    frequency: "fa-signal",
    garage: "fa-car",
    garage_door: "fa-car",
    gas: "fa-fire",
    heat: "fa-fire",
    humidity: "fa-tint",
    illuminance: "fa-sun-o",
    light: "fa-sun-o",
    lock: "fa-lock",
    moisture: "fa-tint",
    monetary: "fa-money",
    motion: "fa-male",
    moving: "fa-arrows",
    occupancy: "fa-home",
    opening: "fa-sign-in",
    outlet: "fa-plug",
    plug: "fa-plug",
    power: "fa-bolt",
    precipitation: "fa-umbrella",
    presence: "fa-home",
    pressure: "fa-tachometer",
    problem: "fa-exclamation-triangle",
    restart: "fa-refresh",
    running: "fa-play",
    safety: "fa-shield",
    signal_strength: "fa-wifi",
    smoke: "fa-fire",
    sound: "fa-volume-up",
    speed: "fa-tachometer",
    tamper: "fa-exclamation-triangle",
    temperature: "fa-thermometer-half",
    timestamp: "fa-clock-o",
    tv: "fa-television",
    update: "fa-arrow-circle-up",
    vibration: "fa-mobile",
    volume: "fa-flask",
    water: "fa-tint",
    weight: "fa-balance-scale",
    wind_speed: "fa-flag-o",
    window: "fa-columns",
};

// Domains that have an icon of their own whatever the device class says.
const STATE_ICONS = {
    "lock.unlocked": "fa-unlock",
    "lock.open": "fa-unlock",
    "input_boolean.off": "fa-toggle-off",
    "switch.off": "fa-toggle-off",
};

const RESTING_STATES = {
    alarm_control_panel: ["disarmed"],
    climate: ["off"],
    cover: ["closed"],
    device_tracker: ["not_home"],
    lock: ["locked"],
    media_player: ["off", "idle", "standby", "paused"],
    person: ["not_home"],
    vacuum: ["docked", "idle", "paused", "off"],
    valve: ["closed"],
};
const ON_OFF_DOMAINS = new Set([
    "automation",
    "binary_sensor",
    "camera",
    "fan",
    "group",
    "humidifier",
    "input_boolean",
    "light",
    "remote",
    "schedule",
    "script",
    "siren",
    "switch",
    "update",
    "water_heater",
]);
const UNKNOWN_STATES = new Set(["unavailable", "unknown", "", false, null, undefined]);

/**
 * The class of the icon that stands for an entity.
 *
 * @param {String} domain e.g. "light"
 * @param {String|false} deviceClass e.g. "temperature"
 * @param {String|false} state
 * @returns {String} a Font Awesome class
 */
export function entityIcon(domain, deviceClass, state) {
    return (
        (deviceClass && DEVICE_CLASS_ICONS[deviceClass]) ||
        STATE_ICONS[`${domain}.${state}`] ||
        DOMAIN_ICONS[domain] ||
        FALLBACK_ICON
    );
}

/**
 * Whether an entity is in a state that a person looking over a home should see at
 * a glance: a light that is on, a door that is open, an alarm that is armed.
 *
 * @param {String} domain
 * @param {String|false} state
 * @returns {Boolean}
 */
export function isActive(domain, state) {
    if (UNKNOWN_STATES.has(state)) {
        return false;
    }
    if (domain in RESTING_STATES) {
        return !RESTING_STATES[domain].includes(state);
    }
    return ON_OFF_DOMAINS.has(domain) && state !== "off";
}
