"""What all our threads have in common."""

import ctypes
import os
import signal
import sys
import threading

# Odoo's main thread waits for these; Python handles a signal only in the main
# thread, and a system call there is interrupted only if it gets it.
_MAIN_THREAD_SIGNALS = {
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGCHLD,
    signal.SIGXCPU,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
}
STACK_SIZE = 512 * 1024  # bytes; counts as virtual memory against Odoo's limits
_M_ARENA_MAX = -8  # mallopt's parameter in glibc's malloc.h
_ARENAS = 2  # as Odoo's one-process server does for its threads
_start_lock = threading.Lock()


def prepare_thread() -> None:
    """Leave the process's signals to the main thread; call first in ``run()``."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _MAIN_THREAD_SIGNALS)


def start_thread(thread: threading.Thread) -> None:
    """Start a thread of ours with a small stack."""
    with _start_lock:
        previous = threading.stack_size(STACK_SIZE)
        try:
            thread.start()
        finally:
            threading.stack_size(previous)


def cap_malloc_arenas() -> None:
    """Keep glibc from reserving 64 MiB of addresses for each of our threads.

    Odoo's prefork workers are recycled when their virtual memory passes
    ``limit_memory_soft``; fifty links would do that alone. No effect elsewhere.
    """
    if sys.platform != "linux" or "MALLOC_ARENA_MAX" in os.environ:
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, _ARENAS)


def give_memory_back() -> None:
    """Return to the system what an overload has left free; takes milliseconds.

    glibc keeps freed memory below whatever is still in use above it.
    """
    if sys.platform != "linux":
        return
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)
