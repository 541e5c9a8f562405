"""What a monitor tells the log: each condition once, however often it looks. Pure.

Administrators grep for these lines; each about an instance names it. A ``config``
is an :class:`~.instance_config.InstanceConfig`.
"""

import logging
import socket
from collections.abc import Mapping
from typing import Any

from ....ha_client.config_check import log_text
from .supervision_plan import Action, Reason, Step

_logger = logging.getLogger(__name__)


class SupervisionNews:
    """The log of the supervision of one database."""

    def __init__(self, dbname: str):
        self._dbname = dbname
        self._announced = False
        self._complained: dict[int, tuple] = {}
        self._elsewhere: dict[int, str] = {}  # id → other host that owns it
        self._is_cut_off = False  # PostgreSQL is away, and we have said so

    def instances(self, configs: list[Any]) -> None:
        """How many there are, and, once per change, which cannot start and why."""
        if not self._announced:
            self._announced = True
            active = sum(config.active for config in configs)
            if active:
                _logger.info(
                    "[start_websocket_service] Found %d active instance(s)", active
                )
            else:
                _logger.info(
                    "No active HA instances found for database %s", self._dbname
                )
        for config in configs:
            if config.active and self._complained.get(config.id) != config.problems:
                self._complained[config.id] = config.problems
                log_problems(config)

    def owners(self, owners: dict[int, tuple], configs: Mapping[int, Any]) -> None:
        """Which instances another host keeps connected.

        :param owners: by id, host, role and process id
        :param configs: by id
        """
        here = socket.gethostname()
        strangers = {i: owner for i, owner in owners.items() if owner[0] != here}
        for instance_id, (host, role, pid) in strangers.items():
            if self._elsewhere.get(instance_id) != host:
                _logger.info(
                    "WebSocket already running for %s instance %s (%s) on another"
                    " host, %s (%s process %s). instance_id=%s",
                    self._dbname,
                    instance_id,
                    configs[instance_id].name,
                    host,
                    role,
                    pid,
                    instance_id,
                )
        self._elsewhere = {i: host for i, (host, _role, _pid) in strangers.items()}

    def step(self, step: Step, name: str, is_repeating: bool) -> None:
        """A link ends here, for good or to start anew.

        :param is_repeating: by the same bug as before
        """
        level = logging.INFO
        if step.reason in (Reason.CHANGED, Reason.MISCONFIGURED):
            text = "configuration changed. Restarting WebSocket service..."
        elif step.reason in (Reason.DEACTIVATED, Reason.DELETED):
            text = f"{step.reason.value}. Stopping WebSocket service..."
        elif step.action is Action.REVIVE:
            text = "WebSocket stopped. Restarting..."
            level = logging.DEBUG if is_repeating else logging.WARNING
        else:
            self.stops(step.instance_id, name, step.reason)
            return
        _logger.log(
            level, "Instance %s %s instance_id=%s", name, text, step.instance_id
        )

    def stops(self, instance_id: int, name: str, reason: Reason) -> None:
        """A link ends although nobody has changed its instance."""
        _logger.info(
            "Instance %s stops its WebSocket service (%s). instance_id=%s",
            name,
            reason.value,
            instance_id,
        )

    def activated(self, config: Any) -> None:
        _logger.info(
            "Instance %s activated. Starting WebSocket service... instance_id=%s",
            config.name,
            config.id,
        )

    def fenced(self, instance_id: int) -> None:
        _logger.warning(
            "Another process owns instance %s now; nothing more is written here."
            " instance_id=%s",
            instance_id,
            instance_id,
        )

    def busy(self, error: Exception) -> None:
        """PostgreSQL makes us wait, e.g. for a locked table."""
        _logger.warning(
            "Supervision of database %s waits: %s", self._dbname, str(error).strip()
        )

    def silent(self, seconds: float) -> None:
        _logger.warning(
            "PostgreSQL has not answered the supervision of database %s for %d s.",
            self._dbname,
            seconds,
        )

    def lost(self, error: Exception) -> None:
        """The lease's connection, and with it all links; told until :meth:`back`."""
        _logger.log(
            logging.DEBUG if self._is_cut_off else logging.WARNING,
            "Lost the supervision connection to database %s: %s. Links stop until it"
            " is back.",
            self._dbname,
            str(error).strip(),
        )
        self._is_cut_off = True

    def back(self) -> None:
        self._is_cut_off = False

    def failed(self) -> None:
        """A bug, in an ``except`` block."""
        _logger.exception(
            "Supervision of database %s failed; starting it anew.", self._dbname
        )

    def over(self) -> None:
        _logger.info(
            "Supervision of database %s ends here: the database, or the addon in it,"
            " is gone.",
            self._dbname,
        )


def log_problems(config: Any) -> None:
    """Log each configuration problem of an instance, one line each."""
    for problem in config.problems:
        text = log_text(problem)
        _logger.error(
            "[CRITICAL] Instance %s (%s): %s%s Cannot start WebSocket service. Please"
            " configure the instance. instance_id=%s",
            config.id,
            config.name,
            text,
            "" if text.endswith("!") else ".",
            config.id,
        )
