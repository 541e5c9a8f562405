"""The bench's Home Assistant: many changes for little CPU, and it knows the truth.

A process of its own. It speaks the WebSocket protocol as the real one does with
``coalesce_messages``: one message per state change, and what is due in one tick of
10 ms in one text frame. The real one's limits hold here too: whoever leaves more
than 4,096 messages waiting, or more than 1,024 for 5 s, is cut.

It is told what to do by JSON lines on stdin, ``{"id", "do", …}``, and answers with
``{"id", …}`` on stdout; it ends when stdin does.
"""

import argparse
import asyncio
import gc
import json
import random
import sys
import time
from array import array
from collections import Counter

from aiohttp import web

from bench_home import Home

TOKEN = "bench-long-lived-token-0123456789"
TICK = 0.01
RECORDER_ROWS = 8_000_000  # about 100 MB; beyond it the oldest would have to go


class Generator:
    def __init__(self, home):
        self.home = home
        count = len(home)
        self.links = set()
        self.accepted = []  # when clients connected, epoch seconds
        self.cuts = []  # why we cut them
        self.commands = Counter()
        # How often each entity has changed, and when it last did.
        self.counts = array("L", bytes(8 * count))
        start = time.time()
        self.changed = array("d", [start] * count)
        # What its recorder knows: per entity the times, and the count before.
        self.times = [array("d") for _ in range(count)]
        self.first = array("L", bytes(8 * count))
        self.recorded = 0
        # Every entity changes once before any changes twice: the hardest case,
        # since nothing coalesces in a batch.
        self.order = list(range(count))
        random.Random(4).shuffle(self.order)
        self.position = 0
        self.heads = [f'{{"c":{{"{e}":{{"+":{{"s":"' for e in home.ids]
        # A number's next 10,000 states are the same for all: render them once.
        self.numbers = [f"{n / 10:.1f}" for n in range(10000)]
        self.numeric = [k not in _NOT_NUMERIC for k in home.kinds]

    # -- changes --------------------------------------------------------------

    def change(self, amount):
        """Change that many entities; the events' bodies as JSON."""
        bodies = []
        order, counts, heads = self.order, self.counts, self.heads
        numbers, numeric, state_of = self.numbers, self.numeric, self.home.state
        times, changed, total = self.times, self.changed, len(order)
        now = time.time()
        for step in range(amount):
            entity = order[self.position]
            self.position = (self.position + 1) % total
            count = counts[entity] = counts[entity] + 1
            # Microseconds apart, as they are in the real one.
            at = round(now + step * 1e-6, 6)
            changed[entity] = at
            times[entity].append(at)
            if numeric[entity]:
                state = numbers[(entity * 7 + count) % 10000]
            else:
                state = state_of(entity, count)
            bodies.append(
                f'{heads[entity]}{state}","lc":{at:.6f},'
                f'"c":"01KAVX6{count:08d}{entity:011d}"}}}}}}}}'
            )
        self.recorded += amount
        if self.recorded > RECORDER_ROWS:
            raise RuntimeError("the recorder is full: clear it between scenarios")
        return bodies

    def send(self, bodies):
        for link in list(self.links):
            link.send_events(bodies)

    async def do_load(self, rate, seconds):
        """Send ``rate`` changes a second; how it went."""
        loop = asyncio.get_running_loop()
        began, wall = loop.time(), time.time()
        sent = ticks = late = 0
        while True:
            elapsed = loop.time() - began
            due = int(min(elapsed, seconds) * rate)
            if due > sent:
                self.send(self.change(due - sent))
                sent = due
            if elapsed >= seconds:
                break
            ticks += 1
            pause = began + ticks * TICK - loop.time()
            late = max(late, -pause)
            await asyncio.sleep(max(0.0, pause))
        # Real time is taken here: a generator without CPU offers less.
        elapsed = loop.time() - began
        return {"sent": sent, "seconds": elapsed, "began": wall, "late": late}

    async def do_flood(self, count, rate):
        """That many changes in large frames, one every 10 ms."""
        loop = asyncio.get_running_loop()
        began, wall = loop.time(), time.time()
        sent = most = 0
        while sent < count:
            amount = min(int(rate * TICK), count - sent)
            self.send(self.change(amount))
            sent += amount
            most = max([most, *(link.pending() for link in self.links)])
            await asyncio.sleep(max(0.0, began + sent / rate - loop.time()))
        seconds = loop.time() - began
        return {"sent": sent, "seconds": seconds, "began": wall, "most_pending": most}

    async def do_stream(self, count, frame=100):
        """Prepared frames as fast as they are taken, for the receiver's floor."""
        (link,) = self.links
        frames = []
        for _ in range(count // frame):
            frames.append(link.frame_of(self.change(frame)))
        began = time.time()
        for data in frames:
            link.transport.write(data)
            while link.transport.get_write_buffer_size() > 200_000:
                await asyncio.sleep(0.001)
        return {"sent": count // frame * frame, "began": began}

    # -- questions --------------------------------------------------------------

    async def do_cut(self):
        """Cut every client without a close frame."""
        links = list(self.links)
        for link in links:
            link.transport.abort()
        return {"links": len(links), "at": time.time()}

    async def do_stats(self):
        return {
            "links": len(self.links),
            "accepted": self.accepted,
            "cuts": self.cuts,
            "commands": self.commands,
            "recorded": self.recorded,
            "pending": max([0, *(link.pending() for link in self.links)]),
        }

    async def do_clear(self):
        """Forget recorded changes; what is dumped later starts here."""
        for times in self.times:
            del times[:]
        self.first[:] = self.counts
        self.recorded = 0
        return {"at": time.time()}

    async def do_states(self, path):
        """Write present states: id, state, last changed, tab-separated."""
        home = self.home
        with open(path, "w") as file:
            for entity, entity_id in enumerate(home.ids):
                state = home.state(entity, self.counts[entity])
                file.write(f"{entity_id}\t{state}\t{self.changed[entity]:.6f}\n")
        return {"count": len(home)}

    async def do_history(self, path):
        """Write every recorded change in the same form."""
        home = self.home
        with open(path, "w") as file:
            for entity, entity_id in enumerate(home.ids):
                first = self.first[entity] + 1
                for count, at in enumerate(self.times[entity], first):
                    state = home.state(entity, count)
                    file.write(f"{entity_id}\t{state}\t{at:.6f}\n")
        return {"count": self.recorded}

    def snapshot(self):
        """The ``a`` event's content as JSON."""
        home, parts = self.home, []
        for entity, entity_id in enumerate(home.ids):
            state = home.state(entity, self.counts[entity])
            parts.append(
                f'"{entity_id}":{{"s":"{state}","a":{home.attributes[entity]},'
                f'"c":"01KAVX6{entity:019d}","lc":{self.changed[entity]:.6f}}}'
            )
        return '{"a":{' + ",".join(parts) + "}}"

    def history(self, start, end, entity_ids, with_attributes):
        """The answer to history_during_period, oldest first, ``end`` excluded."""
        home = self.home
        numbers = {entity_id: number for number, entity_id in enumerate(home.ids)}
        answer = {}
        for entity_id in entity_ids:
            entity = numbers.get(entity_id)
            if entity is None:
                continue
            attributes = json.loads(home.attributes[entity]) if with_attributes else {}
            rows = [
                {"s": home.state(entity, count), "a": attributes, "lu": at}
                for count, at in enumerate(self.times[entity], self.first[entity] + 1)
                if start <= at < end
            ]
            if rows:
                answer[entity_id] = rows
        return answer


_NOT_NUMERIC = ("motion", "door", "switch", "light", "text")


async def read_commands(generator):
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    tasks = set()

    async def answer(command):
        number, what = command.pop("id"), command.pop("do")
        try:
            result = await getattr(generator, f"do_{what}")(**command)
        except Exception as error:
            result = {"error": repr(error)}
        print(json.dumps({"id": number, **result}), flush=True)

    while line := await reader.readline():
        task = asyncio.create_task(answer(json.loads(line)))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


async def serve(options):
    from bench_ha_link import Link

    home = Home(options.entities, options.devices, options.areas)
    generator = Generator(home)
    app = web.Application()

    async def websocket(request):
        return await Link(generator, request, TOKEN).run()

    app.router.add_get("/api/websocket", websocket)
    runner = web.AppRunner(app, shutdown_timeout=0.01, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    print(json.dumps({"id": 0, "port": port}), flush=True)
    # Nothing here has cycles worth a pause in the middle of a tick.
    gc.freeze()
    gc.disable()
    await read_commands(generator)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--entities", type=int, default=5000)
    parser.add_argument("--devices", type=int, default=1000)
    parser.add_argument("--areas", type=int, default=50)
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
