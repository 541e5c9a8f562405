"""The bench's results as a table for people, and in docs/performance.md."""

import re

from databases import ROOT

DOCS = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- dev/bench begins -->", "<!-- dev/bench ends -->"


def rows(results):
    """Lines of (what, figure, aim or note)."""
    lines = []
    for name, make in (
        ("sync", _sync),
        ("sustained", _sustained),
        ("floors", _floors),
        ("latency", _latency),
        ("reconnect", _reconnect),
        ("flood", _overload("50,000 changes in a second")),
        ("stall", _overload("database locked for {stalled_s} s at 2,000/s")),
        ("overload", _overload("{sent_per_s} changes/s for {seconds} s")),
        ("edits", _edits),
        ("idle", _idle),
        ("supervision", _lines),
        ("ends", _lines),
        ("faults", _lines),
        ("reading", _lines),
        ("real", _real),
    ):
        if name in results:
            lines += make(results[name])
    return lines


def _sync(r):
    exact = "" if r["first_sync_exact"] else ", NOT exact"
    written = sum(r["resync_versions"].values())
    return [
        ("first sync, all records committed", f"{r['first_sync_s']} s{exact}", "≤ 3 s"),
        ("… RSS of Odoo before / after", _mb(r, "rss_before_mb", "rss_after_mb"), ""),
        ("resync with nothing changed", f"{r['resync_s']} s", ""),
        ("… row versions written", str(written), "0"),
    ]


def _sustained(r):
    kept = [step for step in r["steps"] if step["keeps_up"]]
    what = "states and history" if r["history"] else "states (NO history)"
    if r.get("bus"):
        what += " and bus"
    rate = f"{r['changes_per_s']:.0f} changes/s"
    if r["is_all_that_was_offered"]:
        rate = f"≥ {rate}"  # no more was offered
    found = [(f"sustained into {what}", rate, "≥ 10,000/s")]
    if kept:
        best = max(kept, key=lambda step: step["offered"])
        cpu = f"{1000 * best['odoo_cpu_s_per_1000']:.0f}"
        if best["postgres_cpu_s_per_1000"] is not None:
            cpu += f" + {1000 * best['postgres_cpu_s_per_1000']:.0f}"
        found.append(("… CPU ms per 1,000 changes, Odoo + PostgreSQL", cpu, ""))
    if r.get("rss_of_all_mb"):
        what = "… RSS of Odoo beyond that before connecting, lowest / highest rate"
        used = " / ".join(f"{mb:.0f}" for mb in r["rss_of_all_mb"])
        found.append((what, f"{used} MB", "≤ 60 MB at 10,000/s"))
    busy = max(step["other_cpu_pct"] for step in r["steps"])
    found.append(("… other CPU meanwhile (generator, bench, others)", f"{busy} %", ""))
    return found


def _floors(r):
    lines = [
        ("floor: receive and parse only", f"{r['receive_per_s']}/s", ""),
        (
            f"floor: bare writes, {r['write_batch']} a batch",
            f"{r['write_per_s']}/s",
            "",
        ),
        ("floor: both in series", f"{r['series_per_s']}/s", ""),
    ]
    if r.get("ratio"):
        lines.append(("ours / floor", f"{r['ratio']:.2f}", "≥ 0.50"))
        lines.append(("floor's CPU / ours", f"{r['ratio_by_cpu']:.2f}", ""))
    return lines


def _latency(r):
    aims = {"500": "p95 ≤ 300 ms", "5000": "p95 ≤ 600 ms"}
    lines = []
    for rate in ("10", "500", "5000"):
        for key, where in (("latency_ms", "commit"), ("bus_latency_ms", "bus session")):
            if r.get(rate, {}).get(key):
                aim = aims.get(rate, "") if where == "commit" else ""
                name = f"latency to {where} at {rate}/s, p50 / p95 / p99"
                lines.append((name, _percentiles(r[rate][key]), aim))
    return lines


def _reconnect(r):
    exact = max(r["load_end_to_exact_s"])
    lines = [
        ("cut to connected again, median", f"{r['median_s']:.1f} s", ""),
        ("… states exact after the last change", f"{exact} s at most", ""),
    ]
    if "history_wrong_rows" in r:
        lines.append(
            ("… rows of history that differ", str(r["history_wrong_rows"]), "0")
        )
    return lines


