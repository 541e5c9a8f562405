"""Calls of a running Odoo, as its web client makes them."""

import requests

ANSWER_LIMIT_S = 120.0


class OdooError(Exception):
    """Odoo has answered, with an error."""


class OdooRpc:
    """A session with the server at ``url``. XML-RPC is deprecated in Odoo 19.

    Every call raises :class:`OdooError`, or ``requests.RequestException``.
    """

    def __init__(self, url):
        self.url = url
        self.session = requests.Session()

    def log_in(self, database, login, password):
        credentials = {"db": database, "login": login, "password": password}
        return self._post("/web/session/authenticate", credentials)

    def call(self, model, method, *args, **kwargs):
        call = {"model": model, "method": method, "args": args, "kwargs": kwargs}
        return self._post(f"/web/dataset/call_kw/{model}/{method}", call)

    def _post(self, path, params):
        payload = {"jsonrpc": "2.0", "id": 1, "method": "call", "params": params}
        answer = self.session.post(
            self.url + path, json=payload, timeout=ANSWER_LIMIT_S
        )
        answer.raise_for_status()
        content = answer.json()
        if "error" in content:
            error = content["error"]
            detail = error.get("data", {}).get("message") or error["message"]
            raise OdooError(f"{path}: {detail}")
        return content["result"]
