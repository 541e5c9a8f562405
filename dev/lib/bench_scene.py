"""What the scenarios about supervision share: parts, databases, servers, peers.

The Home Assistants are the tests' own, in the bench's process: what is measured is
who connects when, not how much passes.
"""

import contextlib
import sys
import threading
import time

from bench_stage import BenchError, Sql, say, wait_until
from databases import DEV, ROOT, drop

sys.path.insert(0, str(ROOT / "tests"))
from fake_ha import FakeHomeAssistant  # noqa: E402

POLL_S = 0.01
LIMIT_S = 60.0  # what takes longer has failed
OWNED = """
    FROM ha_instance_status s
    JOIN pg_locks l ON l.objid = s.instance_id::oid
    JOIN pg_database d ON d.oid = l.database AND d.datname = current_database()
   WHERE l.locktype = 'advisory' AND l.objsubid = 2 AND l.granted
"""


def run_parts(run, parts):
    """A scenario's result: lines of (what, figure, promise).

    :param parts: generators of such lines, each with a scene of its own; figures
        are texts, or lists of seconds
    """
    run.close_bed()
    lines = []
    for part in parts:
        with Scene(run) as scene:
            for what, figure, promise in part(scene, run.quick):
                if not isinstance(figure, str):
                    figure = _text(figure)
                lines.append((what, figure, promise))
                say(f"{what}: {figure}")
    return {"lines": lines}


def _text(seconds):
    """Several measurements as their median and the longest."""
    found = sorted(seconds)
    if len(found) == 1:
        return f"{found[0]:.2f} s"
    return f"{found[len(found) // 2]:.2f} s, at most {found[-1]:.2f} s"


def expect(condition, text):
    if not condition:
        raise BenchError(text)


class Scene:
    """Databases, instances and servers of one part; ``with`` takes them down."""

    def __init__(self, run):
        self.stage = run.stage
        self._stack = contextlib.ExitStack()
        self.servers = []

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        for server in list(self.servers):
            self.end(server)
        self._stack.close()

    def peer(self):
        ha = self._stack.enter_context(FakeHomeAssistant())
        ha.add_entity("light.kitchen", "off", registry_id="r1")
        return ha

    def enter(self, context):
        return self._stack.enter_context(context)

    def database(self, with_addon=True):
        """A session on a new database."""
        name = self.stage.database(with_addon)
        self._stack.callback(drop, name)
        sql = Sql(name)
        self._stack.callback(sql.close)
        return sql

    def server(self, sql, *arguments, **options):
        server = self.stage.start_odoo(sql.name, *arguments, **options)
        self.servers.append(server)
        return server

    def end(self, server):
        self.servers.remove(server)
        self.stage.end(server)

    def add(self, sql, url, token, name="HA"):
        """An instance as the form makes it, written before any server runs."""
        (instance,) = sql.rows(
            """
            INSERT INTO ha_instance (name, api_url, api_token_stored, active,
                verify_ssl, entity_filter, history_mode, sequence,
                confirmed_database_uuid, confirmed_database_name)
            SELECT %s, %s, %s, TRUE, TRUE, 'all', 'some', 10, value,
                   current_database()
              FROM ir_config_parameter WHERE key = 'database.uuid'
            RETURNING id
            """,
            (name, url, token),
        )
        sql.rows("INSERT INTO ha_instance_status (instance_id) VALUES (%s)", instance)
        return instance[0]

    def wait_connected(self, sql, count=1, limit=LIMIT_S):
        """Wait until so many instances are connected and have an owner."""
        query = f"SELECT count(*) {OWNED} AND s.state = 'connected'"
        wait_until(
            lambda: sql.value(query) == count, limit, f"{count} connected", POLL_S
        )

    def owner(self, sql):
        return sql.value(f"SELECT s.owner_pid {OWNED}")

    def wait_other_owner(self, sql, pid):
        query = f"SELECT s.owner_pid {OWNED} AND s.state = 'connected'"
        wait_until(
            lambda: sql.value(query) not in (None, pid), LIMIT_S, "an owner", POLL_S
        )


class Clock:
    """Seconds since it was made."""

    def __init__(self):
        self._began = time.monotonic()

    def read(self):
        return time.monotonic() - self._began


@contextlib.contextmanager
def repeating(action, pause):
    """Do something again and again, in a thread, inside ``with``."""
    ended = threading.Event()

    def repeat():
        while not ended.wait(pause):
            action()

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def loading(helper):
    """Options for a server that loads one of ``tests/addons`` from its start."""
    addons = f"{ROOT}/tests/addons,{DEV}/addons"
    return [f"--addons-path={addons}", f"--load=base,rpc,web,{helper}"]


def ask_cron(sql):
    """Let Odoo's cron look for jobs now, instead of within a minute."""
    admin = Sql("postgres")
    admin.rows("SELECT pg_notify('cron_trigger', %s)", (sql.name,))
    admin.close()
