"""Scenario: what instances cost on which nothing happens."""

import re
import time
from pathlib import Path

import psutil

from odoo.tools import config

from bench_bed import Bed
from bench_stage import wait_until

WATCH_S = 600
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
        found["http_worker"] = _watch(http, 5 if run.quick else 30)
        if run.options.full:
            found["watch"] = _watch_long(bed, cron)
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


def _spent(pid):
    """CPU seconds of a process, to the nanosecond; clock ticks are too coarse."""
    files = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(file.read_text().split()[0]) for file in files) / 1e9


def _watch(pid, seconds):
    process = psutil.Process(pid)
    before, began = _spent(pid), time.monotonic()
    time.sleep(seconds)
    spent = _spent(pid) - before
    memory = process.memory_info()
    return {
        "cpu_pct": round(100 * spent / (time.monotonic() - began), 2),
        "rss_mb": round(memory.rss / 2**20, 1),
        "vms_mb": round(memory.vms / 2**20),
        "threads": process.num_threads(),
    }


def _watch_long(bed, pid):
    """The same worker for ten minutes, under Odoo's default limits."""
    process, began = psutil.Process(pid), time.monotonic()
    peaks = [0, 0]
    while time.monotonic() - began < WATCH_S and process.is_running():
        memory = process.memory_info()
        peaks = [max(peaks[0], memory.vms), max(peaks[1], memory.rss)]
        time.sleep(1)
    log = bed.odoo.log.read_text()
    recycled = set(_owners(bed)) != {pid}
    return {
        "minutes": (time.monotonic() - began) / 60,
        "vms_peak_mb": round(peaks[0] / 2**20),
        "rss_peak_mb": round(peaks[1] / 2**20, 1),
        "limit_mb": round(config["limit_memory_soft"] / 2**20),
        "trouble": recycled + log.count("memory limit") + log.count("MemoryError"),
    }
