"""Copies of a database beside the original, on a server that serves all of them."""

import re
import signal
import time
import xmlrpc.client

from odoo.tests import tagged

from .common import run_as_admin, wait_until
from .test_supervision_faults import FaultCase

QUIET_S = 5  # as long as a link that must not be would need to come up


class CopyCase(FaultCase):
    def shown(self, database):
        [shown] = self.odoo.execute(
            database,
            "ha.instance",
            "read",
            [self.id],
            ["connection_state", "connection_message", "is_unconfirmed_copy"],
        )
        return shown

    def assertOriginalWorks(self, state):
        """Nobody but the original is connected, and it agrees."""
        self.wait_state(self.db, self.id, "connected")
        wait_until(lambda: len(self.ha.connections) == 1, 30)
        self.ha.set_state("light.kitchen", state)
        self.assertAgrees()

    def assertStaysDisconnected(self, name):
        shown = self.shown(name)
        self.assertEqual(shown["connection_state"], "stopped")
        self.assertTrue(shown["is_unconfirmed_copy"])
        self.assertIn("copy", shown["connection_message"])
        time.sleep(QUIET_S)
        self.assertFalse(self.lines_with(f"WebSocket thread started for {name} "))
        self.assertEqual(self.shown(name)["connection_state"], "stopped")


@tagged("post_install", "-at_install")
class TestCopies(CopyCase):
    """Served by one process that was told of none of them."""

    def setUp(self):
        super().setUp()
        role = self.role_of_its_own()
        self.db = self.database()
        self.db.give_to(role)
        self.id = self.add_instance(self.db, self.ha)
        self.odoo = self.server("--workers=0", f"--db_user={role}")
        self.odoo.wait_http()
        self.visit(self.db.name)
        self.wait_state(self.db, self.id, "connected")
        url = f"http://127.0.0.1:{self.odoo.port}/xmlrpc/2/db"
        self.manager = xmlrpc.client.ServerProxy(url, allow_none=True)
        self.addCleanup(self.drop_copies)

    def drop_copies(self):
        rows = run_as_admin(
            "SELECT datname FROM pg_database WHERE starts_with(datname, %s)",
            (f"{self.db.name}_",),
        )
        for (name,) in rows:
            run_as_admin(f'DROP DATABASE "{name}" WITH (FORCE)')

    def visit(self, database):
        self.odoo.execute(database, "res.users", "search_count", [])

    def duplicate(self):
        """As the database manager does: a new ``database.uuid``."""
        name = f"{self.db.name}_copy"
        self.manager.duplicate_database("admin", self.db.name, name)
        return name

    def restore(self):
        """A raw copy with the same ``database.uuid``, from a dump."""
        name = f"{self.db.name}_raw"
        dump = self.manager.dump("admin", self.db.name, "zip")
        self.manager.restore("admin", name, dump, False)
        return name

    def threads(self):
        """The names of our threads, from the list that Odoo logs on SIGQUIT."""
        before = len(self.odoo.log)
        self.odoo.signal(signal.SIGQUIT)
        wait_until(lambda: "(MainThread, " in self.odoo.log[before:])
        time.sleep(0.5)  # the list is one message, but a long one
        names = r"WebSocketMonitor|HomeAssistant(?:WebSocket|Ingest)-[\w-]+"
        return sorted(re.findall(rf"Thread: .*?({names})", self.odoo.log[before:]))

    def assertForgotten(self, *names):
        """No thread of a dropped database is left, and nothing speaks of it."""
        wait_until(
            lambda: not any(name in line for line in self.threads() for name in names),
            30,
            "the end of the copies' threads",
        )
        wait_until(lambda: self.threads().count("WebSocketMonitor") == 1, 30)
        end = len(self.odoo.log)
        # Odoo's cron lets the process supervise the original, again and again.
        for _round in range(2):
            self.run_supervision_cron()
        late = self.odoo.log[end:]
        for name in names:
            self.assertNotIn(name, late)
        self.assertEqual(self.threads().count("WebSocketMonitor"), 1)

    def assertNoErrors(self):
        """None of ours: Odoo itself tries to make extensions, in vain."""
        errors = self.lines_with(" ERROR ") + self.lines_with(" CRITICAL ")
        self.assertFalse([line for line in errors if "odoo_ha_addon" in line])

    def run_supervision_cron(self):
        done = r"Job 'Home Assistant: supervise connections' \(\d+\) fully done"
        count = len(re.findall(done, self.odoo.log))
        self.db.sql(
            "UPDATE ir_cron SET nextcall = now() AT TIME ZONE 'UTC'"
            " WHERE cron_name = 'Home Assistant: supervise connections'"
        )
        run_as_admin("SELECT pg_notify('cron_trigger', %s)", (self.db.name,))
        self.odoo.wait_log(done, count=count + 1)

    def test_duplicated_and_dropped(self):
        copy = self.duplicate()
        self.assertStaysDisconnected(copy)
        self.assertOriginalWorks("on")
        # PostgreSQL copies a database only while nobody is connected to it, so
        # the original's link has to come back. Nobody else has connected.
        self.assertEqual(self.ha.most_connections, 1)
        self.assertLessEqual(self.ha.total_connections, 2)
        self.manager.drop("admin", copy)
        self.assertForgotten(copy)
        self.assertOriginalWorks("off")
        self.assertNoErrors()

    def test_restored_under_another_name(self):
        raw = self.restore()
        self.assertStaysDisconnected(raw)
        self.assertOriginalWorks("on")
        self.assertEqual(self.ha.total_connections, 1, "the original was disturbed")
        self.odoo.execute(raw, "ha.instance", "action_confirm_database", [self.id])
        wait_until(lambda: len(self.ha.connections) == 2, 30, "the confirmed copy")
        self.manager.drop("admin", raw)
        self.assertForgotten(raw)
        self.assertOriginalWorks("off")
        self.assertEqual(self.ha.most_connections, 2)
        self.assertNoErrors()

    def test_renamed(self):
        """The same database: it goes on, and nobody has to confirm anything."""
        old, new = self.db.name, f"{self.db.name}_new"
        self.manager.rename("admin", old, new)
        self.db.name = new
        self.visit(new)
        self.wait_state(self.db, self.id, "connected")
        self.assertOriginalWorks("on")
        self.assertEqual(self.ha.most_connections, 1)
        self.db.name = old  # what it is called in the log
        self.odoo.stop()
        run_as_admin(f'ALTER DATABASE "{new}" RENAME TO "{old}"')


