"""Scenario: ends and new starts of processes, with and without the addon."""

import contextlib
import signal
import tempfile
import time
from pathlib import Path

import psycopg2

from bench_scene import LIMIT_S, POLL_S, Clock, expect, run_parts
from bench_stage import wait_until
from databases import DEV, LOGS, odoo
from raw_server import RawServer, black_hole, mute, unused_port

BLOCKED = "SELECT count(*) FROM pg_locks WHERE NOT granted"
# What works on a database without supervising it: its name is put in.
COMMANDS = (
    ("--stop-after-init", ["-d", "{}", "--stop-after-init"], None),
    ("odoo shell", ["shell", "-d", "{}", "--no-http"], "print(env.user.name)\n"),
    ("odoo i18n", ["i18n", "loadlang", "-d", "{}", "-l", "en_US"], None),
)


def ends(run):
    """Ends of servers and commands, and reloads, in seconds."""
    return run_parts(run, PARTS)


# Ends of servers ----


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
    expect(1006 not in ha.close_codes, "a connection was not closed properly")


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


# Commands ----


def _commands(scene, quick):
    """None of them may connect, nor take longer to end than without the addon."""
    ha, sql, plain = scene.peer(), scene.database(), scene.database(with_addon=False)
    scene.add(sql, ha.url, ha.token)
    log = LOGS / "bench-command.log"
    for what, arguments, script in COMMANDS:
        found = {sql: [], plain: []}
        for _time in range(2 if quick else 5):
            for database, seconds in found.items():
                clock = Clock()
                command = [argument.format(database.name) for argument in arguments]
                odoo(*command, log=log, stdin=script)
                seconds.append(clock.read())
        ours, theirs = (
            sorted(seconds)[len(seconds) // 2] for seconds in found.values()
        )
        expect(not ha.requests, f"{what} connected")
        yield (
            f"{what}, from start to end",
            f"{ours:.2f} s, without the addon {theirs:.2f} s",
            "no connection",
        )


# Reloads ----


def _reloads(scene, quick):
    """--dev=reload: a file of some addon changes, and Odoo executes itself anew."""
    for what, workers in (("one process", 0), ("prefork", 2)):
        ha, sql = scene.peer(), scene.database()
        scene.add(sql, ha.url, ha.token)
        folder = Path(scene.enter(tempfile.TemporaryDirectory()))
        module = folder / "oha_watched"
        module.mkdir()
        (module / "__init__.py").touch()
        (module / "__manifest__.py").write_text("{'name': 'Watched'}")
        addons = f"--addons-path={folder},{DEV}/addons"
        server = scene.server(sql, f"--workers={workers}", "--dev=reload", addons)
        found = []
        for number in range(1, 2 if quick else 4):
            _wait_watcher(server, number)
            found.append(_reload(scene, ha, sql, module / f"n{number}.py"))
        expect(ha.most_connections == 1, "two connections at once")
        expect(1006 not in ha.close_codes, "a connection was not closed properly")
        yield f"changed code, --dev=reload, {what}: without a link for", found, ""
        scene.end(server)


def _wait_watcher(server, number):
    """Until the ``number``-th execution of a server looks for changes."""
    wait_until(
        lambda: server.log.read_text().count("AutoReload watcher running") >= number,
        LIMIT_S,
        "the watcher",
    )


def _reload(scene, ha, sql, path):
    """Write a file of code; seconds without a link until the next execution's is up."""
    scene.wait_connected(sql)
    total, closed = ha.total_connections, len(ha.close_codes)
    path.write_text("answer = 42\n")
    wait_until(lambda: len(ha.close_codes) > closed, LIMIT_S, "a reload", POLL_S)
    clock = Clock()
    wait_until(lambda: ha.total_connections > total, LIMIT_S, "another link", POLL_S)
    scene.wait_connected(sql)
    return clock.read()


PARTS = (_ends, _commands, _reloads)
