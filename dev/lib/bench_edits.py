"""Scenario: people edit the entities that change."""

import threading
import time

from bench_measure import percentiles
from bench_stage import BenchError

RATE = 5000
USERS = 2


def edits(run):
    """1,000 edits and service calls on entities that change 5,000 times a second."""
    bed = run.bed
    run.settle()
    run.clear()
    count = 200 if run.quick else 1000
    ids = [id_ for (id_,) in bed.sql.rows("SELECT id FROM ha_entity ORDER BY id")]
    calls = "SELECT id FROM ha_entity WHERE domain IN ('light', 'switch') ORDER BY id"
    lights = [id_ for (id_,) in bed.sql.rows(calls)]
    taken, errors = [], []

    def edit(user):
        for number in range(user, count, USERS):
            id_ = ids[number % len(ids)]
            kind = number // USERS % 5
            began = time.monotonic()
            try:
                if kind == 4:
                    id_ = lights[number % len(lights)]
                    bed.odoo.call("ha.entity", "call_service", [id_], "toggle")
                else:
                    bed.odoo.call("ha.entity", "write", [id_], _values(kind, number))
            except BenchError as error:
                errors.append(str(error))
            taken.append(time.monotonic() - began)

    stop = threading.Event()

    def keep_changing():
        while not stop.is_set():
            bed.generator.do("load", rate=RATE, seconds=2)

    changing = threading.Thread(target=keep_changing)
    changing.start()
    began = time.monotonic()
    people = [threading.Thread(target=edit, args=(user,)) for user in range(USERS)]
    for thread in people:
        thread.start()
    for thread in people:
        thread.join()
    seconds = time.monotonic() - began
    stop.set()
    changing.join()
    bed.wait_exact()
    return {
        "edits": count,
        "seconds": round(seconds, 1),
        "errors": len(errors),
        "first_errors": errors[:3],
        "took_ms": percentiles(taken),
        "retries": bed.odoo.log.read_text().count("could not serialize"),
    }


def _values(kind, number):
    if kind == 0:
        return {"custom_name": f"Edited {number}"}
    if kind == 1:
        return {"record_history": ("always", "default")[number % 2]}
    if kind == 2:
        return {"active": bool(number % 3)}
    return {"history_deadband": number % 7, "history_interval": 0}
