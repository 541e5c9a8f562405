"""The thread that fetches from Home Assistant what was not heard live.

One thread and at most one connection per process and database, apart from the
writer's: however much there is to fetch, present states are not kept waiting.
It takes one slice after the other, of all links in turn, over the links' own
WebSockets, and remembers in the database how far it has come.
"""

import logging
import threading
import time
from dataclasses import dataclass, field

import psycopg2

from ....ha_client.backoff import Backoff
from ....ha_client.exceptions import ConnectionLost, HaError
from ..hass_websocket_service import HassWebSocketService
from ..supervision.ownership import BUSY, Fenced, close_quietly, connect, cut
from ..thread_tools import give_memory_back, prepare_thread
from .gap_fetch import GapFetcher
from .statistics_import import StatisticsImport

_logger = logging.getLogger(__name__)

LOCK_TIMEOUT_MS = 2000
IDLE_CONNECTION_S = 60.0
LONGEST_WAIT_S = 300.0
RETRY_CAP_S = 600.0
BEHIND_PAUSE_S = 1.0  # while the receiver cannot keep up


@dataclass
class BackfillLink:
    """A link as the backfill sees it."""

    instance_id: int
    name: str
    epoch: int
    service: HassWebSocketService
    fetched: int = 0  # lines of history, ever; read by the writer
    tasks: list = field(default_factory=list)
    backoff: Backoff = field(default_factory=lambda: Backoff(cap=RETRY_CAP_S))
    not_before: float = 0.0  # time.monotonic(), after a failure
    complained: bool = False


class HistoryBackfill(threading.Thread):
    """Fetches slices for all attached links until it is stopped."""

    def __init__(self, dbname: str):
        super().__init__(name=f"HomeAssistantBackfill-{dbname}", daemon=False)
        self.dbname = dbname
        self._links: dict[int, BackfillLink] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._connection = None
        self._used_at = 0.0
        self._is_busy = False  # the last round fetched something

    # What the pool calls ------------------------------------------------------

    def attach(self, link: BackfillLink) -> None:
        """Fetch for this link from now on."""
        link.tasks = [GapFetcher(link, self), StatisticsImport(link, self)]
        with self._lock:
            self._links[link.instance_id] = link
        self.wake()

    def detach(self, instance_id: int) -> None:
        """Fetch nothing more for a link."""
        with self._lock:
            self._links.pop(instance_id, None)

    def wake(self) -> None:
        """There may be something to fetch."""
        self._wake.set()

    def request_stop(self) -> None:
        """End now; what is under way is fetched again another time."""
        self._stopping.set()
        self._wake.set()

    def force_stop(self) -> None:
        """Give up a statement that lingers."""
        self.request_stop()
        connection = self._connection
        if connection is not None:
            cut(connection)

    # What the tasks use ---------------------------------------------------------

    def call(self, link: BackfillLink, command: str, timeout: float, **payload):
        """Ask Home Assistant over the link's WebSocket."""
        return link.service.call(command, timeout, self._stopping.is_set, **payload)

    @property
    def connection(self):
        """The database connection; open one if need be."""
        if self._connection is None or self._connection.closed:
            self._connection = connect(
                self.dbname,
                "backfill",
                lock_timeout=LOCK_TIMEOUT_MS,
                statement_timeout=30000,
                idle_in_transaction_session_timeout=5000,
            )
        self._used_at = time.monotonic()
        return self._connection

    # The thread -------------------------------------------------------------

    def run(self):
        prepare_thread()
        try:
            pause = LONGEST_WAIT_S
            while not self._stopping.is_set():
                self._wake.wait(pause)
                self._wake.clear()
                pause = self._round()
        finally:
            self._disconnect()

    def _round(self) -> float:
        """One slice of each link; return after how many seconds to go on."""
        started = time.monotonic()
        with self._lock:
            links = list(self._links.values())
        pauses = [LONGEST_WAIT_S]
        for link in links:
            if self._stopping.is_set():
                return 0.0
            pauses.append(self._step(link))
        if min(pauses) > 0:
            if self._is_busy:
                self._is_busy = False
                give_memory_back()
            idle = time.monotonic() - self._used_at
            if idle >= IDLE_CONNECTION_S:
                self._disconnect()
            elif self._connection is not None:
                pauses.append(IDLE_CONNECTION_S - idle + 0.1)
            return min(pauses)
        self._is_busy = True
        # Leave as much time to others as this took.
        self._stopping.wait(min(1.0, time.monotonic() - started))
        return 0.0

    def _step(self, link: BackfillLink) -> float:
        """One slice of a link; return the seconds until its next, 0 for at once."""
        if not link.service.is_synced:
            return LONGEST_WAIT_S  # the writer wakes us after the next snapshot
        if link.service.is_behind:
            return BEHIND_PAUSE_S
        now = time.monotonic()
        if now < link.not_before:
            return link.not_before - now
        try:
            pause = min(task.step() for task in link.tasks)
            link.backoff.reset()
            link.complained = False
            return pause
        except Fenced:
            return LONGEST_WAIT_S
        except ConnectionLost:
            return LONGEST_WAIT_S
        except BUSY as error:
            return self._postpone(link, error)
        except psycopg2.Error as error:
            self._disconnect()
            return self._postpone(link, error)
        except HaError as error:
            return self._postpone(link, error)
        except Exception as error:
            _logger.exception(
                "Fetching history of instance %s failed. instance_id=%s",
                link.name,
                link.instance_id,
            )
            link.complained = True
            return self._postpone(link, error)

    def _postpone(self, link: BackfillLink, error: Exception) -> float:
        if self._stopping.is_set():
            return 0.0
        delay = link.backoff.next_delay()
        link.not_before = time.monotonic() + delay
        _logger.log(
            logging.DEBUG if link.complained else logging.WARNING,
            "History of instance %s cannot be fetched now: %s. Trying again in"
            " %.0f s. instance_id=%s",
            link.name,
            str(error).strip(),
            delay,
            link.instance_id,
        )
        link.complained = True
        return delay

    def _disconnect(self):
        connection, self._connection = self._connection, None
        close_quietly(connection)
