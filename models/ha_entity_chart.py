from datetime import UTC, datetime

from odoo import api, models
from odoo.exceptions import UserError

from .common import entity_text
from .common.entity_text import SECRET_TEXT
from .common.history.history_chart import EntityHistory

MAX_ENTITIES = 10
MIN_POINTS, MAX_POINTS = 10, 5000
TIME_FORMAT = "%Y-%m-%d %H:%M:%S"


class HaEntity(models.Model):
    """What charts of entities show."""

    _inherit = "ha.entity"

    @api.readonly
    def get_history_chart(self, date_from, date_to, points=1000):
        """The history of at most ten entities, in few enough points to draw.

        Of too many rows, those are left out that would not be seen: highs, lows and
        breaks stay.

        :param str date_from: UTC, ``%Y-%m-%d %H:%M:%S``
        :param date_to: likewise, or ``False`` for now
        :param int points: how many there may be of each entity, 10 to 5000
        :return list: of each entity, in their order, a dict of

            - ``id``, ``name``, ``unit`` (or ``False``), ``kind``: number or text
            - ``points``: ``[ms, number]``, or ``[ms, None]`` where the line breaks;
              of texts ``[ms, state, how it reads]``. Times are epoch milliseconds,
              ascending; the first is ``date_from`` when it is known what held then
            - ``is_reduced``: whether rows were left out
            - ``gaps``: ``[ms from, ms until or None, state]``: times of which the
              history is not complete, or not yet
        :raises UserError: for arguments that make no sense
        """
        now = datetime.now(UTC).replace(tzinfo=None)
        since = self._check_chart_time("date_from", date_from)
        until = self._check_chart_time("date_to", date_to) if date_to else now
        self._check_chart_arguments(since, until, points)
        self.check_access("read")
        self.env.flush_all()
        self._check_history_access(until)
        charts = []
        for entity in self:
            history = EntityHistory(self.env.cr, entity.id, since, until)
            charts.append(
                {
                    "id": entity.id,
                    "name": entity.display_name,
                    "unit": entity.unit,
                    **entity._chart_points(history, points),
                    "gaps": [list(gap) for gap in history.gaps(until >= now)],
                }
            )
        return charts

    def _chart_points(self, history, points):
        if self._is_drawn_as_number(history):
            rows, is_reduced = history.numbers(points)
            kind, rows = "number", [list(row) for row in rows]
        else:
            rows, is_reduced = history.texts(points)
            kind, rows = "text", self._with_texts(rows)
        return {"kind": kind, "points": rows, "is_reduced": is_reduced}

    def _is_drawn_as_number(self, history):
        if self.unit or self.state_class:
            return True
        if self.domain in entity_text.LITERAL_DOMAINS:
            return False
        is_number = history.is_number()
        return self.is_numeric if is_number is None else is_number

    def _with_texts(self, rows):
        texts = {
            state: entity_text.state_text(self, state)
            for state in {row[1] for row in rows}
        }
        hidden = {state for state, text in texts.items() if text == SECRET_TEXT}
        return [
            [at, SECRET_TEXT if state in hidden else state, texts[state]]
            for at, state in rows
        ]

    def _check_history_access(self, until):
        """Let the rules of the history judge the newest row of each entity."""
        self.env.cr.execute(
            """
            SELECT h.id FROM unnest(%s::int[]) AS e(id)
              JOIN LATERAL (SELECT id FROM ha_entity_history
                             WHERE entity_id = e.id AND last_changed <= %s
                          ORDER BY last_changed DESC LIMIT 1) h ON TRUE
            """,
            (self.ids, until),
        )
        ids = [row[0] for row in self.env.cr.fetchall()]
        self.env["ha.entity.history"].browse(ids).check_access("read")
        self.env["ha.history.gap"].check_access("read")

    def _check_chart_time(self, name, value):
        try:
            return datetime.strptime(value, TIME_FORMAT)
        except (TypeError, ValueError):
            raise UserError(
                self.env._(
                    "%(name)s must be a time in UTC like 2026-01-31 23:59:59.",
                    name=name,
                )
            ) from None

    def _check_chart_arguments(self, since, until, points):
        """:raises UserError: naming the argument"""
        if since >= until:
            raise UserError(self.env._("date_from must be before date_to."))
        is_number = isinstance(points, int) and not isinstance(points, bool)
        if not is_number or not MIN_POINTS <= points <= MAX_POINTS:
            raise UserError(
                self.env._(
                    "points must be a whole number from %(low)s to %(high)s.",
                    low=MIN_POINTS,
                    high=MAX_POINTS,
                )
            )
        if len(self) > MAX_ENTITIES:
            raise UserError(
                self.env._(
                    "A chart shows at most %(number)s entities.", number=MAX_ENTITIES
                )
            )
