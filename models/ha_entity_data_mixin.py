from odoo import fields, models
from odoo.tools import SQL, sql


class HaEntityDataMixin(models.AbstractModel):
    """Rows about one entity, of which there can be billions.

    What they are grouped by is the entity's, as it is today: columns of their own
    would cost space in each row, and a rename in Home Assistant would touch them all.
    """

    _name = "ha.entity.data.mixin"
    _description = "Home Assistant Data of an Entity"
    _rec_name = "entity_id"
    _log_access = False

    entity_id = fields.Many2one(
        "ha.entity", required=True, readonly=True, ondelete="cascade"
    )
    instance_id = fields.Many2one(related="entity_id.instance_id")
    area_id = fields.Many2one(related="entity_id.area_id")
    device_id = fields.Many2one(related="entity_id.device_id")
    domain = fields.Char(related="entity_id.domain")
    device_class = fields.Char(related="entity_id.device_class")
    unit = fields.Char(related="entity_id.unit")

    def init(self):
        if not self._abstract:
            widen_ids(self.env.cr, self._table)


def widen_ids(cr, table):
    """Give a table ids of 64 bits; for tables that outlive 2^31 rows."""
    if sql.table_columns(cr, table)["id"]["udt_name"] == "int8":
        return
    name, sequence = SQL.identifier(table), SQL.identifier(f"{table}_id_seq")
    cr.execute(SQL("ALTER TABLE %s ALTER COLUMN id TYPE bigint", name))
    cr.execute(SQL("ALTER SEQUENCE %s AS bigint", sequence))
