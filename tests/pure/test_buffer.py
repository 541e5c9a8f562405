"""What waits between receiver and writer: the newest, bounded, nothing lost."""

import threading

import pytest

from ha_client.buffer import MAX_EVENTS, LinkBuffer
from ha_client.model import Area, Device, EntityState, RegistryEntity
from ha_client.states import StateChanges


def state(entity_id, value="on", attributes=None):
    return EntityState(entity_id, value, attributes or {}, 1.0, 1.0, None)


def changed(*states, removed=(), complete=False):
    by_id = {item.entity_id: item for item in states}
    return StateChanges(by_id, set(removed), complete)


@pytest.fixture
def buffer():
    """One that has seen a complete snapshot of three entities, and was drained."""
    buffer = LinkBuffer()
    buffer.on_registry("area", [Area("kitchen", "Kitchen")])
    buffer.on_registry("entity", [RegistryEntity("r1", "light.a")])
    snapshot = [state("light.a"), state("light.b"), state("sun.sun")]
    buffer.on_states(changed(*snapshot, complete=True))
    buffer.on_synced()
    buffer.drain()
    return buffer


def test_nothing_waits_in_a_new_one():
    assert not LinkBuffer().drain()


def test_drained_batch_is_not_given_again(buffer):
    buffer.on_states(changed(state("light.a", "off")))
    assert buffer.drain()
    assert not buffer.drain()


def test_snapshot_reconciles_everything_with_authority():
    buffer = LinkBuffer()
    buffer.on_registry("area", [Area("kitchen", "Kitchen")])
    buffer.on_states(changed(state("light.a"), complete=True))
    buffer.on_synced()
    batch = buffer.drain()
    assert batch.full and batch.authoritative
    assert batch.registries.areas == (Area("kitchen", "Kitchen"),)
    assert batch.world.keys() == {"light.a"}
    assert batch.report.state == "connected"


def test_states_before_the_snapshot_have_no_authority():
    buffer = LinkBuffer()
    buffer.on_registry("entity", [])
    assert not buffer.drain()  # nothing to reconcile with yet
    buffer.on_states(changed(state("light.a")))
    batch = buffer.drain()
    assert batch.full and not batch.authoritative


def test_changes_coalesce_to_the_newest(buffer):
    for number in range(1000):
        buffer.on_states(changed(state("light.a", str(number))))
    assert buffer.pending == 1
    batch = buffer.drain()
    assert not batch.full
    assert {k: s.state for k, s in batch.states.items()} == {"light.a": "999"}
    assert (batch.counts.changes, batch.counts.coalesced) == (1000, 999)


def test_memory_is_bounded_by_the_number_of_entities(buffer):
    for round_ in range(50):
        for entity_id in ("light.a", "light.b", "sun.sun"):
            buffer.on_states(changed(state(entity_id, str(round_))))
    assert buffer.pending == 3


def test_new_entity_is_reconciled_alone(buffer):
    buffer.on_states(changed(state("light.new")))
    batch = buffer.drain()
    assert batch.touched == {"light.new"} and batch.authoritative
    assert batch.world.keys() == batch.states.keys() == {"light.new"}
    assert batch.registries.entities and not batch.full


def test_changed_description_is_reconciled_alone(buffer):
    renamed = state("light.a", attributes={"friendly_name": "Lamp"})
    buffer.on_states(changed(renamed))
    assert buffer.drain().touched == {"light.a"}
    brighter = state("light.a", attributes={"friendly_name": "Lamp", "brightness": 9})
    buffer.on_states(changed(brighter))
    assert not buffer.drain().touched


def test_registry_that_changes_is_reconciled_alone(buffer):
    buffer.on_registry("area", [Area("kitchen", "Cuisine")])
    batch = buffer.drain()
    assert batch.kinds == {"area"} and batch.authoritative
    assert batch.registries.areas[0].name == "Cuisine"
    assert batch.registries.entities  # the others' latest lists come with it
    assert not (batch.full or batch.touched or batch.world)


