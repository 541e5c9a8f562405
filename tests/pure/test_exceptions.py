import string

import pytest

from ha_client import causes
from ha_client.exceptions import (
    AuthenticationFailed,
    CannotConnect,
    CommandError,
    ConnectionLost,
    HaError,
    readable,
)

ALL_CAUSES = {
    value
    for name, value in vars(causes).items()
    if name.isupper() and isinstance(value, str)
}


def test_every_cause_has_a_message():
    assert set(causes.MESSAGES) == ALL_CAUSES


@pytest.mark.parametrize("cause", sorted(ALL_CAUSES))
def test_a_message_reads_well_with_and_without_its_parameters(cause):
    names = [n for _, n, _, _ in string.Formatter().parse(causes.MESSAGES[cause]) if n]
    full = str(HaError(cause, **dict.fromkeys(names, "value")))
    assert "value" in full or not names
    assert "{" not in full + str(HaError(cause))


def test_an_error_keeps_cause_and_parameters():
    error = CannotConnect(causes.REFUSED, host="ha", port=8123)
    assert (error.cause, error.params) == ("refused", {"host": "ha", "port": 8123})
    assert str(error) == "ha:8123 refused the connection"
    assert repr(error) == "CannotConnect('ha:8123 refused the connection')"


def test_types_have_a_cause_of_their_own():
    assert ConnectionLost().cause == causes.CONNECTION_LOST
    assert AuthenticationFailed().cause == causes.TOKEN_REJECTED


def test_home_assistants_code_and_message_are_kept():
    error = CommandError("not_found", "Service x.y not found.")
    assert (error.code, error.message) == ("not_found", "Service x.y not found.")
    assert "Service x.y not found." in str(error)


def test_what_a_peer_sent_becomes_one_bounded_printable_line():
    assert readable("a\r\nb\t c\x00\x1b[31m") == "a b c??[31m"
    assert len(readable("x" * 5000)) < 1000
