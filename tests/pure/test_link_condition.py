"""What is shown of a link, whatever each witness says."""

import itertools
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from supervision import load

condition = load("condition.link_condition")
REPORTS = (None, "stopped", "connecting", "syncing", "connected", "waiting")


@dataclass
class Config:
    problems: tuple = ()
    active: bool = True
    confirmed: bool = True
    stop_requested: bool = False
    auth_failed: bool = False


@dataclass
class Witnesses:
    """By default those of a healthy link."""

    config: Config = field(default_factory=Config)
    owned: bool = True
    reported: str | None = "connected"
    cause: str | None = None
    params: dict | None = None
    connected_for: float | None = 1000.0
    beat_age: float | None = 3.0

    def judge(self):
        return condition.true_condition(**vars(self))


def test_a_healthy_link_is_connected():
    assert Witnesses().judge() == ("connected", None, {})


@pytest.mark.parametrize(
    ("flags", "state", "cause"),
    [
        ({"active": False}, "stopped", "inactive"),
        ({"confirmed": False}, "stopped", "database_copied"),
        ({"stop_requested": True}, "stopped", "stop_requested"),
    ],
)
def test_what_nobody_wants_is_stopped_whatever_the_owner_reports(flags, state, cause):
    for owned, reported in itertools.product((True, False), REPORTS):
        found = Witnesses(Config(**flags), owned=owned, reported=reported).judge()
        assert found == (state, cause, {})


def test_an_incomplete_configuration_comes_first():
    problem = SimpleNamespace(cause="token_short", params={"len": 5})
    config = Config(problems=(problem, problem), active=False, confirmed=False)
    assert Witnesses(config).judge() == ("unconfigured", "token_short", {"len": 5})


def test_a_refusal_lasts_without_an_owner():
    found = Witnesses(
        Config(auth_failed=True), owned=False, cause="banned", params={"host": "x"}
    )
    assert found.judge() == ("auth_failed", "banned", {"host": "x"})


@pytest.mark.parametrize("reported", REPORTS)
def test_without_an_owner_nothing_is_believed(reported):
    found = Witnesses(owned=False, reported=reported).judge()
    assert found == ("unsupervised", "unsupervised", {})


@pytest.mark.parametrize("reported", [None, "stopped", "auth_failed"])
def test_what_the_last_owner_left_is_not_true_of_the_next(reported):
    found = Witnesses(reported=reported, cause="balanced").judge()
    assert found == ("connecting", None, {})


@pytest.mark.parametrize("age", [None, 31, 4000])
def test_a_connection_without_heartbeat_is_not_shown_as_connected(age):
    found = Witnesses(beat_age=age).judge()
    assert found == ("waiting", "no_heartbeat", {"age": age or 0})
    # One that has just come up has had no time for any.
    assert Witnesses(beat_age=age, connected_for=5).judge()[0] == "connected"


@pytest.mark.parametrize("reported", ["connecting", "syncing", "waiting"])
def test_an_owner_is_believed_about_its_troubles(reported):
    found = Witnesses(reported=reported, cause="dns", params={"host": "x"}).judge()
    assert found == (reported, "dns", {"host": "x"})


def test_connected_needs_everything():
    """Of all combinations only one is shown as connected."""
    flags = itertools.product((True, False), repeat=4)
    for active, confirmed, stop, refused in flags:
        config = Config((), active, confirmed, stop, refused)
        for owned, reported in itertools.product((True, False), REPORTS):
            found = Witnesses(config, owned=owned, reported=reported).judge()
            healthy = config == Config() and owned and reported == "connected"
            assert (found[0] == "connected") == healthy
