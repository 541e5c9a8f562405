import pytest

from ha_client.const import REGISTRY_DEBOUNCE, REGISTRY_DEBOUNCE_MAX
from ha_client.exceptions import ConnectionLost
from ha_client.timing import Debounce, Liveness


def test_a_quiet_peer_is_pinged_after_5_s_and_given_up_20_s_later():
    liveness = Liveness(now=100.0, received=0)
    assert liveness.due == 105.0
    assert not liveness.ping_due(104.9)
    assert liveness.ping_due(105.0)
    liveness.pinged(105.0)
    assert not liveness.ping_due(110.0)
    liveness.check(124.9)
    with pytest.raises(ConnectionLost) as caught:
        liveness.check(125.0)
    assert caught.value.cause == "no_answer"
    assert caught.value.params["seconds"] == 25


def test_any_sign_of_life_starts_over():
    liveness = Liveness(now=100.0, received=0)
    liveness.pinged(105.0)
    liveness.alive(106.0, received=10)
    liveness.check(1000.0)
    assert liveness.due == 111.0


def test_a_growing_frame_is_a_sign_of_life_a_trickle_is_not():
    liveness = Liveness(now=100.0, received=1000)
    assert not liveness.progressed(1200)
    assert liveness.progressed(1000 + 16 * 1024)


def test_marks_are_collected_until_things_calm_down():
    debounce = Debounce()
    assert debounce.due is None
    debounce.mark(["area"], now=10.0)
    assert debounce.due == pytest.approx(10 + REGISTRY_DEBOUNCE)
    debounce.mark(["device"], now=10.1)
    assert debounce.due == pytest.approx(10.1 + REGISTRY_DEBOUNCE)
    assert "area" in debounce
    assert debounce.take() == {"area", "device"}
    assert debounce.due is None
    assert "area" not in debounce


def test_marks_without_end_are_due_after_a_while():
    debounce = Debounce()
    for step in range(20):
        debounce.mark(["entity"], now=10.0 + step * 0.1)
        if debounce.due <= 10.0 + step * 0.1:
            break
    assert debounce.due == pytest.approx(10 + REGISTRY_DEBOUNCE_MAX)


def test_an_urgent_mark_is_due_at_once_and_later_ones_do_not_postpone_it():
    debounce = Debounce()
    debounce.mark(["entity"], now=10.0, urgent=True)
    debounce.mark(["area"], now=10.1)
    assert debounce.due == 10.0
