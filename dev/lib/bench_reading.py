"""Scenario of history read by people, and of old history deleted meanwhile."""

import contextlib
import datetime
import statistics
import threading
import time

from bench_bed import HISTORY
from bench_load import offer
from bench_stage import BenchError, Sql, say, wait_until

SIZE = {"entities": 1000, "devices": 200, "areas": 50}
MINUTES = 525_600  # rows of the one entity that has one a minute for a year
DAYS = 365
FIELDS = ("state", "value", "is_numeric", "last_changed", "source")
SEED_SQL = f"""
    INSERT INTO {HISTORY} (entity_id, state, value, is_numeric, last_changed, source)
    SELECT e.id, CASE WHEN e.is_number THEN v::text ELSE (n %% 2)::text END,
           CASE WHEN e.is_number THEN v END, e.is_number,
           %(since)s + (n + random()) * %(step)s, 'live'
      FROM generate_series(0, %(count)s - 1) n
     CROSS JOIN (SELECT id, unit IS NOT NULL AS is_number FROM ha_entity
                  WHERE id = ANY(%(ids)s) ORDER BY id) e
     CROSS JOIN LATERAL (
        SELECT round((20 + 5 * sin(n / 500.0 + e.id) + random())::numeric, 1)::float8
     ) x(v)
"""
SEED_STATISTICS_SQL = """
    INSERT INTO ha_entity_statistics (entity_id, date, mean, min, max, sum, change)
    SELECT id, date_trunc('hour', %(since)s::timestamp) + n * interval '1 hour',
           20, 15, 25, n * 0.5, 0.5
      FROM generate_series(0, %(hours)s - 1) n CROSS JOIN unnest(%(ids)s) id
"""


def reading(run):
    """Charts, lists, groups and pivots of much history; deleting the oldest of it."""
    run.close_bed()
    usual, run.size = run.size, SIZE
    try:
        return _reading(run)
    finally:
        run.close_bed()
        run.size = usual


def _reading(run):
    bed = run.bed
    bed.connect()
    # Rows are put in faster without indexes, and those are for the link too.
    bed.odoo.call("ha.instance", "write", [bed.instance], {"active": False})
    wait_until(lambda: not bed.generator.do("stats")["links"], 30, "the link's end")
    count = 10_000_000 if run.options.full else 200_000 if run.quick else 1_000_000
    seeded = _seed(bed, count)
    result = {"rows": seeded["rows"], "seeded": seeded}
    result["reads"] = _read_all(bed, seeded, 5)
    bed.odoo.call("ha.instance", "write", [bed.instance], {"active": True})
    result["pruning"] = _prune(run, 100_000 if run.quick else 1_000_000)
    return {**result, "lines": _lines(result)}


