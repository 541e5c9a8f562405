"""What the bench puts up and takes down: database, load generator, Odoo."""

import contextlib
import json
import os
import queue
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psycopg2
import requests

import databases
import processes
from databases import DEV, LOGS, MODULE
from odoo_rpc import OdooError, OdooRpc

WORK = DEV / "bench"
TOKEN = "bench-long-lived-token-0123456789"
LOGIN = "admin"


class BenchError(Exception):
    """What a person can act on, instead of a traceback."""


def say(message):
    print(f"[bench] {message}", file=sys.stderr, flush=True)


def wait_until(condition, timeout, what, interval=0.05):
    """The first true result of ``condition``; BenchError after ``timeout`` s."""
    deadline = time.monotonic() + timeout
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise BenchError(f"{what} did not come true within {timeout:.0f} s")
        time.sleep(interval)
    return result


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Generator:
    """The load generator's process (bench_ha.py), and commands to it."""

    def __init__(self, entities=5000, devices=1000, areas=50):
        size = {"entities": entities, "devices": devices, "areas": areas}
        script = Path(__file__).with_name("bench_ha.py")
        self.process = subprocess.Popen(
            [
                *(sys.executable, str(script)),
                *(f"--{name}={value}" for name, value in size.items()),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        processes.record(self.process.pid, "bench-ha")
        self._answers = {0: queue.Queue()}
        self._last = 0
        self._lock = threading.Lock()
        threading.Thread(target=self._read, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._wait(0, 30)['port']}"

    def _read(self):
        for line in self.process.stdout:
            answer = json.loads(line)
            self._answers[answer.pop("id")].put(answer)

    def _wait(self, number, timeout):
        try:
            answer = self._answers[number].get(timeout=timeout)
        except queue.Empty:
            raise BenchError("the load generator does not answer") from None
        finally:
            del self._answers[number]
        if "error" in answer:
            raise BenchError(f"the load generator: {answer['error']}")
        return answer

    def begin(self, what, **params):
        """Send a command; a function that waits for its answer."""
        with self._lock:
            self._last += 1
            number = self._last
            self._answers[number] = queue.Queue()
            command = {"id": number, "do": what, **params}
            self.process.stdin.write(json.dumps(command) + "\n")
            self.process.stdin.flush()
        return lambda timeout=120: self._wait(number, timeout)

    def do(self, what, **params):
        """Send a command and wait for its answer, a dict."""
        return self.begin(what, **params)()

    def stop(self):
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        processes.forget(self.process.pid, "bench-ha")


class Odoo:
    """A real Odoo server on one database; RPC to it as the web client calls.

    :param preload: whether the server is told of the database when it starts
    :param env: more environment variables
    """

    def __init__(self, database, *arguments, preload=True, env=None):
        self.database = database
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = LOGS / f"bench-{database}.log"
        self._rpc = OdooRpc(self.url)
        LOGS.mkdir(parents=True, exist_ok=True)
        with open(self.log, "w") as output:
            self.process = subprocess.Popen(
                [
                    os.environ["ODOO_HA_DEV"],
                    *(("-d", database) if preload else ()),
                    f"--http-port={self.port}",
                    *(f"--gevent-port={free_port()}", *arguments),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
                start_new_session=True,
            )
        self.pid = self.process.pid
        processes.record(self.pid, "odoo")

    def log_in(self, timeout=60.0):
        def answers():
            if self.process.poll() is not None:
                raise BenchError(f"Odoo ended; see {self.log}")
            with contextlib.suppress(requests.ConnectionError):
                return self._rpc.log_in(self.database, LOGIN, LOGIN)

        return wait_until(answers, timeout, "Odoo's first answer", 0.1)

    def call(self, model, method, *args, **kwargs):
        try:
            return self._rpc.call(model, method, *args, **kwargs)
        except OdooError as error:
            raise BenchError(f"Odoo, {error}; see {self.log}") from error

    def trouble(self):
        """Lines of its log at WARNING or above."""
        return databases.trouble_in(self.log)

    def stop(self):
        processes.stop(self.pid, "odoo", 20.0)
        self.process.wait()


class Stage:
    """Everything that a run has started; ``close`` ends it in the right order."""

    def __init__(self):
        self.prefix = f"oha_b{os.getpid()}_"
        self._started = []
        self._databases = 0
        WORK.mkdir(parents=True, exist_ok=True)

    def template(self):
        """A database with the addon as it is now installed."""
        name = f"oha_bench_{databases.content_hash()[:10]}"
        with databases.locked("bench-template"):
            if databases.exists(name):
                return name
            for old in databases.names("oha_bench_"):
                databases.drop(old)
            say("installing the addon into a template database")
            draft = f"{self.prefix}draft"
            databases.clone(databases.dependencies_template(say), draft)
            log = LOGS / "bench-install.log"
            databases.odoo(*("-d", draft, "-i", MODULE, "--stop-after-init"), log=log)
            if not databases.is_installed(draft):
                raise BenchError(f"the addon did not get installed; see {log}")
            databases.sql(f'ALTER DATABASE "{draft}" RENAME TO "{name}"')
        return name

    def database(self, with_addon=True):
        """The name of a new database."""
        self._databases += 1
        name = f"{self.prefix}{self._databases}"
        template = (
            self.template() if with_addon else databases.dependencies_template(say)
        )
        databases.clone(template, name)
        return name

    def generator(self, **size):
        return self.keep(Generator(**size))

    def odoo(self, database, *arguments):
        server = self.start_odoo(database, *arguments)
        server.log_in()
        return server

    def start_odoo(self, database, *arguments, **options):
        """A server that nobody has visited yet."""
        return self.keep(Odoo(database, *arguments, **options))

    def start_floor(self, *arguments):
        """A process of bench_floor.py; its stdout is a pipe of JSON lines."""
        script = Path(__file__).with_name("bench_floor.py")
        return subprocess.Popen(
            [sys.executable, str(script), *map(str, arguments)],
            stdout=subprocess.PIPE,
            text=True,
        )

    def run_floor(self, *arguments):
        """Run it to its end; what it printed."""
        process = self.start_floor(*arguments)
        try:
            output, _none = process.communicate(timeout=300)
        finally:
            process.kill()
            process.wait()
        if process.returncode:
            raise BenchError(f"the floor {arguments[0]} ended ({process.returncode})")
        return json.loads(output)

    def keep(self, started):
        """Have ``close`` end it with its ``stop()``."""
        self._started.append(started)
        return started

    def end(self, started):
        self._started.remove(started)
        started.stop()

    def close(self):
        while self._started:
            self.end(self._started[-1])
        for name in databases.names(self.prefix):
            databases.drop(name)


def drop_leftovers():
    """The databases of runs that did not live to drop them."""
    for name in databases.names("oha_b"):
        pid = name[len("oha_b") :].split("_")[0]
        if pid.isdigit() and ("bench", int(pid)) not in processes.recorded():
            databases.drop(name)


class Sql:
    """A connection of the bench's own, autocommit; not counted as load.

    :param address: psycopg2's parameters for another server than the usual one
    """

    def __init__(self, database, **address):
        self.name = database
        self.connection = psycopg2.connect(dbname=database, **address)
        self.connection.autocommit = True
        self.pid = self.connection.info.backend_pid

    def rows(self, query, params=None):
        with self.connection.cursor() as cr:
            cr.execute(query, params)
            return cr.fetchall() if cr.description else []

    def value(self, query, params=None):
        rows = self.rows(query, params)
        return rows[0][0] if rows else None

    def load(self, table, path):
        """Fill a temporary table of (entity, state, at) from a dump."""
        with self.connection.cursor() as cr, open(path) as file:
            cr.execute(f"DROP TABLE IF EXISTS {table}")
            cr.execute(
                f"CREATE TEMPORARY TABLE {table}"
                " (entity text, state text, seconds float8)"
            )
            cr.copy_expert(f"COPY {table} FROM STDIN", file)
            cr.execute(
                f"ALTER TABLE {table} ADD COLUMN at timestamp;"
                f"UPDATE {table} SET at = to_timestamp(seconds) AT TIME ZONE 'UTC';"
                f"ANALYZE {table}"
            )

    def close(self):
        self.connection.close()
