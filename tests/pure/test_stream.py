"""Limits that hold even against a peer that never lets the buffer run dry."""

import socket
import threading
import time

import pytest

from ha_client.exceptions import Cancelled, ProtocolError
from ha_client.stream import Stream


class Torrent:
    """A socket that always has one more byte."""

    def recv_into(self, buffer):
        buffer[0] = 0x78
        return 1


@pytest.fixture
def torrent(canceller):
    return Stream(Torrent(), canceller)


@pytest.fixture
def pair(canceller):
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        yield Stream(ours, canceller), theirs


def test_the_deadline_holds(torrent):
    torrent.set_deadline(0.05)
    with pytest.raises(TimeoutError):
        while True:
            torrent.recv(1)


def test_cancelling_works(torrent, canceller):
    torrent.set_deadline(60)
    assert torrent.recv(1) == b"x"
    canceller.cancel()
    with pytest.raises(Cancelled):
        torrent.recv(1)


def test_the_limit_holds_until_more_is_allowed(torrent):
    torrent.set_deadline(60)
    torrent.allow(10)
    assert [torrent.recv(1) for _ in range(10)] == [b"x"] * 10
    with pytest.raises(ProtocolError):
        torrent.recv(1)
    torrent.allow(10)
    assert torrent.recv(1) == b"x"


def test_what_is_there_is_read_even_when_the_time_is_over(pair):
    stream, peer = pair
    peer.send(b"abcdef")
    stream.set_deadline(0)
    assert stream.recv(2) == b"ab"
    assert stream.recv(100) == b"cdef"
    with pytest.raises(TimeoutError):
        stream.recv(1)


def test_the_end_is_an_empty_read(pair):
    stream, peer = pair
    peer.close()
    stream.set_deadline(60)
    assert stream.recv(1) == b""


def test_an_unfinished_write_is_remembered(pair, canceller):
    stream, _ = pair
    assert stream.send(b"x") == 1
    assert not stream.broken
    stream.ignore_cancel(send_timeout=0.05)
    with pytest.raises(TimeoutError):
        stream.send(b"x" * 10_000_000)
    assert stream.broken


def test_a_good_bye_is_not_interrupted(pair, canceller):
    stream, peer = pair
    canceller.cancel()
    stream.ignore_cancel(send_timeout=1)
    stream.set_deadline(1)
    peer.send(b"bye")
    assert stream.recv(3) == b"bye"


def test_who_never_has_to_wait_is_behind(pair):
    stream, peer = pair
    stream.set_deadline(0.01)
    with pytest.raises(TimeoutError):
        stream.recv(1)
    assert stream.behind == 0.0
    threading.Timer(0.05, peer.send, [b"abc"]).start()
    stream.set_deadline(5)
    assert stream.recv(3) == b"abc"
    time.sleep(0.02)
    assert stream.behind >= 0.02
    peer.send(b"def")
    assert stream.recv(3) == b"def"
    assert stream.behind >= 0.02
    stream.set_deadline(0.01)
    with pytest.raises(TimeoutError):
        stream.recv(1)
    assert stream.behind == 0.0
