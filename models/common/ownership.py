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

import psycopg2
from psycopg2.extensions import ISOLATION_LEVEL_AUTOCOMMIT

from odoo.sql_db import connection_info_for

_logger = logging.getLogger(__name__)

CHANNEL = "odoo_ha_addon"
LOCK_CLASS = 0x6F686101  # first key of our advisory locks; the second is the id
IDLE_TIMEOUT_S = 10
CONNECT_TIMEOUT_S = 2
LOCK_TIMEOUT_MS = 2000
STATEMENT_TIMEOUT_MS = 5000

# An instance is held when its lock is granted to any session of this database.
HELD_SQL = """
    SELECT l.objid::bigint, l.pid
      FROM pg_locks l
      JOIN pg_database d ON d.oid = l.database
     WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2
       AND l.classid = %s AND d.datname = current_database()
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
    connection = psycopg2.connect(**info)
    with connection.cursor() as cr:
        for name, value in options.items():
            cr.execute("SELECT set_config(%s, %s, false)", (name, str(value)))
    connection.commit()
    return connection


def cut(connection) -> None:
    """Make whatever another thread waits for on ``connection`` fail at once.

    Unlike ``connection.cancel()``, this needs no connection to the server.
    """
    with contextlib.suppress(OSError, psycopg2.Error):
        with socket.socket(fileno=os.dup(connection.fileno())) as sock:
            sock.shutdown(socket.SHUT_RDWR)


class Lease:
    """Advisory locks, notifications and liveness of this process in a database.

    Used by one thread. Every method raises ``psycopg2.Error`` when the connection
    is lost; all locks are gone then, whoever holds them now.
    """

    def __init__(self, dbname: str):
        self.dbname = dbname
        self.held: set[int] = set()
        self._connection = connect(
            dbname,
            "lease",
            lock_timeout=LOCK_TIMEOUT_MS,
            statement_timeout=STATEMENT_TIMEOUT_MS,
        )
        self._connection.set_isolation_level(ISOLATION_LEVEL_AUTOCOMMIT)
        if self._connection.server_version >= 140000:
            self.execute(
                "SELECT set_config('idle_session_timeout', %s, false)",
                (f"{IDLE_TIMEOUT_S}s",),
            )
        self.execute(f'LISTEN "{CHANNEL}"')

    def execute(self, query, params=None) -> list[tuple]:
        """Run one statement in a transaction of its own; return its rows."""
        with self._connection.cursor() as cr:
            cr.execute(query, params)
            return cr.fetchall() if cr.description else []

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

    def held_anywhere(self) -> dict[int, int]:
        """Map the id of each owned instance to its owner's backend pid."""
        return dict(self.execute(HELD_SQL, (LOCK_CLASS,)))

    def wait(self, wake_fd: int, timeout: float) -> bool:
        """Sleep until a notification, a wake-up or ``timeout`` seconds.

        :return: whether a notification came
        """
        if not self._connection.notifies:
            ready, _, _ = select.select([self._connection, wake_fd], [], [], timeout)
            if self._connection in ready:
                self._connection.poll()
        notified = bool(self._connection.notifies)
        self._connection.notifies.clear()
        return notified

    def close(self) -> None:
        """End the session; PostgreSQL gives all its locks free at once."""
        self.held.clear()
        with contextlib.suppress(psycopg2.Error):
            self._connection.close()
