"""Supervision of WebSocket links: the API, and this process's monitors.

The functions work from any process, ``odoo shell`` included: they leave a
request in the database and notify whoever supervises there, and they answer from
what PostgreSQL knows (lease, status row, heartbeat), never from this process.

Usage in ``odoo shell``::

    from odoo.addons.odoo_ha_addon.models.common.websocket_thread_manager import (
        get_websocket_service_status, restart_websocket_service)
    get_websocket_service_status(env, 1)
    restart_websocket_service(env, 1)
"""

import contextlib
import logging
import os
import threading
import time

from psycopg2.errors import SerializationFailure

from odoo.service import server as odoo_server
from odoo.tools import config

from .condition import link_status
from .supervision import process_role
from .supervision.instance_config import read_instances
from .supervision.ownership import CHANNEL, SESSION_NAME, SESSIONS_SQL
from .supervision.supervision_news import log_problems
from .thread_tools import cap_malloc_arenas, start_thread
from .websocket_monitor_service import WebSocketMonitorService

_logger = logging.getLogger(__name__)

RESTART_COOLDOWN_S = 5
REQUEST_ATTEMPTS = 10
STOP_LIMIT_S = 1.5  # for links and last batches; then no answer is waited for
SHUTDOWN_LIMIT_S = 2.0
WATCH_INTERVAL_S = 2.0


# The API ----------------------------------------------------------------------


def start_websocket_service(env, instance_id=None) -> bool:
    """Ask for the links of active, complete instances to run.

    Lifts an earlier stop. A link that runs goes on undisturbed.

    :param env: any environment of the database; its transaction is not touched
    :param int instance_id: one instance, or all when left out
    :return: whether there is at least one instance to run
    """
    with env.registry.cursor() as cr:
        configs = _select(cr, instance_id)
        if not configs:
            _logger.info("No active HA instances found for database %s", cr.dbname)
            return False
        _logger.info(
            "[start_websocket_service] Found %d active instance(s)", len(configs)
        )
        statuses = link_status.read(cr, [config.id for config in configs])
        complete = []
        for config in configs:
            log_problems(config)
            if config.problems:
                continue
            complete.append(config.id)
            if statuses[config.id].running:
                _logger.info(
                    "WebSocket already running for %s instance %s (%s) instance_id=%s",
                    cr.dbname,
                    config.id,
                    config.name,
                    config.id,
                )
        _request(cr, complete, "stop_requested = FALSE")
    return bool(complete)


def stop_websocket_service(env=None, instance_id=None) -> bool:
    """Stop links until start, restart or reactivation, over restarts too.

    Without arguments: end what this process runs, as at its shutdown; the
    instances stay wanted, and another process takes them over.

    :return: whether there was something to stop
    """
    if env is None:
        return _process.stop()
    with env.registry.cursor() as cr:
        ids = [config.id for config in _select(cr, instance_id, active_only=False)]
        _request(cr, ids, "stop_requested = TRUE")
    return bool(ids)


def restart_websocket_service(env, instance_id=None, force=False) -> bool:
    """Connect links anew; also tries again after a refused token.

    :param bool force: also within the cool-down of 5 s after an earlier restart
    :return: False when nothing is restarted: no such active and complete
        instance, or the cool-down
    """
    with env.registry.cursor() as cr:
        configs = _select(cr, instance_id)
        for config in configs:
            log_problems(config)
        ids = [config.id for config in configs if not config.problems]
        if not force and ids:
            cr.execute(
                "SELECT instance_id FROM ha_instance_status"
                " WHERE instance_id = ANY(%s) AND request_date >"
                " (now() AT TIME ZONE 'UTC') - %s * interval '1 second'",
                (ids, RESTART_COOLDOWN_S),
            )
            cooling = {row[0] for row in cr.fetchall()}
            for id_ in cooling:
                _logger.info(
                    "Restarted less than %d s ago; not again. instance_id=%s",
                    RESTART_COOLDOWN_S,
                    id_,
                )
            ids = [id_ for id_ in ids if id_ not in cooling]
        _request(
            cr,
            ids,
            "stop_requested = FALSE, request_seq = coalesce(request_seq, 0) + 1,"
            " auth_fingerprint = NULL, request_date = now() AT TIME ZONE 'UTC'",
        )
    return bool(ids)


