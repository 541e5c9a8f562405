"""Tells browsers that watch what the writer has committed, over Odoo's bus.

Owned and called by the writer's thread alone. Raw SQL: this thread must not wait
for a registry. Nothing here may harm ingest: what fails is logged once, and those
who watch read everything again when it works again.
"""

import logging
import time
from collections import deque
from dataclasses import dataclass, field

import psycopg2
from psycopg2.extras import execute_values

from odoo.addons.bus.models.bus import (
    ODOO_NOTIFY_FUNCTION,
    get_notify_payloads,
    json_dump,
)

from ....ha_client.buffer import Batch
from ....ha_client.model import EntityState
from ..supervision.ownership import connect, cut

_logger = logging.getLogger(__name__)

STATES = "odoo_ha_addon.states"
CONNECTION = "odoo_ha_addon.connection"
MIN_INTERVAL_S = 0.25  # between notifications of one instance: at most 4 a second
MAX_CHANGES = 500  # more in one go, and reading again is cheaper
MAX_LENGTH = 256 * 1024  # characters of a notification
RETENTION_S = 120.0  # of our rows in bus_bus
PRUNE_INTERVAL_S = 30.0
RETRY_PAUSE_S = 5.0
NOTIFY_IDLE_S = 60.0
NEVER_S = 3600.0

# Column of the fence: for how many seconds from now somebody watches an instance.
WATCHED_SQL = """(SELECT extract(epoch FROM w.watched_until
                                 - clock_timestamp() AT TIME ZONE 'UTC')::float8
                    FROM ha_live_watch w WHERE w.instance_id = s.instance_id)"""
VALUES_SQL = """
    SELECT e.ha_entity_id, e.id, e.domain, coalesce(s.state, ''),
           coalesce(s.state_number, 0), coalesce(s.is_numeric, FALSE),
           s.attributes ->> 'mode',
           to_char(s.last_changed, 'YYYY-MM-DD HH24:MI:SS'),
           to_char(s.last_updated, 'YYYY-MM-DD HH24:MI:SS')
      FROM ha_entity e JOIN ha_entity_state s ON s.id = e.live_id
     WHERE e.instance_id = %s AND e.ha_entity_id = ANY(%s)
"""


@dataclass
class _Watched:
    """An instance that somebody watches; times are of ``time.monotonic()``."""

    until: float
    # What was committed since a browser read, but before this began, was not sent.
    is_new: bool = True
    not_before: float = 0.0
    # What Home Assistant said last of each entity, to tell what has changed; and
    # since the last notification, which fields of which entities have.
    known: dict[str, EntityState] = field(default_factory=dict)
    pending: dict[str, set[str]] = field(default_factory=dict)
    refetch: bool = False  # read all values again
    records: bool = False  # … and which records there are
    connection: dict | None = None

    @property
    def waiting(self) -> bool:
        return bool(
            self.is_new or self.pending or self.refetch or self.connection is not None
        )

    def reread(self, records: bool = False) -> None:
        self.refetch = True
        self.records = self.records or records
        self.pending.clear()
        self.known.clear()


