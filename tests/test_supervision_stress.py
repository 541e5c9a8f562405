"""Random faults, seeded: afterwards everything is as if nothing had happened.

Short by default; ``dev/stress --minutes N`` lets it go on.
"""

import contextlib
import json
import logging
import os
import random
import signal
import time

import psutil

from odoo.tests import tagged

from .common import LifecycleCase, wait_until
from .fake_ha import FakeHomeAssistant

_logger = logging.getLogger(__name__)

DURATION_S = float(os.environ.get("ODOO_HA_STRESS_S", "45"))
SEED = int(os.environ.get("ODOO_HA_STRESS_SEED", "19"))
ENTITIES = 20
HEAL_LIMIT_S = 120


@tagged("post_install", "-at_install")
class TestStress(LifecycleCase):
    def setUp(self):
        super().setUp()
        self.rng = random.Random(SEED)
        self.db = self.database()
        self.peers = {}
        for number in range(4):
            ha = FakeHomeAssistant()
            for index in range(ENTITIES):
                ha.add_entity(f"sensor.s{index}", "0", registry_id=f"r{index}")
            self.enterContext(ha)
            self.peers[self.add_instance(self.db, ha, f"HA {number}")] = ha
        self.odoo = self.server("-d", self.db.name, "--workers=2")
        self.down = {}

    # Faults --------------------------------------------------------------------

    def kill_owner(self):
        pids = [
            pid for (pid,) in self.db.sql("SELECT owner_pid FROM ha_instance_status")
        ]
        pid = self.rng.choice(pids)
        if pid in self.odoo.workers("WorkerCron") + self.odoo.workers("WorkerHTTP"):
            number = self.rng.choice([signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def cut_links(self):
        self.any_up().drop_connections()

    def close_links(self):
        self.any_up().close_connections(self.rng.choice([1000, 1001, 1011]))

    def send_garbage(self):
        self.any_up().send_text(self.rng.choice(["", "{", "[]", '{"type": 1}', "null"]))

    def home_assistant_leaves(self):
        for ha, since in list(self.down.items()):
            if time.monotonic() - since > 3:
                ha.start()
                del self.down[ha]
        if len(self.down) < 2:
            ha = self.any_up()
            ha.stop()
            self.down[ha] = time.monotonic()

    def cut_database_sessions(self):
        self.db.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database()"
            " AND application_name LIKE 'odoo_ha_addon-%%' AND random() < 0.5"
        )

    def lock_tables(self):
        table = self.rng.choice(["ha_entity_state", "ha_instance_status", "ha_entity"])
        with contextlib.closing(self.db.connect()) as connection:
            with connection.cursor() as cr:
                cr.execute(f"LOCK {table} IN ACCESS EXCLUSIVE MODE")
                time.sleep(self.rng.uniform(0.5, 3))

    def ask_for_a_restart(self):
        self.db.sql(
            "UPDATE ha_instance_status SET request_seq = coalesce(request_seq, 0) + 1"
        )
        self.db.sql("SELECT pg_notify('odoo_ha_addon', 'changed')")

    def change_states(self):
        for ha in self.peers.values():
            for _change in range(20):
                number = self.rng.randrange(ENTITIES)
                ha.set_state(f"sensor.s{number}", str(self.rng.random()))

    def any_up(self):
        return self.rng.choice([h for h in self.peers.values() if h not in self.down])

    # The test --------------------------------------------------------------------

    def test_random_faults(self):
        for instance_id in self.peers:
            self.wait_state(self.db, instance_id, "connected")
        faults = [
            self.kill_owner,
            self.cut_links,
            self.close_links,
            self.send_garbage,
            self.home_assistant_leaves,
            self.cut_database_sessions,
            self.lock_tables,
            self.ask_for_a_restart,
        ]
        end = time.monotonic() + DURATION_S
        count = 0
        while time.monotonic() < end:
            fault = self.rng.choice(faults)
            _logger.info("fault %d: %s", count, fault.__name__)
            fault()
            self.change_states()
            time.sleep(self.rng.uniform(0.1, 2))
            count += 1
        self.assertGreater(count, 5)
        for ha in list(self.down):
            ha.start()
        self.assertHealed()

    def assertHealed(self):
        for instance_id, ha in self.peers.items():
            truth = {entity_id: row["s"] for entity_id, row in ha.states.items()}

            def agrees(id_=instance_id, truth=truth):
                rows = self.db.sql(
                    "SELECT e.ha_entity_id, s.state FROM ha_entity e"
                    " JOIN ha_entity_state s ON s.id = e.live_id"
                    " WHERE e.instance_id = %s AND e.removed_in_ha IS NOT TRUE",
                    (id_,),
                )
                return dict(rows) == truth

            self.wait_state(self.db, instance_id, "connected", HEAL_LIMIT_S)
            wait_until(agrees, HEAL_LIMIT_S, f"agreement of instance {instance_id}")
        # One owner and one connection each.
        locks = (
            "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database"
            " WHERE l.locktype = 'advisory' AND l.objsubid = 2 AND l.granted"
            " AND d.datname = current_database()"
        )
        self.assertEqual(self.db.value(locks), len(self.peers))
        for ha in self.peers.values():
            wait_until(lambda ha=ha: len(ha.connections) == 1, 30)
            self.assertEqual(ha.most_connections, 1)
        # Nothing is left over: transactions, sessions, threads, sockets.
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND state = 'idle in transaction'"
            " AND application_name LIKE 'odoo_ha_addon-%%'"
        )
        # One that is at work is between two statements for a moment.
        wait_until(
            lambda: not self.db.value(waiting), what="the end of all transactions"
        )
        sessions = self.db.sql(
            "SELECT application_name, count(*) FROM pg_stat_activity"
            " WHERE datname = current_database()"
            " AND application_name LIKE 'odoo_ha_addon-%%' GROUP BY 1"
        )
        self.assertTrue(all(number == 1 for _name, number in sessions), sessions)
        doctor = self.run_odoo("ha_doctor", "-d", self.db.name, "--json")
        report = json.loads(doctor.stdout)
        self.assertTrue(report["healthy"], doctor.stdout)
        threads = {}
        for found in report["instances"]:
            pid = found["owner"]["pid"]
            threads[pid] = found["diagnostics"]["threads"]
        links = [
            line
            for lines in threads.values()
            for line in lines
            if line.startswith("HomeAssistantWebSocket-")
        ]
        self.assertEqual(len(links), len(self.peers), links)
        for lines in threads.values():
            for name in ("WebSocketMonitor", "HomeAssistantIngest-"):
                self.assertEqual(sum(line.startswith(name) for line in lines), 1)
        ports = {ha.port for ha in self.peers.values()}
        open_sockets = [
            connection.raddr.port
            for process in psutil.Process(self.odoo.process.pid).children()
            for connection in process.net_connections("tcp")
            if connection.raddr and connection.raddr.port in ports
        ]
        self.assertEqual(sorted(open_sockets), sorted(ports))
