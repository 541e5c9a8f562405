"""The monitor: one thread per process and database that supervises the links.

It holds the lease, listens for changes, compares what is wanted with what runs
(:mod:`supervision_plan`) and starts, stops and revives the links' threads. It
works with SQL on a connection of its own, because Odoo's registry is locked
for the whole of a preload or an upgrade, and a stop must not wait for that.
"""

import logging
import socket
import threading
import time

import psycopg2
from psycopg2.extras import Json

from ...ha_client.backoff import Backoff
from .condition import diagnostics
from .supervision import process_role
from .supervision.instance_config import InstanceConfig, read_instances
from .supervision.link_pool import LinkPool
from .supervision.ownership import (
    ANSWER_LIMIT_S,
    BUSY,
    RECORDING,
    Lease,
    database_exists,
)
from .supervision.supervision_news import SupervisionNews
from .supervision.supervision_plan import (
    Action,
    Reason,
    Step,
    fair_share,
    make_plan,
    surplus,
)
from .thread_tools import prepare_thread

_logger = logging.getLogger(__name__)

CHECK_INTERVAL_S = 30.0
TICK_S = 1.0
HTTP_STANDBY_S = 3.0  # an HTTP worker steps in when no better process has by then
FULL_STANDBY_S = 2.0  # so does a process that has its share already


