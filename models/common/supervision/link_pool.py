"""The links that this process runs for one database: starting and ending threads.

Used by the monitor's thread alone. Decides nothing: what to run is the plan's
business, whether it is ours the lease's.
"""

import logging
import threading
import time
from dataclasses import dataclass

from ....ha_client.buffer import LinkBuffer
from ..hass_websocket_service import AUTH_FAILED, CRASHED, HassWebSocketService
from ..history.backfill import BackfillLink, HistoryBackfill
from ..history.link_history import LinkHistory
from ..ingest.ingest_writer import IngestWriter, WriterLink
from ..ingest.link_counts import LinkCounts
from ..thread_tools import start_thread
from .instance_config import InstanceConfig
from .supervision_plan import Reason, Running

_logger = logging.getLogger(__name__)

STOP_GRACE_S = 0.4  # for closing a WebSocket properly; then its socket is cut
STOP_LIMIT_S = 0.6  # for all links together
FLUSH_LIMIT_S = 0.3  # for the last batches; then their transaction is cut


@dataclass
class Handle:
    """What this process runs for one instance."""

    config: InstanceConfig
    service: HassWebSocketService
    link: WriterLink

    @property
    def running(self) -> Running:
        return Running(
            fingerprint=self.config.fingerprint,
            request_seq=self.config.request_seq,
            alive=self.service.is_alive(),
            fenced=self.link.fenced,
            refused=self.service.outcome == AUTH_FAILED,
            crashed=self.service.outcome == CRASHED,
        )


class LinkPool:
    """Threads of links and the writer that they share.

    :param on_fenced: called from the writer's thread, see :class:`IngestWriter`
    """

    def __init__(self, dbname: str, on_fenced):
        self.dbname = dbname
        self.handles: dict[int, Handle] = {}
        self._stuck: list[HassWebSocketService] = []
        self._backfill = HistoryBackfill(dbname)
        self._writer = IngestWriter(dbname, on_fenced, self._backfill.wake)
        start_thread(self._writer)
        start_thread(self._backfill)

    @property
    def is_writing(self) -> bool:
        """Whether the threads that all links share live, as they must."""
        return self._writer.is_alive() and self._backfill.is_alive()

    def is_stuck(self, instance_id: int) -> bool:
        """Whether an earlier thread of an instance has not ended yet."""
        self._stuck = [service for service in self._stuck if service.is_alive()]
        return any(service.instance_id == instance_id for service in self._stuck)

    def start(self, config: InstanceConfig, epoch: int, known_error) -> LinkBuffer:
        """Start the link of an instance that this process owns under ``epoch``.

        ``known_error``: what ended its last thread here, not to be told again.
        """
        buffer = LinkBuffer(self._writer.wake)
        service = HassWebSocketService(
            self.dbname, config.id, config.name, config.link, buffer, known_error
        )
        fetching = BackfillLink(config.id, config.name, epoch, service)
        link = WriterLink(
            instance_id=config.id,
            name=config.name,
            epoch=epoch,
            verdict_fingerprint=config.verdict_fingerprint,
            entity_filter=config.entity_filter,
            buffer=buffer,
            history=LinkHistory(config.id, buffer),
            counts=LinkCounts(config.id, lambda: fetching.fetched),
            is_behind=lambda: service.is_behind,
        )
        self.handles[config.id] = Handle(config, service, link)
        self._writer.attach(link)
        self._backfill.attach(fetching)
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
        return buffer

    def stop(self, instance_ids, reason: Reason) -> list[int]:
        """End links: close their WebSockets, write what is left.

        :return: the ids whose threads have ended, so that their locks may be
            given free
        """
        handles = [self.handles.pop(instance_id) for instance_id in instance_ids]
        for handle in handles:
            self._backfill.detach(handle.config.id)
        self._end_threads([handle.service for handle in handles])
        flushed: list[threading.Event] = []
        for handle in handles:
            if reason is not Reason.REFUSED and not handle.link.fenced:
                handle.link.buffer.report("stopped", reason.value)
                handle.link.buffer.event("stop", reason.value)
            flushed.append(self._writer.detach(handle.config.id))
        deadline = time.monotonic() + FLUSH_LIMIT_S
        for done in flushed:
            done.wait(max(0.0, deadline - time.monotonic()))
        return [h.config.id for h in handles if not h.service.is_alive()]

    def reload_recording(self) -> None:
        """Somebody changed what is recorded, or how."""
        self._writer.reload_recording()
        self._backfill.wake()

    def close(self) -> None:
        """End writer and backfill, after the links.

        Transactions that linger are cut.
        """
        threads = (self._backfill, self._writer)
        for thread in threads:
            thread.request_stop()
        for thread in threads:
            thread.join(0.1)
            if thread.is_alive():
                thread.force_stop()
        for thread in threads:
            thread.join(FLUSH_LIMIT_S)

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
