"""How a link is, told alike on the form, in the log, by ha_doctor and in activities."""
