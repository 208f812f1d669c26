"""A configuration: what it means, and what is said of a wrong one."""

import re
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lmbroker import envelope
from lmbroker.call import Timeouts
from lmbroker.config import file, models
from lmbroker.config.config import ConfigError, parse
from lmbroker.config.file import load
from lmbroker.config.table import Table
from lmbroker.routing.keys import digest_of, hash_of
from lmbroker.routing.request_limits import RequestLimits
from lmbroker.routing.retries import Retries
from lmbroker.translation.profiles.lookup import profile
from lmbroker.translation.profiles.profile import Profile

ROOT = Path(__file__).parents[1]
DOCS = (ROOT / "docs" / "configuration.md").read_text()

ENVIRON = {
    "OPENAI_API_KEY": "from-the-environment",
    "KEY": "from-env",
    "EMPTY": " ",
    "BAD": "two\nlines",
}
FILES = {"/run/key": "from-a-file\n", "/empty": "\n", "/key.pem": "PEM"}

MODEL = """
[[models]]
alias = "m"
type = "openai"
target = { url = "https://host", model = "x" }
"""
"""The least that a file needs."""


def read_file(path):
    if path == "/no-text":
        raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")
    if path not in FILES:
        raise FileNotFoundError(2, "No such file or directory", path)
    return FILES[path]


def unnamed(line):
    """A problem or a warning without the name of the table where it is."""
    return re.sub(r' \((alias|backend|key) "[^"]*"\)$', "", line)


def read(text):
    return parse(text, name="etc/c.toml", environ=ENVIRON, read_file=read_file)


def problems(text):
    with pytest.raises(ConfigError) as error:
        read(text)
    assert all(line.startswith("etc/c.toml: ") for line in error.value.problems)
    assert not any("\n" in line for line in error.value.problems)
    assert str(error.value) == "\n".join(error.value.problems)
    return [unnamed(line.removeprefix("etc/c.toml: ")) for line in error.value.problems]


def of_model(line):
    """The problems about a file whose one model has a ``line`` more."""
    return problems(MODEL + line)


# What a file means.


def test_the_least_file():
    least = read(MODEL)
    assert least.log_level == "info"
    assert least.server.listen == ("tcp:8080:interface=127.0.0.1",)
    assert least.warnings == ()
    alias = least.alias("m")
    assert (alias.mode, alias.profile) == ("default", {})
    (target,) = alias.targets
    assert (target.model, target.backend.url) == ("x", "https://host/v1")
    assert (target.backend.dialect, target.backend.credential) == ("openai", None)
    assert least.alias("n") is None


def test_a_whole_file():
    whole = read(
        """
        log_level = "debug"

        [server]
        host = "::1"
        port = 9000

        [[models]]
        alias = "a"
        type = "openai"
        target = { url = "https://api.openai.com/v1/", model = "g", api_key = "env:OPENAI_API_KEY" }

        [[models]]
        alias = "b"
        type = "anthropic"
        mode = "strict"
        [models.target]
        url = "http://localhost:8000"
        api_key = "file:/run/key"
        [models.profile]
        effort = ["low", "max"]
        max_output = 1_000
        vision = false
        """
    )
    assert whole.log_level == "debug"
    assert whole.server.listen == (r"tcp6:9000:interface=\:\:1",)
    a, b = whole.aliases.values()
    assert a.targets[0].backend.name == "api.openai.com"
    assert a.targets[0].backend.credential.reveal() == "from-the-environment"
    assert a.targets[0].backend.credential_ref == "env:OPENAI_API_KEY"
    assert b.targets[0].model == "b"
    assert b.targets[0].backend.credential.reveal() == "from-a-file"
    assert b.targets[0].backend.credential_ref == "file:/run/key"
    assert b.mode == "strict"
    assert profile("anthropic", "b", b.profile) == Profile(
        effort=("low", "max"), max_output=1000, reasoning_replay="origin", vision=False
    )
    assert whole.warnings == ()


def test_dotted_keys_and_tables_mean_the_same():
    dotted = read(
        """
        [[models]]
        alias = "m"
        type = "openai"
        target.url = "https://host"
        target.model = "x"
        """
    )
    assert dotted == read(MODEL)


def test_models_at_one_place_share_a_backend():
    text = "".join(
        MODEL.replace('"m"', f'"{name}"').replace('"x"', f'"x", api_key = "{key}"')
        for name, key in (("a", "key-1"), ("b", "key-1"), ("c", "key-2"))
    )
    a, b, c = (alias.targets[0].backend for alias in read(text).aliases.values())
    assert a is b
    assert (a.name, c.name) == ("host", "host-2")


def test_endpoints_in_the_place_of_host_and_port():
    text = KEYS.replace("HASH", hash_of("lmb-bob")) + (
        '[server]\nlisten = ["tcp:80:interface=127.0.0.1", "unix:/run/x.sock", '
        '"systemd:domain=INET:index=0", "ssl:443:privateKey=/key.pem:interface=127.0.0.1"]\n'
    )
    found = read(text + MODEL)
    assert found.server.listen == (
        "tcp:80:interface=127.0.0.1",
        "unix:/run/x.sock",
        "systemd:domain=INET:index=0",
        "ssl:443:privateKey=/key.pem:interface=127.0.0.1",
    )
    assert found.warnings == ()


def test_every_file_in_etc_loads():
    files = sorted((ROOT / "etc").glob("*.toml"))
    assert files
    for path in files:
        assert load_example(path.read_text()).aliases


def test_what_the_example_has_commented_out_loads():
    text = (ROOT / "etc" / "config.toml").read_text()
    whole = re.sub(r"(?m)^# ?(?=\[|\w+ = |$)", "", text)
    assert len(load_example(whole).aliases) > len(load_example(text).aliases)


