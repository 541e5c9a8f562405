"""Databases, servers and Home Assistants for the bench of supervision.

The Home Assistants are the tests' own, in the bench's process: what is measured is
who connects when, not how much passes.
"""

import contextlib
import sys
import time

from bench_stage import Sql, wait_until
from databases import ROOT, drop

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

    def server(self, sql, *arguments, preload=True):
        server = self.stage.start_odoo(sql.name, *arguments, preload=preload)
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
