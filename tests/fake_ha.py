"""A scriptable Home Assistant for tests: WebSocket and REST, without Odoo.

It runs in a thread of its own on 127.0.0.1 and speaks what the addon uses, as the
real one does; where the real one misbehaves or breaks, tests tell this one to.

    with FakeHomeAssistant() as ha:
        ha.add_entity("light.kitchen", "off", registry_id="r1")
        ... connect to ha.url with ha.token ...
        ha.set_state("light.kitchen", "on")
        ha.drop_connections()
"""

import asyncio
import datetime
import ipaddress
import json
import os
import ssl
import struct
import tempfile
import threading
import time
import uuid
from collections import Counter
from contextlib import suppress

from aiohttp import WSCloseCode, WSMsgType, web

KINDS = ("floor", "label", "area", "device", "entity")
ID_KEYS = {
    "floor": "floor_id",
    "label": "label_id",
    "area": "area_id",
    "device": "id",
    "entity": "id",
}
TOKEN = "fake-long-lived-token-0123456789abcdef"


class FakeHomeAssistant:
    """Plain attributes are switches: set them at any time, from any thread."""

    def __init__(self, *, port=0, prefix="", tls=None, token=TOKEN, state="RUNNING"):
        """``tls``: None, or "good", "expired", "wrong-host" (see ``ca_file``)."""
        self.port, self.prefix, self.tls, self.token = port, prefix, tls, token
        self.ca_file = None
        # --- switches
        self.state = state  # get_config's; use set_running() to announce it
        self.version = "2025.4.4"
        self.location_name = "Fake Home"
        self.recovery_mode = False
        self.banned = False  # 403 to everything
        self.http_status = None  # answer everything with it, as a broken proxy
        self.redirect_to = None
        self.missing = ()  # 404 to paths that end so
        self.upgrade_status = None  # refuse WebSocket only, as a strict proxy
        self.answer_delay = 0.0  # seconds before each WebSocket answer
        self.service_delay = 0.0
        self.service_errors = {}  # (domain, service) -> (code, message)
        self.refused_commands = {}  # command or event type -> error code
        self.silent = False  # read, but send nothing more
        # --- what there is
        self.states = {}  # entity_id -> compressed state
        self.registries = {kind: {} for kind in KINDS}  # kind -> id -> row
        self.history = {}  # the recorder: entity_id -> [{"s", "lu"}]
        self.statistics = {}  # statistic_id -> [{"start" (ms), "mean", …}]
        self.history_requests = []  # epoch seconds from which history was asked for
        self.unrecorded = set()  # entities that the recorder leaves out
        # --- what was seen
        self.connections = set()
        self.most_connections = 0
        self.total_connections = 0
        self.auth_attempts = 0
        self.failed_logins = 0
        self.close_codes = []  # of the client's close frames; 1006: none came
        self.service_calls = []  # dicts: domain, service, data, target, over
        self.commands = Counter()
        self.requests = []  # "METHOD /path" of every HTTP request
        self._loop = None
        self._thread = None
        self._runner = None

    # --- life

    @property
    def url(self):
        scheme = "https" if self.tls else "http"
        return f"{scheme}://127.0.0.1:{self.port}{self.prefix}"

    def start(self):
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="FakeHomeAssistant", daemon=True
        )
        self._thread.start()
        self._run(self._serve())
        return self

    def stop(self):
        """Vanish; ``start`` comes back on the same port with the same content."""
        if self._loop is None:
            return
        self.drop_connections()
        self._run(self._shut_down())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()
        self._loop = None
        if self.ca_file:
            os.unlink(self.ca_file)
            self.ca_file = None

    def __enter__(self):
        return self.start()

    def __exit__(self, *exc_info):
        self.stop()

    def wait_for(self, condition, timeout=10.0):
        """Wait until ``condition()`` is true; fails the test otherwise."""
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, "the fake waited in vain"
            time.sleep(0.005)

    # --- content

    def set_state(self, entity_id, state, attributes=None, context=None):
        """Report a state as an integration would; subscribers get the diff."""
        self._call(self._set_state, entity_id, state, attributes, context)

    def set_states(self, states):
        """Many ``entity_id -> state`` at once."""
        self._call(lambda: [self._set_state(*item, None, None) for item in states])

    def add_entity(self, entity_id, state, attributes=None, registry_id=None, **row):
        """``registry_id`` None: an entity without registry entry."""
        if registry_id:
            row = {"id": registry_id, "entity_id": entity_id, **row}
            self.update_registry("entity", row)
        self.set_state(entity_id, state, attributes or {})

    def remove_entity(self, entity_id):
        def remove():
            for key, row in list(self.registries["entity"].items()):
                if row["entity_id"] == entity_id:
                    del self.registries["entity"][key]
                    data = {"action": "remove", "entity_id": entity_id}
                    self._fire("entity_registry_updated", data)
            if self.states.pop(entity_id, None):
                self._send_entity_event({"r": [entity_id]})

        self._call(remove)

    def rename_entity(self, old, new):
        """As the real one: 2024.3 sends the event first, 2025.4 the states."""

        def tell_event():
            data = {"action": "update", "entity_id": new, "old_entity_id": old}
            changes = {"entity_id": old}
            self._fire("entity_registry_updated", {**data, "changes": changes})

        def tell_states():
            self._send_entity_event({"r": [old]})
            self._send_entity_event({"a": {new: self.states[new]}})

        def rename():
            for row in self.registries["entity"].values():
                if row["entity_id"] == old:
                    row["entity_id"] = new
            self.states[new] = self.states.pop(old)
            steps = [tell_states, tell_event]
            for step in reversed(steps) if self.version < "2025" else steps:
                step()

        self._call(rename)

    def update_registry(self, kind, row):
        """Add or change a row, and tell subscribers."""

        def update():
            key = row[ID_KEYS[kind]]
            action = "update" if key in self.registries[kind] else "create"
            self.registries[kind].setdefault(key, {}).update(row)
            self._fire_registry(kind, action, self.registries[kind][key])

        self._call(update)

    def remove_from_registry(self, kind, key):
        def remove():
            row = self.registries[kind].pop(key)
            self._fire_registry(kind, "remove", row)

        self._call(remove)

    def _fire_registry(self, kind, action, row):
        name = {"entity": "entity_id", "device": "device_id"}.get(kind, ID_KEYS[kind])
        data = {"action": action, name: row["id" if kind == "device" else name]}
        self._fire(f"{kind}_registry_updated", data)

    def set_running(self, state="RUNNING"):
        def run():
            self.state = state
            self._fire("core_config_updated", {})

        self._call(run)

    # --- trouble

    def drop_connections(self):
        """Cut every WebSocket without a close frame."""
        self._each(lambda link: link.transport.abort())

    def close_connections(self, code=WSCloseCode.GOING_AWAY, reason=b""):
        self._each(lambda link: link.spawn(link.ws.close(code=code, message=reason)))

    def send_text(self, text):
        """Any text frame: garbage, or one of 10 MB."""
        self._each(lambda link: link.spawn(link.ws.send_str(text)))

    def send_bytes(self, data):
        """Raw bytes into the TCP or TLS stream, e.g. half a frame."""
        self._each(lambda link: link.transport.write(data))

    def _each(self, action):
        self._call(lambda: [action(link) for link in list(self.connections)])

    # --- in the loop

    def _run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    def _call(self, function, *args):
        async def call():
            function(*args)

        if self._loop is None:
            function(*args)
        else:
            self._run(call())

    async def _serve(self):
        app = web.Application(middlewares=[self._gate])
        get, post = app.router.add_get, app.router.add_post
        get(f"{self.prefix}/api/websocket", self._websocket)
        get(f"{self.prefix}/api/onboarding", self._onboarding)
        get(f"{self.prefix}/auth/providers", self._providers)
        get(f"{self.prefix}/api/config", self._get_config)
        get(f"{self.prefix}/api/states", self._get_states)
        post(f"{self.prefix}/api/services/{{domain}}/{{service}}", self._post_service)
        self._runner = web.AppRunner(app, shutdown_timeout=0.01)
        await self._runner.setup()
        context = self._make_tls() if self.tls else None
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=context)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def _shut_down(self):
        await self._runner.cleanup()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _make_tls(self):
        self.ca_file = make_certificate(self.tls)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.ca_file)
        return context

    @web.middleware
    async def _gate(self, request, handler):
        self.requests.append(f"{request.method} {request.path}")
        if self.banned:
            raise web.HTTPForbidden()
        if self.redirect_to:
            raise web.HTTPMovedPermanently(self.redirect_to)
        if self.missing and request.path.endswith(self.missing):
            raise web.HTTPNotFound()
        if self.http_status:
            return web.Response(status=self.http_status, text="<h1>proxy</h1>")
        if self.upgrade_status and request.path.endswith("/websocket"):
            return web.Response(status=self.upgrade_status, text="no upgrade")
        if not request.path.endswith(("/websocket", "/onboarding", "/providers")):
            self.auth_attempts += 1
            if request.headers.get("Authorization") != f"Bearer {self.token}":
                self.failed_logins += 1
                raise web.HTTPUnauthorized()
        return await handler(request)

    async def _providers(self, request):
        return web.json_response({"providers": [{"type": "homeassistant"}]})

    async def _onboarding(self, request):
        return web.json_response([{"step": "user", "done": True}])

    async def _get_config(self, request):
        return web.json_response(self.config())

    async def _get_states(self, request):
        return web.json_response(self.full_states())

    async def _post_service(self, request):
        domain, service = request.match_info["domain"], request.match_info["service"]
        data = json.loads(await request.text() or "{}")
        error = await self._serve_call(domain, service, data, {}, "rest")
        if error:
            # The real one keeps its message to itself here.
            bad_request = error[0] in ("not_found", "invalid_format")
            return web.Response(status=400 if bad_request else 500)
        return web.json_response([])

    async def _websocket(self, request):
        link = _Link(self, request)
        return await link.run()

    async def _serve_call(self, domain, service, data, target, over):
        call = {"domain": domain, "service": service, "data": data, "target": target}
        self.service_calls.append({**call, "over": over})
        await asyncio.sleep(self.service_delay)
        if error := self.service_errors.get((domain, service)):
            return error
        entity_ids = {**data, **target}.get("entity_id", [])
        for entity_id in [entity_ids] if isinstance(entity_ids, str) else entity_ids:
            known = self.states.get(entity_id)
            if known and service in ("turn_on", "turn_off", "toggle"):
                on = service == "turn_on" or service == "toggle" and known["s"] == "off"
                self._set_state(entity_id, "on" if on else "off", None, None)
        return None

    def config(self):
        return {
            "version": self.version,
            "location_name": self.location_name,
            "state": self.state,
            "recovery_mode": self.recovery_mode,
            "time_zone": "UTC",
        }

    def full_states(self):
        return [
            {"entity_id": entity_id, "state": state["s"], "attributes": state["a"]}
            for entity_id, state in self.states.items()
        ]

    def _set_state(self, entity_id, state, attributes, context):
        old = self.states.get(entity_id)
        now = time.time()
        context = context or uuid.uuid4().hex
        if attributes is None:
            attributes = old["a"] if old else {}
        if old is None:
            new = {"s": state, "a": attributes, "c": context, "lc": now}
            self._send_entity_event({"a": {entity_id: new}})
        else:
            if (old["s"], old["a"]) == (state, attributes):
                return
            new = {"s": state, "a": attributes, "c": context, "lc": now}
            plus = {"c": context}
            if old["s"] != state:
                plus |= {"s": state, "lc": now}
            else:
                new |= {"lc": old["lc"], "lu": now}
                plus["lu"] = now
            added = {
                key: value
                for key, value in attributes.items()
                if key not in old["a"] or old["a"][key] != value
            }
            diff = {"+": plus | ({"a": added} if added else {})}
            if gone := [key for key in old["a"] if key not in attributes]:
                diff["-"] = {"a": gone}
            self._send_entity_event({"c": {entity_id: diff}})
        self.states[entity_id] = new
        if (old is None or old["s"] != state) and entity_id not in self.unrecorded:
            self.history.setdefault(entity_id, []).append({"s": state, "lu": now})

    def _send_entity_event(self, event):
        for link in self.connections:
            link.tell(link.entity_subscriptions, event)

    def _fire(self, event_type, data):
        event = {"event_type": event_type, "data": data, "origin": "LOCAL"}
        for link in self.connections:
            link.tell(link.event_subscriptions.get(event_type, ()), event)


