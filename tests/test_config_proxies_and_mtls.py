"""Proxies and client certificates in a configuration: what they mean, and each mistake."""

from pathlib import Path

import pytest
from certificates import Authority

from lmbroker.commands import cli
from lmbroker.config.changes import changes
from lmbroker.config.config import ConfigError, parse

TEXT = """
[[backends]]
name = "b"
type = "openai"
url = "https://host"
WAY
[[models]]
alias = "m"
targets = [{ backend = "b", model = "x" }]
"""

ENVIRON = {"PASS": "from-env"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates")
    Authority().files(folder, "one")
    Authority().files(folder, "two")
    Authority().files(folder, "shut", password=b"a")
    (folder / "both.pem").write_text(
        (folder / "one.pem").read_text() + (folder / "one.key").read_text()
    )
    (folder / "chain.pem").write_text((folder / "one.pem").read_text() + Authority().pem)
    broken = (folder / "one.pem").read_text().splitlines()
    (folder / "broken.pem").write_text("\n".join([broken[0], "AAAA", broken[-1]]))
    broken = (folder / "one.key").read_text().splitlines()
    (folder / "broken.key").write_text("\n".join([broken[0], "AAAA", broken[-1]]))
    (folder / "empty").write_text("")
    (folder / "password").write_text("p@ss:word\n")
    return folder


def read(way, folder, environ=ENVIRON):
    text = TEXT.replace("WAY", way.replace("DIR", str(folder)))

    return parse(text, name="c", environ=environ, read_file=lambda path: Path(path).read_text())


def backend(way, folder):
    config = read(way, folder)
    return config.alias("m").targets[0].backend, config.warnings


@pytest.mark.parametrize(
    ("written", "shown", "user", "password"),
    [
        ("http://proxy:3128", "http://proxy:3128", "", None),
        ("http://10.0.0.1:80/", "http://10.0.0.1:80", "", None),
        ("http://[fd00::1]:80", "http://[fd00::1]:80", "", None),
        ("http://me:env:PASS@proxy:3128", "http://me@proxy:3128", "me", "from-env"),
        ("http://me:file:DIR/password@proxy:1", "http://me@proxy:1", "me", "p@ss:word"),
        ("http://me:a%40b:c@proxy:3128", "http://me@proxy:3128", "me", "a@b:c"),
        ("http://me@proxy:3128", "http://me@proxy:3128", "me", None),
    ],
)
def test_a_proxy(folder, written, shown, user, password):
    found, warnings = backend(f'proxy = "{written}"', folder)
    assert (found.proxy.shown, found.proxy.user) == (shown, user)
    assert (found.proxy.password and found.proxy.password.reveal()) == password
    secrets = [each.reveal() for each in found.secrets]
    assert secrets == ([password] if password else [])
    for text in (repr(found), repr(found.proxy), str(found.proxy), str(warnings)):
        assert password is None or password not in text
    literal = password == "a@b:c"
    assert any("stands in the file itself" in line for line in warnings) is literal


WRITTEN = "expected http://host:port, or http://user:password@host:port"
USER = "a proxy's user has a name without colons and control characters"


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("proxy:3128", WRITTEN),
        ("socks5://proxy:1", WRITTEN),
        ("http://proxy:3128/path", WRITTEN),
        ("https://proxy:1", "TLS to the proxy itself is not supported: expected http://host:port"),
        ("http://proxy", "the proxy needs a port from 1 to 65535"),
        ("http://proxy:0", "the proxy needs a port from 1 to 65535"),
        ("http://proxy:99999", "expected http://host:port"),
        ("http://:3128", "the proxy has no valid host name"),
        ("http://me:env:NO@proxy:3128", "the environment variable 'NO' is not set"),
        ("http://me:env:s3cret@proxy:1", 'the environment variable after "env:" is not set'),
        ("http://me:$PASS@proxy:1", 'expected "env:NAME", "file:/path" or the password itself'),
        ("http://me:file:s3cret@proxy:1", 'expected an absolute path after "file:"'),
        ("http://:s3cret@proxy:3128", USER),
        ("http://m%0ae:s3cret@proxy:3128", USER),
        ("http://me:s3%0acret@proxy:3128", "the password has characters that none may have"),
    ],
)
def test_mistakes_of_a_proxy(folder, written, problem):
    with pytest.raises(ConfigError) as error:
        read(f'proxy = "{written}"', folder)
    assert list(error.value.problems) == [f'c: backends[0].proxy: {problem} (backend "b")']
    assert "s3cret" not in str(error.value)


