"""Who owns an instance: session advisory locks on one connection per database.

A :class:`Lease` is this process's connection to one database that outlives
requests. PostgreSQL keeps the locks as long as the connection lives, and ends
the connection when it has been silent for ``IDLE_TIMEOUT_S`` seconds, so that
the lease of a frozen process or a lost host is given free without us.

The connection is not from Odoo's pool: a session lock on a pooled cursor is lost
without a sign when the connection is borrowed by somebody else.
"""

import contextlib
import logging
import os
import select
import socket
import time

import psycopg2

from odoo.sql_db import connection_info_for

from .process_role import HTTP_WORKER

_logger = logging.getLogger(__name__)

CHANNEL = "odoo_ha_addon"
RECORDING = "recording"  # payload: what is kept as history has changed
LOCK_CLASS = 0x6F686101  # first key of our advisory locks; the second is the id
IDLE_TIMEOUT_S = 10
CONNECT_TIMEOUT_S = 2
LOCK_TIMEOUT_MS = 2000
STATEMENT_TIMEOUT_MS = 5000
ANSWER_LIMIT_S = 8.0  # PostgreSQL has answered by then, one way or the other

# The table or row is busy; nothing is lost, neither lease nor data.
BUSY = (
    psycopg2.errors.LockNotAvailable,
    psycopg2.errors.QueryCanceled,
    psycopg2.errors.DeadlockDetected,
    psycopg2.errors.SerializationFailure,
)
SESSION_NAME = "odoo_ha_addon-lease-"

# One round trip keeps the session alive and tells what has to be looked at.
TICK_SQL = """
    SELECT (SELECT state FROM ir_module_module WHERE name = 'odoo_ha_addon'),
           ARRAY(SELECT l.objid::bigint FROM pg_locks l
                  WHERE l.locktype = 'advisory' AND l.objsubid = 2 AND l.granted
                    AND l.classid = %s AND l.objid = ANY(%s::oid[])
                    AND l.database = (SELECT oid FROM pg_database
                                       WHERE datname = current_database()))
"""
SESSIONS_SQL = """
    SELECT application_name FROM pg_stat_activity
     WHERE datname = current_database() AND application_name LIKE %s
"""
OWNERS_SQL = """
    SELECT s.instance_id, s.owner_host, s.owner_role, s.owner_pid
      FROM ha_instance_status s
      JOIN pg_locks l ON l.objid = s.instance_id::oid AND l.locktype = 'advisory'
           AND l.objsubid = 2 AND l.granted AND l.classid = %s
           AND l.database = (SELECT oid FROM pg_database
                              WHERE datname = current_database())
      JOIN pg_stat_activity a ON a.pid = l.pid
           -- who has just got the lock may not stand in the status row yet
           AND a.application_name = %s || s.owner_role || '-' || s.owner_pid
     WHERE s.instance_id = ANY(%s)
"""
TAKE_OVER_SQL = """
    WITH previous AS (
        SELECT state, owner_host, owner_pid FROM ha_instance_status
         WHERE instance_id = %(id)s)
    INSERT INTO ha_instance_status AS s
           (instance_id, epoch, state, owner_host, owner_pid, owner_role,
            request_seq, stop_requested, connect_count, write_date)
    VALUES (%(id)s, 1, 'connecting', %(host)s, %(pid)s, %(role)s, 0, FALSE, 0,
            now() AT TIME ZONE 'UTC')
        ON CONFLICT (instance_id) DO UPDATE
       SET epoch = coalesce(s.epoch, 0) + 1, state = 'connecting', cause = NULL,
           params = NULL, retry_at = NULL, connected_since = NULL,
           owner_host = EXCLUDED.owner_host, owner_pid = EXCLUDED.owner_pid,
           owner_role = EXCLUDED.owner_role, write_date = EXCLUDED.write_date
 RETURNING s.epoch, (SELECT state FROM previous), (SELECT owner_host FROM previous),
           (SELECT owner_pid FROM previous)
"""


