"""Which changes become history."""

import pytest

from ha_client.recording import Change, Recorder, Track, thin


def changes(*states, start=100.0, step=1.0, entity_id="sensor.a"):
    return [
        Change(entity_id, state, start + step * number)
        for number, state in enumerate(states)
    ]


def recorder(**options):
    made = Recorder()
    made.replace({"sensor.a": Track(7, **options)})
    return made


def record(made, offered, now=0.0, final=False):
    rows, changed = made.plan(offered, now, final)
    made.commit(changed)
    return [(row.state, row.at) for row in rows]


def test_each_change_is_a_row_with_its_number():
    rows, _changed = recorder().plan(changes("1.5", "off", "nan", "1_0"), 0.0)
    assert [(row.record_id, row.state, row.value, row.at) for row in rows] == [
        (7, "1.5", 1.5, 100.0),
        (7, "off", None, 101.0),
        (7, "nan", None, 102.0),
        (7, "1_0", None, 103.0),
    ]


def test_a_repeated_state_is_no_change():
    made = recorder(state="on", at=50.0)
    assert record(made, changes("on", "on", "off", "off", "on")) == [
        ("off", 102.0),
        ("on", 104.0),
    ]


def test_only_recorded_entities():
    assert record(recorder(), changes("1", entity_id="sensor.other")) == []


def test_nothing_takes_effect_before_the_commit():
    made = recorder()
    first, _changed = made.plan(changes("1"), 0.0)
    again, _changed = made.plan(changes("1"), 0.0)
    assert first == again != []


def lose(made, offered, now=0.0):
    rows, changed = made.plan(offered, now, lost=["sensor.a", "sensor.unknown"])
    made.commit(changed)
    return [(row.state, row.at) for row in rows]


def test_after_a_loss_the_next_change_is_recorded_whatever_it_is():
    made = recorder(state="on", at=50.0)
    assert lose(made, []) == []
    assert record(made, changes("on")) == [("on", 100.0)]


def test_what_was_lost_came_after_what_was_kept():
    made = recorder(state="on", at=50.0)
    assert lose(made, changes("off")) == [("off", 100.0)]
    assert record(made, changes("off", start=105.0)) == [("off", 105.0)]


def test_a_loss_ends_the_interval_of_what_is_held():
    made = recorder(interval=10)
    assert lose(made, changes("1", "2")) == [("1", 100.0), ("2", 101.0)]
    assert not made.is_holding


def test_deadband_is_relative_to_what_was_recorded():
    made = recorder(deadband=1.0)
    creeping = changes("20", "20.4", "20.8", "21.2", "unavailable", "21.3")
    assert record(made, creeping) == [
        ("20", 100.0),
        ("21.2", 103.0),
        ("unavailable", 104.0),
        ("21.3", 105.0),
    ]


def test_of_an_interval_the_latest_is_recorded_at_its_end():
    made = recorder(interval=10)
    assert record(made, changes("1", "2", "3"), now=5.0) == [("1", 100.0)]
    assert made.is_holding
    assert record(made, [], now=13.9) == []
    assert record(made, [], now=14.1) == [("3", 102.0)]
    assert not made.is_holding


def test_what_went_back_within_the_interval_never_was():
    made = recorder(interval=10)
    assert record(made, changes("1", "2", "1"), now=5.0) == [("1", 100.0)]
    assert record(made, [], now=99.0) == []


def test_the_end_of_a_link_leaves_nothing_held():
    made = recorder(interval=10)
    assert record(made, changes("1", "2"), final=True) == [("1", 100.0), ("2", 101.0)]
    made = recorder(interval=10)
    record(made, changes("1", "2"))
    assert record(made, [], final=True) == [("2", 101.0)]


def test_a_clock_that_stands_still_or_goes_back_holds_no_longer_than_the_interval():
    made = recorder(interval=10, state="1", at=5000.0)
    assert record(made, changes("2"), now=0.0) == []
    assert record(made, [], now=10.0) == [("2", 100.0)]


@pytest.mark.parametrize("at", [-1.0, 1e15, float("nan")])
def test_times_that_no_calendar_has_make_no_row(at):
    assert record(recorder(), [Change("sensor.a", "1", at)]) == []


def test_new_entities_keep_what_is_known():
    made = recorder()
    record(made, changes("1"))
    tracks = {"sensor.renamed": made.tracks[7]._replace(deadband=5.0)}
    made.replace(tracks)
    assert record(made, changes("1", "2", "9", entity_id="sensor.renamed")) == [
        ("9", 102.0)
    ]


def test_the_past_is_thinned_as_the_present():
    offered = changes("1", "2", "3", "4", step=4.0)
    rows, held = thin(Track(7, interval=10), offered, until=200.0)
    assert [(row.state, row.at) for row in rows] == [
        ("1", 100.0),
        ("3", 108.0),
        ("4", 112.0),
    ]
    assert held is None
    rows, _held = thin(Track(7), offered, 200.0)
    assert [row.state for row in rows] == ["1", "2", "3", "4"]


def test_the_past_is_thinned_in_slices_as_in_one_go():
    offered = changes("1", "2", "3", "4", "1", "5", step=4.0)
    whole, _held = thin(Track(7, interval=10), offered, until=300.0)
    for cut in range(len(offered) + 1):
        track, rows, start = Track(7, interval=10), [], cut * 4.0 + 98.0
        for part, until in ((offered[:cut], start), (offered[cut:], 300.0)):
            found, held = thin(track, part, until)
            rows += found
            if found:
                track = track._replace(state=found[-1].state, at=found[-1].at)
            track = track._replace(held=held)
        assert rows == whole
