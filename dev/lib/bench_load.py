"""Scenarios of the living link: sync, load, latency, reconnect."""

import contextlib
import json
import statistics
import time

from bench_bed import HISTORY
from bench_bus import BusSession
from bench_measure import CommitWatcher, percentiles, rss_mb
from bench_stage import TOKEN, BenchError, say, wait_until

KEEPS_UP_S = 1.5  # all of it must be in the tables that soon after the last change


def sync(run):
    """From a client's connection to every record committed; then once more."""
    bed = run.bed
    before = bed.versions()
    cpu = bed.cpu()
    rss = rss_mb(bed.owner)
    bed.reset_peak()
    bed.connect(wait=False)
    expected = run.size["entities"]
    wait_until(
        lambda: (
            bed.sql.value("SELECT count(*) FROM ha_entity_state WHERE state <> ''")
            == expected
        ),
        60,
        "the first sync",
        0.01,
    )
    done = time.time()
    spent = cpu.read()
    accepted = bed.generator.do("stats")["accepted"][-1]
    bed.wait_connected()
    first = round(done - accepted, 2)
    exact = not bed.load_states() and not bed.wrong_states()
    after = bed.versions()
    # Again, with nothing changed in between.
    accepted = len(bed.generator.do("stats")["accepted"])
    cut = bed.generator.do("cut")
    wait_until(
        lambda: len(bed.generator.do("stats")["accepted"]) > accepted,
        60,
        "another connection",
        0.02,
    )
    began = bed.generator.do("stats")["accepted"][-1]
    connects = "SELECT connect_count FROM ha_instance_status WHERE instance_id = %s"
    wait_until(
        lambda: (
            bed.sql.value(connects, (bed.instance,)) > 1 and bed.state() == "connected"
        ),
        60,
        "the resync",
        0.01,
    )
    resync = round(time.time() - began, 2)
    again = bed.versions()
    bed.look_for_history()
    return {
        "first_sync_s": first,
        "first_sync_cpu": spent,
        "first_sync_exact": exact,
        "first_sync_versions": sum(after.values()) - sum(before.values()),
        "rss_before_mb": rss,
        "rss_after_mb": rss_mb(bed.owner),
        "rss_peak_mb": bed.peak_mb(),
        "cut_to_connected_s": round(began - cut["at"] + resync, 2),
        "resync_s": resync,
        "resync_versions": {
            table: count - after.get(table, 0)
            for table, count in again.items()
            if count != after.get(table, 0)
        },
    }


def offer(run, rate, seconds):
    """Offer changes at a rate; what became of them and what it cost."""
    bed = run.bed
    run.settle()
    with CommitWatcher(bed.database) as watcher, BusSession(bed) as session:
        began = run.clear()
        mark = bed.history_mark()
        updates = _updates(bed)
        rss = rss_mb(bed.owner)
        bed.reset_peak()
        cpu = bed.cpu(watcher.pid)
        wait = bed.generator.begin("load", rate=rate, seconds=seconds)
        states = [] if bed.has_history else _sample_states(bed, began, seconds)
        sent = wait(seconds + 60)
        spent = cpu.read()
        result = {
            "offered": rate,
            "sent_per_s": round(sent["sent"] / sent["seconds"]),
            "changes": sent["sent"],
        }
        try:
            result["drained_s"] = bed.wait_exact(30)
        except BenchError:
            result["drained_s"] = None
        if bed.has_history:
            wait_live(bed, mark, sent["sent"], KEEPS_UP_S)
        time.sleep(0.05)
        rows = latency_rows(bed, began) if bed.has_history else states
        latency = percentiles(watcher.latencies(rows))
        on_bus = percentiles(session.latencies(_moments(bed, began)))
    stats = bed.generator.do("stats")
    if bed.has_history:
        written = bed.live_rows(mark)
        result["commits_per_s"] = round(len({x for x, _ in rows}) / sent["seconds"], 1)
    else:
        time.sleep(6)
        written = _updates(bed) - updates
    thousands = sent["sent"] / 1000
    keeps_up = (
        result["drained_s"] is not None
        and result["drained_s"] <= KEEPS_UP_S
        and written >= 0.995 * sent["sent"]
        and result["sent_per_s"] >= 0.97 * rate
        and not [c for c in stats["cuts"] if c["at"] > began]
    )
    foreign = spent["machine_cpu"] - spent["odoo_cpu"] - (spent["postgres_cpu"] or 0)
    return {
        **result,
        "written": written,
        "keeps_up": keeps_up,
        "latency_ms": latency,
        "bus_latency_ms": on_bus,
        "bus_notifications": session.notifications,
        "bus_readings": session.readings,
        "bus_learned": len(session.learned),
        "odoo_cpu_s_per_1000": round(spent["odoo_cpu"] / thousands, 4),
        "postgres_cpu_s_per_1000": spent["postgres_cpu"]
        and round(spent["postgres_cpu"] / thousands, 4),
        # Generator and bench included: much more than 10 % is somebody else.
        "other_cpu_pct": round(100 * foreign / spent["seconds"]),
        "rss_mb": rss_mb(bed.owner),
        "rss_growth_mb": round(rss_mb(bed.owner) - rss, 1),
        "rss_peak_mb": bed.peak_mb(),
        "generator_late_ms": round(1000 * sent["late"]),
    }