def load_example(text):
    """The configuration of an example, with a key wherever it names one."""
    environ = dict.fromkeys(re.findall(r"env:(\w+)", text), "key")
    return parse(text, name="example", environ=environ, read_file=lambda path: "key")


# What is legal but unwise.


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        (
            MODEL.replace('"x"', '"x", api_key = "key-1"'),
            "models[0].target.api_key: the key stands in the file itself; "
            'use "env:NAME" or "file:/path"',
        ),
        (
            MODEL.replace("https://host", "http://api.example.com").replace(
                '"x"', '"x", api_key = "file:/run/key"'
            ),
            "models[0].target.url: the key goes over the network in clear",
        ),
        (
            '[server]\nhost = "0.0.0.0"\nopen = true\n' + MODEL,
            "server.host: other machines reach it, and no client needs a key",
        ),
        (
            '[server]\nlisten = ["unix:/x", "tcp:80"]\nopen = true\n' + MODEL,
            "server.listen[1]: other machines reach it, and no client needs a key",
        ),
        (
            '[server]\nlisten = ["systemd:INET:index=0"]\nopen = true\n' + MODEL,
            "server.listen[0]: other machines may reach it, and no client needs a key",
        ),
        (
            '[server]\nmetrics_listen = ["unix:/x", "tcp:9464"]\n' + MODEL,
            "server.metrics_listen[1]: other machines reach it, and /metrics needs no key",
        ),
        (
            '[[keys]]\nname = "a"\nkey = "key-1"\n' + MODEL,
            'keys[0].key: the key stands in the file itself; use "env:NAME" or "file:/path"',
        ),
        (
            MODEL.replace('"x"', '"x", headers = { x-gate-token = "1" }'),
            "models[0].target.headers.x-gate-token: the key stands in the file itself; "
            'use "env:NAME" or "file:/path"',
        ),
        (
            MODEL.replace('"x"', '"x", headers = { x-a = "sk-0123456789abcdef" }'),
            "models[0].target.headers.x-a: the key stands in the file itself; "
            'use "env:NAME" or "file:/path"',
        ),
        (
            MODEL.replace("https://host", "http://api.example.com").replace(
                '"x"', '"x", headers = { x-a = "env:KEY" }'
            ),
            "models[0].target.url: the key goes over the network in clear",
        ),
    ],
)
def test_warnings(text, warning):
    assert [unnamed(line) for line in read(text).warnings] == [f"etc/c.toml: {warning}"]


@pytest.mark.parametrize(
    "text",
    [
        MODEL.replace('"x"', '"x", api_key = "key-1"'),
        MODEL.replace('"x"', '"x", api_keys = ["key-1"]'),
        MODEL.replace('"x"', '"x", headers = { x-token = "key-1" }'),
        MODEL + '[[keys]]\nname = "a"\nkey = "key-1"\n',
        MODEL + '[[backends]]\nname = "b"\ntype = "openai"\nurl = "https://b"\napi_key = "k"\n',
    ],
)
def test_a_key_in_a_file_that_others_may_read(tmp_path, text):
    path = tmp_path / "c.toml"
    path.write_text(text)
    path.chmod(0o640)
    assert load(str(path), shown="c.toml").warnings[-1] == (
        "c.toml: other users may read this file, and a key stands in it: let the user read it "
        "that the broker runs as, and nobody else"
    )
    path.chmod(0o600)
    assert len(load(str(path)).warnings) == 1


def test_a_file_that_goes_while_it_is_read(tmp_path, monkeypatch):
    path = tmp_path / "c.toml"
    path.write_text(MODEL.replace('"x"', '"x", api_key = "key-1"'))

    def parsed(*arguments, **named):
        path.unlink()
        return parse(*arguments, **named)

    monkeypatch.setattr(file, "parse", parsed)
    assert load(str(path)).aliases


# Mistakes.


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('log_level = "loud"', "log_level: found a string ('loud'), expected one of \"debug\""),
        ("log_level = 3", "log_level: found an integer (3), expected one of"),
        ('server = "x"', "server: found a string, expected a table"),
        ("[server]\nport = 0", "server.port: found an integer (0), expected an integer from 1 to"),
        ('[server]\nhost = "*"', "server.host: found a string ('*'), expected a host name"),
        ("[server]\nhost = 1", "server.host: found an integer (1), expected a string"),
        ("[server]\nprot = 1", 'server.prot: unknown key (did you mean "port"?)'),
        ("[server]\nlisten = []", "server.listen: found an empty array, expected an array of"),
        (
            '[server]\nlisten = ["tcp:80:interface=127.0.0.1", "tcp"]',
            "server.listen[1]: found a string ('tcp'): tcp needs 'port'",
        ),
        (
            '[server]\nport = 80\nlisten = ["unix:/x"]',
            "server.listen: cannot stand beside host or port",
        ),
        (
            '[server]\nlisten = ["ssl:443:interface=127.0.0.1:privateKey=/none"]',
            "server.listen[0]: the file '/none' cannot be read: No such file or directory",
        ),
        ('[sever]\nhost = "x"', 'sever: unknown key (did you mean "server"?)'),
    ],
)
def test_mistakes_of_the_top(text, problem):
    (told,) = problems(text + MODEL)
    assert told.startswith(problem)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('alias = "m"', "", "models[0].alias: found nothing, expected a string"),
        ('alias = "m"', 'alias = ""', "models[0].alias: found an empty string, expected a string"),
        (
            'alias = "m"',
            r'alias = "a\u200Bb"',
            r"models[0].alias: found a string ('a\u200bb'), expected at most 256 characters",
        ),
        ('alias = "m"', f'alias = "{"x" * 257}"', "models[0].alias: found a string ('xxx"),
        ('"openai"', '"opnai"', "models[0].type: found a string ('opnai'), expected one of"),
        ('type = "openai"', "", 'models[0].type: found nothing, expected one of "openai", "anthr'),
        ("target = {", "targte = {", 'models[0].targte: unknown key (did you mean "target"?)'),
        ("url =", "ulr =", 'models[0].target.ulr: unknown key (did you mean "url"?)'),
        ("https://host", "host", 'models[0].target.url: expected a URL that begins with "http'),
        ('"https://host"', "80", "models[0].target.url: found an integer (80), expected a string"),
        ('"x"', r'"\n"', r"models[0].target.model: found a string ('\n'), expected at most"),
    ],
)
def test_mistakes_of_a_model(old, new, problem):
    (told,) = problems(MODEL.replace(old, new))
    assert told.startswith(problem)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('mode = "lax"', "models[0].mode: found a string ('lax'), expected one of \"default\""),
        ('aliases = ["n"]', 'models[0].aliases: unknown key (did you mean "alias"?)'),
        ("profile = 1", "models[0].profile: found an integer, expected a table"),
    ],
)
def test_mistakes_beside_the_target(line, problem):
    (told,) = of_model(line)
    assert told.startswith(problem)


