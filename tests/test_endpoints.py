"""Addresses of configuration files: endpoints to listen on, URLs of backends."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from twisted.internet.endpoints import serverFromString
from twisted.internet.testing import MemoryReactor

from lmbroker.config.endpoints import (
    ENDPOINTS,
    PRACTICE,
    api_root,
    backend_name,
    host_problem,
    is_loopback,
    is_public,
    listen_on,
    parse_endpoint,
    parse_url,
    sends_in_clear,
    with_backlog,
)

ROOTS = [
    ("https://api.openai.com", "https://api.openai.com/v1"),
    ("https://api.openai.com/", "https://api.openai.com/v1"),
    ("https://api.openai.com/v1", "https://api.openai.com/v1"),
    ("https://api.openai.com/v1/", "https://api.openai.com/v1"),
    ("https://api.anthropic.com", "https://api.anthropic.com/v1"),
    ("https://api.groq.com/openai/v1", "https://api.groq.com/openai/v1"),
    ("https://openrouter.ai/api", "https://openrouter.ai/api/v1"),
    ("https://api.z.ai/api/paas/v4", "https://api.z.ai/api/paas/v4"),
    ("https://api.z.ai/api/paas/v4/", "https://api.z.ai/api/paas/v4"),
    ("https://api.z.ai/api/anthropic", "https://api.z.ai/api/anthropic/v1"),
    (
        "https://generativelanguage.googleapis.com/v1beta/openai/",
        "https://generativelanguage.googleapis.com/v1beta/openai",
    ),
    ("https://host/v1alpha2/x", "https://host/v1alpha2/x"),
    ("https://host/v2ray", "https://host/v2ray/v1"),
    ("https://v1.host.example", "https://v1.host.example/v1"),
    ("http://localhost:11434", "http://localhost:11434/v1"),
    ("http://[::1]:8000/", "http://[::1]:8000/v1"),
    ("HTTPS://API.Example.com/Path", "https://api.example.com/Path/v1"),
    ("https://ai.example.com/models", "https://ai.example.com/models/v1"),
]


@pytest.mark.parametrize(("url", "root"), ROOTS)
def test_a_base_url_names_one_place_however_it_is_written(url, root):
    assert parse_url(url) == (root, "")
    assert parse_url(root) == (root, "")
    assert api_root(root) == root


def test_the_practice_backend_has_a_url():
    assert parse_url(PRACTICE) == (PRACTICE, "")


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("api.openai.com", "begins with"),
        ("localhost:8080", "begins with"),
        ("sk-1234", "begins with"),
        ("ftp://host", "found the scheme 'ftp', expected http or https"),
        ("://host", "found the scheme ''"),
        ("https://", "no valid host name"),
        ("https:///v1", "no valid host name"),
        ("https://user:pw@host", "user or a password"),
        ("https://user@host", "user or a password"),
        ("https://host:0", "from 1 to 65535"),
        ("https://host:99999", "not a URL"),
        ("https://host:port", "not a URL"),
        ("https://[::1", "not a URL"),
        ("https://ho st", "no valid host name"),
        ("https://höst", "no valid host name"),
        ("https://host/a b", "characters"),
        ("https://host/{deployment}", "characters"),
        ("https://<resource>.example.com", "no valid host name"),
        ("https://host/v1?api-version=1", "no query; write it as query"),
        ("https://host/v1?", "no query"),
        ("https://host/v1#x", "no fragment"),
        ("https://host/v1/chat/completions", 'ends before "/chat/completions"'),
        ("https://host/v1/messages/", 'ends before "/messages"'),
        ("https://host/v1/embeddings", 'ends before "/embeddings"'),
    ],
)
def test_a_bad_url_is_told(url, problem):
    value, told = parse_url(url)
    assert value == ""
    assert problem in told
    assert "pw" not in told and "sk-" not in told


@given(st.text())
@example("https://[v1.x]/")
@example("https://\x00")
def test_any_text_is_a_url_or_not(text):
    value, problem = parse_url(text)
    assert bool(value) != bool(problem)
    assert value == "" or parse_url(value) == (value, "")


def test_names_of_backends_are_distinct_and_short():
    assert backend_name("https://api.openai.com/v1", ()) == "api.openai.com"
    assert backend_name("http://localhost:8000/v1", ()) == "localhost-8000"
    assert backend_name("https://api.openai.com/v1", ("api.openai.com",)) == "api.openai.com-2"
    taken = {"practice", "practice-2"}
    assert backend_name(PRACTICE, taken) == "practice-3"


@pytest.mark.parametrize(
    ("url", "clear"),
    [
        ("https://api.example.com/v1", False),
        ("http://api.example.com/v1", True),
        ("http://8.8.8.8/v1", True),
        ("http://[2001:4860:4860::8888]/v1", True),
        ("http://127.0.0.1:8000/v1", False),
        ("http://[::1]:8000/v1", False),
        ("http://localhost:8000/v1", False),
        ("http://192.168.1.7/v1", False),
        ("http://100.64.0.3/v1", False),
        ("http://vllm:8000/v1", False),
        ("http://gpu.local/v1", False),
        (PRACTICE, False),
    ],
)
def test_what_others_could_read_on_its_way(url, clear):
    assert sends_in_clear(url) is clear


@pytest.mark.parametrize(
    ("host", "endpoint"),
    [
        ("127.0.0.1", "tcp:8080:interface=127.0.0.1"),
        ("localhost", "tcp:8080:interface=localhost"),
        ("::1", r"tcp6:8080:interface=\:\:1"),
        ("[::]", r"tcp6:8080:interface=\:\:"),
    ],
)
def test_host_and_port_as_an_endpoint(host, endpoint):
    assert host_problem(host) == ""
    assert listen_on(host, 8080) == endpoint
    arguments, problem = parse_endpoint(endpoint)
    assert (arguments["interface"], problem) == (host.strip("[]"), "")


@pytest.mark.parametrize(
    "endpoint",
    [
        listen_on("127.0.0.1", 80),
        listen_on("::1", 80),
        "tcp:80",
        "unix:/run/a\\:b",
        "ssl:443:key.pem",
    ],
)
def test_many_may_wait_where_nothing_else_is_said(endpoint):
    before, _ = parse_endpoint(endpoint)
    after, problem = parse_endpoint(with_backlog(endpoint))
    assert problem == "" and int(after.pop("backlog")) >= 1024
    assert after == before


@pytest.mark.parametrize(
    "endpoint", ["tcp:80:backlog=7", "tcp6:80:7", "systemd:domain=INET:index=0", "tcp", "no:80"]
)
def test_who_says_how_many_may_wait_is_heard(endpoint):
    assert with_backlog(endpoint) == endpoint


@pytest.mark.parametrize("host", ["*", "a b", "tcp:80", "host\n", "[127.0.0.1", "höst"])
def test_a_bad_host_is_told(host):
    assert host_problem(host).startswith("expected a host name or an address")


@pytest.mark.parametrize(
    ("endpoint", "arguments"),
    [
        ("tcp:80", {"kind": "tcp", "port": "80"}),
        ("tcp:port=80", {"kind": "tcp", "port": "80"}),
        ("tcp:0", {"kind": "tcp", "port": "0"}),
        ("tcp:65535:127.0.0.1:9", {
            "kind": "tcp", "port": "65535", "interface": "127.0.0.1", "backlog": "9"}),
        ("tcp:interface=::1:80", None),
        (r"tcp6:80:interface=\:\:1", {"kind": "tcp6", "port": "80", "interface": "::1"}),
        ("unix:/run/x.sock:mode=660", {
            "kind": "unix", "address": "/run/x.sock", "mode": "660"}),
        (r"unix:/a\:b\=c\\d", {"kind": "unix", "address": r"/a:b=c\d"}),
        ("unix:address=/a=b", {"kind": "unix", "address": "/a=b"}),
        ("systemd:domain=INET:index=0", {
            "kind": "systemd", "domain": "INET", "index": "0"}),
        ("systemd:UNIX:name=web", {"kind": "systemd", "domain": "UNIX", "name": "web"}),
        ("ssl:443:privateKey=k.pem:certKey=c.pem", {
            "kind": "ssl", "port": "443", "privateKey": "k.pem", "certKey": "c.pem"}),
    ],
)  # fmt: skip
def test_endpoint_strings(endpoint, arguments):
    found, problem = parse_endpoint(endpoint)
    if arguments is None:
        assert found == {} and problem
    else:
        assert (found, problem) == (arguments, "")


@pytest.mark.parametrize(
    ("endpoint", "problem"),
    [
        ("", "one of the kinds tcp, tcp6, unix, ssl, systemd"),
        ("8080", "one of the kinds"),
        ("TCP:80", "one of the kinds"),
        ("kind=tcp:80", "one of the kinds"),
        ("tcp", "tcp needs 'port'"),
        ("tcp:", "'port' of tcp is '', expected 0 to 65535"),
        ("tcp:http", "expected 0 to 65535"),
        ("tcp:65536", "expected 0 to 65535"),
        ("tcp:-1", "expected 0 to 65535"),
        ("tcp:٨٠", "expected 0 to 65535"),
        ("tcp:interface=127.0.0.1", "tcp needs 'port'"),
        ("tcp:80:interfaec=::1", "(did you mean 'interface'?)"),
        ("tcp:80:zzz=1", "(tcp has port, interface, backlog)"),
        ("tcp:80:port=81", "'port' twice"),
        ("tcp:80:::1", "'backlog' of tcp is ''"),
        ("tcp:80:a:1:b", r"too many arguments for tcp (colons in an address are written \:)"),
        ("tcp:80\\", "escapes nothing"),
        ("unix:", "unix needs 'address'"),
        ("unix:/x:mode=999", "octal mode"),
        ("unix:/x:lockfile=yes", "0 or 1"),
        ("systemd:domain=TCP:index=0", "INET, INET6 or UNIX"),
        ("systemd:domain=INET", "either 'index' or 'name'"),
        ("systemd:domain=INET:index=0:name=x", "either 'index' or 'name'"),
    ],
)
def test_a_bad_endpoint_string_is_told(endpoint, problem):
    found, told = parse_endpoint(endpoint)
    assert found == {}
    assert problem in told


ARGUMENTS = sorted({name for names in ENDPOINTS.values() for name in names})
VALUES = ["80", "65536", "x", "/a", "::1", "660", "\\:", "\\", "=", ":", "interface=", "mode="]
WORDS = st.sampled_from([*ENDPOINTS, *ARGUMENTS, *VALUES])


@given(st.lists(WORDS).map("".join) | st.lists(WORDS).map(":".join) | st.text())
def test_what_is_accepted_twisted_accepts(endpoint):
    """Certificates and systemd's sockets are for the machine to say."""
    arguments, problem = parse_endpoint(endpoint)
    if not problem and arguments["kind"] in ("tcp", "tcp6", "unix"):
        serverFromString(MemoryReactor(), endpoint)


