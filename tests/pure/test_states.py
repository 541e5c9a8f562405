"""Decoding: compared with a model that keeps full states, over random histories."""

import copy
import random

import pytest

from ha_client.exceptions import ProtocolError
from ha_client.states import StateDecoder


def snapshot(**states):
    return {"a": states}


def compressed(state="on", attributes=None, lc=1.0, **extra):
    return {"s": state, "a": attributes or {}, "c": "ctx", "lc": lc, **extra}


def change(entity_id, plus=None, minus=None):
    diff = {}
    if plus is not None:
        diff["+"] = plus
    if minus is not None:
        diff["-"] = {"a": minus}
    return {"c": {entity_id: diff}}


@pytest.fixture
def decoder():
    decoder = StateDecoder()
    decoder.apply({"a": {"light.a": compressed("off", {"x": 1, "y": 2}, 10.5)}})
    return decoder


def test_the_first_event_is_complete():
    decoder = StateDecoder()
    state = compressed("on", {"x": 1}, 10.5)
    changes = decoder.apply({"a": {"light.a": state}})
    assert changes.complete
    assert changes.changed["light.a"] == ("light.a", "on", {"x": 1}, 10.5, 10.5, "ctx")
    assert decoder.states == changes.changed


def test_an_empty_first_event_is_complete_too():
    assert StateDecoder().apply({"a": {}}) == ({}, set(), True)


def test_the_first_event_of_a_new_subscription_replaces_everything(decoder):
    decoder.restart()
    changes = decoder.apply({"a": {"light.b": compressed()}})
    assert changes.complete
    assert changes.removed == {"light.a"}
    assert set(decoder.states) == {"light.b"}


def test_after_an_interruption_only_differences_are_changes(decoder):
    decoder.apply({"a": {"light.b": compressed(), "light.c": compressed()}})
    before = dict(decoder.states)
    decoder.resume()
    same, other = compressed(), compressed("off", lc=99.0)
    changes = decoder.apply({"a": {"light.b": same, "light.c": other, "x.n": same}})
    assert not changes.complete
    assert set(changes.changed) == {"light.c", "x.n"}
    assert changes.removed == {"light.a"}
    assert changes.changed["light.c"].state == "off"
    assert changes.changed["light.c"].attributes is before["light.c"].attributes
    assert decoder.states == {"light.b": before["light.b"], **changes.changed}
    assert decoder.newest == 99.0
    assert decoder.apply({"c": {"light.b": {"+": {"s": "5"}}}}).changed


def test_last_updated_is_last_changed_unless_given():
    decoder = StateDecoder()
    changes = decoder.apply(
        {"a": {"a.a": compressed(lc=5.0), "a.b": compressed(lc=5.0, lu=7.0)}}
    )
    times = {k: (v.last_changed, v.last_updated) for k, v in changes.changed.items()}
    assert times == {"a.a": (5.0, 5.0), "a.b": (5.0, 7.0)}


def test_times_are_whole_microseconds(decoder):
    """Home Assistant 2025.4 tells the same time with and without the rest."""
    exact, rounded = 1795598415.4451175, 1795598415.445117
    added = decoder.apply({"a": {"a.a": compressed(lc=exact, lu=exact + 1)}})
    assert added.changed["a.a"].last_changed == rounded
    changed = decoder.apply(change("a.a", {"s": "on", "lc": exact + 2}))
    assert changed.changed["a.a"].last_changed == rounded + 2


def test_a_changed_state_sets_both_times(decoder):
    changes = decoder.apply(change("light.a", {"s": "on", "lc": 20.25, "c": "new"}))
    assert not changes.complete
    assert changes.changed["light.a"] == (
        "light.a",
        "on",
        {"x": 1, "y": 2},
        20.25,
        20.25,
        "new",
    )


def test_changed_attributes_leave_last_changed_alone(decoder):
    changes = decoder.apply(change("light.a", {"a": {"x": 9}, "lu": 30.0}, ["y"]))
    state = changes.changed["light.a"]
    assert (state.state, state.attributes) == ("off", {"x": 9})
    assert (state.last_changed, state.last_updated) == (10.5, 30.0)


def test_an_attribute_can_become_null(decoder):
    changes = decoder.apply(change("light.a", {"a": {"x": None}, "lu": 30.0}))
    assert changes.changed["light.a"].attributes == {"x": None, "y": 2}


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        ("other", "other"),
        ({"id": "other", "user_id": "u"}, "other"),
        ({"user_id": "u"}, "ctx"),
        (None, "ctx"),
    ],
)
def test_a_context_is_an_id_or_the_parts_that_changed(decoder, context, expected):
    plus = {"lu": 30.0} | ({"c": context} if context is not None else {})
    changes = decoder.apply(change("light.a", plus))
    assert changes.changed["light.a"].context_id == expected


