import random

from ha_client.backoff import Backoff


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


class Highest:
    """No jitter: always the upper end."""

    def uniform(self, a, b):
        return b


def test_the_ceiling_doubles_up_to_the_cap():
    backoff = Backoff(rng=Highest())
    delays = [backoff.next_delay() for _ in range(9)]
    assert delays == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_full_jitter_spreads_over_the_interval_and_is_never_zero():
    rng = random.Random(7)
    delays = []
    for _ in range(2000):
        backoff = Backoff(rng=rng)
        for _ in range(6):
            backoff.next_delay()
        delays.append(backoff.next_delay())
    assert 0.1 <= min(delays) < 3
    assert 57 < max(delays) <= 60
    assert 25 < sum(delays) / len(delays) < 35


def test_a_minute_of_health_resets_it():
    clock = Clock()
    backoff = Backoff(rng=Highest(), clock=clock)
    for _ in range(5):
        backoff.next_delay()
    backoff.healthy()
    clock.now += 30
    backoff.healthy()  # repeated: the first counts
    clock.now += 30
    assert backoff.next_delay() == 1


def test_a_connection_that_breaks_soon_keeps_it_climbing():
    clock = Clock()
    backoff = Backoff(rng=Highest(), clock=clock)
    delays = []
    for _ in range(4):
        backoff.healthy()
        clock.now += 59
        delays.append(backoff.next_delay())
    assert delays == [1, 2, 4, 8]


def test_a_working_link_that_breaks_is_looked_at_soon():
    clock = Clock()
    backoff = Backoff(rng=Highest(), clock=clock)
    for _ in range(6):
        backoff.next_delay()
    backoff.healthy()
    clock.now += 8
    assert backoff.next_delay() == 8
    assert backoff.next_delay() == 60, "it keeps climbing"
    backoff.healthy()
    clock.now += 7
    assert backoff.next_delay() == 60


def test_reset_forgets_everything():
    backoff = Backoff(rng=Highest())
    backoff.next_delay()
    backoff.next_delay()
    backoff.reset()
    assert backoff.next_delay() == 1
