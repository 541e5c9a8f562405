"""Examine all links of a database from outside: what ``odoo ha_doctor`` reports."""

import socket
import time

from ....ha_client.exceptions import HaError
from ....ha_client.probe import probe
from ..supervision.instance_config import read_instances
from ..supervision.ownership import CHANNEL, SESSION_NAME, SESSIONS_SQL
from . import causes, diagnostics, link_status

ANSWER_LIMIT_S = 3.0
HEALTHY = "connected"
# Nobody wants these connected; not a fault.
INTENDED = (causes.INACTIVE, causes.STOP_REQUESTED)

TRAFFIC_SQL = """
    SELECT coalesce(s.change_count, 0)::bigint, coalesce(s.coalesced_count, 0)::bigint,
           coalesce(s.recorded_count, 0)::bigint, coalesce(s.dropped_count, 0)::bigint,
           coalesce(s.backfilled_count, 0)::bigint, g.pending, g.incomplete
      FROM (SELECT count(*) FILTER (WHERE state IN ('open', 'pending')) AS pending,
                   count(*) FILTER (WHERE state = 'missing') AS incomplete
              FROM ha_history_gap WHERE instance_id = %(id)s) g
 LEFT JOIN ha_instance_status s ON s.instance_id = %(id)s
"""


def examine(env) -> dict:
    """Examine configuration, reachability, ownership, heartbeat and threads.

    :return: ``healthy`` (bool), ``database``, ``message`` and ``remedy`` (None; the
        command says there why it could not examine), ``supervisors`` (a list of
        ``role`` and ``pid``) and ``instances``: dicts with the keys of
        ``get_websocket_service_status`` and ``id``, ``name``, ``owner_name`` (the
        owner in words), ``healthy``,
        ``reachable`` from here (None when not tried) and why not (``unreachable``),
        ``entities``, ``traffic`` (counts since the instance exists: ``received``,
        ``coalesced``, ``recorded``, ``dropped``, ``backfilled``), ``gaps`` in its
        history (``pending``, ``incomplete``), ``diagnostics`` (None without an owner
        that answers)
    """
    with env.registry.cursor() as cr:
        since = time.time()
        cr.execute("SELECT pg_notify(%s, %s)", (CHANNEL, diagnostics.REQUEST))
        cr.commit()  # a cursor of our own; pylint: disable=invalid-commit
        configs = read_instances(lambda query: _fetch(cr, query))
        instances = [_examine_instance(env, cr, config) for config in configs]
        _await_diagnostics(cr, instances, since)
        cr.execute(SESSIONS_SQL, (f"{SESSION_NAME}%",))
        sessions = [row[0].removeprefix(SESSION_NAME) for row in cr.fetchall()]
        supervisors = [
            {"role": role, "pid": int(pid)}
            for role, _, pid in (session.rpartition("-") for session in sessions)
        ]
        return {
            "database": cr.dbname,
            "healthy": all(instance["healthy"] for instance in instances),
            "message": None,
            "remedy": None,
            "supervisors": supervisors,
            "instances": instances,
        }


def _fetch(cr, query, params=None):
    cr.execute(query, params)
    return cr.fetchall()


def _examine_instance(env, cr, config) -> dict:
    found = link_status.describe(env, cr, config.id)
    state, cause = found["state"], found["cause"]
    [(entities,)] = _fetch(
        cr,
        "SELECT count(*) FROM ha_entity"
        " WHERE instance_id = %s AND removed_in_ha IS NOT TRUE",
        (config.id,),
    )
    [traffic] = _fetch(cr, TRAFFIC_SQL, {"id": config.id})
    received, coalesced, recorded, dropped, backfilled, pending, incomplete = traffic
    found |= {
        "id": config.id,
        "name": config.name,
        "owner_name": found["owner"] and causes.name_owner(env, found["owner"]),
        "healthy": state == HEALTHY or cause in INTENDED,
        "reachable": None,
        "unreachable": None,
        "entities": entities,
        "traffic": {
            "received": received,
            "coalesced": coalesced,
            "recorded": recorded,
            "dropped": dropped,
            "backfilled": backfilled,
        },
        "gaps": {"pending": pending, "incomplete": incomplete},
        "diagnostics": None,
    }
    # A refused token is not tried again: Home Assistant bans addresses.
    if config.wanted:
        try:
            probe(config.link)
            found["reachable"] = True
        except HaError as error:
            found["reachable"] = found["healthy"] = False
            found["unreachable"] = causes.explain(env, error.cause, error.params)[0]
    return found


def _await_diagnostics(cr, instances, since) -> None:
    """Wait for the owners' own reports, as long as they take to look."""
    waiting = {found["id"]: found for found in instances if found["owner"]}
    deadline = time.monotonic() + ANSWER_LIMIT_S
    while waiting and time.monotonic() < deadline:
        # See what others have committed meanwhile, on a cursor of our own.
        cr.commit()  # pylint: disable=invalid-commit
        for instance_id, report in _fetch(
            cr,
            "SELECT instance_id, diagnostics FROM ha_instance_status"
            " WHERE instance_id = ANY(%s)",
            (list(waiting),),
        ):
            if report and report["at"] >= since:
                waiting.pop(instance_id)["diagnostics"] = report
        time.sleep(0.05)
    for found in waiting.values():
        # The lease is held, but the supervising thread does not answer.
        found["healthy"] = False


def report_lines(result: dict) -> list[str]:
    """The result of :func:`examine` for people."""
    roles = ", ".join(f"{s['role']} {s['pid']}" for s in result["supervisors"])
    lines = [
        f"Database {result['database']}: "
        + (f"supervised by {roles}" if roles else "NO process supervises it"),
    ]
    for found in result["instances"]:
        mark = "ok" if found["healthy"] else "WRONG"
        lines.append(f"[{mark}] {found['id']} {found['name']}: {found['state']}")
        if found["message"]:
            lines.append(f"     cause: {found['message']} ({found['cause']})")
        if found["remedy"]:
            lines.append(f"     remedy: {found['remedy']}")
        owner = found["owner"]
        if owner:
            here = owner["host"] == socket.gethostname()
            lines.append(
                f"     owner: {found['owner_name']}"
                + ("" if here else ", another host than this one")
            )
        if found["heartbeat_age"] is not None:
            lines.append(f"     heartbeat: {found['heartbeat_age']:.0f} s ago")
        if found["reachable"] is not None:
            answer = "yes" if found["reachable"] else f"no. {found['unreachable']}"
            lines.append(f"     Home Assistant answers this machine: {answer}")
        lines.append(f"     entities: {found['entities']}")
        traffic, gaps = found["traffic"], found["gaps"]
        lines.append(
            f"     changes: {traffic['received']} received,"
            f" {traffic['coalesced']} of them coalesced"
        )
        lines.append(
            f"     history: {traffic['recorded']} recorded,"
            f" {traffic['dropped']} dropped, {traffic['backfilled']} fetched back;"
            f" gaps: {gaps['pending']} being fetched, {gaps['incomplete']} incomplete"
        )
        report = found["diagnostics"]
        if report:
            lines.append(
                f"     waiting to be written: {report['pending']} states,"
                f" {report['pending_history']} of history"
            )
            if report["alive_age"] is not None:
                lines.append(f"     last message: {report['alive_age']} s ago")
            lines += [f"     thread {line}" for line in report["threads"]]
        elif owner:
            lines.append("     its supervising thread does not answer")
    if not result["instances"]:
        lines.append("No instance is configured.")
    return lines
