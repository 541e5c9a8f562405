"""Scenario: the seconds that supervision promises, with real servers."""

import contextlib
import os
import signal
import threading
import time

import psycopg2

from bench_measure import tree
from bench_scene import LIMIT_S, OWNED, POLL_S, Clock, Scene
from bench_stage import BenchError, Sql, say, wait_until
from raw_server import RawServer, black_hole, mute, unused_port

COLD_LIMIT_S = 120.0
HOST_INSTANCES = 20
BLOCKED = "SELECT count(*) FROM pg_locks WHERE NOT granted"


def supervision(run):
    """Start, takeover, hand-over, end and change of configuration, in seconds."""
    run.close_bed()
    lines = []
    for part in PARTS:
        with Scene(run) as scene:
            for what, seconds, promise in part(scene, run.quick):
                if not isinstance(seconds, str):
                    seconds = _text(seconds)
                lines.append((what, seconds, promise))
                say(f"{what}: {seconds}")
    return {"lines": lines}


def _expect(condition, text):
    if not condition:
        raise BenchError(text)


def _text(seconds):
    """Several measurements as their median and the longest."""
    found = sorted(seconds)
    if len(found) == 1:
        return f"{found[0]:.2f} s"
    return f"{found[len(found) // 2]:.2f} s, at most {found[-1]:.2f} s"


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
        _expect(ha.most_connections == 1, "two connections at once")
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
    _expect(all(ha.most_connections == 1 for ha in peers), "two connections at once")
    yield "… prefork without -d, two databases", [max(found)], "≤ 75 s"
    for what, number, promise in (
        ("… clean hand-over, SIGINT to the worker", signal.SIGINT, "≤ 2 s"),
        ("… takeover after kill -9", signal.SIGKILL, "≤ 5 s"),
    ):
        for sql in databases:
            # A new worker learns at Odoo's next look for jobs what there is.
            _ask_cron(sql)
            _wait_standby(sql, COLD_LIMIT_S)
        owners = {sql: scene.owner(sql) for sql in databases}
        pid = owners[databases[0]]
        clock = Clock()
        os.kill(pid, number)
        for sql, owner in owners.items():
            if owner == pid:
                scene.wait_other_owner(sql, pid)
        yield what, [clock.read()], promise
    _expect(all(ha.most_connections == 1 for ha in peers), "two connections at once")
    scene.end(server)


def _ask_cron(sql):
    """Let Odoo's cron look for jobs now, instead of within a minute."""
    admin = Sql("postgres")
    admin.rows("SELECT pg_notify('cron_trigger', %s)", (sql.name,))
    admin.close()


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
    found = []
    for _time in range(2 if quick else 5):
        pid, closed = scene.owner(sql), len(ha.close_codes)
        ended = threading.Event()

        def visit(ended=ended):
            while not ended.wait(0.02):
                server.call("res.users", "search_count", [])

        visitor = threading.Thread(target=visit)
        visitor.start()
        try:
            # From the moment at which the owner closes its WebSocket.
            wait_until(
                lambda closed=closed: len(ha.close_codes) > closed,
                LIMIT_S,
                "the owner's end",
                0.002,
            )
            clock = Clock()
        finally:
            ended.set()
        scene.wait_other_owner(sql, pid)
        found.append(clock.read())
        visitor.join()
    _expect(1006 not in ha.close_codes, "a connection was not closed properly")
    yield "clean hand-over, limit_request", found, "≤ 2 s"
    scene.end(server)


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
    _expect(ha.most_connections == HOST_INSTANCES, "two connections at once")
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


# Ends ----