def _overload(what):
    """What came of too many changes."""

    def lines(r):
        cut = "cut" if r["cut"] else "not cut"
        counts = r["counts"]
        after = f"{r['history_complete_after_s']} s, {r['history_wrong_rows']} wrong"
        numbers = " / ".join(
            f"{counts[name]}"
            for name in ("change", "coalesced", "dropped", "backfilled")
        )
        return [
            (f"{what.format(**r)}: states exact after", f"{r['exact_after_s']} s", ""),
            (
                "… messages that waited for us, at most",
                f"{r['most_pending']}, {cut}",
                "",
            ),
            ("… received / coalesced / dropped / fetched back", numbers, ""),
            ("… history complete after", after, "0 wrong"),
            ("… RSS before / peak / after", _mb(r, *_RSS), ""),
        ]

    return lines


def _edits(r):
    return [
        (f"{r['edits']} edits at 5,000 changes/s: errors", f"{r['errors']}", "0"),
        ("… time of an edit, p50 / p95 / p99", _percentiles(r["took_ms"]), ""),
    ]


_RSS = ("rss_before_mb", "rss_peak_mb", "rss_after_mb")


def _idle(r):
    counts = [key for key in r if key.isdigit()]
    lines = []
    for name in [*counts, "http_worker"]:
        cost = r[name]
        text = f"{cost['cpu_pct']:.2f} %, {cost['rss_mb']:.0f} MB RSS"
        text += f", {cost['vms_mb']} MB VMS, {cost['threads']} threads"
        what = f"{name} idle instances in a cron worker"
        if name == "http_worker":
            what = "a worker that supervises nothing"
        lines.append((what, text, _IDLE_AIMS.get(name, "")))
    each = r["per_instance"]
    text = f"{each['cpu_pct']:.2f} %, {each['rss_mb']:.1f} MB RSS"
    lines.append(("… for each instance, with 100 entities", text, "≤ 0.5 %, ≤ 5 MB"))
    if "watch" in r:
        long = r["watch"]
        text = f"{long['vms_peak_mb']} MB VMS, {long['rss_peak_mb']:.0f} MB RSS"
        what = f"50 instances for {long['minutes']:.0f} minutes, at most"
        lines.append((what, text, f"< {long['limit_mb']} MB, the soft limit"))
        lines.append(("… recycled workers, MemoryErrors", str(long["trouble"]), "0"))
    return lines


_IDLE_AIMS = {"50": "≤ 10 %", "http_worker": "≤ 0.1 %"}


def _lines(r):
    return [tuple(line) for line in r["lines"]]


def _real(r):
    lines = [
        (f"real Home Assistant {r['version']}: changes/s", f"{r['changes_per_s']}", "")
    ]
    if r.get("latency_ms"):
        name = "… latency to commit, p50 / p95 / p99"
        lines.append((name, _percentiles(r["latency_ms"]), ""))
    wrong = f"{r['wrong_states']} / {r['history_wrong_rows']}"
    lines.append(("… states / rows of history that differ afterwards", wrong, "0 / 0"))
    return lines


def _percentiles(r):
    return f"{r['p50']:.0f} / {r['p95']:.0f} / {r['p99']:.0f} ms"


def _mb(r, *keys):
    return " / ".join(f"{r[key]:.0f}" for key in keys) + " MB"


def text(results):
    """The table for a terminal."""
    lines = rows(results)
    if not lines:
        return "nothing was measured"
    widths = [max(len(line[column]) for line in lines) for column in (0, 1)]
    return "\n".join(
        f"{what:<{widths[0]}}  {figure:>{widths[1]}}  {note}".rstrip()
        for what, figure, note in lines
    )


def write_docs(results):
    """Put the table between the marks in docs/performance.md."""
    machine = results["machine"]
    settings = ", ".join(f"{k} = {v}" for k, v in machine["settings"].items())
    lines = [
        f"{results['date'][:10]}, {machine['cores']} cores of {machine['cpu']},"
        f" {machine['ram_gb']} GB RAM, {machine['system']};"
        f" Odoo {machine['odoo']}, Python {machine['python']},"
        f" PostgreSQL {machine['postgresql']} ({settings}).",
        "",
        "| What | Measured | Aim |",
        "| --- | ---: | --- |",
        *(f"| {what} | {figure} | {note} |" for what, figure, note in rows(results)),
    ]
    block = "\n".join([BEGIN, "", *lines, "", END])
    page = DOCS.read_text()
    pattern = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.DOTALL)
    if not pattern.search(page):
        raise ValueError(f"{DOCS} lacks the lines {BEGIN} and {END}")
    DOCS.write_text(pattern.sub(lambda _match: block, page))
    return DOCS