@pytest.mark.parametrize(
    ("reference", "problem"),
    [
        ("env:NOBODY", "the environment variable 'NOBODY' is not set"),
        ("env:EMPTY", "the environment variable 'EMPTY' is not set"),
        ("env:", 'the environment variable after "env:" is not set'),
        ("env:gsk_1234abcd", 'the environment variable after "env:" is not set'),
        ("env:BAD", "the key has characters that no HTTP header may hold"),
        ("file:/none", "the file '/none' cannot be read: No such file or directory"),
        ("file:/empty", "the file '/empty' is empty"),
        ("file:/no-text", "the file '/no-text' cannot be read: it is not UTF-8 text"),
        ("file:key", 'expected an absolute path after "file:"'),
        ("ENV:OPENAI_API_KEY", 'expected "env:NAME", "file:/path" or the key itself'),
        ("$OPENAI_API_KEY", 'expected "env:NAME", "file:/path" or the key itself'),
        ("clé", "the key has characters that no HTTP header may hold"),
    ],
)
def test_mistakes_of_a_credential(reference, problem):
    text = MODEL.replace('"x"', f'"x", api_key = "{reference}"')
    assert problems(text) == [f"models[0].target.api_key: {problem}"]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('max_output = "x"', "max_output: found a string ('x'), expected an integer"),
        ("max_output = true", "max_output: found a boolean (True), expected an integer"),
        ("max_output = 0", "max_output: found an integer (0), expected 1 or more"),
        ("stop_max = -1", "stop_max: found an integer (-1), expected 0 or more"),
        ("think_tags = 1", 'think_tags: found an integer (1), expected a boolean or one of "open"'),
        ("vision = 1", "vision: found an integer (1), expected a boolean"),
        ('vision = "yes"', "vision: found a string ('yes'), expected a boolean"),
        ('sampling = "some"', "sampling: found a string ('some'), expected one of \"full\""),
        ('effort = "low"', "effort: found a string ('low'), expected an array of strings"),
        ("effort = [1]", "effort: found an array, expected an array of strings"),
        ('effort = ["low", "hi"]', "effort: found a string ('hi'), expected one of \"none\""),
        ('default_effort = "hi"', "default_effort: found a string ('hi'), expected one of"),
        ('thinking_types = ["on"]', "thinking_types: found a string ('on'), expected one of"),
        ('tool_id = "("', "tool_id: found a string ('('), expected a regular expression"),
        (
            'reasoning_off = ["effort", "no"]',
            "reasoning_off: found a string ('no'), expected one of \"effort\"",
        ),
        ("max_ouput = 1", 'max_ouput: unknown key (did you mean "max_output"?)'),
    ],
)
def test_mistakes_of_a_profile(line, problem):
    (told,) = of_model(f"[models.profile]\n{line}")
    assert told.startswith(f"models[0].profile.{problem}")


def test_no_models():
    assert problems("") == ["models: expected at least one [[models]] table"]
    assert problems("models = []") == ["models: expected at least one [[models]] table"]
    assert problems(MODEL.replace("models", "model")) == [
        'model: unknown key (did you mean "models"?)'
    ]


def test_an_alias_stands_once_also_where_the_first_is_broken():
    assert problems(MODEL.replace("https://host", "x") + MODEL) == [
        'models[0].target.url: expected a URL that begins with "https://" or "http://"',
        "models[1].alias: found a string ('m'), which is models[0].alias already",
    ]


def test_all_mistakes_are_told_at_once():
    told = problems(
        """
        log_level = "loud"
        [server]
        port = "80"
        [[models]]
        alias = "a"
        type = "opnai"
        target = { ulr = "https://host", api_key = "env:NOBODY" }
        [[models]]
        alias = "a"
        target = "x"
        [models.profile]
        vision = 1
        """
    )
    assert [line.partition(": ")[0] for line in told] == [
        "log_level",
        "server.port",
        "models[0].type",
        "models[0].target.api_key",
        "models[0].target.ulr",
        "models[1].alias",
        "models[1].profile.vision",
        "models[1].target",
        "models[1].type",
    ]


def test_a_syntax_error_is_told_with_its_line():
    (told,) = problems(MODEL + "\nalias = \n")
    assert told == "line 7: not valid TOML: invalid value"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file or directory"),
        (b"\xff\xfe", "it is not UTF-8 text"),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path, content, reason):
    path = tmp_path / "c.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as error:
        load(str(path))
    assert error.value.problems == (f"{path}: cannot be read: {reason}",)


def test_a_byte_order_mark_does_not_count(tmp_path):
    path = tmp_path / "c.toml"
    path.write_bytes(b"\xef\xbb\xbf" + MODEL.encode().replace(b"\n", b"\r\n"))
    assert load(str(path)).alias("m") is not None