@pytest.mark.parametrize(
    ("endpoint", "public"),
    [
        ("tcp:80", True),
        ("tcp6:80", True),
        ("tcp:80:interface=0.0.0.0", True),
        ("tcp:80:interface=192.168.1.7", True),
        ("tcp:80:interface=broker.example", True),
        (r"tcp6:80:interface=\:\:", True),
        ("ssl:443:privateKey=x", True),
        ("tcp:80:interface=127.0.0.1", False),
        ("tcp:80:interface=127.8.0.1", False),
        ("tcp:80:interface=localhost", False),
        (r"tcp6:80:interface=\:\:1", False),
        ("unix:/x", False),
        ("systemd:INET:index=0", True),
        ("systemd:INET6:name=x", True),
        ("systemd:UNIX:index=0", False),
    ],
)
def test_who_is_reached_from_other_machines(endpoint, public):
    assert is_public(parse_endpoint(endpoint)[0]) is public


def test_loopback():
    assert is_loopback("box.localhost")
    assert not is_loopback("localhost.example.com")


def test_a_kind_that_a_plugin_may_bring_is_left_to_twisted_and_counts_as_public():
    arguments, problem = parse_endpoint("haproxy:tcp:8080")
    assert (arguments, problem) == ({"kind": "haproxy"}, "")
    assert is_public(arguments)
    assert with_backlog("haproxy:tcp:8080") == "haproxy:tcp:8080"
