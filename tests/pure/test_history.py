"""Requests to the recorder and their answers."""

import pytest

from ha_client.exceptions import ProtocolError
from ha_client.history import (
    changes_of,
    history_request,
    statistics_of,
    statistics_request,
)


def test_a_period_includes_its_ends():
    request = history_request(["sensor.a"], 1000.0, 2000.5)
    assert request["start_time"] < "1970-01-01T00:16:40+00:00"
    assert request["end_time"] > "1970-01-01T00:33:20.500000+00:00"
    assert request["include_start_time_state"] is False
    assert request["significant_changes_only"] is False
    assert request["minimal_response"] is False


def test_changes_of_attributes_are_no_changes():
    rows = [
        {"s": "1", "lu": 10.0},
        {"s": "1", "lu": 11.0, "lc": 10.0},
        {"s": "1", "lu": 12.0},  # forced: Home Assistant calls it a change
        {"s": None, "lu": 13.0},  # removed
        {"s": "2", "lu": 14.0},
        {"s": "2", "lu": 15.0, "lc": 14.0},
    ]
    found = changes_of({"sensor.a": rows})["sensor.a"]
    assert [(c.state, c.at) for c in found] == [("1", 10.0), ("1", 12.0), ("2", 14.0)]


def test_a_change_from_before_the_period_comes_with_its_own_time():
    rows = [{"s": "x", "lu": 50.0, "lc": 3.0}, {"s": "y", "lu": 51.0}]
    assert [c.at for c in changes_of({"a.b": rows})["a.b"]] == [3.0, 51.0]


@pytest.mark.parametrize(
    "answer", [[], {"a.b": [{"s": "1"}]}, {"a.b": [5]}, {"a.b": 5}, None]
)
def test_another_answer_is_an_error(answer):
    with pytest.raises(ProtocolError):
        changes_of(answer)
    with pytest.raises(ProtocolError):
        statistics_of(answer if answer != {"a.b": [{"s": "1"}]} else {"a.b": [{}]})


def test_statistics_are_in_milliseconds():
    answer = {
        "sensor.a": [
            {
                "start": 3600000,
                "end": 7200000,
                "mean": 1,
                "min": 0.5,
                "max": float("nan"),
            }
        ]
    }
    [row] = statistics_of(answer)
    assert (row.entity_id, row.start) == ("sensor.a", 3600.0)
    assert (row.mean, row.min, row.max, row.sum, row.change) == (
        1,
        0.5,
        None,
        None,
        None,
    )
    assert statistics_request(["sensor.a"], 0.0, 3600.0)["end_time"] == (
        "1970-01-01T01:00:00+00:00"
    )
