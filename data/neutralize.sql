-- A staging copy must not switch real devices: nothing connects before a manager
-- confirms on the instance.
UPDATE ha_instance SET confirmed_database_uuid = 'neutralized';