class _Link:
    """One WebSocket connection."""

    def __init__(self, ha, request):
        self.ha, self.request, self.transport = ha, request, request.transport
        self.ws = web.WebSocketResponse(autoping=True, max_msg_size=4 * 1024 * 1024)
        self.entity_subscriptions = []
        self.event_subscriptions = {}
        self.coalesce = False
        self.last_id = 0
        self._outbox = []
        self._flushing = False
        self._tasks = set()

    def spawn(self, coroutine):
        async def quiet():
            with suppress(ConnectionError, RuntimeError):
                await coroutine

        task = asyncio.ensure_future(quiet())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def run(self):
        ha = self.ha
        await self.ws.prepare(self.request)
        ha.connections.add(self)
        ha.total_connections += 1
        ha.most_connections = max(ha.most_connections, len(ha.connections))
        try:
            if await self._authenticate():
                async for message in self.ws:
                    if message.type is WSMsgType.TEXT:
                        content = json.loads(message.data)
                        many = isinstance(content, list)
                        for command in content if many else [content]:
                            self.spawn(self._answer(command))
        except (ConnectionError, RuntimeError):
            return self.ws  # cut in the middle of an answer
        finally:
            ha.connections.discard(self)
            ha.close_codes.append(self.ws.close_code or 1006)
        return self.ws

    async def _authenticate(self):
        ha = self.ha
        if ha.silent:
            return True
        await self.ws.send_json({"type": "auth_required", "ha_version": ha.version})
        message = await self.ws.receive()
        if message.type is not WSMsgType.TEXT:
            return False
        ha.auth_attempts += 1
        if json.loads(message.data).get("access_token") != ha.token:
            ha.failed_logins += 1
            await self.ws.send_json({"type": "auth_invalid", "message": "Invalid"})
            await self.ws.close()
            return False
        await self.ws.send_json({"type": "auth_ok", "ha_version": ha.version})
        return True

    def send(self, message):
        """Queue a message; what is queued in one turn of the loop is coalesced."""
        self._outbox.append(message)
        if not self._flushing:
            self._flushing = True
            self.spawn(self._flush())

    async def _flush(self):
        self._flushing = False
        messages, self._outbox = self._outbox, []
        if self.ha.silent:
            return
        if self.coalesce and len(messages) > 1:
            messages = [messages]
        for message in messages:
            await self.ws.send_str(json.dumps(message))

    def tell(self, subscriptions, event):
        for message_id in subscriptions:
            self.send({"id": message_id, "type": "event", "event": event})

    def _result(self, message_id, result=None):
        content = {"id": message_id, "type": "result", "success": True}
        self.send({**content, "result": result})

    def _error(self, message_id, code, message):
        content = {"id": message_id, "type": "result", "success": False}
        self.send({**content, "error": {"code": code, "message": message}})

    async def _answer(self, command):
        ha, message_id, kind = self.ha, command["id"], command["type"]
        ha.commands[kind] += 1
        if message_id <= self.last_id:
            return self._error(message_id, "id_reuse", "Identifier values must grow.")
        self.last_id = message_id
        if ha.answer_delay:
            await asyncio.sleep(ha.answer_delay)
        refused = ha.refused_commands.get(command.get("event_type", kind))
        if refused:
            return self._error(message_id, refused, f"refused {kind}")
        if kind == "ping":
            return self.send({"id": message_id, "type": "pong"})
        if kind.startswith("config/"):
            registry = kind.split("/")[1].removesuffix("_registry")
            if kind.endswith("/get_entries"):
                rows = {
                    row["entity_id"]: row for row in ha.registries[registry].values()
                }
                found = {key: rows.get(key) for key in command["entity_ids"]}
                return self._result(message_id, found)
            return self._result(message_id, list(ha.registries[registry].values()))
        handler = getattr(self, f"_on_{kind.rpartition('/')[2]}", None)
        if handler is None:
            return self._error(message_id, "unknown_command", "Unknown command.")
        return await handler(message_id, command)

    async def _on_supported_features(self, message_id, command):
        self.coalesce = bool(command["features"].get("coalesce_messages"))
        self._result(message_id)

    async def _on_get_config(self, message_id, command):
        self._result(message_id, self.ha.config())

    async def _on_get_states(self, message_id, command):
        self._result(message_id, self.ha.full_states())

    async def _on_subscribe_events(self, message_id, command):
        self.event_subscriptions.setdefault(command["event_type"], []).append(
            message_id
        )
        self._result(message_id)

    async def _on_subscribe_entities(self, message_id, command):
        self._result(message_id)
        self.tell([message_id], {"a": dict(self.ha.states)})
        self.entity_subscriptions.append(message_id)

    async def _on_unsubscribe_events(self, message_id, command):
        if command["subscription"] not in self.entity_subscriptions:
            return self._error(message_id, "not_found", "Subscription not found.")
        self.entity_subscriptions.remove(command["subscription"])
        return self._result(message_id)

    async def _on_call_service(self, message_id, command):
        domain, service = command["domain"], command["service"]
        data, target = command.get("service_data") or {}, command.get("target") or {}
        error = await self.ha._serve_call(domain, service, data, target, "websocket")
        if error:
            return self._error(message_id, *error)
        context = {"id": uuid.uuid4().hex, "parent_id": None, "user_id": None}
        return self._result(message_id, {"context": context, "response": None})

    async def _on_history_during_period(self, message_id, command):
        """Both ends are excluded, as in the real one."""
        start, end = (_epoch(command[key]) for key in ("start_time", "end_time"))
        self.ha.history_requests.append(start)
        result = {}
        for entity_id in command["entity_ids"]:
            known = self.ha.history.get(entity_id, [])
            rows = [row for row in known if start < row["lu"] < end]
            if command["include_start_time_state"]:
                rows = [row for row in known if row["lu"] <= start][-1:] + rows
            if rows:
                result[entity_id] = rows
        self._result(message_id, result)

    async def _on_list_statistic_ids(self, message_id, command):
        self._result(
            message_id,
            [{"statistic_id": key, "source": "recorder"} for key in self.ha.statistics],
        )

    async def _on_statistics_during_period(self, message_id, command):
        start, end = (_epoch(command[key]) for key in ("start_time", "end_time"))
        result = {}
        for key in command["statistic_ids"]:
            rows = [
                row
                for row in self.ha.statistics.get(key, [])
                if start <= row["start"] / 1000 < end
            ]
            if command["period"] == "month":
                rows = rows[:1]
            if rows:
                result[key] = rows
        self._result(message_id, result)


def _epoch(text):
    return datetime.datetime.fromisoformat(text).timestamp()


def make_certificate(kind):
    """A self-signed certificate and its key in one PEM file; its path."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    common_name = f"fake HA {uuid.uuid4().hex}"
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])
    if kind == "wrong-host":
        alternatives = [x509.DNSName("elsewhere.example")]
    else:
        alternatives = [
            x509.DNSName("localhost"),
            x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        ]
    today = datetime.datetime.now(datetime.timezone.utc)
    end = today + datetime.timedelta(days=-1 if kind == "expired" else 30)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - datetime.timedelta(days=30))
        .not_valid_after(end)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    private = key.private_bytes(
        encoding,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    with tempfile.NamedTemporaryFile(suffix=".pem", delete=False) as file:
        file.write(private + certificate.public_bytes(encoding))
    return file.name


def text_frame(data):
    """A text frame as a server sends it, to be cut up with ``send_bytes``."""
    return b"\x81\x7f" + struct.pack("!Q", len(data)) + data
