"""Scenario: faults of Home Assistant, of PostgreSQL and of our own, with real servers.

For each: how soon the true state is shown, how soon the link is up again once the
cause is gone, and how soon after that Odoo has Home Assistant's states. Nobody helps,
but where a person must: a token that was refused is not tried again by itself.
"""

import contextlib
import dataclasses
import time
from collections.abc import Callable

from bench_scene import (
    LIMIT_S,
    POLL_S,
    Clock,
    expect,
    loading,
    repeating,
    run_parts,
)
from bench_stage import Sql, wait_until
from own_postgres import USER, OwnPostgres

# The log tells of a fault, and of its end, not of every attempt.
MOST_LINES = 5
SHOWN = "SELECT 1 FROM ha_instance_status WHERE state = %s AND cause = %s"
AGREES = "SELECT 1 FROM ha_entity_state WHERE state = %s"


@dataclasses.dataclass
class Fault:
    """``make``: a context manager that gets the Home Assistant; its end is the end of
    the cause. ``state`` and ``cause`` are what must be shown meanwhile."""

    what: str
    make: Callable
    state: str
    cause: str
    limit: int = 10  # seconds until it is shown
    lasts: bool = True  # until ``make`` ends it
    helped: bool = False


def faults(run):
    """How soon what is wrong is shown, and how soon all is right again."""
    return run_parts(run, PARTS)


# What goes wrong at Home Assistant, and in the thread ----


@contextlib.contextmanager
def _gone(ha):
    port = ha.port
    ha.stop()
    yield
    ha.port = port
    ha.start()


@contextlib.contextmanager
def _revoked(ha):
    token, ha.token = ha.token, "another-token-0123456789"
    ha.drop_connections()  # so does the real one
    yield
    ha.token = token


@contextlib.contextmanager
def _starting(ha):
    ha.state = "STARTING"
    ha.drop_connections()
    yield
    ha.set_running()


@contextlib.contextmanager
def _silent(ha):
    ha.silent = True
    yield
    ha.silent = False


def _no_json(ha):
    return repeating(lambda: ha.send_text("{not json"), 0.05)


def _wrong_frame(ha):
    """A reserved opcode."""
    return repeating(lambda: ha.send_bytes(b"\x83\x00"), 0.05)


@contextlib.contextmanager
def _half_a_frame(ha):
    """All that comes afterwards is taken for its rest."""
    ha.send_bytes(b"\x81\x7e\xff\xff{")
    yield


@contextlib.contextmanager
def _bug(ha):
    """The entity makes ``oha_fault_injection`` raise in the link's thread."""
    ha.add_entity("sensor.poison", "1", registry_id="r9")
    yield
    ha.remove_entity("sensor.poison")


FAULTS = (
    Fault("Home Assistant gone", _gone, "waiting", "refused"),
    Fault("token revoked", _revoked, "auth_failed", "token_rejected", helped=True),
    Fault("Home Assistant starting", _starting, "syncing", "starting"),
    Fault("half-open connection", _silent, "waiting", "no_answer", 40),
    Fault("garbage, no JSON", _no_json, "waiting", "protocol"),
    Fault("garbage, no WebSocket frame", _wrong_frame, "waiting", "protocol"),
    Fault("half a frame", _half_a_frame, "waiting", "no_answer", 40, lasts=False),
    Fault("a bug in the thread", _bug, "waiting", "crashed"),
)


def _of_the_link(scene, quick):
    ha, sql = scene.peer(), scene.database()
    id_ = scene.add(sql, ha.url, ha.token)
    server = scene.server(sql, "--workers=0", *loading("oha_fault_injection"))
    server.log_in()
    scene.wait_connected(sql)
    most = 0
    for fault in FAULTS:
        # A new thread: it waits for its next attempt as after a first failure.
        total = ha.total_connections
        server.call("ha.instance", "action_restart_websocket", [id_])
        wait_until(lambda n=total: ha.total_connections > n, LIMIT_S, "a restart")
        scene.wait_connected(sql)
        before = len(_told(server))
        told = fault.state, fault.cause
        clock = Clock()
        with fault.make(ha):
            wait_until(lambda told=told: sql.value(SHOWN, told), LIMIT_S, told, POLL_S)
            shown = clock.read()
            if fault.lasts:
                time.sleep(2 if quick else 10)  # for several attempts
            ha.set_state("light.kitchen", fault.what)
        clock = Clock()
        if fault.helped:
            server.call("ha.instance", "action_restart_websocket", [id_])
        up, exact = _recovery(scene, sql, fault.what, clock)
        yield (
            f"{fault.what}: shown / link up again / states exact after",
            f"{shown:.2f} / {up:.2f} / {exact:.2f} s",
            f"≤ {fault.limit} / – / ≤ 5 s",
        )
        most = max(most, _lines(server, before))
    expect(ha.most_connections == 1, "two connections at once")
    yield "… lines in the log about one of them, at most", str(most), "a few"
    scene.end(server)


# PostgreSQL ----


def _of_postgres(scene, quick):
    """Away for a while; a server of its own, because others go on working."""
    ha = scene.peer()
    postgres = scene.enter(OwnPostgres())
    postgres.clone(scene.stage.template(), "restarted")
    address = {"host": str(postgres.folder), "user": USER}
    sql = Sql("restarted", **address)
    scene.add(sql, ha.url, ha.token)
    server = scene.server(sql, "--workers=0", *postgres.options)
    scene.wait_connected(sql)
    before = len(_told(server))
    clock = Clock()
    postgres.stop()
    wait_until(lambda: not ha.connections, LIMIT_S, "the end of the link", POLL_S)
    ended = clock.read()
    time.sleep(2 if quick else 30)
    ha.set_state("light.kitchen", "meanwhile")
    postgres.start()
    clock = Clock()
    sql = Sql("restarted", **address)
    up, exact = _recovery(scene, sql, "meanwhile", clock)
    yield (
        "PostgreSQL away: link ended / link up again / states exact after",
        f"{ended:.2f} / {up:.2f} / {exact:.2f} s",
        "≤ 10 / ≤ 10 / ≤ 5 s",
    )
    yield "… lines in the log about it", str(_lines(server, before)), "a few"
    expect(ha.most_connections == 1, "two connections at once")
    scene.end(server)


# Both ----


def _recovery(scene, sql, state, clock):
    """Seconds until the link is up, and from then until the states are right."""
    scene.wait_connected(sql, limit=2 * LIMIT_S)
    up = clock.read()
    wait_until(
        lambda: sql.value(AGREES, (state,)), LIMIT_S, "Home Assistant's state", POLL_S
    )
    return up, clock.read() - up


def _told(server):
    """What the addon has said in the log, at WARNING or above."""
    return [line for line in server.trouble() if ".odoo_ha_addon." in line]


def _lines(server, before):
    """How many lines were told since there were ``before``."""
    lines = _told(server)[before:]
    expect(len(lines) <= MOST_LINES, "told again and again:\n" + "\n".join(lines))
    return len(lines)


PARTS = (_of_the_link, _of_postgres)
