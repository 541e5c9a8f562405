"""Floors: what receiving, and writing, cost by themselves. Run as processes.

``receive URL TOKEN COUNT`` follows the load generator with the addon's own client
and drops everything; ``write DATABASE COUNT BATCH`` writes rows like the addon's
with nothing around them.
"""

import io
import json
import math
import random
import sys
import time
from pathlib import Path

import psycopg2

ROOT = Path(__file__).resolve().parents[2]


class Drop:
    """A sink that counts, and takes whatever else a session tells."""

    def __init__(self, expected):
        self.expected, self.count = expected, 0
        self.began = self.cpu = None

    def __getattr__(self, _name):
        return lambda *_args, **_kwargs: None

    def on_synced(self):
        print(json.dumps({"ready": True}), flush=True)

    def on_states(self, changes):
        if changes.complete:
            return
        if self.began is None:
            self.began, self.cpu = time.monotonic(), time.process_time()
        self.count += len(changes.changed)
        if self.count >= self.expected:
            seconds = time.monotonic() - self.began
            cpu = time.process_time() - self.cpu
            result = {"changes": self.count, "seconds": seconds, "cpu": cpu}
            print(json.dumps(result), flush=True)
            raise SystemExit(0)


def receive(url, token, count):
    sys.path.append(str(ROOT))
    from ha_client import state_feed
    from ha_client.config_check import LinkConfig
    from ha_client.connection import HaConnection
    from ha_client.session import LinkSession
    from ha_client.transport import Canceller

    state_feed.LAG_LIMIT_S = math.inf  # it takes all there is, however late
    canceller = Canceller()
    connection = HaConnection(LinkConfig(url, token), canceller)
    connection.open()
    connection.authenticate()
    LinkSession(connection, Drop(int(count))).run(canceller)


def write(database, count, batch):
    """An UPDATE of states by id and a COPY of history per batch, and a commit."""
    count, batch = int(count), int(batch)
    connection = psycopg2.connect(dbname=database)
    cr = connection.cursor()
    cr.execute(
        """
        DROP TABLE IF EXISTS bench_floor_state, bench_floor_history;
        CREATE TABLE bench_floor_state (LIKE ha_entity_state INCLUDING ALL)
          WITH (fillfactor = 70);
        CREATE TABLE bench_floor_history (LIKE ha_entity_history INCLUDING ALL);
        INSERT INTO bench_floor_state SELECT * FROM ha_entity_state;
        SELECT id FROM bench_floor_state ORDER BY id
        """
    )
    ids = [id_ for (id_,) in cr.fetchall()]
    connection.commit()
    random.Random(4).shuffle(ids)
    start = 1_900_000_000.0
    changes = [
        (ids[n % len(ids)], f"{n % 10000 / 10:.1f}", n % 10000 / 10, start + n / 10000)
        for n in range(count)
    ]
    began, cpu = time.monotonic(), time.process_time()
    for first in range(0, count, batch):
        rows = changes[first : first + batch]
        cr.execute(
            """
            UPDATE bench_floor_state s
               SET state = v.state, state_number = v.number, is_numeric = TRUE,
                   last_changed = to_timestamp(v.at) AT TIME ZONE 'UTC',
                   last_updated = to_timestamp(v.at) AT TIME ZONE 'UTC'
              FROM unnest(%s::int[], %s::text[], %s::float8[], %s::float8[])
                   AS v(id, state, number, at)
             WHERE s.id = v.id
            """,
            tuple(map(list, zip(*_latest(rows), strict=True))),
        )
        text = "".join(
            [
                f"{id_}\t{state}\t{number}\tt\t{_time(at)}\tlive\n"
                for id_, state, number, at in rows
            ]
        )
        cr.copy_expert(
            "COPY bench_floor_history (entity_id, state, value, is_numeric,"
            " last_changed, source) FROM STDIN",
            io.StringIO(text),
        )
        connection.commit()
    seconds = time.monotonic() - began
    spent = time.process_time() - cpu
    cr.execute("DROP TABLE bench_floor_state, bench_floor_history")
    connection.commit()
    print(json.dumps({"changes": count, "seconds": seconds, "cpu": spent}), flush=True)


def _latest(rows):
    return {row[0]: row for row in rows}.values()


def _time(at):
    whole = int(at)
    text = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(whole))
    return f"{text}.{round((at - whole) * 1e6) % 1000000:06d}"


if __name__ == "__main__":
    {"receive": receive, "write": write}[sys.argv[1]](*sys.argv[2:])
