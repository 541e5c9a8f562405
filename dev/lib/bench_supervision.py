"""Scenario: who owns a link, and how soon another does, with real servers."""

import contextlib
import os
import signal
import tempfile
import time
from pathlib import Path

from bench_measure import tree
from bench_scene import (
    LIMIT_S,
    OWNED,
    POLL_S,
    Clock,
    ask_cron,
    expect,
    loading,
    repeating,
    run_parts,
)
from bench_stage import Sql, wait_until

COLD_LIMIT_S = 120.0
HOST_INSTANCES = 20


def supervision(run):
    """Start, takeover, hand-over and change of configuration, in seconds."""
    return run_parts(run, PARTS)


# Starts ----


def _starts(scene, quick):
    """Nobody opens a page; with the time that Odoo itself needs to start."""
    for what, arguments in (
        ("one process", ["--workers=0"]),
        ("prefork with -d", ["--workers=2"]),
    ):
        ha, sql = scene.peer(), scene.database()
        scene.add(sql, ha.url, ha.token)
        found = []
        for _time in range(1 if quick else 3):
            clock = Clock()
            server = scene.server(sql, *arguments)
            scene.wait_connected(sql)
            found.append(clock.read())
            scene.end(server)
        expect(ha.most_connections == 1, "two connections at once")
        yield f"link up after the start, {what}", found, "≤ 15 s"
    role = scene.enter(_role())
    peers, databases = [], []
    for _number in range(2):
        ha, sql = scene.peer(), scene.database()
        scene.add(sql, ha.url, ha.token)
        sql.rows(f"ALTER DATABASE {sql.name} OWNER TO {role}")
        peers.append(ha)
        databases.append(sql)
    clock = Clock()
    options = ["--workers=2", f"--db_user={role}"]
    server = scene.server(databases[0], *options, preload=False)
    found = []
    for sql in databases:
        scene.wait_connected(sql, limit=COLD_LIMIT_S)
        found.append(clock.read())
    expect(all(ha.most_connections == 1 for ha in peers), "two connections at once")
    yield "… prefork without -d, two databases", [max(found)], "≤ 75 s"
    for what, number, promise in (
        ("… clean hand-over, SIGINT to the worker", signal.SIGINT, "≤ 2 s"),
        ("… takeover after kill -9", signal.SIGKILL, "≤ 5 s"),
    ):
        for sql in databases:
            # A new worker learns at Odoo's next look for jobs what there is.
            ask_cron(sql)
            _wait_standby(sql, COLD_LIMIT_S)
        owners = {sql: scene.owner(sql) for sql in databases}
        pid = owners[databases[0]]
        clock = Clock()
        os.kill(pid, number)
        for sql, owner in owners.items():
            if owner == pid:
                scene.wait_other_owner(sql, pid)
        yield what, [clock.read()], promise
    expect(all(ha.most_connections == 1 for ha in peers), "two connections at once")
    scene.end(server)


def _wait_standby(sql, limit=LIMIT_S):
    """Until two cron workers supervise, as they do but for moments."""
    query = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name LIKE 'odoo_ha_addon-lease-cron-%%'"
    )
    wait_until(lambda: sql.value(query) >= 2, limit, "two cron workers")
    time.sleep(1)


@contextlib.contextmanager
def _role():
    """A server without -d works on all databases of its role: not on others'."""
    role = f"oha_bench_{os.getpid()}"
    admin = Sql("postgres")
    admin.rows(f"CREATE ROLE {role} LOGIN SUPERUSER")
    try:
        yield role
    finally:
        admin.rows(f"DROP ROLE {role}")
        admin.close()


# One owner after the other ----