def _seed(bed, count):
    """So many rows of the last year, and a row a minute of one entity."""
    say(f"putting in {count + MINUTES:,} rows of history")
    began = time.monotonic()
    sql = bed.sql
    ids = [row[0] for row in sql.rows("SELECT id FROM ha_entity ORDER BY id")]
    dense = sql.value("SELECT min(id) FROM ha_entity WHERE unit IS NOT NULL")
    constraints = sql.rows(
        "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE conrelid = %s::regclass AND contype IN ('p', 'u')",
        (HISTORY,),
    )
    until = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
    since = until - datetime.timedelta(days=DAYS)
    for name, _definition in constraints:
        sql.rows(f"ALTER TABLE {HISTORY} DROP CONSTRAINT {name}")
    sql.rows(f"TRUNCATE {HISTORY}")
    each = count // len(ids)
    for few, number in ((ids, each), ([dense], MINUTES)):
        # Those two must not meet at the same microsecond.
        shift = datetime.timedelta(microseconds=number)
        step = (until - since - shift) / (number + 1)
        seed = {"ids": few, "count": number, "since": since, "step": step}
        sql.rows(SEED_SQL, seed)
    for name, definition in constraints:
        sql.rows(f"ALTER TABLE {HISTORY} ADD CONSTRAINT {name} {definition}")
    hours = {"ids": ids[: len(ids) // 10], "since": since, "hours": DAYS * 24}
    sql.rows(SEED_STATISTICS_SQL, hours)
    for table in (HISTORY, "ha_entity_statistics"):
        sql.rows(f"VACUUM ANALYZE {table}")
    size = "SELECT pg_table_size(%s), pg_indexes_size(%s)"
    [sizes] = sql.rows(size, (HISTORY, HISTORY))
    return {
        "rows": each * len(ids) + MINUTES,
        "statistics_rows": len(hours["ids"]) * hours["hours"],
        "seconds": round(time.monotonic() - began, 1),
        "table_mb": sizes[0] >> 20,
        "indexes_mb": sizes[1] >> 20,
        "dense": dense,
        "since": str(since)[:19],
        "until": str(until)[:19],
    }


# -- what the web client asks for ------------------------------------------------


def _read_all(bed, seeded, times):
    """p50 of each request in milliseconds, over HTTP."""
    until = datetime.datetime.fromisoformat(seeded["until"])

    def since(days):
        return str(until - datetime.timedelta(days=days))

    def chart(days):
        arguments = ([seeded["dense"]], since(days), seeded["until"])
        return ("ha.entity", "get_history_chart", *arguments), {}

    def page(domain, order="last_changed desc, id desc"):
        specification = {name: {} for name in FIELDS}
        for name in ("entity_id", "area_id"):
            specification[name] = {"fields": {"display_name": {}}}
        return ("ha.entity.history", "web_search_read", domain, specification), {
            **{"limit": 80, "offset": 0, "order": order, "count_limit": 10001}
        }

    def groups(domain, *groupby):
        return ("ha.entity.history", "web_read_group", domain, groupby), {
            **{"aggregates": ["__count", "value:avg"], "limit": 80}
        }

    def pivot(model, domain, rows, columns, measure):
        sets = [[], [rows], [columns], [rows, columns]]
        return (model, "formatted_read_grouping_sets", domain, sets), {
            **{"aggregates": ["__count", measure]}
        }

    def newer(days):
        return [["last_changed", ">=", since(days)]]

    history, area = "ha.entity.history", "area_id"
    mine = [["entity_id", "=", seeded["dense"]]]
    arguments, _options = chart(DAYS)
    [answer] = bed.odoo.call(*arguments)
    if not (answer["is_reduced"] and 900 < len(answer["points"]) <= 1000):
        raise BenchError(f"a chart with {len(answer['points'])} points")
    requests = {
        "chart of a year, a row a minute": chart(DAYS),
        "chart of a day": chart(1),
        "list, first page, last 24 hours": page(newer(1)),
        "list, first page, last 7 days, by value": page(newer(7), "value desc"),
        "list, first page, one entity": page(mine),
        "list, first page, of all": page([]),
        "groups by day, last 7 days": groups(newer(7), "last_changed:day"),
        "groups by entity, last 24 hours": groups(newer(1), "entity_id"),
        "groups by day, of all": groups([], "last_changed:day"),
        "pivot area by day, last 7 days": pivot(
            history, newer(7), area, "last_changed:day", "value:avg"
        ),
        "pivot area by month, of all": pivot(
            history, [], area, "last_changed:month", "value:avg"
        ),
        "pivot of statistics, area by month": pivot(
            "ha.entity.statistics", [], area, "date:month", "change:sum"
        ),
    }
    return {what: _p50(bed, *request, times) for what, request in requests.items()}


def _p50(bed, arguments, options, times):
    spent = []
    for _ in range(times):
        began = time.monotonic()
        bed.odoo.call(*arguments, **options)
        spent.append(time.monotonic() - began)
        if sum(spent) > 20:
            break
    return round(1000 * statistics.median(spent), 1)


# -- deleting ----------------------------------------------------------------------


def _prune(run, count):
    """Latency of ingest at 500/s before, and while the oldest rows are deleted."""
    bed = run.bed
    total = bed.sql.value(f"SELECT count(*) FROM {HISTORY}")
    days = round(DAYS * (1 - count / total))
    limit = bed.sql.value(
        "SELECT now() AT TIME ZONE 'UTC' - %s * interval '1 day'", (days,)
    )
    number = _count_old(bed, limit)
    # Short, so that most of the samples fall into the time of deleting.
    before = offer(run, 500, 4)["latency_ms"]
    values = {"history_retention_days": days}
    bed.odoo.call("ha.instance", "write", [bed.instance], values)
    run.settle()
    say(f"deleting {number:,} rows")
    job = Forgetting(bed)
    cpu = bed.cpu()
    job.start()
    meanwhile = []
    while not meanwhile or job.is_alive():
        meanwhile.append(offer(run, 500, 4))
    job.join()
    spent = cpu.read()
    if job.error:
        raise job.error
    left = _count_old(bed, limit)
    worst = max(meanwhile, key=lambda step: step["latency_ms"]["p95"])
    return {
        "rows": number - left,
        "left_over": left,
        "seconds": round(job.seconds, 1),
        "cpu": spent,
        "latency_before_ms": before,
        "latency_meanwhile_ms": worst["latency_ms"],
        "keeps_up": all(step["keeps_up"] for step in meanwhile),
    }


def _count_old(bed, limit):
    """Rows before a time, without the newest of each entity, which stays."""
    return bed.sql.value(
        f"SELECT sum(n - 1)::int8 FROM (SELECT count(*) AS n FROM {HISTORY}"
        " WHERE last_changed < %s GROUP BY entity_id) x",
        (limit,),
    )


class Forgetting(threading.Thread):
    """Runs the scheduled action until it has nothing left to do."""

    def __init__(self, bed):
        super().__init__(daemon=True)
        self._bed, self.seconds, self.error = bed, 0.0, None
        self._job = bed.sql.value(
            "SELECT res_id FROM ir_model_data WHERE module = 'odoo_ha_addon'"
            " AND name = 'ir_cron_ha_forget_history'"
        )

    def run(self):
        began = time.monotonic()
        try:
            # As long as there is more, Odoo orders it to run again.
            while self._run_once() or self._is_ordered():
                pass
        except BenchError as error:
            self.error = error
        self.seconds = time.monotonic() - began

    def _run_once(self):
        """Return whether another thread of Odoo's is at it."""
        try:
            self._bed.odoo.call("ir.cron", "method_direct_trigger", [self._job])
        except BenchError as error:
            if "already executing" not in str(error):
                raise
            time.sleep(0.5)
            return True
        return False

    def _is_ordered(self):
        with contextlib.closing(Sql(self._bed.database)) as sql:
            return sql.value(
                "SELECT count(*) FROM ir_cron_trigger WHERE cron_id = %s", (self._job,)
            )


# -- the table -----------------------------------------------------------------------


def _lines(result):
    millions = f"{result['rows'] / 1e6:.1f} million rows"
    aims = {"chart of a year, a row a minute": "≤ 300 ms"}
    lines = [
        (f"of {millions}: {what}", f"{figure:.0f} ms", aims.get(what, ""))
        for what, figure in result["reads"].items()
    ]
    r = result["pruning"]
    rate = r["rows"] / r["seconds"]
    left = f", {r['left_over']} LEFT" if r["left_over"] else ""
    names = ("latency_before_ms", "latency_meanwhile_ms")
    before, meanwhile = (
        " / ".join(f"{r[name][p]:.0f}" for p in ("p50", "p95", "p99", "max"))
        for name in names
    )
    return [
        *lines,
        (
            f"{r['rows']:,} rows deleted by retention",
            f"{r['seconds']} s, {rate:.0f}/s{left}",
            "",
        ),
        (
            "… latency to commit at 500/s before, p50 / p95 / p99 / max",
            f"{before} ms",
            "",
        ),
        ("… meanwhile", f"{meanwhile} ms", "no stall"),
    ]