def latency_rows(bed, began):
    return bed.sql.rows(
        f"""
        SELECT xmin::text::bigint, extract(epoch FROM last_changed)::float8
          FROM {HISTORY}
         WHERE source = 'live'
           AND last_changed >= to_timestamp(%s) AT TIME ZONE 'UTC'
        """,
        (began,),
    )


def _moments(bed, began):
    """When an entity took on a state, for states that it had once only."""
    return {
        (id_, state): at
        for id_, state, at in bed.sql.rows(
            f"""
            SELECT entity_id, state, extract(epoch FROM min(last_changed))::float8
              FROM {HISTORY}
             WHERE last_changed >= to_timestamp(%s) AT TIME ZONE 'UTC'
          GROUP BY entity_id, state HAVING count(*) = 1
            """,
            (began,),
        )
    }


def _sample_states(bed, began, seconds):
    """Without history: what the states' rows look like, every half second."""
    rows, until = set(), time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0.5)
        rows.update(
            bed.sql.rows(
                "SELECT xmin::text::bigint, extract(epoch FROM last_changed)::float8"
                " FROM ha_entity_state"
                " WHERE last_changed >= to_timestamp(%s) AT TIME ZONE 'UTC'",
                (began,),
            )
        )
    return list(rows)


def _updates(bed):
    return bed.sql.value(
        "SELECT n_tup_upd FROM pg_stat_user_tables WHERE relname = 'ha_entity_state'"
    )


def wait_live(bed, mark, count, timeout):
    """Wait for so many live rows; whether they came."""
    with contextlib.suppress(BenchError):
        return wait_until(lambda: bed.live_rows(mark) >= count, timeout, "history", 0.1)
    return False


def latency(run):
    """Latency from Home Assistant's time of the change to the commit."""
    seconds = 5 if run.quick else 10
    found = {}
    for rate in (10, 500, 5000):
        say(f"latency at {rate}/s")
        found[str(rate)] = offer(run, rate, 2 * seconds if rate == 10 else seconds)
    return found


def sustained(run):
    """The highest rate at which states and history keep up."""
    seconds = 4 if run.quick else 10
    rates = [10000, 15000, 20000, 25000, 30000, 35000, 40000, 50000]
    if run.quick:
        rates = rates[:3]
    steps, good, bad = [], 0, None
    for rate in rates:
        say(f"offering {rate}/s")
        steps.append(offer(run, rate, seconds))
        if not steps[-1]["keeps_up"]:
            bad = rate
            break
        good = rate
    for _ in range(0 if run.quick or bad is None else 2):
        rate = round((good + bad) / 2, -2)
        say(f"offering {rate:.0f}/s")
        steps.append(offer(run, rate, seconds))
        good, bad = (rate, bad) if steps[-1]["keeps_up"] else (good, rate)
    before = run.results.get("sync", {}).get("rss_before_mb")
    kept = sorted(s["rss_mb"] for s in steps if s["keeps_up"])
    return {
        "changes_per_s": good,
        "is_all_that_was_offered": bad is None,
        "history": run.bed.has_history,
        "bus": any(step["bus_notifications"] for step in steps),
        # At the lowest rate, which is the aim's, and at the highest
        "rss_of_all_mb": before
        and [round(mb - before, 1) for mb in kept[:: len(kept) - 1 or 1]],
        "steps": steps,
    }


