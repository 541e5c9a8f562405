"""Two servers on one database, as two hosts would be."""

import contextlib
import os
import signal
import time
from collections import Counter

import psutil

from odoo.tests import tagged

from .common import LifecycleCase, wait_until
from .fake_ha import FakeHomeAssistant

INSTANCES = 20
BALANCE_LIMIT_S = 100
TAKEOVER_LIMIT_S = 5
FREEZE_LIMIT_S = 15
GRACE_S = 15  # a busy machine starts twenty links more slowly


@tagged("post_install", "-at_install")
class TestTwoHosts(LifecycleCase):
    def owners(self):
        """Which process owns how many instances that have a lock."""
        return Counter(
            pid
            for (pid,) in self.db.sql(
                "SELECT s.owner_pid FROM ha_instance_status s JOIN pg_locks l"
                " ON l.objid = s.instance_id::oid JOIN pg_database d"
                " ON d.oid = l.database WHERE l.locktype = 'advisory'"
                " AND l.objsubid = 2 AND l.granted AND d.datname = current_database()"
            )
        )

    def all_connected(self):
        query = "SELECT count(*) FROM ha_instance_status WHERE state = 'connected'"
        return self.db.value(query) == INSTANCES == sum(self.owners().values())

    def family(self, server):
        master = psutil.Process(server.process.pid)
        return [master, *master.children(recursive=True)]

    def share(self, server):
        pids = {process.pid for process in self.family(server)}
        return sum(count for pid, count in self.owners().items() if pid in pids)

    def test_sharing_death_and_freeze(self):
        ha = self.enterContext(FakeHomeAssistant())
        ha.add_entity("light.kitchen", "off", registry_id="r1")
        self.db = self.database()
        for number in range(INSTANCES):
            self.add_instance(self.db, ha, f"HA {number}")
        first = self.server("-d", self.db.name, "--workers=2")
        wait_until(self.all_connected, what="all links at the first host")
        second = self.server("-d", self.db.name, "--workers=2")

        def balanced():
            shares = (self.share(first), self.share(second))
            return self.all_connected() and min(shares) >= INSTANCES * 0.35

        wait_until(balanced, BALANCE_LIMIT_S, "an even share")
        # Neither pair of processes connects an instance that the other holds.
        self.assertEqual(ha.most_connections, INSTANCES)

        # The second host freezes as a whole.
        frozen = self.family(second)
        for process in frozen:
            os.kill(process.pid, signal.SIGSTOP)
        started = time.monotonic()
        pids = {process.pid for process in frozen}
        wait_until(
            lambda: not pids & self.owners().keys() and self.all_connected(),
            FREEZE_LIMIT_S + GRACE_S,
            "takeover from the frozen host",
        )
        self.assertTrue(time.monotonic() - started)
        for process in frozen:
            os.kill(process.pid, signal.SIGCONT)
        wait_until(
            lambda: len(ha.connections) == INSTANCES, 30, "the end of the old links"
        )
        ha.set_state("light.kitchen", "on")
        wait_until(
            lambda: (
                self.db.value("SELECT count(*) FROM ha_entity_state WHERE state = 'on'")
                == INSTANCES
            ),
            30,
            "the change in all instances",
        )

        # The first host dies as a whole.
        wait_until(balanced, BALANCE_LIMIT_S, "an even share again")
        for process in self.family(first):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        first.wait()
        wait_until(
            lambda: self.share(second) == INSTANCES,
            TAKEOVER_LIMIT_S + GRACE_S,
            "takeover from the dead host",
        )
        wait_until(self.all_connected)
        self.assertIn(len(ha.connections), (INSTANCES, INSTANCES + 1))