def connect(dbname: str, purpose: str, **options: str | int):
    """Open a connection of our own, apart from Odoo's pool.

    :param purpose: shown as the application name in ``pg_stat_activity``
    :param options: server settings for this session, e.g. ``lock_timeout=2000``
    :raises psycopg2.Error: when the database cannot be reached
    """
    info = dict(connection_info_for(dbname)[1])
    info.setdefault("connect_timeout", CONNECT_TIMEOUT_S)
    info["application_name"] = f"odoo_ha_addon-{purpose}-{os.getpid()}"
    # Notice a lost database host within seconds, not hours.
    info |= {
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": 10000,
    }
    # At the start of the session, within the timeout: a server that does not answer
    # a statement would hold the thread for ever, since nobody could cut it yet.
    settings = (f"-c {name}={value}" for name, value in options.items())
    info["options"] = " ".join(filter(None, (info.get("options"), *settings)))
    return psycopg2.connect(**info)


class Fenced(Exception):
    """Another process owns the instance now, or it ``is_deleted``."""

    def __init__(self, is_deleted: bool):
        super().__init__()
        self.is_deleted = is_deleted


def fence(cr, instance_id: int, epoch: int, column: str = "TRUE"):
    """Begin a transaction that writes for an instance, as its owner.

    :param column: SQL of something else to read in the same round trip; the status
        row is ``s``
    :return: the value of ``column``
    :raises Fenced: when it has another owner by now, or is deleted; nothing may be
        written then
    """
    cr.execute(
        f"SELECT {column} FROM ha_instance_status s"
        " WHERE s.instance_id = %s AND s.epoch = %s FOR SHARE OF s",
        (instance_id, epoch),
    )
    row = cr.fetchone()
    if not row:
        cr.execute("SELECT 1 FROM ha_instance WHERE id = %s", (instance_id,))
        raise Fenced(is_deleted=not cr.rowcount)
    return row[0]


def cut(connection) -> None:
    """Make whatever another thread waits for on ``connection`` fail at once.

    Unlike ``connection.cancel()``, this needs no connection to the server.
    """
    with contextlib.suppress(OSError, psycopg2.Error):
        with socket.socket(fileno=os.dup(connection.fileno())) as sock:
            sock.shutdown(socket.SHUT_RDWR)


def close_quietly(connection) -> None:
    """Close a connection that may be broken, or None."""
    if connection is not None and not connection.closed:
        try:
            connection.close()
        except psycopg2.Error as error:
            _logger.debug("Closing a connection: %s", error)


def database_exists(dbname: str) -> bool:
    """False only when PostgreSQL itself says that the database is gone."""
    try:
        connection = connect("postgres", "check")
    except psycopg2.Error:
        return True  # PostgreSQL is away as a whole
    try:
        with connection.cursor() as cr:
            cr.execute("SELECT 1 FROM pg_database WHERE datname = %s", (dbname,))
            return bool(cr.fetchone())
    finally:
        connection.close()


@contextlib.contextmanager
def after_all_owners(dbname: str, timeout: float = 5.0):
    """An autocommit cursor of our own, as soon as no instance has an owner.

    For clean-up while the addon is removed: owners notice that within a second,
    and a transaction that began before their last write would fail on it.
    """
    with contextlib.closing(connect(dbname, "cleanup", lock_timeout=5000)) as session:
        session.autocommit = True
        with session.cursor() as cr:
            deadline = time.monotonic() + timeout
            while time.monotonic() < deadline:
                cr.execute(
                    "SELECT 1 FROM pg_locks l JOIN pg_database d ON d.oid = l.database"
                    " WHERE l.locktype = 'advisory' AND l.objsubid = 2 AND l.granted"
                    " AND l.classid = %s AND d.datname = current_database()",
                    (LOCK_CLASS,),
                )
                if not cr.fetchone():
                    break
                time.sleep(0.1)
            yield cr


