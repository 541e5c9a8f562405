"""One Odoo connected to the load generator, and what Odoo made of the changes."""

import contextlib
import time

from bench_measure import Cpu, peak_mb, reset_peak
from bench_stage import TOKEN, WORK, BenchError, Sql, wait_until

TABLES = (
    "ha_area",
    "ha_device",
    "ha_entity",
    "ha_entity_history",
    "ha_entity_label_rel",
    "ha_entity_state",
    "ha_floor",
    "ha_label",
)
HISTORY = "ha_entity_history"


class Bed:
    """``generator`` and ``odoo`` on a database of their own, not yet connected."""

    def __init__(self, stage, *arguments, generator=None, **size):
        self.stage = stage
        self.database = stage.database()
        self.generator = generator or stage.generator(**size)
        self.odoo = stage.odoo(self.database, *(arguments or ("--workers=0",)))
        self.sql = Sql(self.database)
        self.has_history = False  # known once changes have come
        self.instance = None
        self.owner = self.odoo.pid

    def close(self):
        self.sql.close()
        self.stage.end(self.odoo)
        self.stage.end(self.generator)

    # -- the link ---------------------------------------------------------------

    def connect(self, name="Bench", wait=True):
        """Create an instance of the generator's home; returns its id."""
        values = {
            "name": name,
            "api_url": self.generator.url,
            "api_token": getattr(self.generator, "token", TOKEN),
            "history_mode": "all",
        }
        (self.instance,) = self.odoo.call("ha.instance", "create", [values])
        if wait:
            self.wait_connected()
            self.look_for_history()
        return self.instance

    def look_for_history(self):
        """Whether changes leave rows of history here, too."""
        everything = {"history_mode": "all"}
        self.odoo.call("ha.instance", "write", [self.instance], everything)
        mark = self.history_mark()
        self.generator.do("load", rate=1000, seconds=0.5)
        with contextlib.suppress(BenchError):
            wait_until(lambda: self.live_rows(mark), 2.0, "history")
            self.has_history = True

    def state(self):
        return self.sql.value(
            "SELECT state FROM ha_instance_status WHERE instance_id = %s",
            (self.instance,),
        )

    def wait_connected(self, timeout=60):
        wait_until(lambda: self.state() == "connected", timeout, "connected", 0.01)

    # -- the truth --------------------------------------------------------------

    def wrong_states(self):
        """How many entities are not as they were when ``load_states`` was called."""
        return self.sql.value(
            """
            SELECT count(*) FROM bench_states t
              LEFT JOIN (ha_entity e JOIN ha_entity_state s ON s.id = e.live_id)
                     ON e.ha_entity_id = t.entity AND e.instance_id = %s
             WHERE (s.state, s.last_changed) IS DISTINCT FROM (t.state, t.at)
            """,
            (self.instance,),
        )

    def load_states(self):
        path = WORK / f"{self.database}-states.tsv"
        self.generator.do("states", path=str(path))
        self.sql.load("bench_states", path)
        path.unlink()

    def wait_exact(self, timeout=60):
        """Seconds until all states are as in Home Assistant, from now."""
        began = time.monotonic()
        self.load_states()
        wait_until(lambda: not self.wrong_states(), timeout, "exact states", 0.02)
        return round(time.monotonic() - began, 2)

    def history_mark(self):
        """A mark for ``live_rows``."""
        return self.sql.value(f"SELECT coalesce(max(id), 0) FROM {HISTORY}")

    def live_rows(self, mark):
        """How many rows of history have come live since a mark."""
        return self.sql.value(
            f"SELECT count(*) FROM {HISTORY} WHERE id > %s AND source = 'live'",
            (mark,),
        )

    def wrong_history(self, since):
        """Rows that are missing or not Home Assistant's, since a time (epoch)."""
        path = WORK / f"{self.database}-history.tsv"
        self.generator.do("history", path=str(path))
        self.sql.load("bench_history", path)
        path.unlink()
        return self.sql.value(
            f"""
            SELECT count(*)
              FROM (SELECT e.ha_entity_id, h.state, h.last_changed
                      FROM {HISTORY} h JOIN ha_entity e ON e.id = h.entity_id
                     WHERE h.last_changed >= to_timestamp(%s) AT TIME ZONE 'UTC') h
              FULL JOIN bench_history t
                     ON t.entity = h.ha_entity_id AND t.at = h.last_changed
             WHERE t.state IS DISTINCT FROM h.state
            """,
            (since,),
        )

    def versions(self):
        """Rows inserted, updated and deleted in our tables so far."""
        # Other sessions report what they did at their next commit, at most once a
        # second; the heartbeat's commit comes every 5 s.
        time.sleep(6.5)
        return dict(
            self.sql.rows(
                """
                SELECT relname, n_tup_ins + n_tup_upd + n_tup_del
                  FROM pg_stat_user_tables WHERE relname = ANY(%s)
                """,
                (list(TABLES),),
            )
        )

    # -- measuring ----------------------------------------------------------------

    def cpu(self, *own):
        return Cpu(self.owner, (self.sql.pid, *own))

    def reset_peak(self):
        reset_peak(self.owner)

    def peak_mb(self):
        return peak_mb(self.owner)
