"""What the monitor tells the log, and that it does so once."""

import logging
import socket
from dataclasses import dataclass

import pytest

from ha_client.config_check import find_problems
from supervision import load

news_module = load("supervision.supervision_news")
plan = load("supervision.supervision_plan")


@dataclass
class Config:
    id: int = 1
    name: str = "Home"
    active: bool = True
    problems: tuple = ()


@pytest.fixture
def news():
    return news_module.SupervisionNews("db")


@pytest.fixture(autouse=True)
def all_levels(caplog):
    caplog.set_level(logging.DEBUG)


def test_instances_are_announced_once(news, caplog):
    news.instances([Config(), Config(2, active=False)])
    news.instances([Config()])
    assert caplog.messages == ["[start_websocket_service] Found 1 active instance(s)"]


def test_without_any_instance_it_says_so(news, caplog):
    news.instances([])
    assert caplog.messages == ["No active HA instances found for database db"]


def test_what_keeps_an_instance_from_starting_is_told_once_per_change(news, caplog):
    problems = tuple(find_problems("", ""))
    assert len(problems) == 2
    for config in (Config(problems=problems), Config(problems=problems)):
        news.instances([config])
    told = [text for text in caplog.messages if "[CRITICAL]" in text]
    assert len(told) == 2
    assert all("Instance 1 (Home)" in text for text in told)
    assert all(text.endswith("instance_id=1") for text in told)
    news.instances([Config(problems=problems[:1])])
    news.instances([Config()])
    news.instances([Config(problems=problems)])
    told = [text for text in caplog.messages if "[CRITICAL]" in text]
    assert len(told) == 2 + 1 + 2


def test_another_host_is_told_once(news, caplog):
    configs = {1: Config(), 2: Config(2)}
    here = (socket.gethostname(), "cron", 7)
    for _ in range(2):
        news.owners({1: ("elsewhere", "cron", 8), 2: here}, configs)
    assert len(caplog.messages) == 1
    assert "another host, elsewhere (cron process 8)" in caplog.text
    news.owners({}, configs)
    news.owners({1: ("elsewhere", "cron", 9)}, configs)
    assert len(caplog.messages) == 2


def test_postgresql_is_lost_once_until_it_is_back(news, caplog):
    for _ in range(3):
        news.lost(Exception("gone"))
    news.back()
    news.lost(Exception("gone"))
    levels = [record.levelno for record in caplog.records]
    assert levels == [logging.WARNING, logging.DEBUG, logging.DEBUG, logging.WARNING]


@pytest.mark.parametrize(
    ("action", "reason", "repeating", "level", "text"),
    [
        ("STOP", "DELETED", False, logging.INFO, "deleted. Stopping WebSocket"),
        ("STOP", "DEACTIVATED", False, logging.INFO, "deactivated. Stopping"),
        ("RESTART", "CHANGED", False, logging.INFO, "configuration changed. Restart"),
        ("REVIVE", "THREAD_ENDED", False, logging.WARNING, "stopped. Restarting"),
        ("REVIVE", "THREAD_ENDED", True, logging.DEBUG, "stopped. Restarting"),
        ("STOP", "BALANCED", False, logging.INFO, "service (balanced)"),
    ],
)
def test_why_a_link_ends(news, caplog, action, reason, repeating, level, text):
    step = plan.Step(plan.Action[action], 1, plan.Reason[reason])
    news.step(step, "Home", repeating)
    [record] = caplog.records
    assert record.levelno == level
    assert text in record.message
    assert record.message.endswith("instance_id=1")
