"""An owner that is cut off from PostgreSQL, while both go on."""

import os
import signal
import time

from odoo.sql_db import connection_info_for
from odoo.tests import tagged

from .common import wait_until
from .stopping_proxy import StoppingProxy
from .test_supervision_faults import LEASE_LIMIT_S, FaultCase


@tagged("post_install", "-at_install")
class TestPartition(FaultCase):
    """Connections stay open, but nothing passes: nobody gets an error."""

    def start_behind(self, proxy, *options):
        self.odoo = self.server(
            *("-d", self.db.name, "--db_host=127.0.0.1", f"--db_port={proxy.port}"),
            *options,
        )

    def postgresql(self):
        """Where it listens: a port of this machine, or a socket."""
        info = connection_info_for(self.db.name)[1]
        host, port = info.get("host") or os.environ["PGHOST"], info.get("port", 5432)
        return f"{host}/.s.PGSQL.{port}" if host.startswith("/") else int(port)

    def owner(self):
        return self.db.value("SELECT owner_pid FROM ha_instance_status")

    def test_owner_cut_off_from_postgresql(self):
        self.db = self.database()
        self.id = self.add_instance(self.db, self.ha)
        proxy = self.enterContext(StoppingProxy(self.postgresql()))
        self.start_behind(proxy)
        self.wait_state(self.db, self.id, "connected")
        self.assertEqual(self.owner(), self.odoo.process.pid)
        other = self.server("-d", self.db.name)
        other.wait_log("Found 1 active instance")

        proxy.stop()
        self.ha.set_state("light.kitchen", "never to be written by the first")
        wait_until(
            lambda: self.owner() == other.process.pid, LEASE_LIMIT_S, "a new owner"
        )
        self.wait_state(self.db, self.id, "connected")
        # It gives its link up although nobody can tell it that it is fenced.
        wait_until(lambda: len(self.ha.connections) == 1, 30, "the end of the old link")
        self.assertNotIn(1006, self.ha.close_codes)
        self.ha.set_state("light.kitchen", "on")
        self.assertAgrees()
        versions = "SELECT xmin::text, ctid::text FROM ha_entity_state ORDER BY id"
        status = "SELECT epoch, owner_pid, connect_count FROM ha_instance_status"
        before = self.db.sql(versions), self.db.sql(status)

        proxy.resume()
        self.odoo.wait_log("Lost the supervision connection")
        time.sleep(5)
        self.assertEqual((self.db.sql(versions), self.db.sql(status)), before)
        self.assertLessEqual(self.ha.most_connections, 2)
        self.assertLess(len(self.lines_with(" WARNING ")), 12, self.odoo.log[-3000:])

    def test_it_ends_while_postgresql_does_not_answer(self):
        self.db = self.database()
        self.id = self.add_instance(self.db, self.ha)
        proxy = self.enterContext(StoppingProxy(self.postgresql()))
        # Odoo itself would wait for the statement of a scheduled action.
        self.start_behind(proxy, "--max-cron-threads=0")
        self.wait_state(self.db, self.id, "connected")
        proxy.stop()
        time.sleep(2)  # the next question is on its way
        started = time.monotonic()
        self.odoo.signal(signal.SIGTERM)
        self.odoo.wait(60)
        self.assertLess(time.monotonic() - started, 15, self.odoo.log[-3000:])
        self.assertNotIn(1006, self.ha.close_codes)
