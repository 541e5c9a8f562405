"""The true condition of links, from status row, lease and heartbeat.

Read by SQL on whatever cursor is handed in; knows no thread and no process.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ..ingest import heartbeat
from ..supervision.instance_config import InstanceConfig, read_instances
from ..supervision.ownership import LOCK_CLASS
from . import causes
from .link_condition import HEARTBEAT_LIMIT_S, true_condition

STATUS_SQL = """
    SELECT s.instance_id, s.state, s.cause, s.params, s.epoch, s.owner_host,
           s.owner_pid, s.owner_role, s.connected_since, s.retry_at, s.last_error,
           s.ha_version, s.location_name, s.connect_count, p.value,
           EXISTS (SELECT 1 FROM pg_locks l
                    WHERE l.locktype = 'advisory' AND l.objsubid = 2 AND l.granted
                      AND l.classid = %s AND l.objid = s.instance_id::oid
                      AND l.database = (SELECT oid FROM pg_database
                                         WHERE datname = current_database()))
      FROM ha_instance_status s
 LEFT JOIN ir_config_parameter p ON p.key = %s || s.instance_id
     WHERE s.instance_id = ANY(%s)
"""


@dataclass(frozen=True)
class LinkStatus:
    """The condition of one link; times are naive UTC datetimes, as Odoo's."""

    instance_id: int
    state: str  # as ``ha.instance.connection_state``
    cause: str | None = None
    params: dict[str, Any] | None = None
    owned: bool = False
    epoch: int = 0
    owner_host: str | None = None
    owner_pid: int | None = None
    owner_role: str | None = None
    connected_since: datetime | None = None
    retry_at: datetime | None = None
    last_error: dict[str, Any] | None = None  # cause and params
    problems: tuple = ()  # (cause, params) of an incomplete configuration
    ha_version: str | None = None
    location_name: str | None = None
    connect_count: int = 0
    heartbeat: datetime | None = None
    heartbeat_age: float | None = None

    @property
    def owner(self) -> dict[str, Any] | None:
        """The process that holds the instance: ``host``, ``pid`` and ``role``."""
        if not self.owned:
            return None
        return {
            "host": self.owner_host,
            "pid": self.owner_pid,
            "role": self.owner_role,
        }

    @property
    def running(self) -> bool:
        """An owner holds the instance and its link was alive a moment ago."""
        return (
            self.owned
            and self.heartbeat_age is not None
            and self.heartbeat_age <= HEARTBEAT_LIMIT_S
        )


def read(cr, instance_ids) -> dict[int, LinkStatus]:
    """Read the condition of instances.

    :return: by id, every id that was asked for that exists
    """
    ids = set(instance_ids)
    if not ids:
        return {}
    cr.execute(STATUS_SQL, (LOCK_CLASS, heartbeat.key(cr.dbname, ""), list(ids)))
    rows = {row[0]: row for row in cr.fetchall()}
    configs = [c for c in read_instances(_executor(cr)) if c.id in ids]
    now = datetime.now(UTC).replace(tzinfo=None)
    return {config.id: _judge(config, rows.get(config.id), now) for config in configs}


def explain(env, status: LinkStatus) -> tuple[str, str]:
    """What is the matter and what to do, in the language of ``env``."""
    found = status.problems or [(status.cause, status.params)]
    texts = [causes.explain(env, cause, params) for cause, params in found]
    messages, remedies = zip(*texts, strict=True)
    return " ".join(messages), " ".join(dict.fromkeys(remedies))


def describe(env, cr, instance_id) -> dict:
    """The condition of one instance as a dict, in the language of ``env``."""
    status = read(cr, [instance_id]).get(instance_id)
    if status is None:
        keys = ("message", "remedy", "cause", "last_error", "owner")
        times = ("connected_since", "heartbeat", "heartbeat_age")
        return {"state": "unknown", **dict.fromkeys((*keys, *times))}
    message, remedy = explain(env, status)
    error = status.last_error or {}
    last_error = causes.explain(env, error.get("cause"), error.get("params"))[0]
    return {
        "state": status.state,
        "message": message,
        "remedy": remedy,
        "cause": status.cause,
        "last_error": last_error or None,
        "owner": status.owner,
        "connected_since": status.connected_since,
        "heartbeat": status.heartbeat,
        "heartbeat_age": status.heartbeat_age,
    }


def _executor(cr):
    def execute(query):
        cr.execute(query)
        return cr.fetchall()

    return execute


def _judge(config: InstanceConfig, row, now: datetime) -> LinkStatus:
    """Combine configuration, status row, lease and heartbeat into one truth."""
    row = row or (config.id, None, None, None, 0, *[None] * 8, 0, None, False)
    (
        _id,
        reported,
        cause,
        params,
        epoch,
        host,
        pid,
        role,
        since,
        retry_at,
        last_error,
        version,
        location,
        connects,
        beat_text,
        owned,
    ) = row
    beat = datetime.strptime(beat_text, heartbeat.FORMAT) if beat_text else None
    age = max(0.0, (now - beat).total_seconds()) if beat else None
    connected_for = (now - since).total_seconds() if since else None
    state, cause, params = true_condition(
        config, owned, reported, cause, params, connected_for, age
    )
    return LinkStatus(
        instance_id=config.id,
        state=state,
        cause=cause,
        params=params,
        owned=owned,
        epoch=epoch or 0,
        owner_host=host,
        owner_pid=pid,
        owner_role=role,
        connected_since=since if state == "connected" else None,
        retry_at=retry_at if state == "waiting" else None,
        last_error=last_error,
        ha_version=version,
        location_name=location,
        connect_count=connects or 0,
        problems=tuple((p.cause, p.params) for p in config.problems),
        heartbeat=beat,
        heartbeat_age=age,
    )
