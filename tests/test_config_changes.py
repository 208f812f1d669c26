"""What a reload says of what it changed: names, and never a value."""

import pytest
from msgspec.structs import fields

from lmbroker.config.changes import _SERVER, SHOWN, changes
from lmbroker.config.config import Server, parse
from lmbroker.routing.keys import hash_of

TEXT = """
[server]
listen = ["tcp:80:interface=127.0.0.1"]
[[keys]]
name = "ann"
key = "env:ANN"
[[backends]]
name = "b"
type = "openai"
url = "https://b"
api_key = "env:KEY"
headers = { x-gate = "env:GATE" }
[[models]]
alias = "m"
targets = [{ backend = "b" }]
[[models]]
alias = "own"
type = "anthropic"
target = { url = "https://own", api_keys = ["env:KEY", "env:GATE"] }
timeouts = { idle = 7 }
retries = { attempts = 5 }
"""
ENVIRON = {"ANN": "key-of-ann", "KEY": "key-of-backend", "GATE": "key-of-gate"}


def read(text, **environ):
    files = {"/ca": "-----BEGIN CERTIFICATE-----"}
    return parse(text, name="c", environ={**ENVIRON, **environ}, read_file=files.__getitem__)


MORE = '[[models]]\nalias = "new"\ntype = "openai"\ntarget = { url = "https://new" }\n'


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("", MORE, "added alias new; added backend new"),
        ('alias = "m"', 'alias = "n"', "added alias n; removed alias m"),
        ('alias = "m"', 'alias = "m"\nmode = "strict"', "changed alias m"),
        ('alias = "m"', 'alias = "m"\nlimits = { n = 1 }', "changed alias m"),
        ("idle = 7", "idle = 8", "changed alias own"),
        ('{ backend = "b" }', '{ backend = "b", profile = { vision = false } }', "changed alias m"),
        ("attempts = 5", "attempts = 6", "changed alias own"),
        ("https://b", "https://c", "changed backend b"),
        ('"https://b"', '"https://b"\nca = "/ca"', "changed backend b"),
        ('"env:KEY", "env:GATE"]', '"env:GATE", "env:KEY"]', "changed backend own"),
        ("x-gate", "x-door", "changed backend b"),
        (
            '"https://own"',
            '"https://other"',
            "changed alias own; added backend other; removed backend own",
        ),
        ('key = "env:ANN"', f'hash = "{hash_of("x")}"', "changed key ann"),
        ('"ann"', '"bob"', "added key bob; removed key ann"),
        ("tcp:80", "tcp:81", "added listener tcp:81:interface=127.0.0.1; removed listener tcp:80"),
        ("[server]", '[server]\nmetrics_listen = ["unix:/m"]', "added listener unix:/m"),
        ("[server]", "[server]\ndrain_timeout = 5", "changed setting server.drain_timeout"),
        ("[server]", "[server]\ndrain_delay = 5", "changed setting server.drain_delay"),
        (
            "[server]",
            '[server]\ncors_origins = ["https://a"]',
            "changed setting server.cors_origins",
        ),
        ("[server]", 'log_level = "debug"\n[server]', "changed setting log_level"),
        ("[server]", 'default = "m"\n[server]', "changed setting default"),
        (
            "[server]",
            "[timeouts]\nidle = 9\n[limits]\nbody = 5\nn = 3\n[breaker]\nopen = 5\n"
            "[retries]\nattempts = 9\n[server]",
            "changed settings timeouts.idle, limits.body, limits.n, retries.attempts, breaker.open",
        ),
    ],
)
def test_what_changed_is_named(old, new, told):
    text = TEXT.replace(old, new, 1) if old else TEXT + new
    assert changes(read(TEXT), read(text)).startswith(told)
    assert changes(read(text), read(text)) == "no changes"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("ANN", "changed key ann"),
        ("KEY", "changed backends b, own"),
        ("GATE", "changed backends b, own"),
    ],
)
def test_a_secret_that_changed_is_told_by_whose_it_is(name, told):
    after = read(TEXT, **{name: "another-secret"})
    assert changes(read(TEXT), after) == told


def test_each_setting_of_the_server_is_looked_at():
    elsewhere = {"listen", "metrics_listen"}
    assert set(_SERVER) == {each.name for each in fields(Server)} - elsewhere


def test_many_names_are_counted():
    more = "".join(MORE.replace("new", f"new-{number}") for number in range(SHOWN + 5))
    told = changes(read(TEXT), read(TEXT + more))
    assert told.startswith("added aliases new-0, new-1, ") and "new-19 and 5 more; " in told


def test_what_a_running_broker_keeps_is_said_to_be_for_later():
    before = read(TEXT)
    after = read(TEXT.replace("[server]\n", '[server]\nengine = "stock"\nopen = true\n'))
    told = "changed settings server.open, server.engine (at the next start)"
    assert changes(before, after) == told