def _ends(scene, quick):
    """SIGTERM and SIGINT, with a locked table where there are many."""
    ha = scene.peer()
    hole = scene.enter(RawServer(mute))
    lost = scene.enter(black_hole())  # not even a TCP handshake
    for what, arguments in (("one process", "0"), ("prefork", "2")):
        alone = _plain(scene, arguments)
        yield f"end of the process, {what}, Odoo without the addon", alone, ""
        for count in (1, 50):
            sql = scene.database()
            urls = [ha.url] * count
            if count > 1:
                urls[20:] = (
                    [f"http://127.0.0.1:{unused_port()}"] * 10  # in backoff
                    + [hole.url.replace("http:", "https:")] * 10  # in TLS handshake
                    + [f"http://127.0.0.1:{lost}"] * 10
                )
            healthy = urls.count(ha.url)
            for position, url in enumerate(urls):
                scene.add(sql, url, ha.token, f"HA {position}")
            found = []
            for number in (signal.SIGTERM, signal.SIGINT)[: 1 if quick else 2]:
                server = scene.server(sql, f"--workers={arguments}")
                scene.wait_connected(sql, healthy)
                with _locked(sql, count > 1) as lock:
                    if lock:
                        ha.set_state("light.kitchen", str(time.time()))
                        wait_until(lambda sql=sql: sql.value(BLOCKED), 30, "a writer")
                    clock = Clock()
                    server.process.send_signal(number)
                    server.process.wait(LIMIT_S)
                    found.append(clock.read())
                scene.end(server)
            name = f"end of the process, {what}, {count} instance{'s' * (count > 1)}"
            yield name, found, "≤ 3 s"
    _expect(1006 not in ha.close_codes, "a connection was not closed properly")


def _plain(scene, workers):
    """How long Odoo itself takes."""
    sql = scene.database(with_addon=False)
    server = scene.server(sql, f"--workers={workers}")
    server.log_in()
    clock = Clock()
    server.process.send_signal(signal.SIGTERM)
    server.process.wait(LIMIT_S)
    seconds = clock.read()
    scene.end(server)
    return [seconds]


@contextlib.contextmanager
def _locked(sql, wanted):
    """Nobody can write a state meanwhile."""
    if not wanted:
        yield None
        return
    connection = psycopg2.connect(dbname=sql.name)
    with contextlib.closing(connection), connection.cursor() as cr:
        cr.execute("LOCK ha_entity_state IN ACCESS EXCLUSIVE MODE")
        yield connection


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


# Faults ----


def _faults(scene, quick):
    """How soon what is wrong is shown, and how soon all is right again."""
    ha, sql = scene.peer(), scene.database()
    id_ = scene.add(sql, ha.url, ha.token)
    server = scene.server(sql, "--workers=0")
    server.log_in()
    scene.wait_connected(sql)
    port, token = ha.port, ha.token

    def gone():
        ha.stop()

    def silent():
        ha.silent = True

    def refused():
        ha.token = "another-token-0123456789"
        ha.drop_connections()

    def starting():
        ha.state = "STARTING"
        ha.drop_connections()

    def recover(cause):
        ha.silent, ha.state, ha.token = False, "RUNNING", token
        ha.set_state("light.kitchen", cause)
        if cause == "refused":
            ha.port = port
            ha.start()
        elif cause == "starting":
            ha.set_running()
        elif cause == "token_rejected":
            server.call("ha.instance", "action_restart_websocket", [id_])

    query = "SELECT 1 FROM ha_instance_status WHERE state = %s AND cause = %s"
    state = "SELECT s.state FROM ha_entity_state s"
    shown, agreed = [], []
    for fault, *told in (
        (gone, "waiting", "refused"),
        (refused, "auth_failed", "token_rejected"),
        (starting, "syncing", "starting"),
        (silent, "waiting", "no_answer"),
    ):
        clock = Clock()
        fault()
        wait_until(lambda told=told: sql.value(query, told), LIMIT_S, told, POLL_S)
        if fault == silent:
            yield "half-open connection: shown after", [clock.read()], "≤ 40 s"
        else:
            shown.append(clock.read())
        recover(told[1])
        scene.wait_connected(sql, limit=2 * LIMIT_S)
        clock = Clock()
        wait_until(
            lambda told=told: sql.value(state) == told[1], LIMIT_S, "agreement", POLL_S
        )
        agreed.append(clock.read())
    yield "other faults: the true state is shown after", shown, "≤ 10 s"
    yield "states are Home Assistant's, after the recovery", agreed, "≤ 5 s"
    scene.end(server)


PARTS = (_starts, _takeovers, _requests, _hosts, _ends, _changes, _faults)
