import pytest

from ha_client.exceptions import ProtocolError
from ha_client.registries import REGISTRIES
from ha_client.registry_feed import RegistryFeed

ROWS = {
    "floor": {"floor_id": "f"},
    "label": {"label_id": "l"},
    "area": {"area_id": "a"},
    "device": {"id": "d"},
    "entity": {"id": "r", "entity_id": "light.a"},
}


class Peer:
    """Notes requests; answers them when told to."""

    def __init__(self):
        self.requests = []
        self.delivered = []
        self.fetches = 0
        self.feed = RegistryFeed(self._request, self._deliver, self._done)

    def _request(self, command, handler, **payload):
        kind = command.split("/")[1].removesuffix("_registry")
        self.requests.append((kind, handler))

    def _deliver(self, kind, rows):
        self.delivered.append(kind)

    def _done(self):
        self.fetches += 1

    def answer(self, **message):
        message = message or {"success": True}
        pending, self.requests = self.requests, []
        for kind, handler in sorted(pending, reverse=True):  # in any order
            handler({"result": [ROWS[kind]], **message})


@pytest.fixture
def peer():
    return Peer()


def test_full_lists_come_in_order_and_once(peer):
    peer.feed.restart(now=10.0)
    assert peer.feed.due == 10.0
    peer.feed.fetch()
    assert not peer.feed.complete
    peer.answer()
    assert peer.delivered == list(REGISTRIES)
    assert peer.fetches == 1
    assert peer.feed.complete
    assert peer.feed.entity_ids == {"light.a"}


def test_there_is_one_fetch_at_a_time(peer):
    peer.feed.mark(["area"], now=10.0)
    peer.feed.fetch()
    peer.feed.mark(["area", "entity"], now=10.1, urgent=True)
    assert peer.feed.due is None
    peer.answer()
    assert peer.feed.due == 10.1
    assert peer.feed.is_marked("area")
    peer.feed.fetch()
    assert not peer.feed.is_marked("area")
    peer.answer()
    assert peer.delivered == ["area", "area", "entity"]


def test_changed_lists_alone_are_not_complete(peer):
    peer.feed.mark(["area"], now=10.0)
    peer.feed.fetch()
    peer.answer()
    assert not peer.feed.complete


def test_a_fetch_from_before_the_restart_does_not_count(peer):
    peer.feed.restart(now=10.0)
    peer.feed.fetch()
    peer.feed.restart(now=10.1)
    peer.answer()
    assert not peer.feed.complete
    peer.feed.fetch()
    peer.answer()
    assert peer.feed.complete


@pytest.mark.parametrize("rows", [None, {}, "text", [{"new": "format"}], [None]])
def test_a_list_that_makes_no_sense_is_not_taken_for_empty(peer, rows):
    peer.feed.mark(["entity"], now=10.0)
    peer.feed.fetch()
    with pytest.raises(ProtocolError):
        peer.answer(success=True, result=rows)


def test_a_missing_registry_is_empty_when_it_is_optional(peer):
    refusal = {"success": False, "error": {"code": "unknown_command"}}
    peer.feed.mark(["label"], now=10.0)
    peer.feed.fetch()
    peer.answer(**refusal)
    assert peer.delivered == ["label"]
    peer.feed.mark(["device"], now=10.0)
    peer.feed.fetch()
    with pytest.raises(ProtocolError):
        peer.answer(**refusal)
