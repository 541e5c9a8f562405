from odoo import fields, models
from odoo.tools import sql


class HaEntityState(models.Model):
    """The present state of each entity: the columns that change all the time.

    One row per entity, with the entity's own id. They are apart from
    ``ha.entity`` because Odoo's transactions are REPEATABLE READ: editing an
    entity's record would fail whenever its state changed meanwhile. Only the
    owner of the instance writes here, by SQL.
    """

    _name = "ha.entity.state"
    _description = "Home Assistant Entity State"
    _log_access = False

    state = fields.Char(readonly=True)
    state_number = fields.Float(readonly=True, digits=0, aggregator="avg")
    is_numeric = fields.Boolean(readonly=True)
    attributes = fields.Json(readonly=True)
    last_changed = fields.Datetime(readonly=True)
    last_updated = fields.Datetime(readonly=True)

    def init(self):
        # Updates that touch no index and find room on their page stay cheap.
        self.env.cr.execute(
            "ALTER TABLE ha_entity_state SET (fillfactor = 70,"
            " autovacuum_vacuum_scale_factor = 0.05)"
        )
        # A row goes with its entity, whoever deletes that: a user, an instance's
        # cascade, or ingest.
        key = "ha_entity_state_id_fkey"
        if not sql.constraint_definition(self.env.cr, self._table, key):
            self.env.cr.execute(
                "ALTER TABLE ha_entity_state ADD CONSTRAINT ha_entity_state_id_fkey"
                " FOREIGN KEY (id) REFERENCES ha_entity (id) ON DELETE CASCADE"
            )
