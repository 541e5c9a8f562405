"""What a supervising process can tell about itself, on request.

``ha_doctor`` runs in another process: it notifies, and each monitor writes into
the status rows of its instances what their threads are doing.
"""

import sys
import threading
import time
import traceback

REQUEST = "diagnose"  # payload of the notification
STACK_DEPTH = 6


def collect(pool) -> dict[int, dict]:
    """Describe every link of a pool (:mod:`..supervision.link_pool`), by instance id.

    ``threads`` are lines of names and innermost frames, ``pending`` and
    ``pending_history`` count what waits to be written, ``alive_age`` is seconds
    since the last message (None without a connection).
    """
    threads = _describe_threads()
    now = time.monotonic()
    report = {}
    for instance_id, handle in pool.handles.items():
        alive_at = handle.link.buffer.alive_at
        pending, pending_history = handle.link.pending
        report[instance_id] = {
            "at": time.time(),
            "thread_alive": handle.service.is_alive(),
            "writer_alive": pool.is_writing,
            "pending": pending,
            "pending_history": pending_history,
            "alive_age": None if alive_at is None else round(now - alive_at, 1),
            "threads": threads,
        }
    return report


def _describe_threads() -> list[str]:
    frames = sys._current_frames()
    lines = []
    for thread in threading.enumerate():
        frame = frames.get(thread.ident)
        stack = traceback.extract_stack(frame)[-STACK_DEPTH:] if frame else []
        where = " > ".join(f"{call.name}:{call.lineno}" for call in stack)
        lines.append(f"{thread.name} (daemon={thread.daemon}): {where}")
    return lines