def test_registry_that_says_the_same_again_is_nothing_new(buffer):
    buffer.on_registry("area", [Area("kitchen", "Kitchen")])
    buffer.on_registry("entity", [RegistryEntity("r1", "light.a")])
    assert not buffer.drain()


def test_changed_and_removed_entries_touch_their_entities(buffer):
    lamp = RegistryEntity("r2", "light.b", device_id="d1")
    buffer.on_registry("device", [Device("d1", "Lamp")])
    buffer.on_registry("entity", [lamp])
    batch = buffer.drain()
    assert (batch.kinds, batch.touched) == ({"device"}, {"light.a", "light.b"})
    assert batch.world.keys() == {"light.a", "light.b"}
    buffer.on_registry("device", [Device("d1", "Lamp", area_id="kitchen")])
    batch = buffer.drain()
    assert (batch.kinds, batch.touched) == ({"device"}, {"light.b"})


def test_new_entity_before_the_snapshot_is_reconciled_with_all(buffer):
    buffer.disconnected()
    buffer.on_states(changed(state("light.new")))
    batch = buffer.drain()
    assert batch.full and not batch.authoritative


def leaves(batch):
    """What is left when a batch is split until nothing can be split any more."""
    parts = batch.split()
    return [leaf for part in parts for leaf in leaves(part)] if parts else [batch]


@pytest.mark.parametrize("full", [True, False])
def test_a_batch_can_be_taken_apart_to_single_values(buffer, full):
    if full:
        buffer.request_full()
    buffer.on_registry("area", [Area("kitchen", "Cuisine")])
    names = [f"light.n{number}" for number in range(5)]
    buffer.on_states(changed(*map(state, names), removed=["sun.sun"]))
    buffer.event("connect")
    buffer.report("connected")
    batch = buffer.drain()
    parts = leaves(batch)
    assert all(len(part.names) <= 1 for part in parts)
    assert {key for part in parts for key in part.states} >= set(names)
    assert {key for part in parts for key in part.touched} >= set(names)
    assert {key for part in parts for key in part.kinds} >= {"area"}
    assert [c for part in parts for c in part.history] == batch.history
    assert sum(part.counts.changes for part in parts) == batch.counts.changes
    assert {key for part in parts for key in part.removed} == {"sun.sun"}
    assert [e for part in parts for e in part.events] == batch.events
    order = [(bool(part.touched), part.names) for part in parts]
    for name in names:
        assert order.index((True, [name])) < order.index((False, [name]))
    for part in parts:
        assert part.world.keys() <= part.touched


def test_the_gap_is_noted_before_any_other_part(buffer):
    buffer.disconnected()
    buffer.on_states(changed(state("light.a", "1"), state("light.b", "2")))
    parts = leaves(buffer.drain())
    assert [part.opens_gap for part in parts] == [True] + [False] * (len(parts) - 1)
    assert not parts[0].states


def test_removed_entity_loses_its_pending_state(buffer):
    buffer.on_states(changed(state("sun.sun", "below")))
    buffer.on_states(changed(removed=["sun.sun"]))
    batch = buffer.drain()
    assert batch.removed == {"sun.sun"}
    assert "sun.sun" not in batch.states


def test_entity_that_comes_back_is_not_removed(buffer):
    buffer.on_states(changed(removed=["sun.sun"]))
    buffer.on_states(changed(state("sun.sun", "below")))
    batch = buffer.drain()
    assert not batch.removed
    assert batch.world["sun.sun"].state == "below"


def test_second_snapshot_replaces_all_that_was_known(buffer):
    buffer.on_states(changed(state("light.a", "stale")))
    buffer.disconnected()
    buffer.on_states(changed(state("light.b", "off"), complete=True))
    buffer.on_synced()
    batch = buffer.drain()
    assert batch.world.keys() == {"light.b"}
    assert batch.states.keys() == {"light.b"}
    assert not batch.removed


