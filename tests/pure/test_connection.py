"""One connection, over real sockets against peers of every temper."""

import base64
import hashlib
import json
import random
import struct
import threading
import time

import pytest

from fake_ha import FakeHomeAssistant, text_frame
from ha_client import connection as connection_module
from ha_client.connection import HaConnection
from ha_client.const import MESSAGE_LIMIT_BYTES
from ha_client.exceptions import (
    AuthenticationFailed,
    Cancelled,
    CannotConnect,
    CommandError,
    CommandTimeout,
    ConnectionLost,
    HaError,
    ProtocolError,
)
from ha_client.transport import Canceller
from helpers import (
    GENEROUS,
    Background,
    RawServer,
    answer,
    black_hole,
    config_for,
    eventually,
    http,
    mute,
    trickle,
)


@pytest.fixture
def connect(canceller):
    """Connections to a server, closed at the end."""
    opened = []

    def connect(server, authenticate=True, **kwargs):
        connection = HaConnection(config_for(server, **kwargs), canceller)
        opened.append(connection)
        connection.open(GENEROUS)
        if authenticate:
            connection.authenticate(GENEROUS)
        return connection

    yield connect
    for connection in opened:
        connection.close()


def refused(server, timeout=GENEROUS, kind=CannotConnect, **kwargs):
    canceller = Canceller()
    with pytest.raises(kind) as caught:
        HaConnection(config_for(server, **kwargs), canceller).open(timeout)
    canceller.close()
    return caught.value


# --- opening


def test_log_in_and_call(ha, connect):
    connection = connect(ha, authenticate=False)
    assert connection.authenticate(GENEROUS) == ha.version
    assert connection.call("get_config", GENEROUS)["location_name"] == "Fake Home"
    assert connection.call("ping", GENEROUS) is None
    assert ha.auth_attempts == 1


def test_a_path_prefix(connect):
    with FakeHomeAssistant(prefix="/home/assistant") as ha:
        assert connect(ha).call("get_states", GENEROUS) == []


def test_tls(connect):
    with FakeHomeAssistant(tls="good") as ha:
        connection = connect(ha, verify_ssl=False)
        assert connection.call("get_states", GENEROUS) == []


def test_tls_with_an_untrusted_certificate():
    with FakeHomeAssistant(tls="good") as ha:
        assert refused(ha).cause == "tls_certificate"


def test_a_missing_ca_bundle_is_a_typed_error(monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nonexistent/ca.pem")
    with FakeHomeAssistant(tls="good") as ha:
        error = refused(ha)
    assert error.cause == "tls_handshake"
    assert "CA bundle" in error.params["detail"]


def test_ban(ha):
    ha.banned = True
    assert refused(ha, kind=AuthenticationFailed).cause == "banned"


def test_a_redirect_is_told_and_not_followed(ha):
    with FakeHomeAssistant() as other:
        location = f"{other.url}/api/websocket".replace("http", "ws")
        ha.redirect_to = location.replace("//", "//user:pw@") + "?token=1"
        error = refused(ha)
        assert error.cause == "redirect"
        assert error.params["location"] == location.replace("//", "//***@")
        assert other.requests == []


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        (200, "not_home_assistant"),
        (401, "proxy_login"),
        (404, "not_home_assistant"),
        (426, "not_home_assistant"),
        (429, "server_error"),
        (500, "server_error"),
        (502, "server_error"),
        (503, "server_error"),
        (504, "server_error"),
    ],
)
def test_statuses(ha, status, cause):
    ha.http_status = status
    error = refused(ha)
    assert (error.cause, error.params["status"]) == (cause, status)


def test_a_proxy_that_drops_the_upgrade_header():
    body = b'No WebSocket UPGRADE hdr: None\n Can "Upgrade" only to "WebSocket".'
    with RawServer(http(400, body)) as server:
        assert refused(server).cause == "websocket_blocked"


def test_home_assistant_that_does_not_trust_its_proxy():
    with RawServer(http(400, b"400: Bad Request")) as server:
        assert refused(server).cause == "proxy_untrusted"


