"""Examine all links of a database from outside: what ``odoo ha_doctor`` reports."""

import time

from ...ha_client.exceptions import HaError
from ...ha_client.probe import probe
from . import causes, diagnostics, link_status
from .instance_config import read_instances
from .ownership import CHANNEL, SESSION_NAME, SESSIONS_SQL

ANSWER_LIMIT_S = 3.0
HEALTHY = "connected"
# Nobody wants these connected; not a fault.
INTENDED = (causes.INACTIVE, causes.STOP_REQUESTED)


def examine(env) -> dict:
    """Examine configuration, reachability, ownership, heartbeat and threads.

    :return: ``healthy`` (bool), ``database``, ``supervisors`` (a list of ``role``
        and ``pid``) and ``instances``: dicts with the keys of
        ``get_websocket_service_status`` and ``id``, ``name``, ``healthy``,
        ``reachable`` (None when not tried), ``entities``, ``diagnostics``
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
    found |= {
        "id": config.id,
        "name": config.name,
        "healthy": state == HEALTHY or cause in INTENDED,
        "reachable": None,
        "entities": entities,
        "diagnostics": None,
    }
    # A refused token is not tried again: Home Assistant bans addresses.
    if config.wanted:
        try:
            probe(config.link)
            found["reachable"] = True
        except HaError as error:
            found["reachable"] = False
            found["healthy"] = False
            if state in ("unsupervised", "connecting"):
                found["cause"] = error.cause
                found["message"], found["remedy"] = causes.explain(
                    env, error.cause, error.params
                )
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
            lines.append(
                f"     owner: {owner['role']} process {owner['pid']} on {owner['host']}"
            )
        if found["heartbeat_age"] is not None:
            lines.append(f"     heartbeat: {found['heartbeat_age']:.0f} s ago")
        if found["reachable"] is not None:
            answer = "yes" if found["reachable"] else "no"
            lines.append(f"     Home Assistant answers this machine: {answer}")
        lines.append(f"     entities: {found['entities']}")
        report = found["diagnostics"]
        if report:
            lines.append(
                f"     received {report['changes']}, coalesced {report['coalesced']},"
                f" waiting to be written {report['pending']},"
                f" last message {report['alive_age']} s ago"
            )
            lines += [f"     thread {line}" for line in report["threads"]]
        elif owner:
            lines.append("     its supervising thread does not answer")
    if not result["instances"]:
        lines.append("No instance is configured.")
    return lines
