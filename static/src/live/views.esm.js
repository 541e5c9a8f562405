import {formView} from "@web/views/form/form_view";
import {kanbanView} from "@web/views/kanban/kanban_view";
import {listView} from "@web/views/list/list_view";
import {liveView} from "./live_view.esm";
import {registry} from "@web/core/registry";

registry
    .category("views")
    .add("ha_live_form", liveView(formView))
    .add("ha_live_kanban", liveView(kanbanView))
    .add("ha_live_list", liveView(listView));
