"""Scenario: a real Home Assistant instead of the load generator."""

import http.client
import json
import shutil
import threading
import time
from datetime import datetime, timezone

from bench_bed import HISTORY, Bed
from bench_load import latency_rows
from bench_measure import CommitWatcher, percentiles
from bench_stage import WORK, wait_until
from hass_server import HomeAssistantServer

ENTITIES = 200
CONNECTIONS = 4


class RealHomeAssistant:
    """It, as a bed takes it in place of the load generator."""

    def __init__(self):
        self.folder = WORK / "hass"
        shutil.rmtree(self.folder, ignore_errors=True)
        self.server = HomeAssistantServer(self.folder).start()
        self.url, self.token = self.server.url, self.server.token

    def stop(self):
        self.server.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def drive(self, seconds):
        """Change states over REST as fast as it takes them; how many came about."""
        until, counts = time.monotonic() + seconds, [0] * CONNECTIONS

        def post(number):
            link = http.client.HTTPConnection("127.0.0.1", self.server.port)
            headers = {"Authorization": f"Bearer {self.token}"}
            while time.monotonic() < until:
                counts[number] += 1
                entity = counts[number] % (ENTITIES // CONNECTIONS)
                body = json.dumps({"state": f"{counts[number]}.5"})
                path = f"/api/states/sensor.bench_{number}_{entity}"
                link.request("POST", path, body, headers)
                link.getresponse().read()
            link.close()

        threads = [
            threading.Thread(target=post, args=(number,))
            for number in range(CONNECTIONS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(counts)

    def states(self):
        return {
            row["entity_id"]: row["state"]
            for row in self.server.api("GET", "/api/states")
        }

    def history(self, entity_ids, since):
        """Changes as its recorder has them: {(entity id, state, microsecond)}."""
        answer = self.server.command(
            "history/history_during_period",
            start_time=datetime.fromtimestamp(since, timezone.utc).isoformat(),
            entity_ids=entity_ids,
            include_start_time_state=False,
            significant_changes_only=False,
            minimal_response=False,
            no_attributes=True,
        )
        return {
            (entity_id, row["s"], round(1e6 * row.get("lc", row["lu"])))
            for entity_id, rows in answer.items()
            for row in rows
        }


def real(run):
    """A real Home Assistant, driven over REST: latency, states, history."""
    run.close_bed()
    ha = run.stage.keep(RealHomeAssistant())
    bed = Bed(run.stage, generator=ha)
    try:
        bed.connect("Real Home", wait=False)
        bed.wait_connected()
        ha.drive(0.5)
        time.sleep(2)
        began = time.time()
        with CommitWatcher(bed.database) as watcher:
            seconds = 4 if run.quick else 10
            count = ha.drive(seconds)
            wait_until(lambda: _states(bed) == ha.states(), 30, "equal states", 0.2)
            time.sleep(0.1)
            latency = watcher.latencies(latency_rows(bed, began))
        ids = [
            f"sensor.bench_{n}_{k}"
            for n in range(CONNECTIONS)
            for k in range(ENTITIES // CONNECTIONS)
        ]
        time.sleep(3)  # its recorder commits once a second
        there, here = ha.history(ids, began), _history(bed, began)
        return {
            "version": bed.sql.value("SELECT ha_version FROM ha_instance_status"),
            "changes_per_s": round(count / seconds),
            "latency_ms": percentiles(latency),
            "wrong_states": 0,
            "history_rows": len(here),
            "history_wrong_rows": len(there ^ here),
        }
    finally:
        run.note_trouble(bed)
        bed.close()


def _states(bed):
    return dict(
        bed.sql.rows(
            "SELECT e.ha_entity_id, s.state FROM ha_entity e"
            " JOIN ha_entity_state s ON s.id = e.live_id WHERE NOT e.removed_in_ha"
        )
    )


def _history(bed, since):
    return {
        (entity_id, state, int(at))
        for entity_id, state, at in bed.sql.rows(
            f"""
            SELECT e.ha_entity_id, h.state,
                   extract(epoch FROM h.last_changed) * 1000000
              FROM {HISTORY} h JOIN ha_entity e ON e.id = h.entity_id
             WHERE e.ha_entity_id LIKE 'sensor.bench_%%'
               AND h.last_changed >= to_timestamp(%s) AT TIME ZONE 'UTC'
            """,
            (since,),
        )
    }
