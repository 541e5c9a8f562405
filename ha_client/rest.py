"""Home Assistant's REST API over a pooled ``requests`` session.

Source of the facts: developer documentation "REST API", checked against 2024.3 and
2025.4. A failed service call loses Home Assistant's message here (plain "400: Bad
Request" or "500 Internal Server Error"); :mod:`service_call` keeps it.
"""

import json
import time
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter

from . import causes
from .config_check import LinkConfig
from .const import REST_ANSWER_TIMEOUT, REST_CONNECT_TIMEOUT, REST_LIMIT_BYTES
from .exceptions import (
    AuthenticationFailed,
    CommandError,
    HaError,
    ProtocolError,
    readable,
)
from .messages import encode
from .rest_errors import typed_error
from .tls import bundle_error, make_tls_context
from .upgrade import USER_AGENT, refusal

_CHUNK = 64 * 1024


class _TlsAdapter(HTTPAdapter):
    """An adapter that verifies with our context and nothing else."""

    def __init__(self, verify: bool) -> None:
        self._cert_reqs = "CERT_REQUIRED" if verify else "CERT_NONE"
        self._context = make_tls_context(verify)
        if urllib3.__version__.startswith("1."):
            # It names no host to OpenSSL when that is an address, and compares
            # host and certificate itself.
            self._context.check_hostname = False
        super().__init__(max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> Any:
        kwargs["ssl_context"] = self._context
        kwargs["cert_reqs"] = self._cert_reqs
        return super().init_poolmanager(*args, **kwargs)

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        # requests would add certifi's list to the context.
        conn.cert_reqs = self._cert_reqs


def make_session(config: LinkConfig) -> requests.Session:
    """A pooled session that trusts what WebSocket connections trust.

    Without proxies and .netrc, whose entries would replace the Authorization
    header. Raises :class:`CannotConnect` for a CA bundle that cannot be read.
    """
    session = requests.Session()
    session.trust_env = False
    session.verify = config.verify_ssl
    session.headers["User-Agent"] = USER_AGENT
    if config.is_tls:
        try:
            session.mount("https://", _TlsAdapter(config.verify_ssl))
        except OSError as error:
            raise bundle_error(error, config.host, config.port) from None
    return session


class RestClient:
    """REST calls for one configuration, from any thread.

    Keep it: connections are pooled. Time limits hold per read, so a peer that
    trickles a header can exceed them; :mod:`service_call` has strict ones.
    """

    def __init__(
        self, config: LinkConfig, session: requests.Session | None = None
    ) -> None:
        self._config = config
        self._session = session or make_session(config)
        self._where: dict[str, str | int] = {"host": config.host, "port": config.port}

    def close(self) -> None:
        """Release pooled connections."""
        self._session.close()

    def get_config(self, timeout: float = REST_ANSWER_TIMEOUT) -> dict[str, Any]:
        """``GET /api/config``; ``timeout`` seconds for connecting and for the answer.

        Raises as :meth:`call_service` does, and :class:`CannotConnect` with
        NOT_HOME_ASSISTANT when something else answers.
        """
        status, headers, body = self._request(
            "GET", "/api/config", None, timeout, timeout
        )
        config = _json(body)
        if status == 200 and isinstance(config, dict) and "version" in config:
            return config
        raise self._failure(status, headers, body)

    def is_home_assistant(self, timeout: float = REST_ANSWER_TIMEOUT) -> bool:
        """Whether it is a Home Assistant, by what it answers to anyone.

        ``/auth/providers`` once it has an owner, ``/api/onboarding`` before (that is
        404 after the next restart). No token is sent.
        """
        for path, key in (("/auth/providers", "type"), ("/api/onboarding", "step")):
            try:
                status, _, body = self._request(
                    "GET", path, None, timeout / 2, timeout / 2, login=False
                )
            except HaError:
                return False
            answer = _json(body)
            rows = answer.get("providers") if isinstance(answer, dict) else answer
            if status == 200 and isinstance(rows, list) and rows:
                if all(isinstance(row, dict) and key in row for row in rows):
                    return True
        return False

    def call_service(
        self,
        domain: str,
        service: str,
        data: dict[str, Any],
        connect_timeout: float = REST_CONNECT_TIMEOUT,
        answer_timeout: float = REST_ANSWER_TIMEOUT,
    ) -> list[dict[str, Any]]:
        """Call a service and wait for its end; the states it changed meanwhile.

        Raises :class:`CommandTimeout` when it still runs after ``answer_timeout``
        seconds, :class:`CommandError` when Home Assistant refuses,
        :class:`AuthenticationFailed`, :class:`CannotConnect`,
        :class:`ConnectionLost` (it may have run), :class:`ProtocolError`.
        """
        for name in (domain, service):
            if not name.replace("_", "").isalnum() or not name.isascii():
                raise CommandError("invalid_format", f"bad service name {name!r}")
        status, headers, body = self._request(
            "POST",
            f"/api/services/{domain}/{service}",
            data,
            connect_timeout,
            answer_timeout,
        )
        changed = _json(body)
        if status == 200 and isinstance(changed, list):
            return changed
        if status in (400, 404, 500):
            message = _message(body) or f"HTTP {status}"
            raise CommandError(f"http_{status}", message)
        raise self._failure(status, headers, body)

    # ---

    def _request(
        self,
        method: str,
        path: str,
        data: dict[str, Any] | None,
        connect_timeout: float,
        answer_timeout: float,
        login: bool = True,
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers (lower-case keys) and body, bounded in size and time."""
        headers = {"Authorization": f"Bearer {self._config.token}"} if login else {}
        content = None
        if data is not None:
            headers["Content-Type"] = "application/json"
            content = encode(data)
        deadline = time.monotonic() + connect_timeout + answer_timeout
        try:
            with self._session.request(
                method,
                self._config.base_url + path,
                data=content,
                headers=headers,
                timeout=(connect_timeout, answer_timeout),
                allow_redirects=False,
                stream=True,
            ) as response:
                lower = {k.lower(): v for k, v in response.headers.items()}
                return response.status_code, lower, self._body(response, deadline)
        except (requests.RequestException, OSError) as error:
            raise typed_error(
                error, self._where, f"{method} {path}", round(answer_timeout)
            ) from None

    def _body(self, response: requests.Response, deadline: float) -> bytes:
        chunks: list[bytes] = []
        size = 0
        for chunk in response.iter_content(_CHUNK):
            chunks.append(chunk)
            size += len(chunk)
            if size > REST_LIMIT_BYTES:
                raise ProtocolError(detail="answer too large")
            if time.monotonic() > deadline:
                raise requests.ReadTimeout()
        return b"".join(chunks)

    def _failure(self, status: int, headers: dict[str, str], body: bytes) -> HaError:
        if status == 401 and "www-authenticate" not in headers:
            return AuthenticationFailed(
                causes.TOKEN_REJECTED, **self._where, status=status
            )
        return refusal(status, headers, body, self._where)


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _message(body: bytes) -> str:
    """Home Assistant's own words in an error body, if there are any."""
    content = _json(body)
    if isinstance(content, dict):
        return readable(content.get("message") or "")
    return readable(body[:1000].decode(errors="replace"))
