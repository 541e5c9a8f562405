"""Shared by the tests: real Odoo servers, real databases, a real Home Assistant."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
import xmlrpc.client
from pathlib import Path

import psutil
import psycopg2

from odoo.sql_db import connection_info_for
from odoo.tests import BaseCase
from odoo.tools import config

ADDON = Path(__file__).resolve().parents[1]
TEMPLATE_VARIABLE = "ODOO_HA_TEMPLATE_DB"
DEFAULT_TIMEOUT_S = 60
SHOWN_LIMIT_S = 25  # 10 s are promised, the rest is for a busy machine
# Arguments of a server that asks recorders again after seconds, where they commit
# at once or every second.
SHORT_WAITS = (
    f"--addons-path={ADDON}/tests/addons,{','.join(config['addons_path'])}",
    "--load=base,rpc,web,oha_short_waits",
)


def require_environment(name: str) -> str:
    """A variable that ``dev/test`` exports; the tests cannot do without it."""
    value = os.environ.get(name)
    if not value:
        raise RuntimeError(f"{name} is not set: run the tests with dev/test")
    return value


def wait_until(condition, timeout=DEFAULT_TIMEOUT_S, what="the condition"):
    """Return the first true result of ``condition``, or fail after ``timeout``."""
    deadline = time.monotonic() + timeout
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true within {timeout} s")
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def start_home_assistant(test, **options):
    """Start a real Home Assistant with its demo devices; stopped by the test."""
    library = str(ADDON / "dev" / "lib")
    if library not in sys.path:
        sys.path.insert(0, library)
    from hass_server import HomeAssistantServer

    require_environment("HA_BIN")
    folder = tempfile.mkdtemp(prefix="oha-hass-")
    register = getattr(test, "addClassCleanup", None)
    if not isinstance(test, type):
        register = test.addCleanup
    register(shutil.rmtree, folder, ignore_errors=True)
    server = HomeAssistantServer(folder, **options)
    register(server.stop)
    server.start()
    return server


class BlackHole:
    """A server that accepts connections and never says a word."""

    def __init__(self, test):
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        test.addCleanup(self._listener.close)
        self.port = self._listener.getsockname()[1]
        self.token = "never-asked-for-0123456789"
        self.url = f"http://127.0.0.1:{self.port}"
        self.tls_url = f"https://127.0.0.1:{self.port}"


def run_as_admin(statement, params=None):
    """Run a statement outside of any transaction and of any test's database."""
    connection = psycopg2.connect(**connection_info_for("postgres")[1])
    with contextlib.closing(connection):
        connection.autocommit = True
        with connection.cursor() as cr:
            cr.execute(statement, params)
            return cr.fetchall() if cr.description else []


class Database:
    """A database of its own, cloned from the template with the addon installed."""

    def __init__(self, template=None, name=None):
        self.name = name or f"oha_{uuid.uuid4().hex[:12]}"
        template = template or require_environment(TEMPLATE_VARIABLE)
        run_as_admin(f'CREATE DATABASE "{self.name}" TEMPLATE "{template}"')

    def give_to(self, role):
        """Change the owner."""
        run_as_admin(f'ALTER DATABASE "{self.name}" OWNER TO {role}')

    def connect(self):
        """A raw connection; close it."""
        return psycopg2.connect(**connection_info_for(self.name)[1])

    def sql(self, query, params=None):
        """Run one statement in a transaction of its own; return its rows."""
        with contextlib.closing(self.connect()) as connection:
            with connection, connection.cursor() as cr:
                cr.execute(query, params)
                return cr.fetchall() if cr.description else []

    def value(self, query, params=None):
        """The first column of the first row, or None."""
        rows = self.sql(query, params)
        return rows[0][0] if rows else None

    def drop(self):
        run_as_admin(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
            (self.name,),
        )
        run_as_admin(f'DROP DATABASE IF EXISTS "{self.name}"')


class OdooServer:
    """A real Odoo process, started with ``dev/odoo``.

    :param arguments: Odoo's; ``--http-port`` is added
    :param env: more environment variables
    """

    def __init__(self, *arguments, env=None):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.arguments = [
            *arguments,
            f"--http-port={self.port}",
            f"--gevent-port={free_port()}",
        ]
        self.env = env or {}
        self.log_path = Path(tempfile.mkstemp(prefix="oha-odoo-", suffix=".log")[1])
        self.process = None

    def start(self):
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [require_environment("ODOO_HA_DEV"), *self.arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.env},
                start_new_session=True,
            )
        return self

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def wait_log(self, pattern, timeout=DEFAULT_TIMEOUT_S, count=1):
        """Wait until a pattern stands in the log ``count`` times."""
        expression = re.compile(pattern)

        def found():
            if self.process.poll() is not None and not expression.search(self.log):
                raise AssertionError(f"Odoo has ended:\n{self.log[-4000:]}")
            return len(expression.findall(self.log)) >= count

        try:
            wait_until(found, timeout, f"log line {pattern!r}")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log[-4000:]}") from None

    def workers(self, kind) -> list[int]:
        """Process ids of the living prefork workers ``WorkerCron``/``WorkerHTTP``."""
        pids = re.findall(rf"Worker {kind} \((\d+)\) alive", self.log)
        return [int(pid) for pid in pids if psutil.pid_exists(int(pid))]

    def execute(self, database, model, method, *args, login="admin", **kwargs):
        """Call a method over XML-RPC."""
        url = f"{self.url}/xmlrpc/2"
        uid = xmlrpc.client.ServerProxy(f"{url}/common").login(database, login, login)
        proxy = xmlrpc.client.ServerProxy(f"{url}/object", allow_none=True)
        return proxy.execute_kw(database, uid, login, model, method, args, kwargs)

    def wait_http(self, timeout=DEFAULT_TIMEOUT_S):
        """Wait until the server accepts connections."""

        def accepts():
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return True

        wait_until(accepts, timeout, "an HTTP port")

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self, timeout=DEFAULT_TIMEOUT_S) -> int:
        """Wait for the end of the process; return its exit code."""
        return self.process.wait(timeout)

    def stop(self):
        """End it, the hard way if need be, with all its children."""
        if self.process is None:
            return
        family = []
        with contextlib.suppress(psutil.NoSuchProcess):
            family = psutil.Process(self.process.pid).children(recursive=True)
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(15)
        for child in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        if self.log_path.exists():
            # Captured, and shown when the test fails.
            log = self.log[-20000:]
            sys.stdout.write(f"\nLog of the server at {self.url}:\n{log}")
            self.log_path.unlink()


