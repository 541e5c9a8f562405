"""A pytest plugin that writes down what became of every test: a file for a run."""

import json
import os
from pathlib import Path

RANK = {"passed": 0, "skipped": 1, "failed": 2}


class Counter:
    def __init__(self, target):
        self.target = Path(target)
        self.outcomes = {}
        self.selected = set()
        self.files = set()

    def pytest_itemcollected(self, item):
        self.files.add(str(item.path))

    def pytest_collection_finish(self, session):
        self.selected = {item.nodeid for item in session.items}

    def pytest_collectreport(self, report):
        if report.failed:
            self._note(report.nodeid, "failed")

    def pytest_runtest_logreport(self, report):
        # A test has passed when its call has; any phase can spoil that.
        if report.when == "call" or not report.passed:
            self._note(report.nodeid, report.outcome)

    def _note(self, nodeid, outcome):
        before = self.outcomes.get(nodeid, "passed")
        self.outcomes[nodeid] = max(before, outcome, key=RANK.__getitem__)

    def pytest_sessionfinish(self):
        result = {
            "outcomes": self.outcomes,
            "unrun": sorted(self.selected - set(self.outcomes)),
            "files": sorted(self.files),
        }
        self.target.write_text(json.dumps(result))


def pytest_configure(config):
    target = os.environ.get("OHA_COUNT_FILE")
    if target and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Counter(target), "oha-counter")