def test_a_tls_alert_in_answer_to_plain_http():
    with RawServer(answer(b"\x15\x03\x01\x00\x02\x02\x46")) as server:
        assert refused(server).cause == "https_required"


@pytest.mark.parametrize(
    "garbage",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x00\xff\xfe\r\n\r\n",
        b"\r\n\r\n",
        b"HTTP/1.1 banana\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: wrong\r\n\r\n",
        b"HTTP/1.1 404 No\r\nContent-Length: many\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 2_000_000,
    ],
)
def test_garbage_instead_of_an_upgrade(garbage):
    with RawServer(answer(garbage)) as server:
        error = refused(server, kind=HaError)
    assert error.cause in ("protocol", "connection_lost")


class Cutting(RawServer):
    """Answers with the beginning of an HTTP answer; ``heard`` is what it was told."""

    def __init__(self, answer=b""):
        self.heard = []
        self._answer = answer
        super().__init__(self._cut)

    def _cut(self, sock):
        self.heard.append(sock.recv(65536))
        sock.sendall(self._answer)


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        (b"404 NOT FOUND", "not_home_assistant"),  # Odoo's own
        (b"302 FOUND", "redirect"),
        (b"502 Bad Gateway", "server_error"),
    ],
)
def test_an_answer_without_its_body_still_tells_who_answers(status, cause):
    head = b"HTTP/1.1 %s\r\nContent-Length: 207\r\nLocation: http://x/\r\n\r\n"
    with Cutting(head % status) as server:
        error = refused(server)
        assert (error.cause, error.params.get("location", "http://x/")) == (
            cause,
            "http://x/",
        )
        # Whoever speaks HTTP there speaks no TLS.
        assert len(server.heard) == 1


def test_hanging_up_instead_of_an_upgrade():
    with Cutting() as server:
        error = refused(server)
        assert error.cause == "connection_lost"
        assert str(error) == "connection lost (the other side hung up)"
        assert server.heard[1].startswith(b"\x16\x03"), "perhaps it expects TLS"


def test_a_page_is_told_by_its_words():
    page = (
        b"<html><head><title>Odoo</title><style>body { margin: 0 }</style>"
        b"<script type='x'>if (1 < 2) { a() }</script ><!-- b > c --></head>"
        b"<body>It&nbsp;works<SCRIPT>" + b"x();" * 2000 + b"</SCRIPT></body></html>"
    )
    with RawServer(http(404, page)) as server:
        assert refused(server).params["detail"] == "Odoo It&nbsp;works"


@pytest.mark.parametrize("script", [mute, trickle])
def test_an_upgrade_that_never_ends_has_a_deadline(script):
    with RawServer(script) as server:
        assert refused(server, timeout=0.4).cause == "timeout"


# --- authentication


def test_a_wrong_token(ha, connect):
    with pytest.raises(AuthenticationFailed) as caught:
        connect(ha, token="wrong-token-0123456789")
    assert caught.value.cause == "token_rejected"
    assert ha.failed_logins == 1


def test_silence_instead_of_a_login(ha, connect):
    ha.silent = True
    connection = connect(ha, authenticate=False)
    with pytest.raises(CannotConnect) as caught:
        connection.authenticate(0.2)
    assert caught.value.cause == "timeout"


def test_another_websocket_server_does_not_get_the_token(connect):
    with websocket_peer(text_frame(b'{"hello": "world"}')) as server:
        connection = connect(server, authenticate=False)
        with pytest.raises(CannotConnect) as caught:
            connection.authenticate(GENEROUS)
        assert caught.value.cause == "not_home_assistant"
        assert b"auth" not in server.heard[0]


def shake_hands(sock):
    request = sock.recv(65536).decode()
    key = request.split("Sec-WebSocket-Key: ")[1].split("\r\n")[0]
    guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    accept = base64.b64encode(hashlib.sha1((key + guid).encode()).digest())
    sock.sendall(
        b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )


