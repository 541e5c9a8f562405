# isort: off
from . import ha_entity_data_mixin, ha_registry_mixin  # the others inherit from these

# isort: on
from . import (
    bus_bus,
    ha_area,
    ha_connection_event,
    ha_device,
    ha_entity,
    ha_entity_chart,
    ha_entity_history,
    ha_entity_recording,
    ha_entity_state,
    ha_entity_statistics,
    ha_floor,
    ha_history_gap,
    ha_instance,
    ha_instance_connection,
    ha_instance_history,
    ha_instance_live,
    ha_instance_status,
    ha_instance_supervision,
    ha_instance_traffic,
    ha_label,
    ha_live_watch,
    ir_config_parameter,
    ir_websocket,
)
