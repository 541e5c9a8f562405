"""Prefork servers that preload no database: supervision begins without a visitor.

A cron worker looks at its databases for the first time after a minute, so each
of these tests takes that long.
"""

import os
import signal

import psutil

from odoo.tests import tagged

from .common import wait_until
from .test_supervision_prefork import HANDOVER_LIMIT_S, TAKEOVER_LIMIT_S, PreforkCase

COLD_START_LIMIT_S = 110


@tagged("post_install", "-at_install")
class TestPreforkWithoutDatabase(PreforkCase):
    """Nothing is preloaded: supervision begins with a scheduled action or request."""

    def setUp(self):
        super().setUp()
        self.role = self.role_of_its_own()

    def start(self, *arguments, visit=False):
        self.peers = [self.ha, self.home_assistant()]
        databases = []
        for ha in self.peers:
            database = self.database()
            database.give_to(self.role)
            databases.append((database, self.add_instance(database, ha)))
        server = self.server("--workers=2", f"--db_user={self.role}", *arguments)
        server.wait_http()
        if visit:
            self.visit(server, databases)
        for database, instance_id in databases:
            self.wait_state(database, instance_id, "connected", COLD_START_LIMIT_S)
        self.assertEqual([ha.most_connections for ha in self.peers], [1, 1])
        return databases, server

    def visit(self, server, databases):
        for database, _instance_id in databases:
            server.execute(database.name, "res.users", "search_count", [])

    def test_one_process(self):
        databases, server = self.start("--workers=0")
        (database, _instance_id), _other = databases
        self.assertEqual(self.owner(database)[1], "server")
        self.assertEndsSoon(server)

    def supervisors(self, database):
        return database.value(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND application_name LIKE 'odoo_ha_addon-lease-%%'"
        )

    def test_two_cron_workers(self):
        databases, server = self.start("--max-cron-threads=2")
        (database, instance_id), _other = databases
        wait_until(
            lambda: self.supervisors(database) == 2, COLD_START_LIMIT_S, "two workers"
        )
        pid, role = self.owner(database)
        self.assertEqual(role, "cron")
        os.kill(pid, signal.SIGKILL)
        self.wait_new_owner(database, instance_id, pid, TAKEOVER_LIMIT_S)
        self.assertEqual(self.ha.most_connections, 1)
        self.assertEndsSoon(server)

    def test_recycled_owners_hand_over(self):
        """Asked to end as the master asks it to; and beyond its memory limit."""
        databases, server = self.start("--max-cron-threads=2", *self.leak_options())
        (database, instance_id), (other, other_id) = databases

        def end(pid):
            os.kill(pid, signal.SIGINT)

        def leak(pid):
            self.let_leak(server, database, pid)

        for recycle in (end, leak):
            with self.subTest(recycle=recycle.__name__):
                self.poll_jobs(database)  # a new worker learns what there is
                for each in (database, other):
                    wait_until(
                        lambda each=each: self.supervisors(each) == 2,
                        2 * COLD_START_LIMIT_S,
                        "two workers",
                    )
                pid, _role = self.owner(database)
                connections = self.ha.total_connections
                recycle(pid)
                self.wait_new_owner(
                    database, instance_id, pid, HANDOVER_LIMIT_S, connections
                )
                self.wait_state(other, other_id, "connected")
                wait_until(lambda pid=pid: not psutil.pid_exists(pid), 30, "its end")
                self.assertLinkAgrees(database)
        self.assertEqual(self.ha.total_connections, 3)
        for ha in self.peers:
            self.assertEqual(ha.most_connections, 1)
            self.assertNotIn(1006, ha.close_codes)

    def test_limit_request_recycles_owning_http_workers(self):
        databases, server = self.start(
            "--max-cron-threads=0", "--limit-request=16", visit=True
        )
        (database, instance_id), _other = databases
        pid, role = self.owner(database)
        self.assertEqual(role, "http")

        def recycled():
            self.visit(server, databases)
            return not psutil.pid_exists(pid)

        wait_until(recycled, 60, "the worker's end")
        self.assertIn(f"Worker ({pid}) max request", server.log)

        def taken_over():
            self.visit(server, databases)
            return self.owner(database) and self.owner(database)[0] != pid

        wait_until(taken_over, 30, "a new owner")
        for each, each_id in databases:
            self.wait_state(each, each_id, "connected")
        self.assertLinkAgrees(database)
        for ha in self.peers:
            self.assertEqual(ha.most_connections, 1)
            self.assertNotIn(1006, ha.close_codes)

    def test_one_cron_worker(self):
        databases, server = self.start("--max-cron-threads=1")
        (database, _instance_id), _other = databases
        self.assertEqual(self.owner(database)[1], "cron")
        self.assertEndsSoon(server)
        self.assertNotIn(1006, self.ha.close_codes)

    def test_http_workers_only_and_one_request(self):
        databases, server = self.start("--max-cron-threads=0", visit=True)
        (database, _instance_id), _other = databases
        self.assertEqual(self.owner(database)[1], "http")
