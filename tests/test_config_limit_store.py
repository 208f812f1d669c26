"""Where limits are counted, as ``limits.store`` says it."""

import pytest
from test_config_prices import MODEL

from lmbroker.config import limit_store
from lmbroker.config.config import ConfigError, parse
from lmbroker.config.limit_store import RedisAddress

ENVIRON = {"KEY": "k", "URL": "redis://:open%20sesame@h/1", "WORD": "open sesame"}


def config(store, more=""):
    text = f"[limits]\nstore = {store!r}\n{more}\n{MODEL}"
    return parse(text, name="c.toml", environ=ENVIRON, read_file=lambda path: "redis://in-file")


def address(store, more=""):
    return config(store, more).limit_store


@pytest.mark.parametrize(
    ("store", "expected"),
    [
        ("redis://h", RedisAddress(hosts=(("h", 6379),))),
        ("redis://h:7/2", RedisAddress(hosts=(("h", 7),), database=2)),
        ("rediss://h", RedisAddress(hosts=(("h", 6379),), secure=True)),
        ("redis://[::1]:7", RedisAddress(hosts=(("::1", 7),))),
        ("unix:///run/redis.sock", RedisAddress(path="/run/redis.sock")),
        (
            "redis+sentinel://a,b:7/main/1",
            RedisAddress(hosts=(("a", 26379), ("b", 7)), service="main", database=1),
        ),
        ("file:/etc/url", RedisAddress(hosts=(("in-file", 6379),))),
    ],
)
def test_where_limits_are_counted(store, expected):
    assert address(store) == expected


def test_without_a_store_the_process_counts():
    assert parse(MODEL, name="c", environ=ENVIRON, read_file=lambda path: "").limit_store is None


@pytest.mark.parametrize(
    ("store", "more"),
    [
        ("env:URL", ""),
        ("redis://:open%20sesame@h/1", ""),
        ("redis://h/1", 'store_password = "env:WORD"'),
    ],
)
def test_the_password(store, more):
    found = config(store, more)
    assert found.limit_store.password.reveal() == "open sesame"
    assert "sesame" not in found.limit_store.shown
    assert "sesame" not in repr(found)
    literal = "sesame" in store
    assert literal == any("limits.store_password" in each for each in found.warnings)


@pytest.mark.parametrize(
    "store",
    [
        "h:6379",
        "http://h",
        "redis://",
        "redis://a,b",
        "redis://h/x",
        "redis://h/1/2",
        "redis://h:0",
        "redis://h:99999",
        "redis://h?db=1",
        "unix://host/path",
        "redis+sentinel://a,b",
        "redis+sentinel:///main",
    ],
)
def test_what_is_no_address(store):
    with pytest.raises(ConfigError, match=r"limits\.store: expected"):
        config(store)


def test_a_password_alone_is_a_mistake():
    text = f'[limits]\nstore_password = "env:WORD"\n{MODEL}'
    with pytest.raises(ConfigError, match=r"limits\.store_password: found a password"):
        parse(text, name="c", environ=ENVIRON, read_file=lambda path: "")


def test_without_the_package_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setattr(limit_store, "PACKAGE", "no_such_package")
    with pytest.raises(ConfigError, match=r"limits\.store: needs .*lmbroker\[redis\]"):
        config("redis://h")
