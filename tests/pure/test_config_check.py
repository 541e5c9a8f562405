import pytest

from ha_client.config_check import LinkConfig, find_problems, log_text
from ha_client.exceptions import ConfigError

GOOD_URL = "http://ha.local:8123"
GOOD_TOKEN = "x" * 40
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJhYmNkZWYwMTIzNDU2Nzg5In0.c2lnbmF0dXJlMDEyMzQ1Ng"


def causes_of(url=GOOD_URL, token=GOOD_TOKEN):
    return [problem.cause for problem in find_problems(url, token)]


@pytest.mark.parametrize(
    "url",
    [
        GOOD_URL,
        "https://ha.example.com",
        "https://example.com/home/assistant/",
        "HTTP://HA.local:8123",
        "  http://ha.local:8123\n",
        "http://192.168.1.5:8123",
        "http://[fe80::1]:8123/",
        "http://häuschen.example",
        "http://localhost:8123/?q=1#x",
    ],
)
def test_a_url_that_can_be_tried_has_no_problem(url):
    assert causes_of(url=url) == []


@pytest.mark.parametrize(
    ("url", "cause"),
    [
        (None, "url_empty"),
        (False, "url_empty"),
        ("", "url_empty"),
        (" \t ", "url_blank"),
        ("ha.local:8123", "url_scheme"),
        ("ws://ha.local:8123", "url_scheme"),
        ("ftp://ha.local", "url_scheme"),
        ("http:/ha.local", "url_scheme"),
        ("http:\\\\ha.local", "url_scheme"),
        ("http://", "url_host"),
        ("https://:8123", "url_host"),
        ("http:///path", "url_host"),
        ("http://ha.local:abc", "url_malformed"),
        ("http://ha.local:99999", "url_malformed"),
        ("http://ha.local:0", "url_malformed"),
        ("http://ha local:8123", "url_malformed"),
        ("http://ha\n.local:8123", "url_malformed"),
        ("http://ha..local", "url_malformed"),
        ("http://" + "a" * 64 + ".local", "url_malformed"),
        ("http://[::1", "url_malformed"),
        ("http://admin:secret@ha.local", "url_credentials"),
    ],
)
def test_each_problem_of_a_url_is_named(url, cause):
    assert causes_of(url=url) == [cause]


@pytest.mark.parametrize(
    ("token", "cause"),
    [
        (None, "token_empty"),
        (False, "token_empty"),
        ("", "token_empty"),
        ("   ", "token_blank"),
        ("  short  ", "token_short"),
        ("Bearer " + GOOD_TOKEN, "token_characters"),
        ("tökentökentöken", "token_characters"),
        ("abcdefghij\x00klmno", "token_characters"),
    ],
)
def test_each_problem_of_a_token_is_named(token, cause):
    assert causes_of(token=token) == [cause]


def test_problems_are_found_separately():
    problems = find_problems(" ", "ab cd")
    assert [(p.field, p.cause) for p in problems] == [
        ("api_url", "url_blank"),
        ("api_token", "token_short"),
        ("api_token", "token_characters"),
    ]


@pytest.mark.parametrize(
    ("url", "token", "text"),
    [
        ("", GOOD_TOKEN, "API URL is empty!"),
        (" ", GOOD_TOKEN, "API URL is blank!"),
        (GOOD_URL, "", "API Token is empty!"),
        (GOOD_URL, " ", "API Token is blank!"),
        (GOOD_URL, "abcde", "Token too short (len=5)!"),
        (
            "ha.local:8123",
            GOOD_TOKEN,
            "Invalid URL format: ha.local:8123 URL must start with http:// or https://",
        ),
    ],
)
def test_log_texts_keep_the_wording_that_administrators_grep_for(url, token, text):
    assert [log_text(problem) for problem in find_problems(url, token)] == [text]


@pytest.mark.parametrize(
    "url",
    [
        "user:hunter2@ha.local:8123",
        "http://user:hunter2@ha.local:8123",
        "http://user:hunter2@ha.local:abc",
        "http://ha local/?access_token=hunter2",
        f"{JWT}",
        f"http://ha local/{JWT}",
    ],
)
def test_a_secret_in_the_url_field_is_not_shown(url):
    problems = find_problems(url, GOOD_TOKEN)
    shown = [log_text(p) + str(p) for p in problems]
    assert shown
    for text in [*shown, repr(LinkConfig(url, GOOD_TOKEN))]:
        assert "hunter2" not in text
        assert not any(part in text for part in JWT.split("."))


@pytest.mark.parametrize(
    ("url", "base", "websocket", "host", "port"),
    [
        (
            "http://ha.local:8123/",
            "http://ha.local:8123",
            "ws://ha.local:8123/api/websocket",
            "ha.local",
            8123,
        ),
        (
            " https://Example.com/Home/ ",
            "https://example.com/Home",
            "wss://example.com/Home/api/websocket",
            "example.com",
            443,
        ),
        (
            "http://[::1]:8123/api/",
            "http://[::1]:8123",
            "ws://[::1]:8123/api/websocket",
            "::1",
            8123,
        ),
        (
            "http://ha/x/api/websocket?a=b#c",
            "http://ha/x",
            "ws://ha/x/api/websocket",
            "ha",
            80,
        ),
        (
            "http://häuschen.example",
            "http://xn--huschen-5wa.example",
            "ws://xn--huschen-5wa.example/api/websocket",
            "xn--huschen-5wa.example",
            80,
        ),
    ],
)
def test_where_to_connect(url, base, websocket, host, port):
    config = LinkConfig(url, GOOD_TOKEN)
    assert config.base_url == base
    assert config.websocket_url == websocket
    assert (config.host, config.port) == (host, port)
    assert config.is_tls == base.startswith("https")


def test_values_are_stripped():
    config = LinkConfig(f" {GOOD_URL} ", f"\n{GOOD_TOKEN}\n")
    assert (config.url, config.token) == (GOOD_URL, GOOD_TOKEN)


def test_a_config_does_not_show_its_token():
    config = LinkConfig(GOOD_URL, "very-secret-token")
    assert "secret" not in f"{config!r} {config!s}"


def test_a_malformed_url_raises_its_problem():
    with pytest.raises(ConfigError) as caught:
        LinkConfig("ha.local", GOOD_TOKEN).base_url  # noqa: B018
    assert caught.value.cause == "url_scheme"
