"""A session on Odoo's own WebSocket, without a browser: what it is sent."""

import json
import threading
import time

import websocket

from odoo.addons.bus.websocket import WebsocketConnectionHandler

OURS = "odoo_ha_addon."


class BusClient:
    """Collects what one session gets, from its subscription on.

    :param server: an ``OdooServer`` of a single process, which also serves WebSockets
    :param cookie: of the session; None: somebody who has not logged in
    """

    def __init__(self, server, cookie=None):
        address = f"127.0.0.1:{server.port}"
        version = WebsocketConnectionHandler._VERSION
        self._socket = websocket.create_connection(
            f"ws://{address}/websocket?version={version}",
            origin=f"http://{address}",
            cookie=cookie and f"session_id={cookie}",
            timeout=30,
        )
        self.received = []  # {"id", "message": {"type", "payload"}}
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def subscribe(self, *channels):
        """Ask for channels by name; takes the place of what was asked for before."""
        data = {"channels": list(channels), "last": 0}
        self._socket.send(json.dumps({"event_name": "subscribe", "data": data}))
        return self

    def payloads(self, kind="states"):
        """Of the addon's notifications, in the order in which they came."""
        return [
            item["message"]["payload"]
            for item in list(self.received)
            if item["message"]["type"] == OURS + kind
        ]

    def changes(self):
        return [c for payload in self.payloads() for c in payload.get("changes", ())]

    @property
    def ours(self):
        """How many notifications of the addon there were, of whatever kind."""
        return sum(i["message"]["type"].startswith(OURS) for i in list(self.received))

    def wait_for(self, condition, timeout=30.0):
        deadline = time.monotonic() + timeout
        while not (result := condition()):
            if time.monotonic() > deadline:
                raise AssertionError(f"in vain; received: {self.received[-5:]}")
            time.sleep(0.02)
        return result

    def close(self):
        self._socket.close()
        self._thread.join(5)

    def _read(self):
        while True:
            try:
                text = self._socket.recv()
            except (websocket.WebSocketException, OSError):
                return
            if text:
                self.received.extend(json.loads(text))
