"""Commands that other threads send over a session's connection."""

import threading

import pytest

from ha_client.exceptions import CommandError, CommandTimeout, ConnectionLost
from ha_client.outside_calls import OutsideCalls


class Connection:
    """Answers in the moment of sending, as a quick reading thread would."""

    def __init__(self, answer=None):
        self.calls = None
        self.sent = []
        self._answer = answer

    def send_announced(self, announce, type, /, **payload):
        announce(len(self.sent) + 1)
        self.sent.append((type, payload))
        if self._answer:
            assert self.calls.answer(len(self.sent), self._answer)


def make(answer=None):
    connection = Connection(answer)
    connection.calls = OutsideCalls(connection)
    return connection, connection.calls


def test_an_answer_that_comes_at_once_is_not_missed():
    connection, calls = make({"success": True, "result": [1]})
    assert calls.call("x/y", 5.0, entity_ids=["a"]) == [1]
    assert connection.sent == [("x/y", {"entity_ids": ["a"]})]


def test_an_error_keeps_its_code():
    error = {"code": "unknown_command", "message": "Unknown command."}
    _connection, calls = make({"success": False, "error": error})
    with pytest.raises(CommandError) as caught:
        calls.call("x/y", 5.0)
    assert caught.value.code == "unknown_command"


def test_an_answer_from_another_thread():
    _connection, calls = make()
    message = {"success": True, "result": "late"}
    timer = threading.Timer(0.3, calls.answer, (1, message))
    timer.start()
    assert calls.call("x", 10.0) == "late"
    timer.join()


def test_no_answer_in_time():
    _connection, calls = make()
    with pytest.raises(CommandTimeout):
        calls.call("x", 0.2)
    assert not calls.answer(1, {"success": True}), "nobody waits for it any more"


def test_a_caller_may_give_up():
    _connection, calls = make()
    with pytest.raises(CommandTimeout):
        calls.call("x", 60.0, given_up=lambda: True)


def test_the_end_of_the_connection_ends_every_call():
    _connection, calls = make()
    timer = threading.Timer(0.3, calls.end)
    timer.start()
    with pytest.raises(ConnectionLost):
        calls.call("x", 60.0)
    with pytest.raises(ConnectionLost):
        calls.call("x", 60.0)
    timer.join()


def test_results_of_others_are_not_taken():
    _connection, calls = make()
    assert not calls.answer(5, {"success": True})
    assert not calls.answer(None, {})