def test_removal_and_rename(decoder):
    assert decoder.apply({"r": ["light.a"]}) == ({}, {"light.a"}, False)
    changes = decoder.apply({"a": {"light.b": compressed()}})
    assert (set(changes.changed), changes.complete) == ({"light.b"}, False)
    assert set(decoder.states) == {"light.b"}


def test_removing_what_is_not_known_is_nothing(decoder):
    assert decoder.apply({"r": ["light.zzz"]}) == ({}, set(), False)


def test_results_never_change_afterwards(decoder):
    before = decoder.states["light.a"]
    kept = copy.deepcopy(before)
    changes = decoder.apply(change("light.a", {"a": {"x": 2}, "lu": 11.0}, ["y"]))
    after = copy.deepcopy(changes.changed["light.a"])
    decoder.apply(change("light.a", {"a": {"z": 2}, "lu": 12.0}))
    assert before == kept
    assert changes.changed["light.a"] == after


def test_a_change_of_an_unknown_entity_means_we_are_out_of_step(decoder):
    with pytest.raises(ProtocolError):
        decoder.apply(change("light.zzz", {"s": "on", "lc": 1.0}))


@pytest.mark.parametrize(
    "event",
    [
        {"a": {"light.a": {"s": "on"}}},
        {"a": {"light.a": None}},
        {"a": ["light.a"]},
        {"c": {"light.a": {"+": {"lc": "yesterday"}}}},
        {"c": {"light.a": []}},
        {"r": 5},
    ],
)
def test_a_malformed_event_is_a_protocol_error(decoder, event):
    with pytest.raises(ProtocolError):
        decoder.apply(event)


class Truth:
    """Home Assistant's side: full states, and the events it would send."""

    def __init__(self, rng):
        self.rng = rng
        self.now = 1000.0
        self.states = {}

    def full(self):
        return {e: self._compress(s) for e, s in self.states.items()}

    def _compress(self, state):
        packed = {k: state[k] for k in ("s", "lc")} | {"a": dict(state["a"])}
        packed["c"] = self.rng.choice([state["c"], {"id": state["c"], "user_id": "u"}])
        if state["lu"] != state["lc"]:
            packed["lu"] = state["lu"]
        return packed

    def step(self):
        self.now = round(self.now + self.rng.random(), 6)
        entity_id = f"sensor.s{self.rng.randrange(12)}"
        if entity_id not in self.states:
            return self._add(entity_id)
        if self.rng.random() < 0.1:
            del self.states[entity_id]
            return {"r": [entity_id]}
        return self._change(entity_id)

    def _add(self, entity_id):
        state = {"s": "0", "a": {"k0": 0}, "lc": self.now, "lu": self.now, "c": "c0"}
        self.states[entity_id] = state
        return {"a": {entity_id: self._compress(state)}}

    def _change(self, entity_id):
        old = self.states[entity_id]
        new = {**old, "a": dict(old["a"]), "c": f"c{self.rng.randrange(99)}"}
        if self.rng.random() < 0.5:
            new["s"] = str(self.rng.randrange(3))
        for _ in range(self.rng.randrange(3)):
            name = f"k{self.rng.randrange(5)}"
            if self.rng.random() < 0.3:
                new["a"].pop(name, None)
            else:
                new["a"][name] = self.rng.choice([None, 1, "x", [1, 2]])
        new["lu"] = self.now
        plus, minus = {"lu": self.now}, []
        if new["s"] != old["s"]:
            new["lc"] = self.now
            plus = {"s": new["s"], "lc": self.now}
        if new["c"] != old["c"]:
            plus["c"] = self.rng.choice([new["c"], {"id": new["c"]}])
        added = {
            k: v for k, v in new["a"].items() if k not in old["a"] or old["a"][k] != v
        }
        if added:
            plus["a"] = added
        minus = [k for k in old["a"] if k not in new["a"]]
        self.states[entity_id] = new
        return change(entity_id, plus, minus or None)


@pytest.mark.parametrize("seed", range(20))
def test_random_histories_lead_to_the_true_states(seed):
    rng = random.Random(seed)
    truth = Truth(rng)
    for _ in range(10):
        truth.step()
    decoder = StateDecoder()
    decoder.apply({"a": truth.full()})
    followed = dict(decoder.states)
    for number in range(400):
        if number % 50 == 49:  # reconnected, and something happened meanwhile
            for _ in range(5):
                truth.step()
            decoder.restart() if number % 100 == 99 else decoder.resume()
            changes = decoder.apply({"a": truth.full()})
        else:
            changes = decoder.apply(truth.step())
        for entity_id in changes.removed:
            del followed[entity_id]
        followed.update(changes.changed)
        assert followed == decoder.states
        assert {
            e: (s.state, s.attributes, s.last_changed, s.last_updated, s.context_id)
            for e, s in decoder.states.items()
        } == {
            e: (s["s"], s["a"], s["lc"], s["lu"], s["c"])
            for e, s in truth.states.items()
        }
