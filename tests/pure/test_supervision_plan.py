"""Who runs what: the decision that everything hangs on, without Odoo."""

import itertools
import random
from dataclasses import dataclass

import pytest

from supervision import load

plan = load("supervision.supervision_plan")
Action, Reason, Running, Step = plan.Action, plan.Reason, plan.Running, plan.Step


@dataclass
class Config:
    id: int = 1
    active: bool = True
    problems: tuple = ()
    stop_requested: bool = False
    confirmed: bool = True
    auth_failed: bool = False
    fingerprint: str = "a"
    request_seq: int = 0

    @property
    def wanted(self):
        return (
            self.active
            and self.confirmed
            and not self.problems
            and not self.stop_requested
            and not self.auth_failed
        )


def running(fingerprint="a", request_seq=0, alive=True, **flags):
    return Running(fingerprint, request_seq, alive, **flags)


def test_a_healthy_link_is_left_alone():
    assert plan.make_plan([Config()], {1: running()}) == ([], [])


def test_a_wanted_instance_without_a_link_is_missing():
    assert plan.make_plan([Config(1), Config(2)], {1: running()}) == ([], [2])


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (Config(active=False), Reason.DEACTIVATED),
        (Config(problems=("url",)), Reason.MISCONFIGURED),
        (Config(stop_requested=True), Reason.STOP_REQUESTED),
        (Config(confirmed=False), Reason.UNCONFIRMED),
        (Config(auth_failed=True), Reason.REFUSED),
    ],
)
def test_what_is_not_wanted_stops_and_is_not_started(config, reason):
    assert plan.make_plan([config], {1: running()}) == (
        [Step(Action.STOP, 1, reason)],
        [],
    )
    assert plan.make_plan([config], {}) == ([], [])


def test_a_deleted_instance_stops():
    steps, _ = plan.make_plan([], {1: running()})
    assert steps == [Step(Action.STOP, 1, Reason.DELETED)]


def test_a_changed_configuration_and_a_request_restart():
    steps, _ = plan.make_plan([Config(fingerprint="b")], {1: running()})
    assert steps == [Step(Action.RESTART, 1, Reason.CHANGED)]
    asked = Config(fingerprint="b", request_seq=1)
    steps, _ = plan.make_plan([asked], {1: running()})
    assert steps == [Step(Action.RESTART, 1, Reason.RESTART_REQUESTED)]


def test_a_dead_thread_is_revived_unless_the_token_was_refused():
    steps, _ = plan.make_plan([Config()], {1: running(alive=False)})
    assert steps == [Step(Action.REVIVE, 1, Reason.THREAD_ENDED)]
    # The verdict may not have reached the database yet: no second attempt.
    refused = running(alive=False, refused=True)
    assert plan.make_plan([Config()], {1: refused}) == ([], [])
    steps, _ = plan.make_plan([Config(auth_failed=True)], {1: refused})
    assert steps == [Step(Action.STOP, 1, Reason.REFUSED)]


def test_a_fenced_link_stops_whatever_else_is_true():
    for config in (Config(), Config(fingerprint="b"), Config(active=False)):
        steps, _ = plan.make_plan([config], {1: running(fenced=True)})
        assert steps == [Step(Action.STOP, 1, Reason.LEASE_LOST)]
    steps, _ = plan.make_plan([], {1: running(fenced=True)})
    assert steps == [Step(Action.STOP, 1, Reason.DELETED)]


def test_every_combination_ends_in_what_is_wanted():
    """Carrying the plan out once leaves nothing to do."""
    flags = itertools.product([True, False], repeat=5)
    for active, confirmed, stop, refused, present in flags:
        config = Config(
            active=active, confirmed=confirmed, stop_requested=stop, auth_failed=refused
        )
        handles = {1: running()} if present else {}
        steps, missing = plan.make_plan([config], handles)
        for step in steps:
            handles.pop(step.instance_id)
        for instance_id in missing:
            handles[instance_id] = running()
        assert (1 in handles) == config.wanted
        assert plan.make_plan([config], handles) == ([], [])


def test_shares_converge_without_swinging():
    """Processes that give away their surplus end up about even, and stay."""
    rng = random.Random(7)
    for _ in range(200):
        total, count = rng.randint(0, 60), rng.randint(1, 8)
        held = [[] for _ in range(count)]
        for instance_id in range(total):
            rng.choice(held).append(instance_id)
        share = plan.fair_share(total, count)
        assert share * count >= total
        free = [i for mine in held for i in plan.surplus(mine, share)]
        held = [[i for i in mine if i not in free] for mine in held]
        for instance_id in free:
            min(held, key=len).append(instance_id)
        assert sorted(i for mine in held for i in mine) == list(range(total))
        assert all(len(mine) <= share + 1 for mine in held)
        assert not any(plan.surplus(mine, share) for mine in held)


def test_one_too_many_is_not_worth_a_reconnect():
    assert plan.surplus([1, 2], 1) == []
    assert plan.surplus([3, 1, 2], 1) == [2, 3]
    assert plan.fair_share(0, 3) == 0
    assert plan.fair_share(3, 0) == 3
