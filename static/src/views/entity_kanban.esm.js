import {KanbanRenderer} from "@web/views/kanban/kanban_renderer";
import {kanbanView} from "@web/views/kanban/kanban_view";
import {liveView} from "../live/live_view.esm";
import {onMounted} from "@odoo/owl";
import {registry} from "@web/core/registry";

/**
 * Entities without an area (or whatever they are grouped by) come last, and are
 * folded only if there is something else to see.
 */
export class EntityKanbanRenderer extends KanbanRenderer {
    setup() {
        super.setup();
        onMounted(() => {
            const {list} = this.props;
            if (list.isGrouped && list.groups.length === 1 && list.groups[0].isFolded) {
                list.groups[0].toggle();
            }
        });
    }

    getGroupsOrRecords() {
        const items = super.getGroupsOrRecords();
        if (!this.props.list.isGrouped) {
            return items;
        }
        return [
            ...items.filter(({group}) => group.value),
            ...items.filter(({group}) => !group.value),
        ];
    }
}

registry.category("views").add("ha_entity_kanban", {
    ...liveView(kanbanView),
    Renderer: EntityKanbanRenderer,
});
