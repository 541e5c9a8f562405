"""What dev/bench does once everything is provisioned: scenarios, table, JSON."""

import argparse
import datetime
import json
import os
import sys
import time

import bench_edits
import bench_ends
import bench_faults
import bench_idle
import bench_load
import bench_overload
import bench_reading
import bench_real
import bench_report
import bench_supervision
import processes
from bench_bed import Bed
from bench_measure import machine
from bench_stage import (
    BenchError,
    Sql,
    Stage,
    drop_leftovers,
    say,
)
from databases import DEV, DatabaseError

SIZE = {"entities": 5000, "devices": 1000, "areas": 50}
SCENARIOS = {
    "sync": bench_load.sync,
    "latency": bench_load.latency,
    "sustained": bench_load.sustained,
    "floors": bench_load.floors,
    "reconnect": bench_load.reconnect,
    "flood": bench_overload.flood,
    "stall": bench_overload.stall,
    "overload": bench_overload.overload,
    "edits": bench_edits.edits,
    "idle": bench_idle.idle,
    "supervision": bench_supervision.supervision,
    "ends": bench_ends.ends,
    "faults": bench_faults.faults,
    "real": bench_real.real,
    "reading": bench_reading.reading,
}


class Run:
    """What scenarios share. ``bed`` is made, and connected, when it is needed."""

    def __init__(self, options, stage):
        self.options, self.stage, self.quick = options, stage, options.quick
        self.size = SIZE
        self.results = {}
        self.failed = []
        self._bed = None
        self._cleared_at = 0.0

    @property
    def bed(self):
        if self._bed is None:
            self._bed = Bed(self.stage, **self.size)
        return self._bed

    def settle(self):
        """Until the link is up and nothing is on its way."""
        if self.bed.instance is None:
            self.bed.connect()
        self.bed.wait_connected()
        self.bed.wait_exact()

    def clear(self):
        """Let the generator forget its history; what is compared starts here."""
        self._cleared_at = self.bed.generator.do("clear")["at"]
        return self._cleared_at

    def wait_history(self, timeout=60):
        """Wait until history is Home Assistant's; how many rows still differ."""
        deadline = time.monotonic() + timeout
        while wrong := self.bed.wrong_history(self._cleared_at):
            if time.monotonic() > deadline:
                break
            time.sleep(0.5)
        return wrong

    def close_bed(self):
        if self._bed is not None:
            bed, self._bed = self._bed, None
            self.note_trouble(bed)
            bed.close()

    def note_trouble(self, bed):
        """Keep the first warnings and errors of a server's log with the results."""
        lines = [line for line in bed.odoo.trouble() if " is down: " not in line]
        self.results.setdefault("odoo_log", []).extend(lines[:10])


def parse():
    parser = argparse.ArgumentParser(
        prog="dev/bench",
        description="Measure the addon between a load generator and PostgreSQL.",
    )
    parser.add_argument("scenarios", nargs="*", metavar="scenario", help="all, or some")
    parser.add_argument(
        "--quick", action="store_true", help="less of each, for shorter"
    )
    parser.add_argument(
        "--full",
        action="store_true",
        help="read from 10 million rows of history; watch 50 instances for 10 minutes",
    )
    parser.add_argument(
        "--write-docs", action="store_true", help="renew the table in docs/"
    )
    options = parser.parse_args()
    for name in options.scenarios:
        if name not in SCENARIOS:
            parser.error(f"no scenario {name}; there are {', '.join(SCENARIOS)}")
    return options


def run_scenarios(run):
    wanted = run.options.scenarios or list(SCENARIOS)
    for name, scenario in SCENARIOS.items():
        if name in wanted:
            say(f"{name}: {scenario.__doc__.splitlines()[0]}")
            began = time.monotonic()
            try:
                run.results[name] = scenario(run)
                run.results[name]["took_s"] = round(time.monotonic() - began, 1)
            except BenchError as error:
                # The others do not depend on it; what it left behind goes.
                run.failed.append(f"{name}: {error}")
                print(f"[bench] ERROR: {name}: {error}", file=sys.stderr, flush=True)
                run.close_bed()


def main():
    options = parse()
    processes.end_as_with_ctrl_c()
    processes.record(os.getpid(), "bench")
    drop_leftovers()
    stage = Stage()
    run = Run(options, stage)
    code = 0
    try:
        began = datetime.datetime.now(datetime.timezone.utc)
        run.results["date"] = began.isoformat(timespec="seconds")
        run.results["quick"] = options.quick
        sql = Sql("postgres")
        run.results["machine"] = machine(sql)
        sql.close()
        run_scenarios(run)
        run.close_bed()
        code = 1 if run.failed else 0
    except KeyboardInterrupt:
        say("interrupted")
        code = 130
    except (BenchError, DatabaseError) as error:
        print(f"[bench] ERROR: {error}", file=sys.stderr, flush=True)
        code = 1
    finally:
        processes.ignore_signals()
        stage.close()
        processes.forget(os.getpid(), "bench")
    target = DEV / "bench.json"
    target.write_text(json.dumps(run.results, indent=2) + "\n")
    print(bench_report.text(run.results), flush=True)
    for line in run.results.get("odoo_log", ()):
        print(f"[bench] Odoo's log: {line}", file=sys.stderr)
    say(f"JSON: {target}")
    if options.write_docs and not code:
        say(f"written: {bench_report.write_docs(run.results)}")
    sys.exit(code)


if __name__ == "__main__":
    main()