class LiveBus:
    """Collects what changes in watched instances and notifies browsers of it."""

    def __init__(self, dbname: str):
        self.dbname = dbname
        self._watched: dict[int, _Watched] = {}
        self._rows: deque[tuple[float, int]] = deque()  # ours in bus_bus, by age
        self._prune_at = 0.0
        self._failing = False
        self._notifier = _Notifier()

    # What the writer tells ------------------------------------------------------

    def watched(self, instance_id: int, seconds: float | None) -> None:
        """What the fence read: somebody watches for so many seconds, or nobody."""
        if not seconds or seconds <= 0:
            self._watched.pop(instance_id, None)
            return
        until = time.monotonic() + seconds
        watched = self._watched.get(instance_id)
        if watched is None:
            self._watched[instance_id] = _Watched(until)
        else:
            watched.until = until

    def forget(self, instance_id: int) -> None:
        """Another process writes for the instance now."""
        self._watched.pop(instance_id, None)

    def committed(self, instance_id: int, batch: Batch) -> None:
        """A batch of an instance is in the database."""
        watched = self._watched.get(instance_id)
        if watched is None:
            return
        if batch.report or batch.config:
            watched.connection = watched.connection or {}
            if batch.report:
                watched.connection["state"] = batch.report.state
        if batch.full or batch.kinds or batch.touched or batch.removed:
            watched.reread(records=True)
        elif len(batch.states) > MAX_CHANGES:
            watched.reread()
        elif not watched.refetch:
            for entity_id, state in batch.states.items():
                fields = _changed_fields(watched.known.get(entity_id), state)
                if fields:
                    watched.pending.setdefault(entity_id, set()).update(fields)
                watched.known[entity_id] = state
            if len(watched.pending) > MAX_CHANGES:
                watched.reread()

    # Sending ----------------------------------------------------------------------

    def due_in(self) -> float:
        """Seconds until :meth:`flush` has something to send."""
        now = time.monotonic()
        times = [w.not_before - now for w in self._watched.values() if w.waiting]
        return max(0.0, min(times, default=NEVER_S))

    def flush(self, connection) -> None:
        """Send what is due, in a transaction of its own; never raises.

        :param connection: the writer's, without an open transaction
        """
        now = time.monotonic()
        due = {}
        for instance_id, watched in list(self._watched.items()):
            if now >= watched.until:
                del self._watched[instance_id]
            elif watched.waiting and now >= watched.not_before:
                due[instance_id] = watched
        old = self._old_rows(now)
        if due or old:
            try:
                self._send(connection, now, due, old)
                self._failing = False
            except psycopg2.Error as error:
                self._failed(error, now, due)
        self._notifier.tidy()

    def close(self) -> None:
        self._notifier.close()

    def cut(self) -> None:
        """Make what the thread waits for in here fail; from another thread."""
        self._notifier.cut()

    def _send(self, connection, now, due, old):
        ids = []
        with connection, connection.cursor() as cr:
            # A lost notification costs less than a disk's delay or a wait.
            cr.execute("SET LOCAL synchronous_commit TO off")
            cr.execute("SET LOCAL lock_timeout TO 500")
            rows = []
            for instance_id, watched in due.items():
                channel = json_dump(self._channel(instance_id))
                messages = _messages(cr, instance_id, watched)
                rows.extend((channel, message) for message in messages)
                watched.not_before = now + MIN_INTERVAL_S * len(messages)
            if rows:
                ids = execute_values(
                    cr,
                    "INSERT INTO bus_bus (channel, message, create_uid, write_uid,"
                    " create_date, write_date) VALUES %s RETURNING id",
                    rows,
                    "(%s, %s, 1, 1, now() AT TIME ZONE 'UTC',"
                    " now() AT TIME ZONE 'UTC')",
                    fetch=True,
                )
            if old:
                cr.execute("DELETE FROM bus_bus WHERE id = ANY(%s)", (old,))
        for watched in due.values():
            watched.pending.clear()
            watched.is_new = watched.refetch = watched.records = False
            watched.connection = None
        for _row in old:
            self._rows.popleft()
        self._rows.extend((now, row_id) for (row_id,) in ids)
        if ids:
            self._notifier.send([self._channel(instance_id) for instance_id in due])

    def _channel(self, instance_id: int) -> tuple:
        """As Odoo's bus names the channel of a record."""
        return (self.dbname, "ha.instance", instance_id)

    def _old_rows(self, now: float) -> list[int]:
        if not self._rows or now < self._prune_at:
            return []
        self._prune_at = now + PRUNE_INTERVAL_S
        return [row_id for at, row_id in self._rows if at < now - RETENTION_S]

    def _failed(self, error, now, due):
        for watched in due.values():
            watched.reread(watched.records)
            watched.not_before = now + RETRY_PAUSE_S
        if not self._failing:
            _logger.warning(
                "Open browsers of database %s do not get live changes at the moment:"
                " %s",
                self.dbname,
                str(error).strip(),
            )
        self._failing = True


