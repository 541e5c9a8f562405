"""Scenario: what instances cost on which nothing happens."""

import re
import time

import psutil

from bench_bed import Bed
from bench_stage import wait_until

SMALL_HOME = {"entities": 100, "devices": 20, "areas": 5}


def idle(run):
    """Cost of idle instances (100 entities each) in a prefork server's cron worker."""
    run.close_bed()
    bed = Bed(run.stage, "--workers=1", "--max-cron-threads=1", **SMALL_HOME)
    seconds = 8 if run.quick else 15
    found = {"seconds": seconds}
    try:
        http, cron = _worker(bed, "HTTP"), _worker(bed, "Cron")
        # Both have loaded the registry once their first job or request is done.
        time.sleep(3)
        for count in (0, 1, 10) if run.quick else (0, 1, 10, 50):
            while len(_owners(bed)) < count:
                bed.connect(f"Home {len(_owners(bed)) + 1}", wait=False)
            wait_until(
                lambda: _states(bed) == ({"connected"} if count else set()),  # noqa: B023
                90,
                f"{count} connected instances",
            )
            if count:
                (cron,) = set(_owners(bed))
            time.sleep(3)
            found[str(count)] = _watch(cron, seconds)
        found["http_worker"] = _watch(http, 5 if run.quick else 10)
    finally:
        run.note_trouble(bed)
        bed.close()
    per = [key for key in found if key.isdigit() and key != "0"][-1]
    found["per_instance"] = {
        key: round((found[per][key] - found["0"][key]) / int(per), 3)
        for key in ("cpu_pct", "rss_mb", "vms_mb", "threads")
    }
    return found


def _worker(bed, kind):
    pattern = re.compile(rf"Worker Worker{kind} \((\d+)\) alive")
    found = wait_until(
        lambda: pattern.findall(bed.odoo.log.read_text()), 60, f"a {kind} worker"
    )
    return int(found[-1])


def _owners(bed):
    rows = bed.sql.rows("SELECT owner_pid FROM ha_instance_status")
    return [pid for (pid,) in rows]


def _states(bed):
    return {state for (state,) in bed.sql.rows("SELECT state FROM ha_instance_status")}


def _watch(pid, seconds):
    process = psutil.Process(pid)
    before, began = sum(process.cpu_times()[:2]), time.monotonic()
    time.sleep(seconds)
    spent = sum(process.cpu_times()[:2]) - before
    memory = process.memory_info()
    return {
        "cpu_pct": round(100 * spent / (time.monotonic() - began), 2),
        "rss_mb": round(memory.rss / 2**20, 1),
        "vms_mb": round(memory.vms / 2**20),
        "threads": process.num_threads(),
    }
