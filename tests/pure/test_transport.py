"""Opening connections: every fault has its cause, every phase can be given up."""

import os
import socket
import ssl
import threading
import time

import pytest

from fake_ha import FakeHomeAssistant
from ha_client import transport
from ha_client.exceptions import Cancelled, CannotConnect
from ha_client.tls import make_tls_context
from ha_client.transport import Canceller, open_socket
from helpers import GENEROUS, Background, RawServer, black_hole, eventually, mute


def try_open(host, port, canceller, tls=None, timeout=GENEROUS):
    return open_socket(host, port, tls=tls, timeout=timeout, canceller=canceller)


def failure(*args, **kwargs):
    with pytest.raises(CannotConnect) as caught:
        try_open(*args, **kwargs)
    return caught.value


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


# --- Canceller


def test_cancel_wakes_who_waits(canceller):
    waiting = Background(canceller.wait, GENEROUS)
    assert not canceller.is_set()
    canceller.cancel()
    assert waiting.outcome() is True
    assert canceller.is_set()


def test_wait_times_out(canceller):
    assert canceller.wait(0.01) is False


def test_cancelling_again_and_after_close_is_harmless():
    canceller = Canceller()
    for _ in range(100_000):
        canceller.cancel()
    canceller.close()
    canceller.cancel()
    canceller.force()
    assert canceller.is_set()


def test_force_cuts_the_registered_socket(canceller):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        canceller.register(ours)
        canceller.force()
        assert theirs.recv(1) == b""
    canceller.force()


# --- where it can be connected


def test_a_connection_is_open_and_registered(canceller):
    with RawServer(lambda sock: sock.sendall(b"hello")) as server:
        with try_open("localhost", server.port, canceller) as sock:
            assert sock.gettimeout() == 0
            eventually(lambda: _received(sock) == b"hello")
            canceller.force()


def _received(sock):
    try:
        return sock.recv(100)
    except BlockingIOError:
        return None


def test_the_next_address_is_tried(canceller, monkeypatch):
    with RawServer(mute) as server, black_hole() as (_, hole):
        addresses = [("127.0.0.1", free_port()), ("127.0.0.1", hole)]
        addresses.append(("127.0.0.1", server.port))
        monkeypatch.setattr(transport, "resolve", lambda *args: info(addresses))
        try_open("several", 1, canceller).close()
        assert server.accepted.wait(GENEROUS)


def info(addresses):
    kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
    return [(*kind, address) for address in addresses]


# --- where it cannot


def test_unknown_name(canceller):
    error = failure("no-such-host.invalid", 80, canceller)
    assert error.cause == "dns"
    assert error.params["host"] == "no-such-host.invalid"


def test_a_name_that_no_resolver_takes(canceller):
    assert failure("a" * 70 + ".invalid", 80, canceller).cause == "dns"


def test_refused(canceller):
    assert failure("127.0.0.1", free_port(), canceller).cause == "refused"


def test_a_refusal_counts_more_than_an_unreachable_address(canceller, monkeypatch):
    kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
    unreachable = (*kind, ("255.255.255.255", 80))
    refusing = (*kind, ("127.0.0.1", free_port()))
    monkeypatch.setattr(transport, "resolve", lambda *args: [unreachable, refusing])
    assert failure("both", 80, canceller).cause == "refused"
    monkeypatch.setattr(transport, "resolve", lambda *args: [unreachable])
    assert failure("one", 80, canceller).cause == "unreachable"


def test_black_hole(canceller):
    with black_hole() as (host, port):
        started = time.monotonic()
        assert failure(host, port, canceller, timeout=0.3).cause == "connect_timeout"
        assert time.monotonic() - started < GENEROUS


def test_a_resolver_that_does_not_answer(canceller, hanging_dns):
    error = failure("slow.example", 80, canceller, timeout=0.2)
    assert (error.cause, error.params["detail"]) == ("dns", "no answer")


# --- TLS


