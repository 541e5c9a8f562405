"""Decide what a process has to do for its links; pure.

Nothing here does anything: instances, threads and the clock are handed in, a
plan comes out. This keeps the one decision that everything hangs on, who runs
what, testable without Odoo, threads or a database.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any


class Action(Enum):
    START = "start"
    STOP = "stop"
    RESTART = "restart"  # the configuration is another one
    REVIVE = "revive"  # the thread has ended by itself


class Reason(Enum):
    DELETED = "deleted"
    DEACTIVATED = "deactivated"
    STOP_REQUESTED = "stop_requested"
    MISCONFIGURED = "misconfigured"
    UNCONFIRMED = "unconfirmed"
    REFUSED = "refused"
    CHANGED = "changed"
    RESTART_REQUESTED = "restart_requested"
    THREAD_ENDED = "thread_ended"
    LEASE_LOST = "lease_lost"
    SERVER_STOPPED = "server_stopped"
    DATABASE_LOST = "database_lost"
    BALANCED = "balanced"


@dataclass(frozen=True)
class Running:
    """What this process runs for one instance."""

    fingerprint: str
    request_seq: int
    alive: bool
    fenced: bool = False
    refused: bool = False  # ended because Home Assistant refuses the token
    crashed: bool = False  # ended by a bug


@dataclass(frozen=True)
class Step:
    action: Action
    instance_id: int
    reason: Reason


def make_plan(
    instances: Iterable[Any], running: Mapping[int, Running]
) -> tuple[list[Step], list[int]]:
    """Compare what is wanted with what runs.

    :param instances: objects with ``id``, ``wanted``, ``fingerprint`` and the
        flags of ``InstanceConfig``
    :param running: by instance id
    :return: the steps for what runs, and the ids of wanted instances that this
        process does not run (it may start those whose lock it gets)
    """
    configs = {config.id: config for config in instances}
    steps = []
    for instance_id, handle in running.items():
        step = _step_for(configs.get(instance_id), handle)
        if step:
            steps.append(Step(step[0], instance_id, step[1]))
    missing = [
        instance_id
        for instance_id, config in configs.items()
        if config.wanted and instance_id not in running
    ]
    return steps, missing


def why_unwanted(config) -> Reason:
    """The first reason for which an instance must not have a link."""
    if config is None:
        return Reason.DELETED
    if not config.active:
        return Reason.DEACTIVATED
    if config.problems:
        return Reason.MISCONFIGURED
    if config.stop_requested:
        return Reason.STOP_REQUESTED
    if not config.confirmed:
        return Reason.UNCONFIRMED
    return Reason.REFUSED


def _step_for(config, handle: Running) -> tuple[Action, Reason] | None:
    if handle.fenced and config is not None:
        return Action.STOP, Reason.LEASE_LOST
    if config is None or not config.wanted:
        return Action.STOP, why_unwanted(config)
    if handle.fingerprint != config.fingerprint:
        if handle.request_seq != config.request_seq:
            return Action.RESTART, Reason.RESTART_REQUESTED
        return Action.RESTART, Reason.CHANGED
    # A refused link is over, but its verdict may not be in the database yet.
    if not handle.alive and not handle.refused:
        return Action.REVIVE, Reason.THREAD_ENDED
    return None


def fair_share(wanted: int, supervisors: int) -> int:
    """How many instances each of the supervising processes should hold at most."""
    return -(-wanted // max(1, supervisors))


def surplus(held: list[int], share: int) -> list[int]:
    """The instances to give away; none while the imbalance is small.

    Moving a link costs a reconnect, so one more than the share is tolerated.
    """
    return sorted(held)[share:] if len(held) > share + 1 else []