def test_names_are_as_long_as_clients_may_ask_for():
    assert models.NAME_LENGTH == envelope.MODEL_LENGTH


# Whatever stands in the file.

SECRET = "sk-7QqRtZ0vKp"
VALID = f"""log_level = "info" # debug
[server]
host = "127.0.0.1"
port = 8080
[[models]]
alias = "a"
type = "openai"
target = {{ url = "https://host", api_key = "{SECRET}", model = "m" }}
[[models]]
alias = "b"
type = "anthropic"
mode = "strict"
[models.target]
url = "http://host.example"
api_key = "{SECRET}"
[models.profile]
effort = ["low", "high"]
max_output = 1_000
[[models]]
alias = "c"
type = "openai"
target = {{ url = "https://host", api_key = "env:KEY" }}
"""


def everything_said(text):
    """All lines about a file, and the configuration as it prints; raises nothing."""
    try:
        found = parse(text, name="c", environ={"KEY": SECRET}, read_file=lambda path: SECRET + "\n")
    except ConfigError as error:
        assert error.problems
        assert not any("\n" in line for line in error.problems)
        return str(error)
    return repr(found)


def test_the_configuration_itself_does_not_print_its_secrets():
    assert SECRET not in everything_said(VALID)
    assert "Secret(***)" in everything_said(VALID)


@given(st.text())
@example("a = nan")
@example("a = 1979-05-27")
@example('"" = 1')
@example('a = "\\ud800"')
@example("a.b = 1\na.b.c = 2")
@example("[a]\nb = 1\n[[a]]")
@example("\r")
@example("\x00")
@example('[[models]]\nalias = "a"\n[models.alias]')
def test_any_text_is_a_configuration_or_a_mistake(text):
    everything_said(text)


TYPOS = st.sampled_from(list("\"'[]{}=,.#\n \\a1_$:"))
BREAKS = (
    (f'"{SECRET}"', SECRET),
    (f'"{SECRET}"', f"'{SECRET}'"),
    (f'"{SECRET}"', f'["{SECRET}"]'),
    (f'"{SECRET}"', f'{{ key = "{SECRET}" }}'),
    (f'"{SECRET}"', f'"env:{SECRET}"'),
    (f'"{SECRET}"', f'"file:{SECRET}"'),
    (f'"{SECRET}"', f'"{SECRET}\\n"'),
    ("api_key =", "api_key"),
    ("api_key =", "api_key:"),
    ("api_key =", "ap_key ="),
    (", api_key", " api_key"),
    (f'"{SECRET}",', f'"{SECRET}"'),
    ("target = {", "target = "),
    ("https://", "htps://"),
    (" }", ""),
)


def replace_one(text, old, new, number):
    """``text`` with one of the places where ``old`` stands replaced by ``new``."""
    places = [found.start() for found in re.finditer(re.escape(old), text)]
    if not places:
        return text
    place = places[number % len(places)]
    return text[:place] + new + text[place + len(old) :]


@pytest.mark.parametrize(("old", "new"), BREAKS)
def test_no_likely_mistake_brings_a_secret_out(old, new):
    for number in range(VALID.count(old)):
        assert SECRET not in everything_said(replace_one(VALID, old, new, number))


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(BREAKS), st.integers(0, 9)), max_size=2), st.data())
def test_no_typo_brings_a_secret_out(breaks, data):
    """Likely mistakes, and letters lost and added anywhere but in the secret itself."""
    text = VALID
    for (old, new), number in breaks:
        text = replace_one(text, old, new, number)
    for _ in range(data.draw(st.integers(0, 2))):
        place = data.draw(st.integers(0, len(text)))
        added = data.draw(TYPOS | st.just(""))
        lost = data.draw(st.integers(0, 2))
        changed = text[:place] + added + text[place + lost :]
        if SECRET in changed:
            text = changed
    assert SECRET not in everything_said(text)


KEYS = ["alias", "type", "mode", "url", "model", "key"]
VALUES = st.recursive(
    st.sampled_from(["openai", "https://host", "m", "", 1, 0, True, 1.5]) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4)
    ),
    max_leaves=5,
)
HIDDEN = st.recursive(
    st.sampled_from([SECRET, "env:KEY", "file:/key", f"env:{SECRET}", f"file:{SECRET}"]),
    lambda inner: (
        st.lists(inner, min_size=1, max_size=2)
        | st.dictionaries(st.sampled_from(KEYS), inner, min_size=1, max_size=2)
    ),
    max_leaves=2,
)


def mostly(*values):
    """One of ``values``, sometimes anything."""
    return st.sampled_from(values * 4) | VALUES


TARGETS = st.fixed_dictionaries(
    {"url": mostly("https://host"), "api_key": HIDDEN},
    optional={"model": mostly("m"), "ap_key": HIDDEN, "key": VALUES},
)
MODELS = st.fixed_dictionaries(
    {"alias": mostly("a", "b"), "type": mostly("openai", "anthropic"), "target": TARGETS | HIDDEN},
    optional={"mode": mostly("strict"), "api_key": HIDDEN, "key": VALUES},
)


@settings(max_examples=400, deadline=None)
@given(st.lists(MODELS, min_size=1, max_size=2))
def test_no_wrong_value_brings_a_secret_out(models):
    text = "".join(
        "[[models]]\n" + "".join(f"{key} = {_inline(value)}\n" for key, value in model.items())
        for model in models
    )
    said = everything_said(text)
    assert "not valid TOML" not in said, text
    assert SECRET not in said


