"""The thread that writes what all links of one database have received.

One thread and one connection per process and database: links share the same
tables, and fifty connections would not make a locked table faster. Every
transaction starts by reading the instance's status row with its own epoch
``FOR SHARE``; if another process has taken the instance over, there is no such
row, and nothing is written.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import psycopg2

from ....ha_client.backoff import Backoff
from ....ha_client.buffer import Batch, LinkBuffer
from ....ha_client.entity_filter import EntityFilter
from ..history.link_history import LinkHistory
from ..supervision.ownership import BUSY, Fenced, close_quietly, connect, cut, fence
from ..thread_tools import give_memory_back, prepare_thread
from . import heartbeat, status_sql
from .ingest_sql import write_batch
from .link_counts import LinkCounts
from .live_bus import WATCHED_SQL, LiveBus

_logger = logging.getLogger(__name__)

FLUSH_INTERVAL_S = 0.2
HEARTBEAT_INTERVAL_S = 5.0
IDLE_WAIT_S = 1.0
UNUSED_WAIT_S = 60.0  # without a link nothing is due
LOCK_TIMEOUT_MS = 2000
RETRY_PAUSE_S = 1.0
LARGE_BATCH = 10000  # changes; what they took is given back …
CALM_S = 5.0  # … when there was no such batch for so long
BACKLOG_S = 5.0  # what waits longer than that is shown on the instance
FLOOD_PAUSE_S = 60.0  # so long without a loss ends a flood, for the log

# A user may delete a record between two statements of ours; try again then, too.
_RETRY = (*BUSY, psycopg2.errors.ForeignKeyViolation)
# PostgreSQL cannot be asked now. When it goes away in the middle of a statement,
# psycopg2 may also raise a plain DatabaseError, and closes the connection.
_LOST = (psycopg2.OperationalError, psycopg2.InterfaceError)
# A value that cannot be stored; ValueError comes from psycopg2 itself.
_REFUSED = (
    psycopg2.DataError,
    psycopg2.errors.ProgramLimitExceeded,
    psycopg2.errors.StatementTooComplex,
    ValueError,
)


@dataclass
class WriterLink:
    """A link as the writer sees it."""

    instance_id: int
    name: str
    epoch: int
    verdict_fingerprint: str
    entity_filter: EntityFilter
    buffer: LinkBuffer
    history: LinkHistory
    counts: LinkCounts
    is_behind: Callable[[], bool]  # its receiver needs the time more than we do
    fenced: bool = False
    failing: bool = False
    leaving: bool = False  # this is its last batch
    in_hand: Batch | None = None  # taken from the buffer, not yet committed
    # All of time.monotonic():
    beat_at: float = 0.0  # the last heartbeat written
    blocked_since: float | None = None  # since when nothing could be written
    not_before: float = 0.0  # after a failure that is our own fault
    lost_at: float | None = None  # when history found no room the last time
    backlog_told: bool = False  # the status row says so

    @property
    def pending(self) -> tuple[int, int]:
        """How many states and changes of history wait, here and in the buffer."""
        batch = self.in_hand or Batch()
        return (
            len(batch.states) + self.buffer.pending,
            len(batch.history) + self.buffer.pending_history,
        )


class IngestWriter(threading.Thread):
    """Writes batches of all attached links until it is stopped.

    :param on_fenced: called with the id of an instance that turns out to be
        somebody else's, or deleted, and whether it is deleted
    :param on_gap: called when there is history to be fetched
    """

    def __init__(self, dbname: str, on_fenced, on_gap):
        super().__init__(name=f"HomeAssistantIngest-{dbname}", daemon=False)
        self.dbname = dbname
        self._on_fenced = on_fenced
        self._on_gap = on_gap
        self._links: dict[int, WriterLink] = {}
        self._detaching: list[tuple[WriterLink, threading.Event]] = []
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._urgent = threading.Event()  # stop or detach: do not pace
        self._stopping = False
        self._given_up = False
        self._connection = None
        self._live = LiveBus(dbname)
        self._backoff = Backoff(cap=10.0)
        self._large_at: float | None = None  # monotonic time of the last large batch

    # What the monitor calls ---------------------------------------------------

    def wake(self) -> None:
        """Something is waiting to be written."""
        if not self._wake.is_set():  # which costs a lock for each change
            self._wake.set()

    def attach(self, link: WriterLink) -> None:
        """Write for this link from now on."""
        with self._lock:
            self._links[link.instance_id] = link
        self.wake()

    def reload_recording(self) -> None:
        """Somebody changed what is recorded, or how."""
        with self._lock:
            for link in self._links.values():
                link.history.reload()
        self.wake()

    def detach(self, instance_id: int) -> threading.Event:
        """Write what is left of a link, then forget it.

        :return: an event that is set when the last batch is written or given up
        """
        done = threading.Event()
        with self._lock:
            link = self._links.pop(instance_id, None)
            if link is None:
                done.set()
            else:
                self._detaching.append((link, done))
        self._urgent.set()
        self.wake()
        return done

    def request_stop(self) -> None:
        """End after one last attempt to write what is waiting."""
        self._stopping = True
        self._urgent.set()
        self.wake()

    def force_stop(self) -> None:
        """Give up what is under way and what waits; Home Assistant still has it."""
        self._given_up = True
        connection = self._connection
        if connection is not None:
            cut(connection)
        self._live.cut()

    # The thread -------------------------------------------------------------

    def run(self):
        prepare_thread()
        try:
            while not self._stopping:
                in_use = self._links or self._large_at is not None
                idle_wait = IDLE_WAIT_S if in_use else UNUSED_WAIT_S
                self._wake.wait(min(idle_wait, self._live.due_in()))
                self._wake.clear()
                started = time.monotonic()
                written = self._round()
                self._tidy_memory(started)
                took = time.monotonic() - started
                pause = (FLUSH_INTERVAL_S if written else RETRY_PAUSE_S) - took
                if any(link.is_behind() for link in list(self._links.values())):
                    pause = max(pause, took)
                self._urgent.wait(max(0.0, pause))
            if not self._given_up:
                self._round()
        finally:
            for _link, done in self._detaching:
                done.set()
            self._disconnect()
            self._live.close()

    def _round(self) -> bool:
        """Write one batch of each link; False when the database was busy."""
        try:
            if self._connection is None or self._connection.closed:
                self._reconnect()
            with self._lock:
                links = list(self._links.values())
                leaving, self._detaching = self._detaching, []
                if not self._stopping:
                    self._urgent.clear()
            try:
                self._beat(links)
                for link, _done in leaving:
                    link.leaving = True
                written = self._write_all([link for link, _ in leaving] + links)
                self._live.flush(self._connection)
                return written
            finally:
                for _link, done in leaving:
                    done.set()
        except psycopg2.Error as error:
            self._disconnect()
            delay = self._backoff.next_delay()
            _logger.warning(
                "Cannot write to database %s (%s). Nothing is lost; trying again in"
                " %.1f s.",
                self.dbname,
                str(error).strip(),
                delay,
            )
            self._urgent.wait(delay)
            return True

    def _tidy_memory(self, now: float) -> None:
        if self._large_at is not None and now - self._large_at > CALM_S:
            self._large_at = None
            give_memory_back()

    def _reconnect(self):
        self._connection = connect(
            self.dbname,
            "ingest",
            lock_timeout=LOCK_TIMEOUT_MS,
            statement_timeout=30000,
            idle_in_transaction_session_timeout=5000,
        )

    def _disconnect(self):
        connection, self._connection = self._connection, None
        close_quietly(connection)

    # Transactions -------------------------------------------------------------

    def _write_all(self, links: list[WriterLink]) -> bool:
        now = time.monotonic()
        for link in links:
            if link.fenced or now < link.not_before:
                continue
            batch = link.in_hand = link.buffer.drain()
            if len(batch.history) >= LARGE_BATCH:
                self._large_at = now
            due = batch or link.history.is_due
            written = not due or self._write(link, batch)
            link.in_hand = None
            if not written:
                # The others wait for the same tables; let them go first next time.
                with self._lock:
                    if self._links.pop(link.instance_id, None) is link:
                        self._links[link.instance_id] = link
                return False
        self._backoff.reset()
        return True

    def _write(self, link: WriterLink, batch: Batch) -> bool:
        """Write one batch; False when it has to wait."""
        try:
            with self._connection, self._connection.cursor() as cr:
                self._fence(cr, link)
                link.history.before_states(cr, batch)
                unknown = write_batch(cr, link.instance_id, batch, link.entity_filter)
                recorded = link.history.after_states(cr, batch, link.leaving)
                status_sql.write_status(cr, link, batch)
                if link.leaving:
                    link.counts.add(batch.counts, recorded)
                    link.counts.save(cr)
                if link.backlog_told:
                    status_sql.withdraw_backlog(cr, link)
            self._written(link, batch, recorded)
            if unknown:
                link.buffer.request_full()
        except Fenced as error:
            link.fenced = True
            self._on_fenced(link.instance_id, error.is_deleted)
        except _RETRY as error:
            self._keep(link, batch)
            self._log_failure(link, "waits for the database", error)
            return False
        except _REFUSED:
            link.history.failed()
            self._write_apart(link, batch)
        except Exception as error:
            self._keep(link, batch)
            if isinstance(error, psycopg2.Error) and (
                isinstance(error, _LOST) or self._connection.closed
            ):
                raise
            # A bug of ours or a table that another module changed: keep the
            # states and say so, once, instead of losing them.
            link.not_before = time.monotonic() + RETRY_PAUSE_S
            if not link.failing:
                _logger.exception(
                    "Writing what instance %s received failed. instance_id=%s",
                    link.name,
                    link.instance_id,
                )
            link.failing = True
        return True

    def _written(self, link: WriterLink, batch: Batch, recorded: int) -> None:
        """A batch is in the database."""
        self._live.committed(link.instance_id, batch)
        link.history.committed()
        link.counts.add(batch.counts, recorded)
        link.failing = link.backlog_told = False
        link.blocked_since = None
        if batch.lost:
            _log_lost(link)
        if link.history.has_gap:
            link.history.has_gap = False
            self._on_gap()

    def _keep(self, link: WriterLink, batch: Batch) -> None:
        """Give a batch back that could not be written."""
        link.history.failed()
        link.in_hand = None
        link.buffer.restore(batch)
        link.blocked_since = link.blocked_since or time.monotonic()

    def _write_apart(self, link: WriterLink, batch: Batch) -> None:
        """Find the value that PostgreSQL refuses and write all others."""
        parts = batch.split()
        if not parts:
            _logger.exception(
                "A value of %s cannot be stored and is left out. instance_id=%s",
                ", ".join(batch.names) or "the link's status",
                link.instance_id,
            )
        elif batch.full:
            _logger.warning(
                "Reconciling instance %s failed; writing its records bit by bit."
                " instance_id=%s",
                link.name,
                link.instance_id,
            )
        for part in parts:
            self._write(link, part)

    def _fence(self, cr, link: WriterLink) -> None:
        try:
            watched = fence(cr, link.instance_id, link.epoch, WATCHED_SQL)
        except Fenced:
            self._live.forget(link.instance_id)
            raise
        self._live.watched(link.instance_id, watched)

    def _beat(self, links: list[WriterLink]) -> None:
        """Write the heartbeats that are due, before anything that may block."""
        now = time.monotonic()
        for link in links:
            alive_at = link.buffer.alive_at
            due = now - link.beat_at >= HEARTBEAT_INTERVAL_S
            if link.fenced or alive_at is None or alive_at <= link.beat_at or not due:
                continue
            backlog = now - link.blocked_since if link.blocked_since else 0.0
            try:
                with self._connection, self._connection.cursor() as cr:
                    self._fence(cr, link)
                    heartbeat.write(cr, self.dbname, link.instance_id)
                    link.counts.save(cr)
                    if backlog >= BACKLOG_S:
                        status_sql.tell_backlog(cr, link, backlog)
                link.beat_at = now
                link.counts.saved()
                link.backlog_told = link.backlog_told or backlog >= BACKLOG_S
                if link.buffer.dropped:
                    _log_lost(link)
            except Fenced as error:
                link.fenced = True
                self._on_fenced(link.instance_id, error.is_deleted)
            except _RETRY as error:
                self._log_failure(link, "cannot write its heartbeat", error)

    def _log_failure(self, link: WriterLink, what: str, error: Exception) -> None:
        _logger.log(
            logging.DEBUG if link.failing else logging.WARNING,
            "Instance %s %s: %s. instance_id=%s",
            link.name,
            what,
            str(error).strip(),
            link.instance_id,
        )
        link.failing = True


def _log_lost(link: WriterLink) -> None:
    """Say once in a flood that more came than could be written."""
    now = time.monotonic()
    if link.lost_at is None or now - link.lost_at > FLOOD_PAUSE_S:
        _logger.warning(
            "Instance %s: more changes came than could be written. States stay right;"
            " what found no room in the history is fetched from Home Assistant."
            " instance_id=%s",
            link.name,
            link.instance_id,
        )
    link.lost_at = now
