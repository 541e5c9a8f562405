"""What a real server makes of bad values, and of people who edit meanwhile."""

import contextlib
import math
import threading
import xmlrpc.client

from odoo.tests import tagged

from .common import LifecycleCase
from .common import wait_until as wait
from .fake_ha import FakeHomeAssistant

EDITS = 100
POISON = "refused by the database"


class IngestServerCase(LifecycleCase):
    def setUp(self):
        super().setUp()
        self.ha = self.enterContext(FakeHomeAssistant())
        self.db = self.database()
        self.instance_id = self.add_instance(self.db, self.ha, history_mode="all")

    def start(self):
        self.odoo = self.server("-d", self.db.name)
        self.wait_state(self.db, self.instance_id, "connected")

    def history(self, entity_id):
        """The recorded states in order."""
        rows = self.db.sql(
            "SELECT h.state FROM ha_entity_history h JOIN ha_entity e"
            " ON e.id = h.entity_id WHERE e.ha_entity_id = %s ORDER BY h.last_changed",
            (entity_id,),
        )
        return [state for (state,) in rows]


@tagged("post_install", "-at_install")
class TestBadValuesOfAServer(IngestServerCase):
    def test_one_bad_value_never_loses_the_rest_of_a_batch(self):
        bad = {
            "nul": ("a\0b", {"text": "x\0y", "k\0": 1}),
            "lone": ("a\ud800b", {"text": "\udfff"}),
            "nan": ("nan", {"value": math.nan, "deep": [{"x": math.inf}]}),
            "infinite": ("-inf", {"big": 10**400}),
            "long": ("x" * 100_000, {}),
            "large": ("on", {"blob": "x" * 10_000_000}),
            "poison": (POISON, {}),
            "future": ("later", {}),
            "quoted": ('{"\\,NULL}', {"\\": '"'}),
        }
        good = [f"sensor.good_{number}" for number in range(20)]
        for entity_id in (*good, *(f"sensor.{name}" for name in bad)):
            self.ha.add_entity(entity_id, "0")
        # A value that no cleaning of ours foresees.
        self.db.sql(
            f"""
            CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                IF NEW.state = '{POISON}' THEN
                    RAISE EXCEPTION 'no' USING ERRCODE = '22000';
                END IF;
                RETURN NEW;
            END $$;
            CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON ha_entity_state
               FOR EACH ROW EXECUTE FUNCTION refuse();
            CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON ha_entity_history
               FOR EACH ROW EXECUTE FUNCTION refuse()
            """
        )
        self.start()
        year_40000 = 1.2e12

        def change(number):
            """All in one turn of the loop, so that it comes in one frame."""
            events = {entity_id: (str(number), {}) for entity_id in good[:10]}
            events |= {f"sensor.{name}": value for name, value in bad.items()}
            events |= {entity_id: (str(number), {}) for entity_id in good[10:]}
            now = self.ha.states[good[0]]["lc"] + number
            for entity_id, (state, attributes) in events.items():
                at = year_40000 if entity_id == "sensor.future" else now
                plus = {"s": state, "a": attributes, "lc": at}
                self.ha._send_entity_event({"c": {entity_id: {"+": plus}}})

        self.ha._call(change, 1)
        self.ha._call(change, 2)
        wait(lambda: self.history(good[-1]) == ["0", "1", "2"], what="the good ones")
        states = self.states_in_odoo(self.db)
        expected = {
            "nul": "ab",
            "lone": "a?b",
            "nan": "nan",
            "infinite": "-inf",
            "long": "x" * 100_000,
            "poison": "0",
            "quoted": '{"\\,NULL}',
        }
        for name, state in expected.items():
            with self.subTest(name=name):
                entity_id = f"sensor.{name}"
                self.assertEqual(states[entity_id], state)
                rows = ["0"] if state == "0" else ["0", state]
                self.assertEqual(self.history(entity_id), rows)
        for entity_id in good:
            self.assertEqual(states[entity_id], "2", entity_id)
            self.assertEqual(self.history(entity_id), ["0", "1", "2"], entity_id)
        self.assertEqual(self.history("sensor.large"), ["0", "on"])
        # There is no such time in Odoo: the state is shown, no moment is invented.
        self.assertEqual(states["sensor.future"], "later")
        self.assertEqual(self.history("sensor.future"), ["0"])
        self.assertEqual(
            self.db.value(
                "SELECT count(*) FROM ha_entity_history"
                " WHERE is_numeric AND state IN ('nan', '-inf')"
            ),
            0,
        )
        self.assertIn("sensor.poison", self.odoo.log)
        self.assertIn("cannot be stored", self.odoo.log)
        self.assertEqual(self.ha.total_connections, 1)


@tagged("post_install", "-at_install")
class TestEditsMeanwhile(IngestServerCase):
    def test_who_edits_what_changes_all_the_time_sees_no_error(self):
        entity_ids = [f"light.busy_{number}" for number in range(10)]
        for number, entity_id in enumerate(entity_ids):
            self.ha.add_entity(entity_id, "off", registry_id=f"r{number}")
        self.start()
        url = f"http://127.0.0.1:{self.odoo.port}/xmlrpc/2"
        login = (self.db.name, "admin", "admin")
        uid = xmlrpc.client.ServerProxy(f"{url}/common").login(*login)
        server = xmlrpc.client.ServerProxy(f"{url}/object", allow_none=True)

        def call(method, *arguments):
            model = (self.db.name, uid, "admin", "ha.entity")
            return server.execute_kw(*model, method, arguments)

        found = call("search_read", [], ["ha_entity_id"])
        ids = {row["ha_entity_id"]: row["id"] for row in found}
        stop = threading.Event()

        def keep_changing():
            number = 0
            while not stop.is_set():
                number += 1
                state = "on" if number % 2 else "off"
                self.ha.set_states([(entity_id, state) for entity_id in entity_ids])

        changing = threading.Thread(target=keep_changing)
        with contextlib.ExitStack() as stack:
            changing.start()
            stack.callback(changing.join)
            stack.callback(stop.set)
            for number in range(EDITS):
                id_ = ids[entity_ids[number % 10]]
                values = {
                    "custom_name": f"Name {number}",
                    "history_interval": number % 3,
                    "record_history": ("always", "never", "default")[number % 3],
                    "active": number % 2 == 0,
                }
                call("write", [id_], values)
                if number % 10 == 0:
                    call("call_service", [id_], "turn_on")
        wait(
            lambda: (
                self.states_in_odoo(self.db)
                == {
                    entity_id: state["s"] for entity_id, state in self.ha.states.items()
                }
            ),
            what="the last states",
        )
        expected = {
            entity_ids[number % 10]: (
                f"Name {number}",
                number % 2 == 0,
                ("always", "never", "default")[number % 3],
                number % 3,
            )
            for number in range(EDITS)
        }
        rows = self.db.sql(
            "SELECT ha_entity_id, custom_name, active, record_history,"
            " coalesce(history_interval, 0) FROM ha_entity"
        )
        self.assertEqual({row[0]: row[1:] for row in rows}, expected)
        self.assertNotIn("Traceback", self.odoo.log)