def _inline(value):
    """A value as TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        inner = ", ".join(f"{key} = {_inline(item)}" for key, item in value.items())
        return "{ " + inner + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    if isinstance(value, str):
        escaped = "".join(
            letter if letter.isalnum() or letter in ":/-_. " else f"\\U{ord(letter):08x}"
            for letter in value
        )
        return f'"{escaped}"'
    return str(value)


# Client keys.

KEYS = (
    '[[keys]]\nname = "ann"\nkey = "env:KEY"\n'
    '[[keys]]\nname = "bob"\nhash = "HASH"\nmodels = ["c*"]\n'
)


def test_client_keys():
    config = read(KEYS.replace("HASH", hash_of("lmb-bob")) + MODEL)
    ann, bob = config.keys
    assert (ann.name, ann.digest, ann.models) == ("ann", digest_of("from-env"), ())
    assert (bob.name, bob.digest, bob.models) == ("bob", digest_of("lmb-bob"), ("c*",))


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ('name = "a"', "hash: expected either hash or key, and one of them"),
        (
            'name = "a"\nhash = "x"\nkey = "env:KEY"',
            "hash: expected either hash or key, and one of them",
        ),
        ('name = "a"\nhash = "abc"', 'hash: expected "sha256:" and 64 hexadecimal digits'),
        ('name = "a"\nkey = "env:NO"', "key: the environment variable 'NO' is not set"),
        ('key = "env:KEY"', "name: found nothing, expected a string"),
        ('name = "a"\nkey = "env:KEY"\nmodels = "x"', "models: found a string ('x'), expected an"),
        ('name = "a"\nkey = "env:KEY"\nmodel = ["x"]', 'model: unknown key (did you mean "models"'),
    ],
)
def test_mistakes_of_client_keys(table, problem):
    [line] = problems("[[keys]]\n" + table + "\n" + MODEL)
    assert line.startswith(f"keys[0].{problem}")


def test_two_keys_of_one_name():
    text = '[[keys]]\nname = "a"\nkey = "env:KEY"\n' * 2
    assert problems(text + MODEL) == [
        "keys[1].name: found a string ('a'), which another key has already"
    ]


@pytest.mark.parametrize(
    ("server", "at"),
    [
        ('host = "0.0.0.0"', "host: other machines reach"),
        ('listen = ["unix:/x", "tcp:80"]', "listen[1]: other machines reach"),
        ('listen = ["systemd:INET:index=0"]', "listen[0]: other machines may reach"),
        ('listen = ["systemd:INET6:name=x"]', "listen[0]: other machines may reach"),
    ],
)
def test_other_machines_are_not_let_in_without_keys(server, at):
    text = f"[server]\n{server}\n"
    assert problems(text + MODEL) == [
        f"server.{at} it, and no client needs a key: add [[keys]], or open = true to [server]"
    ]
    config = read(text + KEYS.replace("HASH", hash_of("lmb-bob")) + MODEL)
    assert config.warnings == ()


def test_a_unix_socket_of_systemd_is_reached_from_this_machine_only():
    config = read('[server]\nlisten = ["systemd:UNIX:name=x"]\n' + MODEL)
    assert config.warnings == ()


def test_a_listener_for_metrics():
    config = read('[server]\nmetrics_listen = ["tcp:9464:interface=127.0.0.1"]\n' + MODEL)
    assert config.server.metrics_listen == ("tcp:9464:interface=127.0.0.1",)
    assert (read(MODEL).server.metrics_listen, config.warnings) == ((), ())


@pytest.mark.parametrize(
    ("server", "problem"),
    [
        (
            'metrics_listen = ["tcp"]',
            "server.metrics_listen[0]: found a string ('tcp'): tcp needs 'port'",
        ),
        (
            'listen = ["unix:/x"]\nmetrics_listen = ["unix:/y", "unix:/x"]',
            "server.metrics_listen[1]: clients are served there already",
        ),
        (
            'metrics_listen = "unix:/y"',
            "server.metrics_listen: found a string ('unix:/y'), expected an array of strings",
        ),
    ],
)
def test_mistakes_of_a_listener_for_metrics(server, problem):
    assert problems(f"[server]\n{server}\n{MODEL}") == [problem]


# What a request may be.


def test_bodies_by_path_the_longest_first():
    text = '[limits]\nbody = 9\n[limits.body_by_path]\n"/v1/" = 5\n"/v1/embeddings" = 7\n'
    limits = read(text + MODEL).limits
    assert limits.body_by_path == (("/v1/embeddings", 7), ("/v1/", 5))
    paths = ("/v1/embeddings", "/v1/messages", "/")
    assert [limits.body_limit(path) for path in paths] == [7, 5, 9]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('"/v1/embeding" = 5', "/v1/embeding: expected the beginning of one of /v1/chat/comp"),
        ('"v1/embeddings" = 5', "?: expected the beginning of one of /v1/chat/completions"),
        ("messages = 5", "?: expected the beginning of one of /v1/chat/completions"),
        ('"/v1/messages" = 0', "/v1/messages: found an integer (0), expected an integer from 1"),
        ('"/v1/messages" = "5"', "/v1/messages: found a string ('5'), expected an integer from"),
    ],
)
def test_mistakes_of_bodies_by_path(line, problem):
    [told] = problems(f"[limits.body_by_path]\n{line}\n{MODEL}")
    assert told.startswith(f"limits.body_by_path.{problem}")


def test_caps_of_all_and_of_one_model():
    own = MODEL.replace('"m"', '"own"') + "limits = { max_tokens = 20 }\n"
    config = read("[limits]\nmax_tokens = 10\nn = 1\n" + MODEL + own)
    assert config.alias("m").request_limits == RequestLimits(max_tokens=10, n=1)
    assert config.alias("own").request_limits == RequestLimits(max_tokens=20, n=1)
    assert read(own).alias("own").request_limits == RequestLimits(max_tokens=20)
    assert read(MODEL).alias("m").request_limits is None


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ("max_tokens = 0", "max_tokens: found an integer (0), expected 1 or more"),
        ('n = "1"', "n: found a string ('1'), expected an integer"),
    ],
)
def test_mistakes_of_caps(table, problem):
    assert problems(f"[limits]\n{table}\n{MODEL}") == [f"limits.{problem}"]
    assert of_model(f"limits = {{ {table} }}\n") == [f"models[0].limits.{problem}"]
    assert of_model("limits = { body = 5 }\n") == [
        "models[0].limits.body: unknown key (known here: max_tokens, n)"
    ]


# How long to wait.


def test_timeouts_of_all_and_of_one_model():
    text = "[timeouts]\nheaders = 5\nidle = 2.5\n" + MODEL + "timeouts = { idle = 60 }\n"
    config = read(text)
    [alias] = config.aliases.values()
    assert (config.timeouts.headers, config.timeouts.idle) == (5, 2.5)
    assert alias.targets[0].timeouts == Timeouts(headers=5, idle=60)


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ("idle = 0", "timeouts.idle: found an integer (0), expected more than 0"),
        ("idle = -0.5", "timeouts.idle: found a float (-0.5), expected more than 0"),
        ('idle = "5s"', "timeouts.idle: found a string ('5s'), expected a number"),
        ("idel = 5", 'timeouts.idel: unknown key (did you mean "idle"?)'),
    ],
)
def test_mistakes_of_timeouts(table, problem):
    assert problems("[timeouts]\n" + table + "\n" + MODEL) == [problem]


# The documentation.


EVERY_KIND = """
[[limits.rules]]
parallel = 1
[[keys]]
name = "n"
key = "env:KEY"
[[backends]]
name = "b"
type = "openai"
url = "https://b"
[[models]]
alias = "several"
targets = [{ backend = "b", price = PRICE }]
price = PRICE
[[models]]
alias = "priced"
type = "openai"
target = { url = "https://b", price = PRICE }
""".replace("PRICE", "{ input = 1, output = 1, tiers = [{ above = 1, input = 1, output = 1 }] }")


def test_the_documentation_names_every_key_and_no_other(monkeypatch):
    asked = set()
    plain_any = Table.any

    def any(table, key):
        asked.add(re.sub(r"\[\d+\]", "[]", table.path(key)))
        return plain_any(table, key)

    monkeypatch.setattr(Table, "any", any)
    read(EVERY_KIND + MODEL)
    tables = {"server", "keys", "backends", "models", "models[].target", "models[].targets"}
    tables |= {"limits.rules", "limits.rules[].for"}
    tables |= {"timeouts", "limits", "retries", "breaker", "models[].limits", "usage", "tracing"}
    tables |= {"models[].target.price", "models[].targets[].price", "models[].price.tiers"}
    tables |= {"models[].target.price.tiers", "models[].targets[].price.tiers"}
    of_keys = re.findall(r"(?m)^\| key \| type .*\n\|---.*\n((?:\|.*\n)+)", DOCS)
    named = [name for rows in of_keys for name in re.findall(r"(?m)^\| `(\S+)` \|", rows)]
    assert len(named) == len(set(named))
    for wild in [name for name in named if name.endswith(".*")]:
        named.remove(wild)
        like = wild.removesuffix("*")
        kept = {
            "models[].target.": "backends[].",
            "models[].target.profile.": "models[].profile.",
            "models[].targets[].profile.": "models[].profile.",
            "models[].target.price.": "models[].price.",
            "models[].targets[].price.": "models[].price.",
        }.get(like, like.rpartition("[].")[2])
        named += [
            like + name.removeprefix(kept)
            for name in named
            if name.startswith(kept) and name not in ("backends[].name", "backends[].type")
        ]
        tables.add(like[:-1])
    tables |= {name for name in asked if name.endswith(".timeouts")}
    assert set(named) == asked - tables
    fields = {name for name in named if name.startswith("models[].profile.")}
    assert fields == {f"models[].profile.{name}" for name in Profile.__struct_fields__}


def test_every_example_of_the_documentation_loads():
    examples = re.findall(r"(?s)```toml\n(.*?)```", DOCS)
    assert len(examples) == 9
    for text in examples:
        whole = text if "[[models]]" in text else text + MODEL
        assert load_example(whole).warnings == ()


def test_the_table_of_urls_in_the_documentation_is_true():
    from lmbroker.config.endpoints import parse_url
    from lmbroker.translation.dialects.catalog import ADAPTERS

    rows = re.findall(r"(?m)^\| ((?:`https?:[^`]+`(?:, )?)+) \| `([^`]+)` \|", DOCS)
    assert len(rows) >= 5
    exact = DOCS.index("| `root` | requests go to |")
    for urls, goal in rows:
        dialect = "anthropic" if goal.endswith("/messages") else "openai"
        for url in re.findall(r"`([^`]+)`", urls):
            root, problem = parse_url(url, exact=DOCS.index(f"| {urls} | `{goal}` |") > exact)
            assert problem == "" and root + ADAPTERS[dialect].facts.paths["chat"] == goal.lower()


def test_the_worked_configurations_of_routing_load():
    examples = re.findall(r"(?s)```toml\n(.*?)```", (ROOT / "docs" / "routing.md").read_text())
    assert len(examples) == 5
    for text in examples:
        assert load_example(text).aliases


# Several targets.

NAMED = """
[[backends]]
name = "b"
type = "openai"
url = "https://b"
api_keys = ["env:KEY", "literal-key"]
timeouts = { idle = 7, total = 70 }
headers = { X-Extra = "1" }
"""


def test_a_model_of_several_targets():
    config = read(
        "[retries]\nattempts = 2\n"
        + NAMED
        + '[[models]]\nalias = "m*"\nstrategy = "fastest"\nsticky = ["caller", "header:x-s"]\n'
        + 'fallback_on = ["500"]\nretry_unsafe = true\nretries = { seconds = 5 }\n'
        + 'timeouts = { idle = 3 }\ntargets = [{ backend = "b", model = "*", weight = 2 }]\n'
    )
    route = config.alias("many")
    assert route is config.aliases["m*"]
    [target] = route.targets
    assert (target.model, route.weights) == ("*", (2.0,))
    assert target.timeouts == Timeouts(idle=3, total=70)
    assert target.backend.headers == (("x-extra", "1"),)
    assert [each.reveal() for each in target.backend.secrets] == ["from-env"]
    assert [each.credential_ref for each in route.keys["b"]] == ["env:KEY", "literal 1"]
    assert route.retries == Retries(
        attempts=2, seconds=5, unsafe=True, fallback_on=frozenset({"500"})
    )
    assert (route.strategy, route.sticky) == ("fastest", ("caller", "header:x-s"))


HEADERS = MODEL.replace('"x"', '"x", headers = { HEADER }')


def test_headers_by_reference_are_secrets():
    lines = 'x-one = "env:KEY", x-two = "file:/run/key", x-plain = "env", X-Token = "literal"'
    config = read(HEADERS.replace("HEADER", lines))
    backend = config.alias("m").targets[0].backend
    shown = [(name, str(value)) for name, value in backend.headers]
    assert shown == [
        ("x-one", "***"),
        ("x-two", "***"),
        ("x-plain", "env"),
        ("x-token", "***"),
    ]
    held = [each.reveal() for each in backend.secrets]
    assert held == ["from-env", "from-a-file", "literal"]
    assert len(config.warnings) == 1 and config.holds_a_key
    assert "from-env" not in repr(config)


def test_a_secret_behind_a_first_word_is_known_without_it():
    text = HEADERS.replace("HEADER", 'x-auth = "file:/bearer"')
    config = parse(text, name="c", environ={}, read_file=lambda path: "Bearer abc\n")
    held = config.alias("m").targets[0].backend.secrets
    assert [each.words for each in held] == [("Bearer abc", "abc")]


def test_headers_tell_backends_apart_by_their_reference():
    other = HEADERS.replace("HEADER", 'x-one = "env:OPENAI_API_KEY"').replace('"m"', '"n"')
    config = read(HEADERS.replace("HEADER", 'x-one = "env:KEY"') + other)
    names = [alias.targets[0].backend.name for alias in config.aliases.values()]
    assert names == ["host", "host-2"]


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("env:NO", "the environment variable 'NO' is not set"),
        ("env:EMPTY", "the environment variable 'EMPTY' is not set"),
        ("env:not-a-name", 'the environment variable after "env:" is not set'),
        ("env:BAD", "the value has characters that no HTTP header may hold"),
        ("file:key", 'expected an absolute path after "file:"'),
        ("file:/none", "the file '/none' cannot be read: No such file or directory"),
        ("file:/empty", "the file '/empty' is empty"),
        ("$KEY", 'expected "env:NAME", "file:/path" or the value, and nothing else'),
        ("Env:KEY", 'expected "env:NAME", "file:/path" or the value, and nothing else'),
        ("Bearer env:KEY", 'expected "env:NAME", "file:/path" or the value, and nothing else'),
        ("schl\u00fcssel", "the value has characters that no HTTP header may hold"),
    ],
)
def test_mistakes_of_headers(value, problem):
    lines = problems(HEADERS.replace("HEADER", f'x-a = "{value}"'))
    assert lines == [f"models[0].target.headers.x-a: {problem}"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            NAMED + '[[models]]\nalias = "m"\ntargets = [{ backend = "c" }]\n',
            "models[0].targets[0].backend: found a string ('c'), expected one of [[backends]]: b",
        ),
        (
            NAMED + '[[models]]\nalias = "m"\ntype = "openai"\ntargets = [{ backend = "b" }]\n',
            "models[0].type: the type of named backends stands with them",
        ),
        (
            NAMED + NAMED + MODEL,
            "backends[1].name: found a string ('b'), which another backend has already",
        ),
        (
            NAMED.replace("X-Extra", "authorization") + MODEL,
            "backends[0].headers.authorization: no header that may be set here; the key of a "
            "backend is its api_key",
        ),
        (
            NAMED.replace('"b"', '"a b"', 1) + MODEL,
            "backends[0].name: found a string ('a b'), expected up to 64 letters, digits, dots, "
            "hyphens and underscores",
        ),
        (
            'default = "x"\n' + MODEL,
            "default: found a string ('x'), which no model has as its alias",
        ),
        (
            MODEL.replace('"m"', '"m*x"'),
            "models[0].alias: found a string ('m*x'): a * may stand at the end only",
        ),
        (
            MODEL + 'sticky = ["cookie"]\n',
            "models[0].sticky[0]: found a string ('cookie'), expected \"caller\", "
            '"header:NAME" or "body:NAME"',
        ),
        (
            MODEL + 'strategy = "best"\n',
            "models[0].strategy: found a string ('best'), expected one of \"ordered\", "
            '"weighted", "least-busy", "fastest"',
        ),
    ],
)
def test_mistakes_of_several_targets(text, problem):
    assert problems(text) == [problem]


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("x-portkey-provider", "openai", False),
        ("x-keyboard", "de", False),
        ("x-author", "ann", False),
        ("x-portkey-api-key", "pk-1", True),
        ("cf-aig-authorization", "t-1", True),
        ("ocp-apim-subscription-key", "s-1", True),
        ("x-auth-token", "t-1", True),
        ("x-goog-apikey", "g-1", True),
        ("proxy-authorization", "p-1", True),
    ],
)
def test_a_header_is_a_credential_by_whole_words_of_its_name(name, value, secret):
    named = NAMED.replace('X-Extra = "1"', f'{name} = "{value}"')
    config = read(named + '[[models]]\nalias = "m"\ntargets = [{ backend = "b" }]\n')
    headers = dict(config.aliases["m"].targets[0].backend.headers)
    assert (str(headers[name]) == "***") is secret


def test_a_profile_at_a_target_wins_over_that_of_the_alias():
    (alias,) = read(
        """
        [[backends]]
        name = "gpu"
        type = "openai"
        url = "https://gpu"
        [[models]]
        alias = "a"
        profile = { vision = false, stop_max = 4 }
        targets = [{ backend = "gpu", profile = { stop_max = 2 } }, { backend = "gpu" }]
        """
    ).aliases.values()
    first, second = alias.targets
    assert alias.overrides(first) == {"vision": False, "stop_max": 2}
    assert alias.overrides(second) == {"vision": False, "stop_max": 4}


def test_a_profile_at_the_only_target():
    (alias,) = read(
        """
        [[models]]
        alias = "a"
        type = "openai"
        target = { url = "https://gpu", profile = { pdf = false } }
        """
    ).aliases.values()
    assert alias.overrides(alias.targets[0]) == {"pdf": False}
    assert alias.targets[0].backend.host == "gpu"


def test_a_profile_at_a_target_is_checked_like_any_other():
    lines = problems(
        """
        [[models]]
        alias = "a"
        type = "openai"
        target = { url = "https://gpu", profile = { pdff = false, vision = 1 } }
        """
    )
    assert any("models[0].target.profile.pdff" in line for line in lines)
    assert any("models[0].target.profile.vision" in line for line in lines)


OUT = """
[[backends]]
name = "far"
type = "openai"
url = "URL"
%s
[[models]]
alias = "m"
targets = [{ backend = "far", model = "x" }]
"""


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "ALL_PROXY"])
def test_a_proxy_of_the_environment_that_nobody_uses_is_warned_of(name):
    def warned(url="https://api.test", more="", value="http://user:hidden@proxy:3128"):
        text = OUT.replace("URL", url) % more
        return parse(text, name="c", environ={name: value}, read_file=lambda path: "").warnings

    [warning] = warned()
    assert name in warning and "does not use" in warning and "hidden" not in warning
    assert warned(value="") == ()
    assert warned("http://127.0.0.1:8000") == ()
    assert warned("practice:") == ()
    assert warned(more='proxy = "http://proxy:3128"') == ()


def test_what_toml_misreads_is_taken_with_a_warning():
    config = read(MODEL.replace('alias = "m"', 'alias = "\\""'))
    assert list(config.aliases) == ['"']
    assert config.warnings == (
        "etc/c.toml: models[0].alias: valid TOML, but the library toml misreads it",
    )


# Mistakes of those who come from elsewhere.


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("alias", "name", 'models[0].name: unknown key (did you mean "alias"?)'),
        ("alias", "model_name", 'models[0].model_name: unknown key (did you mean "alias"?)'),
        ("alias", "id", 'models[0].id: unknown key (did you mean "alias"?)'),
        ("url", "base_url", 'models[0].target.base_url: unknown key (did you mean "url"?)'),
        ("url", "api_base", 'models[0].target.api_base: unknown key (did you mean "url"?)'),
        ("type", "provider", 'models[0].provider: unknown key (did you mean "type"?)'),
    ],
)
def test_keys_as_others_call_them_are_told_with_ours(old, new, problem):
    assert problems(re.sub(rf"\b{old} =", f"{new} =", MODEL)) == [problem]


def test_a_key_that_a_table_has_already_is_not_proposed_once_more():
    (told,) = problems(MODEL + 'name = "x"\n')
    assert 'did you mean "alias"' not in told


def test_tables_of_a_number_are_told_with_their_names():
    many = "".join(MODEL.replace('"m"', f'"m{number}"') for number in range(28))
    text = many + 'loud = 1\n[[keys]]\nname = "ann"\nhash = "x"\n'
    text += '[[backends]]\nname = "b"\ntype = "openai"\nurl = "x"\n'
    with pytest.raises(ConfigError) as error:
        read(text)
    ends = {line.split(": ")[1]: line.rpartition(" (")[2] for line in error.value.problems}
    assert ends == {
        "keys[0].hash": 'key "ann")',
        "backends[0].url": 'backend "b")',
        "models[27].loud": 'alias "m27")',
    }


@pytest.mark.parametrize("alias", ['["m"]', "3", '"a\\nb"', '"%s"' % ("x" * 80)])
def test_a_name_that_is_none_is_not_shown(alias):
    with pytest.raises(ConfigError) as error:
        read(MODEL.replace('"m"', alias) + "loud = 1\n")
    assert all("(alias" not in line for line in error.value.problems)


def test_a_name_that_is_a_credential_is_not_shown():
    key = "sk-0123456789abcdef"
    with pytest.raises(ConfigError) as error:
        read(MODEL.replace('"m"', f'"{key}"') + "loud = 1\n")
    assert key not in str(error.value)


def test_references_as_litellm_writes_them():
    text = MODEL.replace('"x"', '"x", api_key = "os.environ/KEY"')
    backend = read(text).alias("m").targets[0].backend
    assert (backend.credential.reveal(), backend.credential_ref) == ("from-env", "env:KEY")
    several = MODEL.replace('"x"', '"x", api_keys = ["os.environ/KEY", "env:KEY"]')
    route = read(several).alias("m")
    keyed = route.keyed(route.targets[0].backend)
    assert [each.credential_ref for each in keyed] == ["env:KEY", "env:KEY"]
    key = '[[keys]]\nname = "a"\nkey = "os.environ/KEY"\n'
    assert len(read(MODEL + key).keys) == 1 and read(MODEL + key).warnings == ()
    (told,) = problems(text.replace("environ/KEY", "environ/NOBODY"))
    assert "the environment variable 'NOBODY' is not set" in told


@pytest.mark.parametrize("written", ["os.environ['KEY']", "os.environ.get(KEY)", "os.getenv(KEY)"])
def test_programs_are_no_keys(written):
    (told,) = problems(MODEL.replace('"x"', f'"x", api_key = "{written}"'))
    assert 'expected "env:NAME"' in told
