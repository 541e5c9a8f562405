"""What all our threads have in common."""

import signal
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
