"""What dev/test does once everything is provisioned: databases, runs, counts."""

import ast
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import databases
import processes
import test_arguments
from databases import DEV, MODULE, ROOT, DatabaseError

TESTS = ROOT / "tests"
LINKED = DEV / "addons" / MODULE
OUTCOMES = ("passed", "failed", "skipped")
SERVERS = re.compile(r"class \w+\((LifecycleCase|PreforkCase|FaultCase)\)")
# Tests with servers run two files at a time, and a third kind after the tests without;
# about a third of the time each, so that all end together.
GROUPS = {
    "servers-1": {"test_supervision_faults", "test_supervision_cold", "test_lifecycle"},
    "servers-3": {
        "test_history_gaps",
        "test_history_home_assistant",
        "test_history_views",
        "test_ingest_server",
        "test_live_bus",
        "test_live_sessions",
        "test_live_views",
        "test_supervision_network",
    },
}


@dataclass
class PytestRun:
    name: str
    process: subprocess.Popen
    target: Path  # where it leaves its counts
    log: Path | None  # where its output goes, if not to ours
    began: float


def say(message):
    print(f"[test] {message}", flush=True)


class TestRun:
    def __init__(self, arguments):
        self.arguments = arguments
        self.prefix = f"oha_t{os.getpid()}_"
        self.template = f"{self.prefix}addon"
        self.database = f"{self.prefix}main"
        self.work = DEV / "test" / str(os.getpid())
        self.work.mkdir(parents=True, exist_ok=True)
        self.counts = dict.fromkeys(OUTCOMES, 0)
        self.problems = []
        self.files = set()
        self.expected = sorted(TESTS.glob("**/test_*.py"))
        os.environ["ODOO_HA_DB_PREFIX"] = self.prefix
        os.environ["ODOO_HA_TEMPLATE_DB"] = self.template

    # -- what may go wrong without a test that fails ------------------------

    def problem(self, text):
        self.problems.append(text)

    def check_imports(self):
        """Odoo's own runner sees only what the packages of tests import."""
        for init in sorted({TESTS / "__init__.py", *TESTS.glob("**/__init__.py")}):
            folder = init.parent
            modules = {path.stem for path in folder.glob("test_*.py")}
            if not modules or folder.is_relative_to(test_arguments.PURE):
                continue
            tree = ast.parse(init.read_text()) if init.exists() else ast.Module([], [])
            imported = {
                alias.name
                for node in ast.walk(tree)
                if isinstance(node, ast.ImportFrom) and node.level == 1
                for alias in node.names
            }
            for name in sorted(modules - imported):
                where = init.relative_to(ROOT)
                self.problem(f"{where} does not import {name}")

    def check_files(self):
        for path in self.expected:
            if str(path) not in self.files:
                self.problem(f"no test was found in {path.relative_to(ROOT)}")

    # -- runs ---------------------------------------------------------------

    def start_pytest(self, name, *args, cwd, env, log=None):
        target = self.work / f"{name}.json"
        command = [sys.executable, "-m", "pytest", "-p", "pytest_count"]
        command += ["-o", f"cache_dir={DEV}/test/cache-{name}", "-rs"]
        env = {**os.environ, **env, "OHA_COUNT_FILE": str(target)}
        command += [*args, *self.arguments.options]
        output = log and log.open("wb")
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=env,
            stdout=output,
            stderr=output and subprocess.STDOUT,
        )
        return PytestRun(name, process, target, log, time.monotonic())

    def finish_pytest(self, runs, others=()):
        """Wait for runs that go on at the same time; print and count each.

        :param others: go on; ended too when somebody interrupts
        """
        try:
            for run in runs:
                run.process.wait()
                self.count(run)
        except KeyboardInterrupt:
            runs = [*runs, *others]
            for run in runs:
                # It may have fixtures to take down.
                processes.signal_quietly(run.process.pid, signal.SIGINT)
            for run in runs:
                processes.stop(run.process.pid, "pytest", 15.0, first=signal.SIGINT)
                run.process.wait()
            raise

    def count(self, run):
        name, code = run.name, run.process.returncode
        if run.log:
            sys.stdout.write(run.log.read_text(errors="replace"))
        say(f"{name}: {time.monotonic() - run.began:.1f} s, pytest's exit code {code}")
        try:
            result = json.loads(run.target.read_text())
        except OSError:
            self.problem(f"{name}: pytest ended ({code}) before it could count")
            return
        outcomes = list(result["outcomes"].values())
        for outcome in OUTCOMES:
            self.counts[outcome] += outcomes.count(outcome)
        self.files.update(os.path.realpath(path) for path in result["files"])
        if code not in (0, 1, 5) and "failed" not in outcomes:
            self.problem(f"{name}: pytest ended with {code}")
        for nodeid in result["unrun"]:
            self.problem(f"{name}: did not run: {nodeid}")
        if self.arguments.complete:
            for nodeid, outcome in result["outcomes"].items():
                if outcome == "skipped":
                    self.problem(f"{name}: skipped: {nodeid}")

    def run_pure(self):
        # No Odoo on the path: these tests prove that they need none.
        run = self.start_pytest(
            "pure",
            *("-p", "no:odoo", *self.arguments.pure),
            cwd=test_arguments.PURE,
            env={"PYTHONPATH": str(Path(__file__).parent)},
        )
        self.finish_pytest([run])

    def make_databases(self):
        began = time.monotonic()
        base = databases.dependencies_template(say)
        say(f"installing the addon into a new database, {self.template}")
        databases.clone(base, self.template)
        log = self.work / "install.log"
        databases.odoo(
            *("-d", self.template, "-i", MODULE, "--stop-after-init"), log=log
        )
        if not databases.is_installed(self.template):
            raise DatabaseError(f"the addon did not get installed; see {log}")
        for line in databases.trouble_in(log):
            self.problem(f"during the installation: {line}")
        databases.clone(self.template, self.database)
        say(f"databases: {time.monotonic() - began:.1f} s")

    def run_odoo(self):
        try:
            self.make_databases()
        except DatabaseError as error:
            self.problem(str(error))
            return
        if not self.arguments.complete:
            run = self.start_odoo_pytest("odoo", self.database, self.arguments.odoo)
            self.finish_pytest([run])
            return
        # Tests that start servers of their own mostly wait for them.
        groups = {"odoo": [], "servers-1": [], "servers-2": [], "servers-3": []}
        for path in sorted(TESTS.glob("test_*.py")):
            groups[self.group_of(path)].append(f"tests/{path.name}")
        say("running odoo, servers-1 and servers-2 at the same time; then servers-3")
        *last, first = (
            self.start_group(name, groups[name])
            for name in ("servers-1", "servers-2", "odoo")
        )
        self.finish_pytest([first], others=last)
        self.finish_pytest([self.start_group("servers-3", groups["servers-3"]), *last])

    @staticmethod
    def group_of(path):
        if not SERVERS.search(path.read_text()):
            return "odoo"
        for name, stems in GROUPS.items():
            if path.stem in stems:
                return name
        return "servers-2"

    def start_group(self, name, targets):
        database = self.database
        if name != "odoo":
            database = f"{self.database}_{name[-1]}"
            databases.clone(self.template, database)
        log = self.work / f"{name}.log"
        return self.start_odoo_pytest(name, database, targets, log)

    def start_odoo_pytest(self, name, database, paths, log=None):
        # Only the path through the addon's own name makes the tests importable.
        http = () if name.startswith("servers") else ("--odoo-http",)
        return self.start_pytest(
            name,
            *(f"--odoo-database={database}", *http),
            *(f"--rootdir={LINKED}", f"--ignore={LINKED}/tests/pure"),
            *(str(LINKED / path) for path in paths),
            cwd=LINKED.parent,
            env={"PYTHONPATH": f"{Path(__file__).parent}:{os.environ['PYTHONPATH']}"},
            log=log,
        )

    # -- all of it ----------------------------------------------------------

    def run(self):
        if self.arguments.complete:
            self.check_imports()
        if self.arguments.run_pure and test_arguments.PURE.is_dir():
            self.run_pure()
        if self.arguments.run_odoo:
            self.run_odoo()
        if self.arguments.complete:
            self.check_files()

    def clean_up(self):
        for kind, pid in processes.recorded(self.prefix):
            say(f"left running by the tests: {kind} (pid {pid}); stopping it")
            processes.stop(pid, kind, 10.0)
        for name in databases.names(self.prefix):
            databases.drop(name)

    def close(self):
        """The closing line, and whether all is well."""
        for text in self.problems:
            say(f"PROBLEM: {text}")
        failed = self.counts["failed"] + len(self.problems)
        line = f"{self.counts['passed']} passed, {failed} failed"
        if self.counts["skipped"]:
            line += f", {self.counts['skipped']} skipped"
        print(line, flush=True)
        return not failed and self.counts["passed"]


def drop_leftovers():
    """The databases of runs that did not live to drop them."""
    for name in databases.names("oha_t"):
        pid = name[len("oha_t") :].split("_")[0]
        if pid.isdigit() and ("test", int(pid)) not in processes.recorded():
            databases.drop(name)


def main():
    processes.end_as_with_ctrl_c()
    began = time.monotonic()
    processes.record(os.getpid(), "test")
    drop_leftovers()
    run = TestRun(test_arguments.route(sys.argv[1:]))
    try:
        run.run()
    except KeyboardInterrupt:
        run.problem("interrupted")
    finally:
        run.clean_up()
        processes.forget(os.getpid(), "test")
    say(f"all: {time.monotonic() - began:.1f} s")
    sys.exit(0 if run.close() else 1)


if __name__ == "__main__":
    main()
