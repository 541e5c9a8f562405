"""Scenarios of too much: a flood, a rate beyond ours, a database that stands still."""

import contextlib
import time

import psycopg2

from bench_bed import HISTORY
from bench_measure import Watcher, rss_mb
from bench_stage import BenchError, wait_until

COUNTED_AFTER_S = 6  # counts are written with the heartbeat
COUNTS = ("change", "coalesced", "dropped", "recorded", "backfilled")


def flood(run):
    """50,000 changes within a second, ten times what a real one can send."""
    return _survive(run, lambda bed: bed.generator.do("flood", count=50000, rate=50000))


def overload(run):
    """Three times the sustainable rate for a minute."""
    rate = 3 * (run.results.get("sustained", {}).get("changes_per_s") or 10000)
    seconds = 10 if run.quick else 60

    def send(bed):
        return bed.generator.begin("load", rate=rate, seconds=seconds)(seconds + 60)

    return {"offered": rate, "seconds": seconds, **_survive(run, send)}


def stall(run):
    """The database stalled by a lock for half a minute, at 2,000 changes a second."""
    seconds = 20 if run.quick else 30

    def send(bed):
        wait = bed.generator.begin("load", rate=2000, seconds=seconds + 3)
        time.sleep(1)
        with contextlib.closing(psycopg2.connect(dbname=bed.database)) as connection:
            with connection, connection.cursor() as cr:
                cr.execute(f"LOCK TABLE {HISTORY}, ha_entity_state")
                time.sleep(seconds)
        return wait(60)

    return {"stalled_s": seconds, **_survive(run, send)}


def _survive(run, send):
    """What became of an overload: the link, states, history, memory, counts."""
    bed = run.bed
    run.settle()
    run.clear()
    cuts = len(bed.generator.do("stats")["cuts"])
    time.sleep(COUNTED_AFTER_S)
    before = _counts(bed)
    rss = rss_mb(bed.owner)
    bed.reset_peak()
    cpu = bed.cpu()
    with _Pending(bed) as pending:
        sent = send(bed)
        ended = time.time()
        bed.wait_exact(60)
        exact = time.time()
    result = {
        "changes": sent["sent"],
        "sent_per_s": round(sent["sent"] / sent["seconds"]),
        "sent_in_s": round(sent["seconds"], 2),
        "exact_after_s": round(exact - ended, 2),
        "most_pending": max(pending.most, sent.get("most_pending", 0)),
        "cut": len(bed.generator.do("stats")["cuts"]) > cuts,
        "rss_before_mb": rss,
        "rss_peak_mb": bed.peak_mb(),
    }
    # The first pass brings everything; the others wait for a recorder that is late.
    fetching = "SELECT count(*) FROM ha_history_gap WHERE state = 'pending'"
    first_pass = f"{fetching} AND passes < 1"
    with contextlib.suppress(BenchError):
        wait_until(lambda: not bed.sql.value(first_pass), 900, "the first pass", 0.5)
    result["history_complete_after_s"] = round(time.time() - ended, 1)
    result["history_wrong_rows"] = run.wait_history(10)
    result["cpu"] = cpu.read()
    with contextlib.suppress(BenchError):
        wait_until(lambda: not bed.sql.value(fetching), 300, "all passes", 0.5)
    result["fetched_again_until_s"] = round(time.time() - ended, 1)
    time.sleep(COUNTED_AFTER_S)
    after = _counts(bed)
    result["counts"] = {name: int(after[name] - before[name]) for name in COUNTS}
    return {**result, "rss_after_mb": rss_mb(bed.owner)}


def _counts(bed):
    columns = ", ".join(f"coalesce({name}_count, 0)" for name in COUNTS)
    [row] = bed.sql.rows(
        f"SELECT {columns} FROM ha_instance_status WHERE instance_id = %s",
        (bed.instance,),
    )
    return dict(zip(COUNTS, row, strict=True))


class _Pending(Watcher):
    """Watches how many messages the generator cannot get rid of."""

    def __init__(self, bed):
        self._bed, self.most = bed, 0
        super().__init__()

    def _watch(self):
        while not self._stop.wait(0.2):
            self.most = max(self.most, self._bed.generator.do("stats")["pending"])