class WebSocketMonitorService(threading.Thread):
    """Supervises all links of one database from this process.

    :param dbname: the database
    :param role: this process's role, see :mod:`process_role`

    ``is_over`` tells that the database, or the addon in it, is gone.
    """

    def __init__(self, dbname: str, role: str):
        super().__init__(name="WebSocketMonitor", daemon=False)
        self.dbname = dbname
        self.role = role
        self.is_over = False
        self._wake_r, self._wake_w = socket.socketpair()
        self._wake_r.setblocking(False)
        self._wake_w.setblocking(False)
        self._stopping = threading.Event()
        self._lease: Lease | None = None
        self._pool: LinkPool | None = None
        self._configs: dict[int, InstanceConfig] = {}
        self._missing: dict[int, float] = {}  # id → time.monotonic() unowned since
        self._share = 1
        self._yields = True  # an HTTP worker, and there are processes better suited
        self._pauses: dict[int, Backoff] = {}
        self._not_before: dict[int, float] = {}
        self._errors: dict[int, str] = {}  # id → the bug that ended its last thread
        self._activated: set[int] = set()
        self._news = SupervisionNews(dbname)

    # What others call -----------------------------------------------------

    def request_stop(self) -> None:
        """End all links, then this thread; returns at once."""
        self._stopping.set()
        self._poke()

    def force_stop(self) -> None:
        """Wait for PostgreSQL no longer."""
        self._cut_lease(0.0)

    def check_lease(self) -> None:
        """End a lease that PostgreSQL, or what lies between, has silently ended."""
        if self._cut_lease(ANSWER_LIMIT_S):
            self._news.silent(ANSWER_LIMIT_S)

    def _cut_lease(self, limit: float) -> bool:
        lease = self._lease
        return lease is not None and lease.cut_if_silent(limit)

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
                    self.is_over = not self._supervise(backoff)
                except psycopg2.Error as error:
                    self._lost_database(error, backoff)
                    self.is_over = not (
                        self._stopping.is_set() or database_exists(self.dbname)
                    )
                except Exception:
                    self._news.failed()
                    self._stop_everything(Reason.THREAD_ENDED)
                    self._stopping.wait(backoff.next_delay())
                if self.is_over:
                    self._news.over()
                    return
        finally:
            self._stop_everything(Reason.SERVER_STOPPED)
            self._wake_r.close()
            self._wake_w.close()

    def _supervise(self, backoff: Backoff) -> bool:
        """Supervise until stopped; False when the addon is gone from here."""
        self._lease = Lease(self.dbname, self.role)
        self._pool = LinkPool(self.dbname, self._on_fenced)
        check_at = 0.0
        changed = True
        asked = False  # ha_doctor waits for our report
        while not self._stopping.is_set():
            try:
                module_state, owned = self._lease.tick(list(self._missing))
                if module_state in (None, "uninstalled"):
                    return False
                now = time.monotonic()
                if module_state != "installed":
                    # Being upgraded or removed: its tables change under us.
                    self._stop_links(list(self._pool.handles), Reason.SERVER_STOPPED)
                    check_at = 0.0
                elif changed or now >= check_at or self._needs_attention(set(owned)):
                    self._reconcile(balance=now >= check_at)
                    if now >= check_at:
                        check_at = now + CHECK_INTERVAL_S
                    changed = False
                    backoff.reset()
                    self._news.back()
                if asked:
                    self._write_diagnostics()
                    asked = False
            except BUSY as error:
                # A locked table is no reason to give anything up.
                self._news.busy(error)
            notified = self._lease.wait(self._wake_r.fileno(), TICK_S)
            changed = changed or bool(notified)
            asked = asked or diagnostics.REQUEST in notified
            if RECORDING in notified:
                self._pool.reload_recording()
            self._drain_wakeups()
        return True

    def _drain_wakeups(self) -> None:
        try:
            while self._wake_r.recv(4096):
                continue
        except BlockingIOError:
            return

    def _needs_attention(self, owned: set[int]) -> bool:
        """Whether a link has ended here, or one is without an owner for too long."""
        if not self._pool.is_writing:
            raise RuntimeError("the writer's thread has ended")
        now = time.monotonic()
        for instance_id in self._missing:
            if instance_id in owned:
                self._missing[instance_id] = now
        if not owned.issuperset(self._missing):
            # Somebody has gone, perhaps: then our share is a larger one.
            self._count_share()
        candidates = {
            instance_id
            for instance_id, since in self._missing.items()
            if now - since >= self._patience()
        }
        candidates |= {
            instance_id
            for instance_id, handle in self._pool.handles.items()
            if handle.link.fenced or not handle.service.is_alive()
        }
        return any(now >= self._not_before.get(i, 0.0) for i in candidates)

    def _patience(self) -> float:
        """How long an instance may be without an owner before we step in."""
        if self._yields and self.role == process_role.HTTP_WORKER:
            return HTTP_STANDBY_S
        return FULL_STANDBY_S if len(self._lease.held) >= self._share else 0.0

    # Reconciling ----------------------------------------------------------

    def _reconcile(self, balance: bool) -> None:
        instances = read_instances(self._lease.execute)
        before = self._configs
        self._configs = {config.id: config for config in instances}
        self._activated = {
            config.id
            for config in instances
            if config.active and config.id in before and not before[config.id].active
        } | (self._activated & self._missing.keys())
        self._news.instances(instances)
        running = {id_: h.running for id_, h in self._pool.handles.items()}
        steps, missing = make_plan(instances, running)
        steps = [step for step in steps if self._is_due(step)]
        self._count_share()
        self._yields = self.role == process_role.HTTP_WORKER and (
            process_role.has_cron_workers() or self._lease.has_better_owner()
        )
        if balance and not steps:
            steps = self._balance()
        for reason in Reason:
            ids = [step.instance_id for step in steps if step.reason is reason]
            for step in steps:
                if step.reason is reason:
                    self._tell(step)
            self._stop_links(ids, reason)
        again = [
            step.instance_id
            for step in steps
            if step.action in (Action.RESTART, Action.REVIVE)
        ]
        now = time.monotonic()
        self._missing = {i: self._missing.get(i, now) for i in missing}
        for instance_id in (*again, *missing):
            if self._stopping.is_set():
                return
            waited = now - self._missing.get(instance_id, 0.0)
            if waited >= self._patience() or instance_id in again:
                self._try_start(self._configs[instance_id])
        owners = self._lease.owners(list(self._missing))
        self._news.owners(owners, self._configs)

    def _count_share(self) -> None:
        wanted = sum(config.wanted for config in self._configs.values())
        self._share = fair_share(wanted, self._lease.count_supervisors())

    def _is_due(self, step: Step) -> bool:
        """Give a link that failed here time before it is started again."""
        handle = self._pool.handles[step.instance_id]
        if step.reason is Reason.LEASE_LOST:
            self._hold_off(step.instance_id)
            return True
        if step.action is not Action.REVIVE or not handle.running.crashed:
            return True
        if step.instance_id not in self._not_before:
            self._hold_off(step.instance_id)
        self._errors[step.instance_id] = handle.service.error
        return time.monotonic() >= self._not_before[step.instance_id]

    def _hold_off(self, instance_id: int) -> None:
        backoff = self._pauses.setdefault(instance_id, Backoff())
        self._not_before[instance_id] = time.monotonic() + backoff.next_delay()

    def _balance(self) -> list[Step]:
        """Give away what is more than our share; others take it up at once."""
        held = sorted(self._pool.handles)
        if self.role == process_role.HTTP_WORKER and self._lease.has_better_owner():
            given = held
        else:
            given = surplus(held, self._share)
        now = time.monotonic()
        for instance_id in given:
            self._not_before[instance_id] = now + 2 * FULL_STANDBY_S
        return [Step(Action.STOP, i, Reason.BALANCED) for i in given]

    def _tell(self, step: Step) -> None:
        handle = self._pool.handles[step.instance_id]
        config = self._configs.get(step.instance_id, handle.config)
        self._news.step(step, config.name, handle.service.is_repeating)

    # Starting and stopping --------------------------------------------------

    def _try_start(self, config: InstanceConfig) -> None:
        if self._pool.is_stuck(config.id):
            return  # never two threads for one instance
        if time.monotonic() < self._not_before.get(config.id, 0.0):
            return
        if not self._lease.try_acquire(config.id):
            return
        try:
            epoch, previous = self._lease.take_over(config.id, self.role)
        except psycopg2.Error:
            self._lease.release(config.id)
            raise
        self._missing.pop(config.id, None)
        self._not_before.pop(config.id, None)
        if config.id in self._pauses:
            self._pauses[config.id].healthy()  # until it proves otherwise
        if config.id in self._activated:
            self._news.activated(config)
        error = self._errors.pop(config.id, None)
        buffer = self._pool.start(config, epoch, error)
        if previous:
            host, pid = previous
            buffer.event("takeover", "taken_over", {"host": host, "pid": pid})

    def _stop_links(self, instance_ids, reason: Reason) -> None:
        if instance_ids:
            for instance_id in self._pool.stop(instance_ids, reason):
                self._lease.release(instance_id)

    def _stop_everything(self, reason: Reason) -> None:
        """End links and writer and close the lease; never raises."""
        pool, self._pool = self._pool, None
        lease, self._lease = self._lease, None
        try:
            if pool is not None:
                for handle in pool.handles.values():
                    self._news.stops(handle.config.id, handle.config.name, reason)
                pool.stop(list(pool.handles), reason)
                pool.close()
        except Exception:
            _logger.exception("Ending the links of database %s", self.dbname)
        finally:
            if lease is not None:
                lease.close()

    def _on_fenced(self, instance_id: int, is_deleted: bool) -> None:
        if not is_deleted:  # that is told when its link is stopped
            self._news.fenced(instance_id)
        self._poke()

    def _write_diagnostics(self) -> None:
        """Answer ``ha_doctor``: what this process's threads are doing."""
        report = diagnostics.collect(self._pool)
        for instance_id, handle in self._pool.handles.items():
            self._lease.execute(
                "UPDATE ha_instance_status SET diagnostics = %s"
                " WHERE instance_id = %s AND epoch = %s",
                (Json(report[instance_id]), instance_id, handle.link.epoch),
            )

    def _lost_database(self, error: psycopg2.Error, backoff: Backoff) -> None:
        """Without the lease nothing is ours: end all links, then try again."""
        self._news.lost(error)
        self._stop_everything(Reason.DATABASE_LOST)
        self._missing.clear()
        self._stopping.wait(backoff.next_delay())