def floors(run):
    """What receiving and writing cost by themselves, and what ours is of that."""
    bed = run.bed
    run.settle()
    run.clear()
    best = run.results.get("sustained", {})
    ours = best.get("changes_per_s")
    kept = [step for step in best.get("steps", ()) if step["offered"] == ours]
    commits = kept[0].get("commits_per_s") if kept else None
    batch = round(ours / commits) if commits else 1000
    count = 100_000 if run.quick else 300_000
    # With the link down: what is sent goes to the floor's client alone.
    bed.odoo.call("ha.instance", "write", [bed.instance], {"active": False})
    links = lambda number: bed.generator.do("stats")["links"] == number  # noqa: E731
    wait_until(lambda: links(0), 30, "the link's end")
    received = _receive_floor(run, count)
    cpu = bed.cpu()
    written = run.stage.run_floor("write", bed.database, count, batch)
    postgres = (cpu.read()["postgres_cpu"] or 0) / count * 1000
    bed.odoo.call("ha.instance", "write", [bed.instance], {"active": True})
    wait_until(lambda: links(1), 60, "the link's return")
    rates = [floor["changes"] / floor["seconds"] for floor in (received, written)]
    series = 1 / sum(1 / rate for rate in rates)
    spent = [1000 * floor["cpu"] / count for floor in (received, written)]
    result = {
        "receive_per_s": round(rates[0]),
        "receive_cpu_s_per_1000": round(spent[0], 4),
        "write_per_s": round(rates[1]),
        "write_batch": batch,
        "write_cpu_s_per_1000": round(spent[1], 4),
        "write_postgres_cpu_s_per_1000": round(postgres, 4),
        "series_per_s": round(series),
    }
    if kept:
        ours_cpu = kept[0]["odoo_cpu_s_per_1000"]
        ours_cpu += kept[0]["postgres_cpu_s_per_1000"] or 0
        # By CPU too: others on the machine disturb it less.
        result["ours_per_s"] = ours
        result["ratio"] = round(ours / series, 2)
        result["ratio_by_cpu"] = round((sum(spent) + postgres) / ours_cpu, 2)
    return result


def _receive_floor(run, count):
    generator = run.bed.generator
    floor = run.stage.start_floor("receive", generator.url, TOKEN, count)
    try:
        if not floor.stdout.readline():
            raise BenchError("the floor's client ended before it was in step")
        generator.do("stream", count=count)
        return json.loads(floor.stdout.readline())
    finally:
        floor.kill()
        floor.wait()


def reconnect(run):
    """Cut off while states change: until connected again, and until exact."""
    bed = run.bed
    connected, exact = [], []
    for _ in range(2 if run.quick else 4):
        run.settle()
        run.clear()
        wait = bed.generator.begin("load", rate=1000, seconds=3)
        time.sleep(1)
        at = bed.generator.do("cut")["at"]
        wait_until(lambda: bed.generator.do("stats")["links"], 60, "a new link", 0.01)
        wait_until(lambda: bed.state() == "connected", 60, "connected", 0.01)
        connected.append(round(time.time() - at, 2))
        wait()
        bed.wait_exact()
        exact.append(round(time.time() - at, 2))
    result = {
        "cut_to_connected_s": connected,
        "median_s": statistics.median(connected),
        "load_end_to_exact_s": [round(e - 2, 2) for e in exact],
    }
    if bed.has_history:
        result["history_wrong_rows"] = run.wait_history()
    return result
