"""Which kind of Odoo process this is, and whether it may supervise links."""

import os
import threading

import odoo.cli
from odoo.modules import module as odoo_module
from odoo.service import server as odoo_server
from odoo.tools import config

SERVER = "server"  # the one process of a server without workers
CRON_WORKER = "cron"
HTTP_WORKER = "http"

_WORKER_ROLES = {"WorkerCron": CRON_WORKER, "WorkerHTTP": HTTP_WORKER}
_worker_role = None  # (pid, role), set when a forked worker starts


def remember_worker(worker) -> None:
    """Note which worker this process has become.

    :param worker: the ``odoo.service.server.Worker`` that has just started
    """
    global _worker_role
    role = _WORKER_ROLES.get(type(worker).__name__)
    _worker_role = (os.getpid(), role)


def belongs_to_server() -> bool:
    """Whether this process, or one that it forks, may supervise.

    Never in ``odoo shell`` and other commands, with ``--stop-after-init``, or while
    tests run.
    """
    if getattr(odoo.cli, "COMMAND", None) not in ("server", "start"):
        return False
    return not (
        config["stop_after_init"] or config["test_enable"] or odoo_module.current_test
    )


def current_role() -> str | None:
    """The role in which this process may supervise, or ``None`` if it must not.

    Only where :func:`belongs_to_server`; never in the gevent process, or in the
    master of a prefork server.
    """
    if not belongs_to_server() or odoo.evented:
        return None
    if not config["workers"]:
        return SERVER
    if _worker_role and _worker_role[0] == os.getpid():
        return _worker_role[1]
    return _role_of_running_worker()


def has_cron_workers() -> bool:
    """Whether this server has, or will have, workers that serve no user requests."""
    return bool(config["workers"] and config["max_cron_threads"])


def _role_of_running_worker() -> str | None:
    """Role of a worker that loads the addon only after it has started."""
    server = odoo_server.server
    if server is None or server.pid == os.getpid():
        return None
    # A worker names its thread "Worker WorkerCron (1234) workthread".
    for thread in threading.enumerate():
        words = thread.name.split()
        if words[:1] == ["Worker"] and f"({os.getpid()})" in words:
            return _WORKER_ROLES.get(words[1])
    return None
