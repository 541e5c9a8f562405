import psycopg2

from odoo import api, fields, models

WATCH_S = 75  # browsers renew it every 30 s
RENEW_BELOW_S = 50


class HaLiveWatch(models.Model):
    """Until when somebody watches an instance: nothing is sent to nobody.

    A table of its own, so that those who watch never wait for the instance's row or
    its status, nor their owners for them. Read and written by SQL.
    """

    _name = "ha.live.watch"
    _description = "Home Assistant Live Watch"
    _log_access = False
    _rec_name = "instance_id"

    instance_id = fields.Many2one(
        "ha.instance", required=True, readonly=True, ondelete="cascade"
    )
    watched_until = fields.Datetime(readonly=True)

    _instance_unique = models.Constraint(
        "UNIQUE(instance_id)", "Each instance has one watch."
    )

    @api.model
    def _watch(self, instance_ids):
        """Note that somebody watches these instances for the next ``WATCH_S`` s."""
        if not instance_ids:
            return
        # Those who are watched already are left alone. Should two people begin in
        # the same instant, one of them has noted it for both.
        busy = (psycopg2.errors.SerializationFailure, psycopg2.errors.LockNotAvailable)
        try:
            with self.env.registry.cursor() as cr:
                cr.execute("SET LOCAL lock_timeout TO 1000")
                cr.execute(
                    """
                    INSERT INTO ha_live_watch AS w (instance_id, watched_until)
                    SELECT i.id, clock_timestamp() AT TIME ZONE 'UTC'
                           + %(watch)s * interval '1 second'
                      FROM unnest(%(ids)s::int[]) AS i(id) ORDER BY i.id
                        ON CONFLICT (instance_id) DO UPDATE
                       SET watched_until = EXCLUDED.watched_until
                     WHERE w.watched_until < EXCLUDED.watched_until
                           - %(margin)s * interval '1 second'
                    """,
                    {
                        "ids": sorted(instance_ids),
                        "watch": WATCH_S,
                        "margin": WATCH_S - RENEW_BELOW_S,
                    },
                    log_exceptions=False,
                )
        except busy:
            return
