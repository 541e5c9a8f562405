from . import ha_service_call
