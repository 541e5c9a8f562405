"""A browser's session of Odoo's bus that watches the instance, as lists do."""

import contextlib
import json
import threading
import time

import requests
import websocket

from bench_stage import LOGIN, wait_until

WATCH_EVERY_S = 30
LIST_SIZE = 80  # entities that a list shows, and reads again when it is told to


class BusSession:
    """Subscribed and watching within ``with``; notes when it learned which state.

    A notification names the new states, or says that there is much to read: then 80
    entities are read, as a list does.
    """

    def __init__(self, bed):
        self._bed = bed
        self._http = requests.Session()
        self._socket = None
        self._closing = False
        self._first = threading.Event()
        self._shown = {}  # state of each entity, as far as this session knows
        self.learned = []  # (time, database id, state)
        self.notifications = self.readings = 0
        self._watch_at = 0.0
        self._threads = []

    def __enter__(self):
        login = {"db": self._bed.database, "login": LOGIN, "password": LOGIN}
        self._rpc("/web/session/authenticate", login)
        cookie = f"session_id={self._http.cookies['session_id']}"
        url = self._bed.odoo.url.replace("http", "ws", 1)
        self._socket = websocket.create_connection(
            f"{url}/websocket", cookie=cookie, origin=self._bed.odoo.url, timeout=30
        )
        channels = [f"ha_instance:{self._bed.instance}"]
        subscribe = {"channels": channels, "last": 0}
        self._socket.send(json.dumps({"event_name": "subscribe", "data": subscribe}))
        self._watch()
        self._threads = [
            threading.Thread(target=target, daemon=True)
            for target in (self._follow, self._keep_watching)
        ]
        for thread in self._threads:
            thread.start()
        # The first notification after nobody watched says to read everything.
        self._bed.generator.do("load", rate=100, seconds=0.1)
        wait_until(self._first.is_set, 15, "the first notification of the bus")
        self.learned.clear()
        self.notifications = self.readings = 0
        return self

    def __exit__(self, *exc_info):
        self._closing = True
        with contextlib.suppress(OSError, websocket.WebSocketException):
            self._socket.close(timeout=1)
        for thread in self._threads:
            thread.join(5)
        self._http.close()

    def latencies(self, truth):
        """Seconds from each state's time to when this session had it.

        :param truth: {(database id, state): epoch seconds}, without states that an
            entity had twice
        """
        known = ((at, truth.get((id_, state))) for at, id_, state in self.learned)
        return [at - began for at, began in known if began is not None]

    # ---

    def _rpc(self, path, params):
        payload = {"jsonrpc": "2.0", "id": 1, "method": "call", "params": params}
        answer = self._http.post(self._bed.odoo.url + path, json=payload, timeout=60)
        return answer.json()["result"]

    def _call(self, model, method, *args, **kwargs):
        params = {"model": model, "method": method, "args": args, "kwargs": kwargs}
        return self._rpc(f"/web/dataset/call_kw/{model}/{method}", params)

    def _watch(self):
        self._call("ha.instance", "watch_live")

    def _keep_watching(self):
        due = time.monotonic() + WATCH_EVERY_S
        while not self._closing:
            time.sleep(0.2)
            if time.monotonic() >= due:
                due += WATCH_EVERY_S
                self._watch()

    def _follow(self):
        with contextlib.suppress(OSError, websocket.WebSocketException):
            while text := self._socket.recv():  # empty: closed
                found = json.loads(text)
                payloads = [
                    item["message"]["payload"]
                    for item in found
                    if item["message"]["type"] == "odoo_ha_addon.states"
                ]
                self.notifications += len(payloads)
                if any(payload.get("refetch") for payload in payloads):
                    self._read_list()
                else:
                    at = time.time()
                    for payload in payloads:
                        for row in payload["changes"]:
                            if "state" in row:
                                self._note(at, row["id"], row["state"])
                self._first.set()

    def _read_list(self):
        # Numbers: which moment a state is of must be clear.
        domain = [("instance_id", "=", self._bed.instance)]
        domain += [("ha_entity_id", "like", "sensor.temperature")]
        rows = self._call(
            "ha.entity", "search_read", domain, ["state"], limit=LIST_SIZE, order="id"
        )
        self.readings += 1
        at = time.time()
        for row in rows:
            self._note(at, row["id"], row["state"])

    def _note(self, at, id_, state):
        if self._shown.get(id_) != state:
            self._shown[id_] = state
            self.learned.append((at, id_, state))