@pytest.mark.parametrize(
    ("kind", "detail"),
    [
        ("good", "self"),
        ("expired", "expired"),
        ("wrong-host", "mismatch"),
    ],
)
def test_certificates_that_are_not_trusted(canceller, monkeypatch, kind, detail):
    with FakeHomeAssistant(tls=kind) as ha:
        if kind != "good":
            monkeypatch.setenv("REQUESTS_CA_BUNDLE", ha.ca_file)
        error = failure("127.0.0.1", ha.port, canceller, tls=make_tls_context())
    assert error.cause == "tls_certificate"
    assert detail in error.params["detail"]


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
def test_a_private_ca_is_trusted_when_the_environment_names_it(
    canceller, monkeypatch, variable
):
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    with FakeHomeAssistant(tls="good") as ha:
        monkeypatch.setenv(variable, ha.ca_file)
        sock = try_open("127.0.0.1", ha.port, canceller, tls=make_tls_context())
        assert isinstance(sock, ssl.SSLSocket)
        sock.close()


@pytest.mark.parametrize("kind", ["good", "expired", "wrong-host"])
def test_verification_can_be_switched_off(canceller, kind):
    with FakeHomeAssistant(tls=kind) as ha:
        context = make_tls_context(verify=False)
        try_open("127.0.0.1", ha.port, canceller, tls=context).close()


def test_plain_http_on_a_tls_port(canceller):
    with FakeHomeAssistant() as ha:
        error = failure("127.0.0.1", ha.port, canceller, tls=make_tls_context())
    assert error.cause == "tls_handshake"


def test_hanging_up_in_the_tls_handshake(canceller):
    with RawServer(lambda sock: sock.recv(10)) as server:
        error = failure("127.0.0.1", server.port, canceller, tls=make_tls_context())
    assert error.cause == "tls_handshake"


def test_silence_in_the_tls_handshake(canceller):
    with RawServer(mute) as server:
        tls = make_tls_context()
        error = failure("127.0.0.1", server.port, canceller, tls=tls, timeout=0.3)
    assert error.cause == "timeout"


# --- giving up


@pytest.fixture
def hanging_dns(monkeypatch):
    """A resolver that hangs until the end of the test."""
    release = threading.Event()
    real = socket.getaddrinfo

    def hang(host, *args, flags=0, **kwargs):
        if flags & socket.AI_NUMERICHOST:
            return real(host, *args, flags=flags, **kwargs)
        release.wait(GENEROUS)
        raise socket.gaierror(socket.EAI_AGAIN, "released")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    yield
    release.set()


def assert_cancels(canceller, function):
    running = Background(function)
    time.sleep(0.1)
    assert running.thread.is_alive()
    started = time.monotonic()
    canceller.cancel()
    assert isinstance(running.outcome(), Cancelled)
    assert time.monotonic() - started < 1.0


def test_cancel_while_resolving(canceller, hanging_dns):
    assert_cancels(canceller, lambda: try_open("slow.example", 80, canceller))


def test_cancel_while_connecting(canceller):
    with black_hole() as (host, port):
        assert_cancels(canceller, lambda: try_open(host, port, canceller))


def test_cancel_in_the_tls_handshake(canceller):
    tls = make_tls_context()
    with RawServer(mute) as server:
        assert_cancels(
            canceller, lambda: try_open("127.0.0.1", server.port, canceller, tls=tls)
        )


def test_nothing_starts_when_cancelled_before(canceller):
    canceller.cancel()
    with RawServer(mute) as server:
        with pytest.raises(Cancelled):
            try_open("127.0.0.1", server.port, canceller)
        assert not server.accepted.is_set()


def test_no_descriptor_is_lost(canceller):
    def descriptors():
        return len(os.listdir("/proc/self/fd"))

    with RawServer(lambda sock: sock.recv(10)) as server, black_hole() as (host, port):
        tls = make_tls_context()
        before = descriptors()
        for _ in range(5):
            failure("127.0.0.1", free_port(), canceller)
            failure("127.0.0.1", server.port, canceller, tls=tls)
            failure(host, port, canceller, timeout=0.05)
            failure("no-such-host.invalid", 80, canceller)
        server_side = len(server._socks)
        eventually(lambda: descriptors() <= before + server_side)