class websocket_peer(RawServer):
    """Upgrades, sends ``frames``, then listens to ``heard`` until closed."""

    def __init__(self, *frames, listens=True):
        self.heard = [b""]
        self._frames = frames
        self._listens = listens
        super().__init__(self._talk)

    def _talk(self, sock):
        shake_hands(sock)
        for frame in self._frames:
            sock.sendall(frame)
        if not self._listens:
            self.done.wait(GENEROUS)
        while data := sock.recv(65536):
            self.heard[0] += data


# --- commands


def test_ids_strictly_increase_from_many_threads(ha, connect):
    connection = connect(ha)
    ids = []

    def send():
        for _ in range(50):
            ids.append(connection.send_command("ping"))

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(GENEROUS)
    pongs = []
    while len(pongs) < 400:
        messages = connection.receive(GENEROUS)
        assert messages
        pongs += messages
    assert {message["type"] for message in pongs} == {"pong"}  # no id_reuse
    assert sorted(ids) == list(range(1, 401))


def test_several_commands_in_one_frame(ha, connect):
    connection = connect(ha)
    ids = connection.send_commands(
        [("ping", {}), ("get_states", {}), ("call_service", {"domain": "a", **SERVICE})]
    )
    assert ids == [1, 2, 3]
    seen = []
    while len(seen) < 3:
        seen += [message["id"] for message in connection.receive(GENEROUS)]
    assert sorted(seen) == ids


SERVICE = {"service": "b", "service_data": {"id": 7, "type": "x"}}


def test_an_error_result_keeps_code_and_message(ha, connect):
    connection = connect(ha)
    with pytest.raises(CommandError) as caught:
        connection.call("no/such_command", GENEROUS)
    assert caught.value.code == "unknown_command"
    assert caught.value.message == "Unknown command."


@pytest.mark.parametrize(
    "value", [float("nan"), "\ud800", object(), {1, 2}, "x" * 5_000_000]
)
def test_what_home_assistant_could_not_read_is_not_sent(ha, connect, value):
    connection = connect(ha)
    with pytest.raises(CommandError) as caught:
        connection.send_command("call_service", service_data={"x": value})
    assert caught.value.code == "invalid_format"
    assert connection.call("ping", GENEROUS) is None


def test_no_result_in_time(ha, connect):
    connection = connect(ha)
    ha.answer_delay = 5.0
    with pytest.raises(CommandTimeout) as caught:
        connection.call("get_states", 0.2)
    assert caught.value.params["command"] == "get_states"


# --- frames


def test_nothing_arrives(ha, connect):
    assert connect(ha).receive(0.02) == []


def test_coalesced_messages_come_flat(ha, connect):
    connection = connect(ha)
    ha.send_text('[{"id": 1}, {"id": 2}]')
    assert connection.receive(GENEROUS) == [{"id": 1}, {"id": 2}]


@pytest.mark.parametrize(
    "text", ["not json", "17", '"text"', "null", "[1]", "[" * 100_000, ""]
)
def test_what_is_no_message_is_a_protocol_error(ha, connect, text):
    connection = connect(ha)
    ha.send_text(text)
    with pytest.raises(ProtocolError):
        connection.receive(GENEROUS)


@pytest.mark.parametrize("tls", [None, "good"])
def test_a_frame_of_10_megabytes(connect, tls):
    with FakeHomeAssistant(tls=tls) as ha:
        connection = connect(ha, verify_ssl=False)
        text = "x" * 10_500_000
        ha.send_text(json.dumps({"id": 1, "text": text}))
        messages = []
        deadline = time.monotonic() + GENEROUS
        while not messages and time.monotonic() < deadline:
            messages = connection.receive(1.0)
        assert messages[0]["text"] == text
        assert connection.bytes_received > 10_000_000
        assert connection.call("ping", GENEROUS) is None


