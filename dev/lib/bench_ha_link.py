"""One client of the bench's Home Assistant: commands in, results and events out."""

import datetime
import json
import struct
import time

from aiohttp import WSMsgType, web

MAX_PENDING, PEAK_PENDING, PEAK_SECONDS = 4096, 1024, 5.0
VERSION = "2025.4.4"
WRITE_BUFFER = 256 * 1024 * 1024  # never ask the protocol to pause: we count


class Link:
    def __init__(self, generator, request, token):
        self.generator, self.token = generator, token
        self.request, self.transport = request, request.transport
        self.ws = web.WebSocketResponse(heartbeat=55.0, max_msg_size=4 * 1024 * 1024)
        self.subscription = None  # id of subscribe_entities
        self._message_bytes = 150.0  # of an event, about
        self._unsent = 0  # messages since everything was last taken
        self._peak_since = None

    async def run(self):
        generator = self.generator
        self.transport.set_write_buffer_limits(high=WRITE_BUFFER)
        generator.accepted.append(time.time())
        await self.ws.prepare(self.request)
        try:
            await self.ws.send_json({"type": "auth_required", "ha_version": VERSION})
            login = await self.ws.receive_json()
            if login.get("access_token") != self.token:
                await self.ws.send_json({"type": "auth_invalid", "message": "Invalid"})
                return self.ws
            await self.ws.send_json({"type": "auth_ok", "ha_version": VERSION})
            generator.links.add(self)
            async for message in self.ws:
                if message.type is WSMsgType.TEXT:
                    content = json.loads(message.data)
                    for command in content if isinstance(content, list) else [content]:
                        await self._answer(command)
        except (ConnectionError, RuntimeError, TypeError):
            pass  # cut in the middle of an answer
        finally:
            generator.links.discard(self)
        return self.ws

    # -- events -----------------------------------------------------------------

    def frame_of(self, bodies):
        """A text frame with one message per body."""
        head = f'{{"id":{self.subscription},"type":"event","event":'
        text = "},".join([head + body for body in bodies]) + "}"
        data = (f"[{text}]" if len(bodies) > 1 else text).encode()
        self._message_bytes = len(data) / len(bodies)
        size = len(data)
        if size < 126:
            return struct.pack("!BB", 0x81, size) + data
        if size < 65536:
            return struct.pack("!BBH", 0x81, 126, size) + data
        return struct.pack("!BBQ", 0x81, 127, size) + data

    def send_events(self, bodies):
        if self.subscription is None or self.transport.is_closing():
            return
        if not self.transport.get_write_buffer_size():
            self._unsent = 0
        self._unsent += len(bodies)
        # Straight to the transport: a whole frame, so it may pass between two of
        # the library's own.
        self.transport.write(self.frame_of(bodies))
        self._check_pending()

    def pending(self):
        """Messages that neither the client nor the kernel has taken, about.

        A snapshot in front of them is many bytes, but one message.
        """
        waiting = self.transport.get_write_buffer_size() / self._message_bytes
        return min(self._unsent, int(waiting))

    def _check_pending(self):
        pending, now = self.pending(), time.monotonic()
        if pending <= PEAK_PENDING:
            self._peak_since = None
            return
        self._peak_since = self._peak_since or now
        if pending > MAX_PENDING or now - self._peak_since > PEAK_SECONDS:
            self.generator.cuts.append({"at": time.time(), "pending": pending})
            self.transport.abort()

    # -- commands -----------------------------------------------------------------

    async def _answer(self, command):
        number, kind = command["id"], command["type"]
        generator = self.generator
        generator.commands[kind] += 1
        if kind == "ping":
            return await self.ws.send_json({"id": number, "type": "pong"})
        if kind == "subscribe_entities":
            await self._result(number, None)
            # What has been taken since the last change does not wait any more.
            self._unsent = self.pending()
            # No await between the picture and the first change after it.
            snapshot = generator.snapshot()
            self.subscription = number
            return await self.ws.send_str(
                f'{{"id":{number},"type":"event","event":{snapshot}}}'
            )
        if kind.startswith("config/") and kind.endswith("/list"):
            registry = kind.split("/")[1].removesuffix("_registry")
            return await self._result(number, generator.home.registry(registry))
        if kind == "unsubscribe_events":
            self.subscription = None
            return await self._result(number, None)
        handler = getattr(self, "_on_" + kind.replace("/", "_"), None)
        if handler is None:
            error = {"code": "unknown_command", "message": "Unknown command."}
            answer = {"id": number, "type": "result", "success": False}
            return await self.ws.send_json({**answer, "error": error})
        return await self._result(number, await handler(command))

    async def _result(self, number, result):
        answer = {"id": number, "type": "result", "success": True, "result": result}
        await self.ws.send_json(answer)

    async def _on_supported_features(self, command):
        return None

    async def _on_subscribe_events(self, command):
        return None

    async def _on_call_service(self, command):
        return {"context": {"id": "01KAVX6SERVICE"}, "response": None}

    async def _on_get_config(self, command):
        return {
            "version": VERSION,
            "location_name": "Bench Home",
            "state": "RUNNING",
            "recovery_mode": False,
            "time_zone": "UTC",
            "components": ["history", "recorder"],
        }

    async def _on_config_entity_registry_get_entries(self, command):
        rows = {r["entity_id"]: r for r in self.generator.home.registry("entity")}
        return {entity_id: rows.get(entity_id) for entity_id in command["entity_ids"]}

    async def _on_history_history_during_period(self, command):
        end = command.get("end_time")
        return self.generator.history(
            _epoch(command["start_time"]),
            _epoch(end) if end else time.time(),
            command["entity_ids"],
            not command.get("no_attributes"),
        )

    async def _on_recorder_info(self, command):
        return {"recording": True, "backlog": 0, "migration_in_progress": False}

    async def _on_recorder_list_statistic_ids(self, command):
        return []

    async def _on_recorder_statistics_during_period(self, command):
        return {}


def _epoch(text):
    moment = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.timezone.utc)
    return moment.timestamp()