class _Notifier:
    """``NOTIFY imbus`` on database ``postgres``, over a connection kept for a while."""

    def __init__(self):
        self._connection = None
        self._used_at = self._retry_at = 0.0
        self._failing = False

    def send(self, channels: list[tuple]) -> None:
        """Tell every Odoo process that these channels have something new."""
        now = time.monotonic()
        if now < self._retry_at:
            return
        try:
            if self._connection is None:
                self._connection = connect("postgres", "bus", statement_timeout=2000)
                self._connection.autocommit = True
            with self._connection.cursor() as cr:
                for payload in get_notify_payloads(channels):
                    cr.execute(
                        f"SELECT {ODOO_NOTIFY_FUNCTION}('imbus', %s)", (payload,)
                    )
            self._used_at, self._failing = now, False
        except psycopg2.Error as error:
            self.close()
            self._retry_at = now + RETRY_PAUSE_S
            if not self._failing:
                _logger.warning(
                    "Cannot tell open browsers of changes (database postgres: %s)."
                    " They will see them later.",
                    str(error).strip(),
                )
            self._failing = True

    def tidy(self) -> None:
        """Close the connection when it has not been used for a while."""
        if self._connection and time.monotonic() - self._used_at > NOTIFY_IDLE_S:
            self.close()

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.close()
            except psycopg2.Error as error:
                _logger.debug("Closing the bus connection: %s", error)

    def cut(self) -> None:
        connection = self._connection
        if connection is not None:
            cut(connection)


def _changed_fields(old: EntityState | None, new: EntityState) -> set[str]:
    if old is None:
        return {"state", "last_changed", "last_updated", "attributes"}
    found = set()
    if old.state != new.state:
        found.add("state")
    if old.last_changed != new.last_changed:
        found.add("last_changed")
    if old.last_updated != new.last_updated:
        found.add("last_updated")
    if old.attributes is not new.attributes and old.attributes != new.attributes:
        found.add("attributes")
    return found


def _messages(cr, instance_id: int, watched: _Watched) -> list[str]:
    """The notifications to send now, as Odoo's bus stores them."""
    found = []
    if watched.connection is not None:
        payload = {"instance_id": instance_id, **watched.connection}
        found.append(json_dump({"type": CONNECTION, "payload": payload}))
    changes = _changes(cr, instance_id, watched.pending)
    message = changes and _states_message(instance_id, {"changes": changes})
    refetch, records = watched.refetch or watched.is_new, watched.records
    if message and len(message) <= MAX_LENGTH:
        found.append(message)
    elif message:
        refetch = True
    if refetch:
        payload = {"refetch": True, "records": records or watched.is_new}
        found.append(_states_message(instance_id, payload))
    return found


def _states_message(instance_id: int, payload: dict) -> str:
    payload = {"instance_id": instance_id, **payload}
    return json_dump({"type": STATES, "payload": payload})


def _changes(cr, instance_id: int, pending: dict[str, set[str]]) -> list[dict]:
    """The present values of what has changed; the newest, whatever came between."""
    if not pending:
        return []
    cr.execute(VALUES_SQL, (instance_id, list(pending)))
    found = []
    for entity_id, id_, domain, state, number, numeric, mode, changed, updated in cr:
        fields, row = pending[entity_id], {"id": id_}
        if "state" in fields:
            row |= {
                "state": state,
                "state_number": number,
                "is_numeric": numeric,
                "available": bool(state) and state != "unavailable",
            }
            if mode == "password" and domain in ("input_text", "text"):
                row["attributes"] = {"mode": mode}
        if "last_changed" in fields:
            row["last_changed"] = changed or False
        if "last_updated" in fields:
            row["last_updated"] = updated or False
        if "attributes" in fields:
            row["attributes_changed"] = True
        found.append(row)
    return found
