"""Remember which processes this clone started, so that only those are ended.

Each one has a file in ``.dev/run`` that names its pid and its start time: a pid
that now belongs to somebody else has another start time.
"""

import os
import signal
import sys
import time
from pathlib import Path

RUN_DIR = Path(__file__).resolve().parents[2] / ".dev" / "run"


def start_time(pid):
    """When a process started, in the kernel's clock ticks; None when it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The name in parentheses may hold spaces and parentheses of its own.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else fields[19]


def _file(pid, kind):
    return RUN_DIR / f"{kind}.{pid}"


def record(pid, kind):
    """Note a process; dev/odoo does the same for itself before it becomes Odoo."""
    started = start_time(pid)
    if started is not None:
        RUN_DIR.mkdir(parents=True, exist_ok=True)
        run = os.environ.get("ODOO_HA_DB_PREFIX", "")
        _file(pid, kind).write_text(f"{started} {run}\n")


def forget(pid, kind):
    _file(pid, kind).unlink(missing_ok=True)


def recorded(run=None):
    """The processes that still run, as (kind, pid); forgets the others.

    With ``run``, only those that this run of dev/test started.
    """
    found = []
    for path in sorted(RUN_DIR.glob("*.*")) if RUN_DIR.is_dir() else ():
        kind, _dot, pid = path.name.rpartition(".")
        try:
            started, _space, its_run = path.read_text().strip().partition(" ")
            alive = start_time(int(pid)) == started
        except (OSError, ValueError):
            continue
        if not alive:
            path.unlink(missing_ok=True)
        elif run is None or run == its_run:
            found.append((kind, int(pid)))
    return found


def end_as_with_ctrl_c():
    """Let what else asks this process to end raise KeyboardInterrupt, too."""

    def interrupted(*_args):
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupted)


def ignore_signals():
    """While cleaning up: a second Ctrl-C must not leave half of it running."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def signal_quietly(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def stop(pid, kind, patience=20.0, first=signal.SIGTERM):
    """End a recorded process: ask, wait, then insist."""
    started = start_time(pid)
    for number, seconds in ((first, patience), (signal.SIGKILL, 5.0)):
        # A stopped process hears nothing before it goes on.
        signal_quietly(pid, signal.SIGCONT)
        signal_quietly(pid, number)
        deadline = time.monotonic() + seconds
        while started is not None and start_time(pid) == started:
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)
        else:
            break
    forget(pid, kind)


def database_server():
    """The pid of the clone's own PostgreSQL, when it runs."""
    data = RUN_DIR.parent / "pg" / "data"
    try:
        pid = int((data / "postmaster.pid").read_text().split("\n")[0])
        # It works in its data directory; a stranger with its old pid does not.
        return pid if os.readlink(f"/proc/{pid}/cwd") == str(data) else None
    except (OSError, ValueError):
        return None


def main():
    # Those in charge first: they end their own children in good order.
    order = {"test": 0, "demo": 0, "odoo": 1}
    for kind, pid in sorted(recorded(), key=lambda item: order.get(item[0], 2)):
        if (kind, pid) in recorded():
            print(f"[dev] stopping {kind} (pid {pid})", file=sys.stderr)
            stop(pid, kind, 40.0 if kind in ("test", "demo") else 20.0)
    server = database_server()
    if server is not None:
        print(f"[dev] stopping PostgreSQL (pid {server})", file=sys.stderr)
        # It ends at once on SIGINT; on SIGTERM it would wait for its clients.
        stop(server, "postgres", 30.0, first=signal.SIGINT)


if __name__ == "__main__":
    main()