def _takeovers(scene, quick):
    ha, sql = scene.peer(), scene.database()
    scene.add(sql, ha.url, ha.token)
    server = scene.server(sql, "--workers=2")
    scene.wait_connected(sql)
    times = 2 if quick else 5
    for what, number, promise in (
        ("takeover after kill -9 of the owner, prefork", signal.SIGKILL, "≤ 5 s"),
        ("clean hand-over, SIGINT to the worker", signal.SIGINT, "≤ 2 s"),
        ("takeover from a frozen owner (SIGSTOP)", signal.SIGSTOP, "≤ 15 s"),
    ):
        found = []
        for _time in range(times // 2 if number == signal.SIGSTOP else times):
            _wait_standby(sql)
            pid = scene.owner(sql)
            clock = Clock()
            os.kill(pid, number)
            scene.wait_other_owner(sql, pid)
            found.append(clock.read())
            if number == signal.SIGSTOP:
                os.kill(pid, signal.SIGCONT)
                wait_until(lambda: len(ha.connections) == 1, LIMIT_S, "its end")
                time.sleep(2)
        yield what, found, promise
    scene.end(server)


def _requests(scene, quick):
    """HTTP workers own the link here, and end after so many requests."""
    ha, sql = scene.peer(), scene.database()
    scene.add(sql, ha.url, ha.token)
    options = ["--workers=2", "--max-cron-threads=0", "--limit-request=30"]
    server = scene.server(sql, *options)
    server.log_in()
    scene.wait_connected(sql)

    def visit():
        server.call("res.users", "search_count", [])

    found = [_hand_over(scene, ha, sql, visit, 0.02) for _ in range(2 if quick else 5)]
    yield "clean hand-over, limit_request", found, "≤ 2 s"
    scene.end(server)


def _memory(scene, quick):
    """A job leaks in the cron worker that owns the link: Odoo replaces the worker."""
    ha, sql = scene.peer(), scene.database()
    scene.add(sql, ha.url, ha.token)
    leaks = Path(scene.enter(tempfile.TemporaryDirectory()))
    server = scene.server(
        sql,
        "--workers=2",
        *loading("oha_memory_leak"),
        env={"OHA_LEAK_FOLDER": str(leaks)},
    )
    scene.wait_connected(sql)
    found = []
    for _time in range(2 if quick else 5):
        _wait_standby(sql)
        (leaks / str(scene.owner(sql))).touch()
        # The leak comes with its next job, and a cron worker that is to end sleeps
        # until the one after that.
        found.append(_hand_over(scene, ha, sql, lambda: ask_cron(sql), 1.0))
    recycled = server.log.read_text().count("virtual memory limit")
    expect(recycled == len(found), f"{recycled} workers were recycled")
    yield "clean hand-over, memory limit", found, "≤ 2 s"
    scene.end(server)


def _hand_over(scene, ha, sql, action, pause):
    """Repeat an action until the owner ends; seconds without a link.

    From the moment at which the owner closes its WebSocket.
    """
    pid, closed = scene.owner(sql), len(ha.close_codes)
    with repeating(action, pause):
        wait_until(
            lambda: len(ha.close_codes) > closed, LIMIT_S, "the owner's end", 0.002
        )
        clock = Clock()
    scene.wait_other_owner(sql, pid)
    seconds = clock.read()
    expect(1006 not in ha.close_codes, "a connection was not closed properly")
    expect(ha.most_connections == 1, "two connections at once")
    return seconds


# Two hosts ----


def _hosts(scene, quick):
    ha, sql = scene.peer(), scene.database()
    for number in range(HOST_INSTANCES):
        scene.add(sql, ha.url, ha.token, f"HA {number}")
    first = scene.server(sql, "--workers=2")
    scene.wait_connected(sql, HOST_INSTANCES)
    second = scene.server(sql, "--workers=2")

    def share(server):
        pids = [process.pid for process in tree(server.pid)]
        query = f"SELECT count(*) {OWNED} AND s.owner_pid = ANY(%s)"
        return sql.value(query, (pids,))

    def balanced():
        shares = share(first), share(second)
        return sum(shares) == HOST_INSTANCES and min(shares) >= HOST_INSTANCES * 0.35

    clock = Clock()
    wait_until(balanced, 120, "an even share", 0.1)
    yield "two hosts, 20 instances: evenly shared after", [clock.read()], ""
    scene.wait_connected(sql, HOST_INSTANCES)
    expect(ha.most_connections == HOST_INSTANCES, "two connections at once")
    frozen = tree(second.pid)
    pids = [process.pid for process in frozen]
    clock = Clock()
    for process in frozen:
        process.suspend()
    theirs = f"SELECT count(*) {OWNED} AND s.owner_pid = ANY(%s)"
    wait_until(lambda: not sql.value(theirs, (pids,)), LIMIT_S, "their end", POLL_S)
    scene.wait_connected(sql, HOST_INSTANCES)
    yield "… one host freezes: all taken over", [clock.read()], "≤ 15 s"
    for process in frozen:
        process.resume()
    wait_until(lambda: len(ha.connections) == HOST_INSTANCES, LIMIT_S, "the old links")
    wait_until(balanced, 120, "an even share again", 0.1)
    scene.wait_connected(sql, HOST_INSTANCES)
    dying = tree(first.pid)
    pids = [process.pid for process in dying]
    clock = Clock()
    for process in dying:
        process.kill()
    wait_until(lambda: not sql.value(theirs, (pids,)), LIMIT_S, "their end", POLL_S)
    scene.wait_connected(sql, HOST_INSTANCES)
    yield "… one host dies: all taken over", [clock.read()], "≤ 5 s"
    scene.end(first)
    scene.end(second)


# Changes of the configuration ----


def _changes(scene, quick):
    """Made in an HTTP worker; the owner is a cron worker. From the answer on."""
    ha, other, sql = scene.peer(), scene.peer(), scene.database()
    id_ = scene.add(sql, ha.url, ha.token)
    server = scene.server(sql, "--workers=2")
    server.log_in()
    scene.wait_connected(sql)
    found = []

    def change(method, values, effect):
        clock = Clock()
        result = server.call("ha.instance", method, *values)
        committed = clock.read()
        wait_until(effect, LIMIT_S, f"the effect of {values}", 0.002)
        found.append(max(0.0, clock.read() - committed))
        return result

    def at(peer, count=1):
        return lambda: len(peer.connections) == count

    for _time in range(1 if quick else 3):
        change("write", ([id_], {"api_url": other.url}), at(other))
        change("write", ([id_], {"active": False}), at(other, 0))
        change("write", ([id_], {"active": True}), at(other))
        change("write", ([id_], {"api_token": "wrong-token-0123456"}), at(other, 0))
        change("write", ([id_], {"api_token": other.token}), at(other))
        values = {"name": "New", "api_url": other.url, "api_token": other.token}
        (new,) = change("create", ([values],), at(other, 2))
        change("unlink", ([new],), at(other))
        change("write", ([id_], {"api_url": ha.url}), at(ha))
        total = ha.total_connections
        change(
            "write",
            ([id_], {"verify_ssl": False}),
            lambda total=total: ha.total_connections > total,
        )
        server.call("ha.instance", "write", [id_], {"verify_ssl": True})
        scene.wait_connected(sql)
    yield "change of the configuration, effect at the owner", found, "≤ 1 s"
    scene.end(server)


PARTS = (_starts, _takeovers, _requests, _memory, _hosts, _changes)
