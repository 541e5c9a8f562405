/**
 * What the server tells of a changed entity, and what else a shown entity needs so
 * that its record can follow: every view gets these through the entity's icon.
 */
export const STATE_FIELDS = [
    {name: "state", type: "char", readonly: true},
    {name: "is_numeric", type: "boolean", readonly: true},
    {name: "available", type: "boolean", readonly: true},
    {name: "is_stale", type: "boolean", readonly: true},
    {name: "last_updated", type: "datetime", readonly: true},
    {name: "device_class", type: "char", readonly: true},
    {name: "unit", type: "char", readonly: true},
    {name: "instance_id", type: "many2one", relation: "ha.instance", readonly: true},
];
/** Fields of ha.entity that a notification brings. */
export const NOTIFIED = [
    "state",
    "state_number",
    "is_numeric",
    "available",
    "last_changed",
    "last_updated",
];
/** Lists that belong to a record and are read again with it. */
export const LISTS = {
    "ha.instance": ["event_ids"],
    "ha.area": ["entity_ids"],
    "ha.device": ["entity_ids"],
    "ha.label": ["entity_ids"],
};