def is_websocket_service_running(env, instance_id=None) -> bool:
    """Whether an owner holds the instance and its heartbeat is at most 30 s old.

    :param int instance_id: without it: whether every active, complete instance
        runs (False when there is none)
    """
    with env.registry.cursor() as cr:
        ids = [
            config.id
            for config in _select(cr, instance_id)
            if instance_id or not config.problems
        ]
        statuses = link_status.read(cr, ids)
        return bool(ids) and all(statuses[id_].running for id_ in ids)


def get_websocket_service_status(env, instance_id) -> dict:
    """The true condition of one link, for people and tools.

    :return: a dict with ``state`` (as ``connection_state``), ``message``,
        ``remedy``, ``cause``, ``last_error``, ``owner`` (``host``, ``pid``,
        ``role``; None when nobody owns it), ``connected_since`` (UTC datetime),
        ``heartbeat`` (UTC datetime) and ``heartbeat_age`` (seconds); all None
        but ``state`` (``unknown``) for an instance that does not exist
    """
    with env.registry.cursor() as cr:
        return link_status.describe(env, cr, instance_id)


def lacks_supervisors(cr) -> bool:
    """Whether some cron worker of a prefork server does not supervise yet.

    Without a preloaded database a worker knows nothing of the addon before it has
    loaded it, and could not take a link over.
    """
    if not config["workers"]:
        return False
    cr.execute(SESSIONS_SQL, (f"{SESSION_NAME}{process_role.CRON_WORKER}-%",))
    return cr.rowcount < config["max_cron_threads"]


def _select(cr, instance_id, active_only=True):
    """The committed configurations of one instance or of all active ones."""
    return [
        config
        for config in read_instances(_executor(cr))
        if (config.active or not active_only)
        and (not instance_id or config.id == instance_id)
    ]


def _executor(cr):
    def execute(query):
        cr.execute(query)
        return cr.fetchall()

    return execute


def _request(cr, instance_ids, assignments: str) -> None:
    """Leave a request in the status rows; the notification follows the commit.

    Their owner writes the same rows: with Odoo's REPEATABLE READ an update that
    waited for the owner's fails, and has to be tried on a new snapshot.
    """
    query = f"UPDATE ha_instance_status SET {assignments} WHERE instance_id = ANY(%s)"
    for attempt in range(REQUEST_ATTEMPTS):
        try:
            if instance_ids:
                cr.execute("SET LOCAL lock_timeout = '5s'")
                last = attempt == REQUEST_ATTEMPTS - 1
                cr.execute(query, (list(instance_ids),), log_exceptions=last)
            notify(cr)
            return
        except SerializationFailure:
            if last:
                raise
            cr.rollback()


def notify(cr) -> None:
    """Tell every supervising process, once this transaction is committed.

    PostgreSQL binds the notification to the commit itself: a rollback sends
    nothing.
    """
    cr.execute("SELECT pg_notify(%s, 'changed')", (CHANNEL,))


def notify_recording(cr) -> None:
    """Tell the owners, once this is committed, that what is recorded has changed."""
    cr.execute("SELECT pg_notify(%s, 'recording')", (CHANNEL,))


# This process -------------------------------------------------------------------


