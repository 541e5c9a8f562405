"""What the bench measures with: CPU, memory, commits, and how they are summed up."""

import bisect
import platform
import threading
import time
from pathlib import Path

import psutil
import psycopg2

import odoo.release

import processes

POLL = 0.004


def percentiles(samples):
    """p50, p95, p99 and the largest, in milliseconds; None without samples."""
    if not samples:
        return None
    ordered = sorted(samples)
    count = len(ordered)
    found = {
        f"p{p}": round(1000 * ordered[min(count - 1, count * p // 100)], 1)
        for p in (50, 95, 99)
    }
    return {**found, "max": round(1000 * ordered[-1], 1), "samples": count}


def tree(pid):
    """A process and its children."""
    root = psutil.Process(pid)
    return [root, *root.children(recursive=True)]


class Cpu:
    """CPU seconds of Odoo, of PostgreSQL and of everybody else since the start.

    PostgreSQL is its whole server: processes that end meanwhile are in the
    postmaster's account; the bench's own sessions are taken out.
    """

    def __init__(self, odoo_pid, own_backends=()):
        self._odoo = odoo_pid
        self._own = own_backends
        self._postmaster = processes.database_server()
        self._before = self._read()

    def _read(self):
        odoo = sum(sum(p.cpu_times()[:2]) for p in tree(self._odoo))
        postgres = None
        if self._postmaster:
            postgres = sum(psutil.Process(self._postmaster).cpu_times()[:4])
            for process in psutil.Process(self._postmaster).children():
                try:
                    spent = sum(process.cpu_times()[:2])
                except psutil.NoSuchProcess:
                    continue
                if process.pid not in self._own:
                    postgres += spent
        times = psutil.cpu_times()
        busy = sum(times) - times.idle - times.iowait
        return time.monotonic(), odoo, postgres, busy, time.process_time()

    def read(self):
        """Seconds passed, and CPU seconds of odoo, postgres and the machine."""
        at, odoo, postgres, busy, _ours = (
            None if after is None or before is None else after - before
            for after, before in zip(self._read(), self._before, strict=True)
        )
        return {
            "seconds": round(at, 3),
            "odoo_cpu": round(odoo, 3),
            "postgres_cpu": None if postgres is None else round(postgres, 3),
            "machine_cpu": round(busy, 3),
        }


def rss_mb(pid):
    return round(psutil.Process(pid).memory_info().rss / 2**20, 1)


def reset_peak(pid):
    """Start the kernel's account of the process's largest RSS anew."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak_mb(pid):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return round(int(line.split()[1]) / 1024, 1)
    raise RuntimeError("no VmHWM in /proc")


class Watcher:
    """Calls ``_watch`` in a thread, inside ``with``; ``_stop`` tells it to end."""

    def __init__(self):
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exc_info):
        self._stop.set()
        self._thread.join()


class CommitWatcher(Watcher):
    """Tells when a transaction could be seen by others, to about 4 ms.

    It asks for PostgreSQL's snapshot again and again: which transactions are over
    stands in it, so neither triggers nor reads of the tables under load are
    needed, and every row that a transaction left behind (its ``xmin``) is a
    sample. Right only for writers without savepoints, whose rows would carry the
    ids of subtransactions. Costs 2 to 3 % of a core.
    """

    def __init__(self, database):
        self._connection = psycopg2.connect(dbname=database)
        self._connection.autocommit = True
        self.pid = self._connection.info.backend_pid
        self._seen = []  # (time, next id, ids in progress)
        super().__init__()

    def __exit__(self, *exc_info):
        super().__exit__(*exc_info)
        self._connection.close()

    def _watch(self):
        last = None
        with self._connection.cursor() as cr:
            cr.execute("PREPARE look AS SELECT pg_current_snapshot()::text")
            while not self._stop.wait(POLL):
                cr.execute("EXECUTE look")
                text = cr.fetchone()[0]
                if text != last:
                    last = text
                    _oldest, following, running = text.split(":")
                    ids = {int(x) for x in running.split(",") if x}
                    self._seen.append((time.time(), int(following), ids))

    def seen_at(self, xid):
        """When a transaction's rows could first be read; None if not (yet)."""
        position = bisect.bisect_right(self._seen, xid, key=lambda seen: seen[1])
        for at, _following, running in self._seen[position:]:
            if xid not in running:
                return at
        return None

    def latencies(self, rows):
        """Seconds from each row's time to its commit, for rows (xmin, epoch)."""
        seen = {xid: self.seen_at(xid) for xid in {xid for xid, _ in rows}}
        return [seen[xid] - at for xid, at in rows if seen[xid] is not None]


def machine(sql):
    """What the figures depend on."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    settings = ("shared_buffers", "fsync", "synchronous_commit")
    return {
        "cpu": model,
        "cores": psutil.cpu_count(),
        "ram_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "odoo": odoo.release.version,
        "python": platform.python_version(),
        "postgresql": sql.value("SHOW server_version").split(" ")[0],
        "settings": {name: sql.value(f"SHOW {name}") for name in settings},
        "system": f"{platform.system()} {platform.release()}",
    }