@tagged("post_install", "-at_install")
class TestPreloadedCopies(CopyCase):
    """Served by prefork servers with ``-d``, and copied by PostgreSQL's own means."""

    def copy_raw(self):
        """As ``createdb -T`` does it, which needs the original for itself."""
        name = self.db.name
        run_as_admin(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        try:
            run_as_admin(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = %s",
                (name,),
            )
            return self.database(template=name, name=f"{name}_copy")
        finally:
            run_as_admin(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')

    def ours(self, log):
        """Lines of the addon's own."""
        return [line for line in log.splitlines() if "odoo_ha_addon" in line]

    def test_copied_while_served_then_served_beside_it_then_dropped(self):
        self.connect("--workers=2")
        copy = self.copy_raw()
        wait_until(lambda: self.ha.total_connections == 2, what="the original's return")
        self.assertOriginalWorks("on")
        self.assertEqual(self.ha.most_connections, 1)
        # Four processes have lost it; each may have tried in vain meanwhile.
        self.assertLess(len(self.lines_with("Lost the supervision")), 30)
        self.assertFalse(self.lines_with(" ERROR "))
        self.odoo.stop()

        both = f"{self.db.name},{copy.name}"
        self.odoo = self.server("-d", both, "--workers=2")
        self.odoo.wait_http()
        self.assertStaysDisconnected(copy.name)
        self.assertOriginalWorks("off")
        self.assertEqual(self.ha.most_connections, 1)

        connections, end = self.ha.total_connections, len(self.odoo.log)
        run_as_admin(f'DROP DATABASE "{copy.name}" WITH (FORCE)')
        self.odoo.wait_log(f"Supervision of database {copy.name} ends here", count=4)
        told = len(self.ours(self.odoo.log[end:]))
        self.assertLess(told, 30, self.odoo.log[end:])
        time.sleep(2 * QUIET_S)
        self.assertEqual(len(self.ours(self.odoo.log[end:])), told, "an error loop")
        self.assertOriginalWorks("on")
        self.assertEqual(self.ha.total_connections, connections, "it was disturbed")