class _Process:
    """The monitors of this process, one per database. Not a source of truth."""

    def __init__(self):
        self._reset()
        self._armed = False

    def _reset(self):
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._databases: set[str] = set()
        self._monitors: dict[str, WebSocketMonitorService] = {}
        self._closing = False
        self._watching = False

    def after_fork(self):
        """Threads do not survive a fork, and a lock may be held by one of them."""
        databases = set(self._databases)
        self._reset()
        self._databases = databases

    def arm(self) -> None:
        """Prepare supervision; starts nothing and touches no database."""
        if self._armed:
            return
        self._armed = True
        os.register_at_fork(after_in_child=self.after_fork)
        odoo_server.CommonServer.on_stop(_stop_with_server)
        _hook_workers(odoo_server.Worker)

    def attach(self, dbname: str) -> None:
        """Supervise a database from here on, if this process is one that may."""
        self.arm()
        with self._lock:
            # What was dropped or uninstalled is not to be looked for again; only a
            # registry that is loaded with the addon brings it back.
            for name in [n for n, m in self._monitors.items() if m.is_over]:
                del self._monitors[name]
                self._databases.discard(name)
            self._databases.add(dbname)
        self.start()

    def start(self) -> None:
        """Start a monitor for each known database that has none."""
        role = process_role.current_role()
        if role is None:
            return
        with self._lock:
            if self._closing:
                return
            self._start_watching()
            for dbname in sorted(self._databases):
                monitor = self._monitors.get(dbname)
                if monitor is None or not monitor.is_alive():
                    monitor = WebSocketMonitorService(dbname, role)
                    self._monitors[dbname] = monitor
                    start_thread(monitor)

    def stop(self) -> bool:
        """End all monitors and their links; used when the process ends."""
        with self._lock:
            self._closing = True
            monitors = [m for m in self._monitors.values() if m.is_alive()]
        for monitor in monitors:
            monitor.request_stop()
        began = time.monotonic()
        for limit in (STOP_LIMIT_S, SHUTDOWN_LIMIT_S):
            for monitor in monitors:
                monitor.join(max(0.0, began + limit - time.monotonic()))
                if monitor.is_alive():
                    monitor.force_stop()
        return bool(monitors)

    def detach(self, dbname: str) -> None:
        """End supervision of one database here, e.g. at uninstall."""
        with self._lock:
            self._databases.discard(dbname)
            monitor = self._monitors.pop(dbname, None)
        if monitor is not None and monitor.is_alive():
            monitor.request_stop()
            monitor.join(SHUTDOWN_LIMIT_S)

    def _start_watching(self) -> None:
        """Stop when the main thread ends without a word; look after the leases.

        Odoo calls no ``on_stop`` when it is stopped during a preload or an
        installation, and ``atexit`` runs only after non-daemon threads have ended.
        A daemon, because Odoo waits a second for every other thread; it holds no
        transaction and is needed only while the others are there.
        """
        if self._watching:
            return
        self._watching = True
        cap_malloc_arenas()
        watcher = threading.Thread(
            target=self._watch, name="HomeAssistantMainWatch", daemon=True
        )
        start_thread(watcher)

    def _watch(self) -> None:
        main_thread = threading.main_thread()
        while main_thread.is_alive():
            main_thread.join(WATCH_INTERVAL_S)
            for monitor in list(self._monitors.values()):
                monitor.check_lease()
        self.stop()


_process = _Process()


def arm() -> None:
    """Prepare supervision in this process; see ``post_load_hook``."""
    _process.arm()


def attach(dbname: str) -> None:
    """A registry with the addon was loaded: supervise its links from here."""
    _process.attach(dbname)


def detach(dbname: str) -> None:
    """The addon leaves this database: end what runs for it here."""
    _process.detach(dbname)


def _stop_with_server() -> None:
    if _process._pid == os.getpid():
        _process.stop()


def _hook_workers(worker_class) -> None:
    """Let prefork workers begin and end supervision; the master does neither.

    A worker never runs ``on_stop``, and a thread that goes on would keep it from
    being replaced. ``signal.signal`` would take Odoo's own handlers away.
    """
    original_start, original_stop = worker_class.start, worker_class.stop
    original_handler = worker_class.signal_handler

    def signal_handler(self, sig, frame):
        original_handler(self, sig, frame)
        # The signal woke the worker's loop before this handler could say why; with
        # more threads about, the loop often looks too early and sleeps once more.
        with contextlib.suppress(OSError):
            os.write(self.wakeup_fd_w, b".")

    def start(self):
        original_start(self)
        try:
            process_role.remember_worker(self)
            _process.start()
        except Exception:
            _logger.exception("Supervision cannot start in worker %s", os.getpid())

    def stop(self):
        try:
            _process.stop()
        except Exception:
            _logger.exception("Supervision cannot end in worker %s", os.getpid())
        original_stop(self)

    worker_class.start, worker_class.stop = start, stop
    worker_class.signal_handler = signal_handler
