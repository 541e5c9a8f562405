"""Prefork servers that preload no database: supervision begins without a visitor.

A cron worker looks at its databases for the first time after a minute, so each
of these tests takes that long.
"""

import os
import signal

from odoo.tests import tagged

from .common import wait_until
from .test_supervision_prefork import TAKEOVER_LIMIT_S, PreforkCase

COLD_START_LIMIT_S = 110


@tagged("post_install", "-at_install")
class TestPreforkWithoutDatabase(PreforkCase):
    """Nothing is preloaded: supervision begins with a scheduled action or request."""

    def setUp(self):
        super().setUp()
        self.role = self.role_of_its_own()

    def start(self, *arguments, visit=False):
        other_ha = self.home_assistant()
        databases = []
        for ha in (self.ha, other_ha):
            database = self.database()
            database.give_to(self.role)
            databases.append((database, self.add_instance(database, ha)))
        server = self.server("--workers=2", f"--db_user={self.role}", *arguments)
        server.wait_http()
        if visit:
            for database, _ in databases:
                server.execute(database.name, "res.users", "search_count", [])
        for database, instance_id in databases:
            self.wait_state(database, instance_id, "connected", COLD_START_LIMIT_S)
        self.assertEqual((self.ha.most_connections, other_ha.most_connections), (1, 1))
        return databases, server

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
