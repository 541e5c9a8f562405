"""The monitor: one thread per process and database that supervises the links.

It holds the lease, listens for changes, compares what is wanted with what runs
(:mod:`supervision_plan`) and starts, stops and revives the links' threads. It
works with SQL on a connection of its own, because Odoo's registry is locked
for the whole of a preload or an upgrade, and a stop must not wait for that.
"""

import logging
import os
import socket
import threading
import time
from dataclasses import dataclass

import psycopg2

from ...ha_client.backoff import Backoff
from ...ha_client.buffer import LinkBuffer
from ...ha_client.config_check import log_text
from . import process_role
from .hass_websocket_service import AUTH_FAILED, CRASHED, HassWebSocketService
from .ingest_writer import IngestWriter, WriterLink
from .instance_config import InstanceConfig, read_instances
from .ownership import LOCK_CLASS, Lease, connect
from .supervision_plan import Action, Reason, Running, make_plan
from .thread_tools import prepare_thread, start_thread

_logger = logging.getLogger(__name__)

CHECK_INTERVAL_S = 30.0
TICK_S = 1.0
STOP_GRACE_S = 0.4  # for closing a WebSocket properly; then its socket is cut
STOP_LIMIT_S = 0.6  # for all links together
FLUSH_LIMIT_S = 0.3  # for the last batches; then their transaction is cut
HTTP_STANDBY_S = 3.0  # an HTTP worker steps in when nobody else has by then

# One round trip keeps the session alive and tells what has to be looked at.
TICK_SQL = """
    SELECT m.state,
           ARRAY(SELECT l.objid::bigint FROM pg_locks l
                  WHERE l.locktype = 'advisory' AND l.objsubid = 2 AND l.granted
                    AND l.classid = %s AND l.database =
                        (SELECT oid FROM pg_database WHERE datname = current_database())
                    AND l.objid = ANY(%s::oid[]))
      FROM ir_module_module m WHERE m.name = 'odoo_ha_addon'
"""


@dataclass
class Handle:
    """What this process runs for one instance."""

    config: InstanceConfig
    service: HassWebSocketService
    link: WriterLink

    def as_running(self) -> Running:
        return Running(
            fingerprint=self.config.fingerprint,
            request_seq=self.config.request_seq,
            alive=self.service.is_alive(),
            fenced=self.link.fenced,
            refused=self.service.outcome == AUTH_FAILED,
        )