def test_a_fragmented_message_with_a_ping_in_between(connect):
    body = json.dumps({"text": "ä" * 1000}).encode()
    pieces = [body[i : i + 99] for i in range(0, len(body), 99)]
    frames = [bytes([0x01, 99]) + pieces[0], b"\x89\x02hi"]
    frames += [bytes([0x00, 99]) + piece for piece in pieces[1:-1]]
    frames.append(bytes([0x80, len(pieces[-1])]) + pieces[-1])
    with websocket_peer(b"".join(frames)) as server:
        connection = connect(server, authenticate=False)
        assert connection.receive(GENEROUS) == [{"text": "ä" * 1000}]
        eventually(lambda: b"\x8a\x82" in server.heard[0])  # a masked pong


@pytest.mark.parametrize("seed", range(5))
def test_a_stall_anywhere_in_a_frame_keeps_its_beginning(ha, connect, seed):
    connection = connect(ha)
    rng = random.Random(seed)
    message = {"id": seed, "text": "y" * rng.choice([0, 100, 70_000])}
    frame = text_frame(json.dumps(message).encode())
    cuts = sorted({rng.randrange(1, 12), rng.randrange(1, len(frame))})
    for begin, end in zip([0, *cuts], cuts, strict=False):
        ha.send_bytes(frame[begin:end])
        assert connection.receive(0.05) == []
    ha.send_bytes(frame[cuts[-1] :])
    assert connection.receive(GENEROUS) == [message]


def test_a_frame_may_be_followed_by_others_at_once(ha, connect):
    connection = connect(ha)
    frames = [text_frame(json.dumps({"id": n}).encode()) for n in range(500)]
    ha.send_bytes(b"".join(frames))
    received = [connection.receive(GENEROUS)[0]["id"] for _ in range(500)]
    assert received == list(range(500))


def test_a_message_without_end_is_cut_off(connect, monkeypatch):
    monkeypatch.setattr(connection_module, "MESSAGE_LIMIT_BYTES", 1_000_000)
    piece = b"\x01\x7e" + struct.pack("!H", 60_000) + b"x" * 60_000
    with websocket_peer(piece * 50) as server:
        connection = connect(server, authenticate=False)
        with pytest.raises(ProtocolError):
            connection.receive(GENEROUS)


@pytest.mark.parametrize(
    "header",
    [
        b"\x81\x7f" + struct.pack("!Q", 2**63),
        b"\x02\x7f" + struct.pack("!Q", MESSAGE_LIMIT_BYTES + 1),
        b"\x89\x7e" + struct.pack("!H", 126),
        b"\x81\xff",
        b"\x03\x7d",
        b"HTTP/1.1 502 Bad Gateway",
    ],
)
def test_a_header_beyond_the_protocol_is_found_without_its_content(connect, header):
    with websocket_peer(header) as server:
        connection = connect(server, authenticate=False)
        with pytest.raises(ProtocolError):
            connection.receive(GENEROUS)


@pytest.mark.parametrize("frame", [b"\xc1\x01x", b"\x8b\x00", b"\x83\x00"])
def test_frames_beyond_the_protocol(connect, frame):
    with websocket_peer(frame) as server:
        with pytest.raises(ProtocolError):
            connect(server, authenticate=False).receive(GENEROUS)


# --- the end


@pytest.mark.parametrize("code", [1000, 1001, 1008, 1012, 4000])
def test_closed_by_the_peer_whatever_the_code(ha, connect, code):
    connection = connect(ha)
    ha.close_connections(code, b"because")
    with pytest.raises(ConnectionLost) as caught:
        connection.receive(GENEROUS)
    assert caught.value.cause == "connection_lost"
    assert caught.value.params["code"] == code
    assert caught.value.params["reason"] == "because"


@pytest.mark.parametrize("tls", [None, "good"])
def test_dropped_by_the_peer(connect, tls):
    with FakeHomeAssistant(tls=tls) as ha:
        connection = connect(ha, verify_ssl=False)
        ha.drop_connections()
        with pytest.raises(ConnectionLost) as caught:
            connection.receive(GENEROUS)
        assert "remote host" not in str(caught.value)
        with pytest.raises(ConnectionLost):
            for _ in range(100):
                connection.send_command("ping")
                time.sleep(0.01)


