"""History and statistics against a real Home Assistant and its recorder."""

import contextlib
import random
import socket
import threading
import time
from datetime import UTC, datetime, timedelta

from odoo.tests import tagged

from .common import (
    SHORT_WAITS,
    Database,
    LifecycleCase,
    OdooServer,
    start_home_assistant,
)
from .common import wait_until as wait

CUTS = 20
PATIENCE_S = 180
SENSORS = [f"sensor.cut_{number}" for number in range(8)]


class CuttingProxy:
    """Forwards TCP connections until they are cut without a word."""

    def __init__(self, target_port):
        self._target = ("127.0.0.1", target_port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._pairs = []
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                inner, _address = self._listener.accept()
                outer = socket.create_connection(self._target)
                with self._lock:
                    self._pairs.append((inner, outer))
                for source, sink in ((inner, outer), (outer, inner)):
                    threading.Thread(
                        target=self._pump, args=(source, sink), daemon=True
                    ).start()

    @staticmethod
    def _pump(source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for sock in (source, sink):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def cut(self):
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for sock in pair:
                # A reset, so that nothing that is on its way arrives any more.
                with contextlib.suppress(OSError):
                    linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    sock.close()

    def close(self):
        self._listener.close()
        self.cut()


@tagged("post_install", "-at_install")
class TestHistoryHomeAssistant(LifecycleCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.ha = start_home_assistant(cls)
        cls.proxy = CuttingProxy(cls.ha.port)
        cls.addClassCleanup(cls.proxy.close)
        cls.db = Database()
        cls.addClassCleanup(cls.db.drop)
        cls.odoo = OdooServer("-d", cls.db.name, *SHORT_WAITS)
        cls.addClassCleanup(cls.odoo.stop)
        cls.odoo.start()
        cls.odoo.wait_http()
        cls.began = time.time()
        cls.instance_id = cls.rpc(
            "ha.instance",
            "create",
            {
                "name": "Demo Home",
                "api_url": f"http://127.0.0.1:{cls.proxy.port}",
                "api_token": cls.ha.token,
                "history_mode": "all",
            },
        )

    @classmethod
    def rpc(cls, model, method, *args, **kwargs):
        return cls.odoo.execute(cls.db.name, model, method, *args, **kwargs)

    # What both sides say --------------------------------------------------------

    def history_in_ha(self, entity_ids):
        """Changes of the state as the recorder has them: (time, state) by entity."""
        answer = self.ha.command(
            "history/history_during_period",
            start_time=datetime.fromtimestamp(self.began, UTC).isoformat(),
            entity_ids=list(entity_ids),
            include_start_time_state=False,
            significant_changes_only=False,
            minimal_response=False,
            no_attributes=True,
        )
        result = {}
        for entity_id, rows in answer.items():
            changes = []
            for row in rows:
                at = round(row.get("lc", row["lu"]), 6)
                if row["s"] is not None and (not changes or changes[-1][1] != row["s"]):
                    changes.append((at, row["s"]))
            result[entity_id] = [change for change in changes if change[0] > self.began]
        return result

    def history_in_odoo(self):
        rows = self.db.sql(
            "SELECT e.ha_entity_id, extract(epoch FROM h.last_changed)::float8, h.state"
            " FROM ha_entity_history h JOIN ha_entity e ON e.id = h.entity_id"
            " WHERE h.last_changed > to_timestamp(%s) AT TIME ZONE 'UTC'"
            " ORDER BY e.ha_entity_id, h.last_changed",
            (self.began,),
        )
        result = {}
        for entity_id, at, state in rows:
            result.setdefault(entity_id, []).append((round(at, 6), state))
        return result

    def connections(self):
        return self.db.value("SELECT connect_count FROM ha_instance_status")

    def connected(self):
        return self.link_state(self.db, self.instance_id) == "connected"

    # ------------------------------------------------------------------------------

    def drive(self, stop):
        """Changes of all kinds, for as long as the link is cut and comes back."""
        dice = random.Random(4711)
        while not stop.is_set():
            entity_id = dice.choice(SENSORS)
            kind = dice.randrange(6)
            payload = {"state": str(dice.randrange(5)), "attributes": {"n": kind}}
            if kind == 0:
                payload["force_update"] = True
            elif kind == 1:  # an attribute alone
                payload["state"] = self.ha.get_state(entity_id)["state"]
                payload["attributes"] = {"n": dice.random()}
            self.ha.api("POST", f"/api/states/{entity_id}", payload)
            if dice.randrange(8) == 0:
                self.ha.call_service(
                    "climate",
                    "set_temperature",
                    entity_id="climate.heatpump",
                    temperature=dice.randrange(15, 30),
                )
                self.ha.call_service(
                    "climate",
                    "set_hvac_mode",
                    entity_id="climate.heatpump",
                    hvac_mode=dice.choice(["heat", "off"]),
                )
                self.ha.call_service("switch", "toggle", entity_id="switch.ac")

    def test_history_equals_the_recorder_after_twenty_cuts(self):
        for entity_id in SENSORS:
            self.ha.set_state(entity_id, "0")
        wait(self.connected, what="the first connection")
        stop = threading.Event()
        driver = threading.Thread(target=self.drive, args=(stop,))
        driver.start()
        try:
            dice = random.Random(7)
            for _cut in range(CUTS):
                time.sleep(dice.random() * 1.5)
                self.proxy.cut()
                before = self.connections()
                time.sleep(dice.random())
                # Somebody presses Restart: no waiting for the backoff.
                self.rpc("ha.instance", "action_restart_websocket", [self.instance_id])
                wait(
                    lambda: self.connections() > before and self.connected(),  # noqa: B023
                    what="a new connection",
                )
        finally:
            stop.set()
            driver.join()
        entity_ids = [*SENSORS, "climate.heatpump", "switch.ac"]

        def agree():
            there, here = self.history_in_ha(entity_ids), self.history_in_odoo()
            return all(there[key] == here.get(key) for key in entity_ids)

        try:
            wait(agree, PATIENCE_S, "agreement with the recorder")
        except AssertionError:
            there, here = self.history_in_ha(entity_ids), self.history_in_odoo()
            for key in entity_ids:
                self.assertEqual(here.get(key), there[key], key)
            raise

        def finished():
            return not self.db.value(
                "SELECT count(*) FROM ha_history_gap WHERE state <> 'filled'"
            )

        wait(finished, PATIENCE_S, "the end of fetching")
        self.assertTrue(agree(), "the last passes change nothing")
        rows = self.db.sql(
            "SELECT count(*), count(DISTINCT source) FROM ha_entity_history"
        )
        self.assertEqual(rows[0][1], 2, "live and fetched")
        self.assertGreater(
            self.db.value(
                "SELECT count(*) FROM ha_history_gap WHERE reason <> 'first'"
            ),
            5,
        )

    def test_statistics_come_from_years_ago(self):
        wait(self.connected, what="the first connection")
        entity_id = "sensor.outside_temperature"
        hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        hours = [hour - timedelta(days=400) + timedelta(hours=n) for n in range(48)]
        hours += [hour - timedelta(hours=n) for n in range(30, 20, -1)]
        self.ha.command(
            "recorder/import_statistics",
            metadata={
                "has_mean": True,
                "has_sum": False,
                "name": None,
                "source": "recorder",
                "statistic_id": entity_id,
                "unit_of_measurement": "°C",
            },
            stats=[
                {"start": at.isoformat(), "mean": n, "min": n - 1, "max": n + 1.5}
                for n, at in enumerate(hours)
            ],
        )

        def imported():
            return self.db.sql(
                "SELECT extract(epoch FROM s.date)::int, s.mean, s.min, s.max"
                " FROM ha_entity_statistics s JOIN ha_entity e ON e.id = s.entity_id"
                " WHERE e.ha_entity_id = %s ORDER BY s.date",
                (entity_id,),
            )

        expected = [
            (int(at.timestamp()), n, n - 1, n + 1.5) for n, at in enumerate(hours)
        ]

        def agree():
            # The demo's own first hours may come in while this runs.
            found = imported()
            return len(found) >= len(expected) and set(expected) <= set(found)

        def there():
            # The recorder imports in its own thread.
            answer = self.ha.command(
                "recorder/statistics_during_period",
                start_time=hours[0].isoformat(),
                statistic_ids=[entity_id],
                period="hour",
            )
            return len(answer.get(entity_id, ())) >= len(hours)

        wait(there, what="the recorder")
        self.rpc("ha.instance", "action_restart_websocket", [self.instance_id])
        wait(agree, PATIENCE_S, "the imported hours")
        before = imported()
        self.rpc("ha.instance", "action_restart_websocket", [self.instance_id])
        wait(self.connected, what="the next connection")
        wait(agree, what="the same hours")
        self.assertEqual([row for row in imported() if row in before], before)
