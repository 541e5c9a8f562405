"""What is told of a link that goes up and down."""

from supervision import load

module = load("condition.link_news")
SETTLED_S = module.BACKOFF_RESET_AFTER


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


def make():
    clock = Clock()
    return module.LinkNews(clock), clock


def test_an_outage_is_told_when_it_begins_and_when_it_ends():
    news, _clock = make()
    assert [news.failed() for _ in range(5)] == [True] + [False] * 4
    assert news.failures == 5
    assert news.complete()
    assert news.failures == 0
    assert not news.complete()  # after a restart of Home Assistant's, still connected


def test_what_breaks_again_and_again_is_told_some_times_only():
    news, clock = make()
    told = []
    for _time in range(1000):
        told.append((news.failed(), news.is_last, news.complete()))
        clock.now += SETTLED_S - 1
        assert not news.alive()
    assert told[: module.MOST_OUTAGES] == [
        *[(True, False, True)] * (module.MOST_OUTAGES - 1),
        (True, True, False),
    ]
    assert set(told[module.MOST_OUTAGES :]) == {(False, False, False)}
    clock.now += 1
    assert news.alive()
    assert not news.alive()
    assert news.failed()
    assert news.complete()


def test_a_link_that_stays_up_is_told_like_the_first_time_when_it_breaks():
    news, clock = make()
    for _time in range(100):
        assert news.failed()
        assert news.complete()
        clock.now += SETTLED_S
        assert not news.alive()  # it was told already


def test_a_link_that_is_not_complete_is_not_up():
    news, clock = make()
    for _time in range(module.MOST_OUTAGES):
        news.failed()
        news.complete()
    news.failed()
    clock.now += SETTLED_S
    assert not news.alive()