def test_lost_connection_ends_the_authority_of_the_picture(buffer):
    buffer.on_alive()
    assert buffer.alive_at is not None
    buffer.disconnected()
    assert buffer.alive_at is None
    buffer.on_states(changed(state("light.a", "restored")))
    buffer.request_full()
    batch = buffer.drain()
    assert batch.full and not batch.authoritative


def test_restored_batch_is_given_again(buffer):
    buffer.on_states(changed(state("light.a", "off"), removed=["sun.sun"]))
    buffer.report("waiting", "refused", {"host": "h"}, 5.0)
    buffer.event("disconnect", "refused")
    buffer.on_config({"state": "RUNNING", "version": "1"})
    batch = buffer.drain()
    buffer.restore(batch)
    again = buffer.drain()
    assert (again.states, again.removed) == (batch.states, batch.removed)
    assert again.report == batch.report
    assert (again.events, again.config) == (batch.events, batch.config)


def test_what_is_newer_wins_over_a_restored_batch(buffer):
    buffer.on_states(changed(state("light.a", "1"), state("light.b", "1")))
    buffer.on_states(changed(removed=["sun.sun"]))
    buffer.report("waiting")
    buffer.event("disconnect")
    old = buffer.drain()
    buffer.on_states(changed(state("light.a", "2"), state("sun.sun", "2")))
    buffer.on_states(changed(removed=["light.b"]))
    buffer.report("connecting")
    buffer.event("connect")
    buffer.restore(old)
    batch = buffer.drain()
    assert {k: s.state for k, s in batch.states.items()} == {
        "light.a": "2",
        "sun.sun": "2",
    }
    assert batch.removed == {"light.b"}
    assert batch.report.state == "connecting"
    assert [event.kind for event in batch.events] == ["disconnect", "connect"]


def test_restored_reconciliation_takes_the_newest_picture(buffer):
    buffer.request_full()
    old = buffer.drain()
    buffer.on_states(changed(state("light.a", "newer")))
    buffer.restore(old)
    batch = buffer.drain()
    assert batch.full
    assert batch.world["light.a"].state == "newer"
    assert old.world["light.a"].state == "on"  # a batch never changes once taken


def test_events_are_bounded_and_the_newest_are_kept(buffer):
    for number in range(3 * MAX_EVENTS):
        buffer.event("disconnect", params={"number": number})
    events = buffer.drain().events
    assert len(events) == MAX_EVENTS
    assert events[-1].params["number"] == 3 * MAX_EVENTS - 1


def test_home_assistant_that_starts_is_reported_as_such(buffer):
    buffer.on_config({"state": "NOT_RUNNING"})
    batch = buffer.drain()
    assert (batch.report.state, batch.report.cause) == ("syncing", "starting")


def test_everything_new_wakes_the_writer():
    calls = []
    buffer = LinkBuffer(lambda: calls.append(buffer.drain()))
    buffer.on_states(changed(state("light.a")))
    buffer.on_synced()
    buffer.report("waiting")
    buffer.event("stop")
    buffer.request_full()
    assert len(calls) == 5 and all(calls)


def test_nothing_is_lost_between_two_threads():
    buffer = LinkBuffer()
    buffer.on_states(changed(*(state(f"x.{n}", "0") for n in range(10)), complete=True))
    buffer.on_synced()
    seen, done = {}, threading.Event()

    def write():
        failures = 0
        while True:
            last = done.is_set()
            batch = buffer.drain()
            failures += 1
            if batch and failures % 3 == 0:
                buffer.restore(batch)
                continue
            seen.update({k: s.state for k, s in batch.states.items()})
            if last and not batch:
                return

    writer = threading.Thread(target=write)
    writer.start()
    for number in range(3000):
        buffer.on_states(changed(state(f"x.{number % 10}", str(number))))
    done.set()
    writer.join(20)
    assert not writer.is_alive()
    assert seen == {f"x.{n}": str(2990 + n) for n in range(10)}
