"""Where a configuration is looked for that nobody named."""

import pytest

from lmbroker.config.config import ConfigError, parse
from lmbroker.config.endpoints import endpoint_of
from lmbroker.config.file import OF_THIS_MACHINE, find_config, load_source, places

MODEL = '[[models]]\nalias = "m"\ntype = "openai"\ntarget = { url = "practice:", model = "echo" }\n'


@pytest.mark.parametrize(
    ("environ", "of_user"),
    [
        ({"HOME": "/home/ann"}, "/home/ann/.config/lmbroker/config.toml"),
        ({"HOME": "/home/ann", "XDG_CONFIG_HOME": "/x"}, "/x/lmbroker/config.toml"),
        ({"HOME": "/home/ann", "XDG_CONFIG_HOME": "x"}, "/home/ann/.config/lmbroker/config.toml"),
    ],
)
def test_the_places(environ, of_user):
    assert places(environ) == (
        "./config.toml", "./etc/config.toml", of_user, "/etc/lmbroker/config.toml"
    )  # fmt: skip


def test_the_first_place_that_exists_wins(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    monkeypatch.setattr("lmbroker.config.file.OF_THIS_MACHINE", str(tmp_path / "machine.toml"))
    with pytest.raises(ConfigError) as error:
        find_config(None)
    told = [line.strip() for line in error.value.problems]
    user = str(tmp_path / "xdg" / "lmbroker" / "config.toml")
    looked = ["./config.toml", "./etc/config.toml", user, str(tmp_path / "machine.toml")]
    assert told[1:-1] == looked and "lmbroker init" in told[-1]
    for path in reversed(looked):
        full = tmp_path / path
        full.parent.mkdir(parents=True, exist_ok=True)
        full.write_text(MODEL)
        assert find_config(None) == path.removeprefix("./")
    assert find_config("other.toml") == "other.toml", "what is named is never replaced"
    assert OF_THIS_MACHINE == "/etc/lmbroker/config.toml"


@pytest.mark.parametrize(
    ("written", "endpoint"),
    [
        ("8080", "tcp:8080:interface=127.0.0.1"),
        ("0.0.0.0:80", "tcp:80:interface=0.0.0.0"),
        ("localhost:9000", "tcp:9000:interface=localhost"),
        ("[::1]:80", "tcp6:80:interface=\\:\\:1"),
        ("tcp:80", "tcp:80"),
        ("unix:/run/x", "unix:/run/x"),
        ("nonsense", "nonsense"),
    ],
)
def test_endpoints_as_people_write_them(written, endpoint):
    assert endpoint_of(written) == endpoint


@pytest.mark.parametrize("server", ["", '[server]\nhost = "0.0.0.0"\nport = 1\n', "server = 1\n"])
def test_endpoints_in_the_place_of_those_of_the_file(server, tmp_path):
    path = tmp_path / "c.toml"
    path.write_text(server + MODEL)
    if server[-4:] == "= 1\n" and "[" not in server:
        with pytest.raises(ConfigError, match="server: found an integer"):
            load_source(str(path), listen=("tcp:7",))
        return
    config, source = load_source(str(path), listen=("tcp:7:interface=127.0.0.1",))
    assert config.server.listen == ("tcp:7:interface=127.0.0.1",)
    assert source.config().server.listen == config.server.listen, "workers read the same"


def test_they_are_checked_as_those_of_the_file_are():
    with pytest.raises(ConfigError, match="no client needs a key"):
        parse(MODEL, name="c", environ={}, read_file=lambda path: "", listen=("tcp:7",))