@pytest.mark.parametrize("tls", [None, "good"])
def test_close_says_goodbye(connect, canceller, tls):
    with FakeHomeAssistant(tls=tls) as ha:
        connection = connect(ha, verify_ssl=False)
        canceller.cancel()  # the usual reason to close
        connection.close()
        connection.close()
        eventually(lambda: ha.close_codes == [1000])
        with pytest.raises(ConnectionLost):
            connection.receive(0)
        with pytest.raises(ConnectionLost):
            connection.send_command("ping")


def test_close_reads_on_until_the_peer_has_answered(connect, canceller):
    """Unread data would turn the end of the connection into a reset."""
    end = []

    def flood_then_answer(sock):
        shake_hands(sock)
        sock.sendall(text_frame(b"x" * 300_000))
        heard = b""
        while b"\x88\x82" not in heard:  # a masked close frame with a code
            heard += sock.recv(65536)
        sock.sendall(b"\x88\x02\x03\xe8")
        try:
            end.append(sock.recv(10))
        except OSError as error:
            end.append(error)

    with RawServer(flood_then_answer) as server:
        connection = connect(server, authenticate=False)
        time.sleep(0.05)
        canceller.cancel()
        connection.close()
        eventually(lambda: end)
    assert end == [b""]


def test_close_does_not_wait_for_a_dead_peer(connect):
    with websocket_peer() as server:
        connection = connect(server, authenticate=False)
        started = time.monotonic()
        connection.close()
        assert time.monotonic() - started < 1.5


def test_closing_what_was_never_open(ha, canceller):
    HaConnection(config_for(ha), canceller).close()


# --- giving up


def assert_cancels(canceller, function, cancel=None):
    running = Background(function)
    time.sleep(0.1)
    assert running.thread.is_alive()
    started = time.monotonic()
    (cancel or canceller.cancel)()
    assert isinstance(running.outcome(), Cancelled)
    assert time.monotonic() - started < 1.0


@pytest.mark.parametrize("script", [mute, trickle])
def test_cancel_in_the_upgrade(canceller, script):
    with RawServer(script) as server:
        connection = HaConnection(config_for(server), canceller)
        assert_cancels(canceller, lambda: connection.open(GENEROUS))


def test_cancel_while_connecting(canceller):
    with black_hole() as (host, port):
        server = type("", (), {"url": f"http://{host}:{port}", "token": "x" * 20})
        connection = HaConnection(config_for(server), canceller)
        assert_cancels(canceller, lambda: connection.open(GENEROUS))


def test_cancel_in_the_login(ha, connect, canceller):
    ha.silent = True
    connection = connect(ha, authenticate=False)
    assert_cancels(canceller, lambda: connection.authenticate(GENEROUS))


@pytest.mark.parametrize("tls", [None, "good"])
@pytest.mark.parametrize("how", ["cancel", "force"])
def test_cancel_an_idle_connection(connect, canceller, tls, how):
    with FakeHomeAssistant(tls=tls) as ha:
        connection = connect(ha, verify_ssl=False)
        assert_cancels(
            canceller,
            lambda: connection.receive(GENEROUS),
            cancel=getattr(canceller, how),
        )


def test_cancel_in_the_middle_of_a_frame(ha, connect, canceller):
    connection = connect(ha)
    ha.send_bytes(text_frame(b"x" * 1000)[:500])
    assert_cancels(canceller, lambda: connection.receive(GENEROUS))


def test_cancel_while_the_peer_does_not_read(connect, canceller):
    with websocket_peer(listens=False) as server:
        connection = connect(server, authenticate=False)

        def send():
            while True:
                connection.send_command("x", text="x" * 100_000)

        assert_cancels(canceller, send)
        # The unfinished frame makes a close frame impossible; just do not hang.
        connection.close()