class Lease:
    """Advisory locks, notifications and liveness of this process in a database.

    Used by one thread. Every method raises ``psycopg2.Error`` when the connection
    is lost; all locks are gone then, whoever holds them now.
    """

    def __init__(self, dbname: str, role: str):
        self.held: set[int] = set()
        self._asked_at: float | None = None  # since when a statement is under way
        self._connection = connect(
            dbname,
            f"lease-{role}",
            lock_timeout=LOCK_TIMEOUT_MS,
            statement_timeout=STATEMENT_TIMEOUT_MS,
        )
        self._connection.autocommit = True
        if self._connection.server_version >= 140000:
            self.execute(
                "SELECT set_config('idle_session_timeout', %s, false)",
                (f"{IDLE_TIMEOUT_S}s",),
            )
        self.execute(f'LISTEN "{CHANNEL}"')

    def execute(self, query, params=None) -> list[tuple]:
        """Run one statement in a transaction of its own; return its rows."""
        self._asked_at = time.monotonic()
        try:
            with self._connection.cursor() as cr:
                cr.execute(query, params)
                return cr.fetchall() if cr.description else []
        finally:
            self._asked_at = None

    def cut_if_silent(self, limit: float) -> bool:
        """From another thread: make a statement fail that gets no answer.

        PostgreSQL ends each within ``STATEMENT_TIMEOUT_MS``. What lies between may
        have lost the connection without a word, and a lease with it.

        :param limit: seconds that it may have taken so far
        """
        asked_at = self._asked_at
        if asked_at is None or time.monotonic() - asked_at < limit:
            return False
        cut(self._connection)
        return True

    def tick(self, instance_ids: list[int]) -> tuple[str | None, list[int]]:
        """Keep the session alive.

        :return: the state of this module in the database (``installed``, …; None
            when it is not known there), and which of the instances have an owner
        """
        return self.execute(TICK_SQL, (LOCK_CLASS, instance_ids))[0]

    def try_acquire(self, instance_id: int) -> bool:
        """Take the lock of an instance if nobody has it."""
        if instance_id in self.held:
            return True
        query = "SELECT pg_try_advisory_lock(%s, %s)"
        [(granted,)] = self.execute(query, (LOCK_CLASS, instance_id))
        if granted:
            self.held.add(instance_id)
        return granted

    def release(self, instance_id: int) -> None:
        """Give the lock of an instance free and tell the other processes."""
        if instance_id in self.held:
            self.held.discard(instance_id)
            query = "SELECT pg_advisory_unlock(%s, %s), pg_notify(%s, 'released')"
            self.execute(query, (LOCK_CLASS, instance_id, CHANNEL))

    def take_over(self, instance_id: int, role: str) -> tuple[int, tuple | None]:
        """Fence every earlier owner of an instance off.

        :return: the new epoch; and host and process id of an earlier owner that
            did not end properly, if there is one
        """
        values = {
            "id": instance_id,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "role": role,
        }
        [(epoch, state, host, pid)] = self.execute(TAKE_OVER_SQL, values)
        crashed = host and state not in (None, "stopped", "auth_failed")
        return epoch, (host, pid) if crashed else None

    def owners(self, instance_ids: list[int]) -> dict[int, tuple[str, str, int]]:
        """Host, role and process id of those of the instances that have an owner."""
        if not instance_ids:
            return {}
        rows = self.execute(OWNERS_SQL, (LOCK_CLASS, SESSION_NAME, instance_ids))
        return {instance_id: tuple(owner) for instance_id, *owner in rows}

    def count_supervisors(self) -> int:
        """How many processes share the instances of this database.

        HTTP workers count only when there is nobody better.
        """
        roles = self._roles()
        return len([r for r in roles if r != HTTP_WORKER]) or len(roles)

    def has_better_owner(self) -> bool:
        """Whether a process that serves no user requests could take over."""
        return any(role != HTTP_WORKER for role in self._roles())

    def _roles(self) -> list[str]:
        rows = self.execute(SESSIONS_SQL, (f"{SESSION_NAME}%",))
        return [name.removeprefix(SESSION_NAME).split("-")[0] for (name,) in rows]

    def wait(self, wake_fd: int, timeout: float) -> set[str]:
        """Sleep until a notification, a wake-up or ``timeout`` seconds.

        :return: the payloads of the notifications that came
        """
        if not self._connection.notifies:
            # Not select(): it fails on descriptors above 1023.
            poller = select.poll()
            poller.register(self._connection, select.POLLIN)
            poller.register(wake_fd, select.POLLIN)
            ready = dict(poller.poll(timeout * 1000))
            if self._connection.fileno() in ready:
                self._connection.poll()
        payloads = {notice.payload for notice in self._connection.notifies}
        self._connection.notifies.clear()
        return payloads

    def close(self) -> None:
        """End the session; PostgreSQL gives all its locks free at once."""
        self.held.clear()
        with contextlib.suppress(psycopg2.Error):
            self._connection.close()