class LifecycleCase(BaseCase):
    """Tests that start real servers on databases of their own."""

    def database(self, **options) -> Database:
        database = Database(**options)
        self.addCleanup(database.drop)
        return database

    def server(self, *arguments, **options) -> OdooServer:
        server = OdooServer(*arguments, **options)
        self.addCleanup(server.stop)
        return server.start()

    def loading(self, helper) -> list[str]:
        """Options for a server that loads one of ``tests/addons`` from its start."""
        addons = ",".join([f"{ADDON}/tests/addons", *config["addons_path"]])
        return [f"--addons-path={addons}", f"--load=base,rpc,web,{helper}"]

    def watched_code(self):
        """Options for a server that reloads changed code, and how to change some.

        :return: the options, and a function that writes a file of an addon
        """
        folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        module = folder / "oha_watched"
        module.mkdir()
        (module / "__init__.py").touch()
        (module / "__manifest__.py").write_text("{'name': 'Watched'}")
        addons = ",".join([str(folder), *config["addons_path"]])

        def change():
            (module / "changed.py").write_text("answer = 42\n")

        return ["--dev=reload", f"--addons-path={addons}"], change

    def role_of_its_own(self) -> str:
        """A role for a server without ``-d``, which works on all its databases.

        With the tests' own role it would take over the links of other tests.
        """
        role = f"oha_cold_{uuid.uuid4().hex[:12]}"
        run_as_admin(f"CREATE ROLE {role} LOGIN SUPERUSER")
        self.addCleanup(run_as_admin, f"DROP ROLE {role}")
        return role

    def run_odoo(self, *arguments, script=None, timeout=120):
        """Run an Odoo command to its end; return the completed process."""
        return subprocess.run(
            [require_environment("ODOO_HA_DEV"), *arguments],
            input=script,
            stdin=None if script is not None else subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def add_instance(self, database, ha, name="My HA", **values) -> int:
        """Make an instance by SQL, before any server runs."""
        values = {
            "name": name,
            "api_url": ha.url,
            "api_token_stored": ha.token,
            "active": True,
            "verify_ssl": True,
            "entity_filter": "all",
            "history_mode": "some",
            "sequence": 10,
            "confirmed_database_uuid": database.value(
                "SELECT value FROM ir_config_parameter WHERE key = 'database.uuid'"
            ),
            "confirmed_database_name": database.name,
            "confirmed_database_oid": database.value(
                "SELECT oid::text FROM pg_database WHERE datname = current_database()"
            ),
            **values,
        }
        columns = ", ".join(values)
        marks = ", ".join(["%s"] * len(values))
        instance_id = database.value(
            f"INSERT INTO ha_instance ({columns}) VALUES ({marks}) RETURNING id",
            tuple(values.values()),
        )
        database.sql(
            "INSERT INTO ha_instance_status (instance_id) VALUES (%s)", (instance_id,)
        )
        return instance_id

    @contextlib.contextmanager
    def blocked_writer(self, database, ha):
        """A state of ``light.kitchen`` that an owner has but cannot write."""
        with contextlib.closing(database.connect()) as connection:
            with connection.cursor() as cr:
                cr.execute("LOCK ha_entity_state IN ACCESS EXCLUSIVE MODE")
            ha.set_state("light.kitchen", "blocked")
            query = (
                "SELECT 1 FROM pg_locks WHERE NOT granted"
                " AND relation = 'ha_entity_state'::regclass"
            )
            wait_until(lambda: database.value(query), what="a writer that waits")
            yield connection

    def link_state(self, database, instance_id):
        return database.value(
            "SELECT state FROM ha_instance_status WHERE instance_id = %s",
            (instance_id,),
        )

    def wait_state(self, database, instance_id, state, timeout=DEFAULT_TIMEOUT_S):
        wait_until(
            lambda: self.link_state(database, instance_id) == state,
            timeout,
            f"state {state}",
        )

    def assertShown(self, state, cause, limit=SHOWN_LIMIT_S):
        """The only instance of ``self.db`` comes to be shown so."""
        shown = []

        def is_shown():
            shown[:] = self.db.sql("SELECT state, cause FROM ha_instance_status")
            return shown == [(state, cause)]

        try:
            wait_until(is_shown, limit, f"{state} because of {cause}")
        except AssertionError as error:
            raise AssertionError(f"{error}, but {shown}") from None

    def states_in_odoo(self, database) -> dict[str, str]:
        """The recorded states of all entities that Home Assistant delivers."""
        return dict(
            database.sql(
                "SELECT e.ha_entity_id, s.state FROM ha_entity e"
                " JOIN ha_entity_state s ON s.id = e.live_id"
                " WHERE e.removed_in_ha IS NOT TRUE"
            )
        )