def test_a_proxy_of_another_type_is_not_shown(folder):
    with pytest.raises(ConfigError) as error:
        read('proxy = ["http://me:s3cret@proxy:1"]', folder)
    assert "s3cret" not in str(error.value)


@pytest.mark.parametrize(
    "way",
    [
        'client_cert = "DIR/one.pem"\nclient_key = "DIR/one.key"',
        'client_cert = "DIR/chain.pem"\nclient_key = "DIR/one.key"',
        'client_cert = "DIR/both.pem"',
    ],
)
def test_a_client_certificate(folder, way):
    found, _ = backend(way, folder)
    assert found.client_cert.startswith("-----BEGIN CERTIFICATE-----")
    assert "KEY" not in found.client_cert
    assert "PRIVATE KEY" in found.client_key.reveal()


NO_KEY = "there is no private key, neither here nor in client_cert"


@pytest.mark.parametrize(
    ("cert", "key", "field", "problem"),
    [
        (None, "one.key", "client_key", "needs client_cert, the certificate that it belongs to"),
        ("one.pem", None, "client_key", NO_KEY),
        ("one.pem", "two.pem", "client_key", NO_KEY),
        ("none", None, "client_cert", "'DIR/none' cannot be read: No such file or directory"),
        ("empty", None, "client_cert", "'DIR/empty' is empty"),
        ("one.pem", "none", "client_key", "'DIR/none' cannot be read: No such file or directory"),
        ("one.key", None, "client_cert", "the file holds no certificate"),
        ("broken.pem", "one.key", "client_cert", "the certificate cannot be read"),
        ("one.pem", "broken.key", "client_key", "the key cannot be read"),
        ("one.pem", "two.key", "client_key", "it is not the key of the certificate in client_cert"),
        ("shut.pem", "shut.key", "client_key", "the key is encrypted: store it without a password"),
    ],
)
def test_mistakes_of_a_client_certificate(folder, cert, key, field, problem):
    lines = [(cert, f'client_cert = "DIR/{cert}"'), (key, f'client_key = "DIR/{key}"')]
    way = "\n".join(line for given, line in lines if given)
    with pytest.raises(ConfigError) as error:
        read(way, folder)
    [told] = error.value.problems
    assert told.startswith(f"c: backends[0].{field}: ")
    assert told.endswith(problem.replace("DIR", str(folder)) + ' (backend "b")')


def test_backends_of_models_are_told_apart_by_their_ways(folder):
    targets = [
        'proxy = "http://a:one@proxy:1"',
        'proxy = "http://a:two@proxy:1"',
        f'client_cert = "{folder}/both.pem"',
        "keepalive = true",
        'proxy = "http://a:one@proxy:1"',
    ]
    text = "".join(
        f'[[models]]\nalias = "{at}"\ntype = "openai"\n'
        f'target = {{ url = "https://host", model = "x", {each} }}\n'
        for at, each in enumerate(targets)
    )
    config = parse(text, name="c", environ={}, read_file=lambda path: Path(path).read_text())
    names = [alias.targets[0].backend.name for alias in config.aliases.values()]
    assert names == ["host", "host-2", "host-3", "host-4", "host"]


def test_a_reload_tells_that_they_changed(folder):
    before = read('proxy = "http://me:env:PASS@proxy:3128"', folder)
    after = read('proxy = "http://me:env:PASS@proxy:3128"', folder, {"PASS": "another"})
    assert changes(before, after) == "changed backend b"
    assert changes(before, before) == "no changes"
    one = read('client_cert = "DIR/both.pem"', folder)
    two = read('client_cert = "DIR/two.pem"\nclient_key = "DIR/two.key"', folder)
    assert changes(one, two) == "changed backend b"


def test_check_prints_the_ways_without_a_secret(folder, capsys, monkeypatch):
    path = folder / "config.toml"
    monkeypatch.setenv("PASS", "s3cret")
    way = f'proxy = "http://me:env:PASS@proxy:3128"\nclient_cert = "{folder}/both.pem"'
    path.write_text(TEXT.replace("WAY", way))
    assert cli.main(["check", "--config", str(path)]) == 0
    out = capsys.readouterr()
    assert "backend b is reached through http://me@proxy:3128 (password set)" in out.out
    assert "backend b is shown a client certificate" in out.out
    assert "s3cret" not in out.out + out.err and "PRIVATE" not in out.out + out.err