class WebSocketMonitorService(threading.Thread):
    """Supervises all links of one database from this process.

    :param dbname: the database
    :param role: this process's role, see :mod:`process_role`
    """

    def __init__(self, dbname: str, role: str):
        super().__init__(name="WebSocketMonitor", daemon=False)
        self.dbname = dbname
        self.role = role
        self._wake_r, self._wake_w = socket.socketpair()
        self._wake_r.setblocking(False)
        self._wake_w.setblocking(False)
        self._stopping = threading.Event()
        self._dirty = threading.Event()
        self._lease: Lease | None = None
        self._writer: IngestWriter | None = None
        self._handles: dict[int, Handle] = {}
        self._configs: dict[int, InstanceConfig] = {}
        self._missing: dict[int, float] = {}  # id → time.monotonic() unowned since
        self._stuck: list[HassWebSocketService] = []
        self._crashes: dict[int, Backoff] = {}
        self._revive_at: dict[int, float] = {}
        self._complained: dict[int, tuple] = {}
        self._announced = False

    # What others call -----------------------------------------------------

    def wake(self) -> None:
        """Look at everything at once instead of at the next check."""
        self._dirty.set()
        self._poke()

    def request_stop(self) -> None:
        """End all links, then this thread; returns at once."""
        self._stopping.set()
        self._poke()

    def _poke(self) -> None:
        try:
            self._wake_w.send(b"x")
        except OSError:
            # Full: a wake-up is pending anyway. Closed: the thread has ended.
            return

    # The thread -----------------------------------------------------------

    def run(self):
        prepare_thread()
        backoff = Backoff(cap=10.0)
        try:
            while not self._stopping.is_set():
                try:
                    if not self._supervise(backoff):
                        return
                except psycopg2.Error as error:
                    self._lost_database(error, backoff)
                    if not self._database_exists():
                        return
                except Exception:
                    _logger.exception(
                        "Supervision of database %s failed; starting it anew.",
                        self.dbname,
                    )
                    self._stop_everything()
                    self._stopping.wait(backoff.next_delay())
        finally:
            self._stop_everything()
            self._wake_r.close()
            self._wake_w.close()

    def _supervise(self, backoff: Backoff) -> bool:
        """Supervise until stopped; False when the addon is gone from here."""
        self._lease = Lease(self.dbname)
        self._writer = IngestWriter(self.dbname, self._on_fenced)
        start_thread(self._writer)
        check_at = 0.0
        while not self._stopping.is_set():
            rows = self._lease.execute(TICK_SQL, (LOCK_CLASS, list(self._missing)))
            module_state, owned = rows[0] if rows else (None, [])
            if module_state != "installed":
                self._stop_links(list(self._handles), Reason.SERVER_STOPPED)
                if module_state in (None, "uninstalled"):
                    return False
                # Being installed, upgraded or removed: look again in a moment.
                check_at = 0.0
            elif (
                time.monotonic() >= check_at
                or self._dirty.is_set()
                or self._needs_attention(set(owned))
            ):
                self._dirty.clear()
                self._reconcile()
                check_at = time.monotonic() + CHECK_INTERVAL_S
                backoff.reset()
            if self._lease.wait(self._wake_r.fileno(), TICK_S):
                self._dirty.set()
            self._drain_wakeups()
        return True

    def _drain_wakeups(self) -> None:
        try:
            while self._wake_r.recv(4096):
                continue
        except BlockingIOError:
            return

    def _needs_attention(self, owned: set[int]) -> bool:
        now = time.monotonic()
        for instance_id in self._missing:
            if instance_id in owned:
                self._missing[instance_id] = now
        unowned = [
            instance_id
            for instance_id, since in self._missing.items()
            if now - since >= self._patience()
            and now >= self._revive_at.get(instance_id, 0.0)
        ]
        dead = [
            instance_id
            for instance_id, handle in self._handles.items()
            if handle.link.fenced
            or not handle.service.is_alive()
            and now >= self._revive_at.get(instance_id, 0.0)
        ]
        if not self._writer.is_alive():
            raise RuntimeError("the writer's thread has ended")
        return bool(unowned or dead)

    def _patience(self) -> float:
        """How long an instance may be without an owner before we step in."""
        return HTTP_STANDBY_S if self.role == process_role.HTTP_WORKER else 0.0

    # Reconciling ----------------------------------------------------------

    def _reconcile(self) -> None:
        instances = read_instances(self._lease.execute)
        self._configs = {config.id: config for config in instances}
        self._announce(instances)
        self._complain(instances)
        self._stuck = [service for service in self._stuck if service.is_alive()]
        running = {id_: handle.as_running() for id_, handle in self._handles.items()}
        steps, missing = make_plan(instances, running)
        stopping: dict[Reason, list[int]] = {}
        for step in steps:
            stopping.setdefault(step.reason, []).append(step.instance_id)
            self._log_step(step)
            if step.reason is Reason.LEASE_LOST:
                self._hold_off(step.instance_id)
        for reason, instance_ids in stopping.items():
            if reason is Reason.THREAD_ENDED:
                instance_ids = [i for i in instance_ids if self._may_revive(i)]
            self._stop_links(instance_ids, reason)
        again = {
            step.instance_id
            for step in steps
            if step.action in (Action.RESTART, Action.REVIVE)
            and step.instance_id not in self._handles
        }
        now = time.monotonic()
        candidates = [*again, *missing]
        self._missing = {i: self._missing.get(i, now) for i in missing}
        for instance_id in candidates:
            if self._stopping.is_set():
                return
            waited = now - self._missing.get(instance_id, now)
            if instance_id in again or waited >= self._patience():
                self._try_start(self._configs[instance_id])

    def _announce(self, instances: list[InstanceConfig]) -> None:
        if self._announced:
            return
        self._announced = True
        active = sum(config.active for config in instances)
        if active:
            _logger.info(
                "[start_websocket_service] Found %d active instance(s)", active
            )
        else:
            _logger.info("No active HA instances found for database %s", self.dbname)

    def _complain(self, instances: list[InstanceConfig]) -> None:
        """Say, once per change, which instances cannot start and why."""
        for config in instances:
            if not config.active or self._complained.get(config.id) == config.problems:
                continue
            self._complained[config.id] = config.problems
            log_problems(config)

    def _log_step(self, step) -> None:
        config = self._configs.get(step.instance_id)
        handle = self._handles[step.instance_id]
        name = (config or handle.config).name
        if step.reason in (Reason.CHANGED, Reason.MISCONFIGURED):
            _logger.info(
                "Instance %s configuration changed. Restarting WebSocket service..."
                " instance_id=%s",
                name,
                step.instance_id,
            )
        elif step.reason in (Reason.DEACTIVATED, Reason.DELETED):
            _logger.info(
                "Instance %s %s. Stopping WebSocket service... instance_id=%s",
                name,
                step.reason.value,
                step.instance_id,
            )
        elif step.action is Action.REVIVE and self._may_revive(step.instance_id):
            _logger.warning(
                "Instance %s WebSocket stopped. Restarting... instance_id=%s",
                name,
                step.instance_id,
            )
        elif step.action is Action.STOP or step.action is Action.RESTART:
            _logger.info(
                "Instance %s: WebSocket service stops (%s). instance_id=%s",
                name,
                step.reason.value,
                step.instance_id,
            )

    def _may_revive(self, instance_id: int) -> bool:
        """Whether a thread that crashed has waited long enough."""
        handle = self._handles[instance_id]
        if handle.service.outcome != CRASHED:
            return True
        if instance_id not in self._revive_at:
            self._hold_off(instance_id)
        return time.monotonic() >= self._revive_at[instance_id]

    def _hold_off(self, instance_id: int) -> None:
        """Do not start an instance again before a pause that grows each time."""
        backoff = self._crashes.setdefault(instance_id, Backoff())
        self._revive_at[instance_id] = time.monotonic() + backoff.next_delay()

    # Starting -------------------------------------------------------------

    def _try_start(self, config: InstanceConfig) -> None:
        if any(service.instance_id == config.id for service in self._stuck):
            return  # never two threads for one instance
        if time.monotonic() < self._revive_at.get(config.id, 0.0):
            return
        if not self._lease.try_acquire(config.id):
            return
        self._missing.pop(config.id, None)
        self._revive_at.pop(config.id, None)
        epoch = self._take_over(config)
        buffer = LinkBuffer(self._writer.wake)
        link = WriterLink(
            instance_id=config.id,
            name=config.name,
            epoch=epoch,
            verdict_fingerprint=config.verdict_fingerprint,
            entity_filter=config.entity_filter,
            buffer=buffer,
        )
        service = HassWebSocketService(
            self.dbname, config.id, config.name, config.link, buffer
        )
        self._handles[config.id] = Handle(config, service, link)
        self._writer.attach(link)
        _logger.info(
            "Instance %s (%s) configuration OK. Starting WebSocket service..."
            " instance_id=%s",
            config.id,
            config.name,
            config.id,
        )
        start_thread(service)
        _logger.info(
            "WebSocket thread started for %s instance %s (%s) with URL: %s"
            " instance_id=%s",
            self.dbname,
            config.id,
            config.name,
            config.link.base_url,
            config.id,
        )

    def _take_over(self, config: InstanceConfig) -> int:
        """Fence every earlier owner off; return the new epoch."""
        [(epoch,)] = self._lease.execute(
            """
            INSERT INTO ha_instance_status AS s
                   (instance_id, epoch, state, owner_host, owner_pid, owner_role,
                    request_seq, stop_requested, connect_count, write_date)
            VALUES (%(id)s, 1, 'connecting', %(host)s, %(pid)s, %(role)s, 0, FALSE,
                    0, now() AT TIME ZONE 'UTC')
                ON CONFLICT (instance_id) DO UPDATE
               SET epoch = coalesce(s.epoch, 0) + 1, state = 'connecting', cause = NULL,
                   params = NULL, retry_at = NULL, connected_since = NULL,
                   owner_host = EXCLUDED.owner_host, owner_pid = EXCLUDED.owner_pid,
                   owner_role = EXCLUDED.owner_role, write_date = EXCLUDED.write_date
         RETURNING epoch
            """,
            {
                "id": config.id,
                "host": socket.gethostname(),
                "pid": os.getpid(),
                "role": self.role,
            },
        )
        return epoch

    def _on_fenced(self, instance_id: int) -> None:
        _logger.warning(
            "Another process owns instance %s now; nothing more is written here."
            " instance_id=%s",
            instance_id,
            instance_id,
        )
        self._poke()

    # Stopping -------------------------------------------------------------

    def _stop_links(self, instance_ids, reason: Reason) -> None:
        """Stop some links: close, write what is left, give the lock free."""
        handles = [self._handles.pop(instance_id) for instance_id in instance_ids]
        if not handles:
            return
        self._end_threads([handle.service for handle in handles])
        flushed = []
        for handle in handles:
            if reason is not Reason.REFUSED and not handle.link.fenced:
                handle.link.buffer.report("stopped", reason.value)
                handle.link.buffer.event("stop", reason.value)
            flushed.append(self._writer.detach(handle.config.id))
        deadline = time.monotonic() + FLUSH_LIMIT_S
        for done in flushed:
            done.wait(max(0.0, deadline - time.monotonic()))
        for handle in handles:
            if not handle.service.is_alive():
                self._lease.release(handle.config.id)

    def _end_threads(self, services: list[HassWebSocketService]) -> None:
        """End threads, all at once, cutting the sockets of those that linger."""
        started = time.monotonic()
        for service in services:
            service.request_stop()
        for service in services:
            service.join(max(0.0, started + STOP_GRACE_S - time.monotonic()))
        lingering = [service for service in services if service.is_alive()]
        for service in lingering:
            service.force_stop()
        for service in lingering:
            service.join(max(0.05, started + STOP_LIMIT_S - time.monotonic()))
            if service.is_alive():
                self._stuck.append(service)
                _logger.error(
                    "Thread %s does not end; no other is started for it."
                    " instance_id=%s",
                    service.name,
                    service.instance_id,
                )

    def _stop_everything(self) -> None:
        """End links and writer and close the lease; never raises."""
        try:
            if self._writer is not None and self._lease is not None:
                self._stop_links(list(self._handles), Reason.SERVER_STOPPED)
        except psycopg2.Error as error:
            _logger.debug("Giving locks free in %s: %s", self.dbname, error)
        finally:
            self._end_threads([handle.service for handle in self._handles.values()])
            self._handles.clear()
            self._end_writer()
            if self._lease is not None:
                self._lease.close()
                self._lease = None

    def _end_writer(self) -> None:
        writer, self._writer = self._writer, None
        if writer is None:
            return
        writer.request_stop()
        writer.join(0.1)
        if writer.is_alive():
            writer.force_stop()
            writer.join(FLUSH_LIMIT_S)

    def _lost_database(self, error: psycopg2.Error, backoff: Backoff) -> None:
        """Without the lease nothing is ours: end all links, then try again."""
        _logger.warning(
            "Lost the supervision connection to database %s: %s. Stopping %d link(s)"
            " until it is back.",
            self.dbname,
            str(error).strip(),
            len(self._handles),
        )
        self._stop_everything()
        self._missing.clear()
        self._stopping.wait(min(backoff.next_delay(), 5.0))

    def _database_exists(self) -> bool:
        """False only when PostgreSQL itself says that the database is gone."""
        try:
            connection = connect("postgres", "check")
        except psycopg2.Error:
            return True  # PostgreSQL is away as a whole
        try:
            with connection.cursor() as cr:
                cr.execute(
                    "SELECT 1 FROM pg_database WHERE datname = %s", (self.dbname,)
                )
                return bool(cr.fetchone())
        finally:
            connection.close()


def log_problems(config: InstanceConfig) -> None:
    """Log each configuration problem of an instance as design demands."""
    for problem in config.problems:
        _logger.error(
            "[CRITICAL] Instance %s (%s): %s Cannot start WebSocket service. Please"
            " configure the instance. instance_id=%s",
            config.id,
            config.name,
            log_text(problem),
            config.id,
        )
