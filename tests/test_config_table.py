"""The text of a configuration as tables, and the words of its problems."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmbroker.config.table import SHOWN, NotTOML, Table, describe, read_toml


def asked(value, ask, path=""):
    """What ``ask`` of a table gives, and the problems."""
    problems = []
    table = Table(value, path, problems)
    answer = ask(table)
    table.done()
    return answer, problems


# Reading.


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a = 1\nb = \n", 2),
        ("a = 1\nb c = 2\n", 2),
        ("a = 1\na = 2\n", 2),
        ("a = 'x\n", 1),
        ("[a]\n\n[a]\n", 3),
        ("a = {\n", 1),
        ("a = [1,\n\n", 2),
        ("key", 1),
    ],
)
def test_a_syntax_error_has_its_line(text, line):
    with pytest.raises(NotTOML) as error:
        read_toml(text)
    assert error.value.line == line
    assert error.value.problem.startswith("not valid TOML: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        "log_level = \"info\" \\# debug\n",
        "t = { ur l = \"x\" }\n",
        "t = { a = \"x\",{ b = \"y\" }\n",
        "t = { a \"x\" b = \"y\" }\n",
        "a = ''''\n",
        "l=og = \"info\"\n",
    ],
)  # fmt: skip
def test_what_toml_waves_through_is_refused(text):
    with pytest.raises(NotTOML):
        read_toml(text)


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("a = 1\nb = [\",x\", 'y']\n", "valid TOML, but the library toml cannot read it"),
        ('a = 1\n\nb = "\\""\n', "b: valid TOML, but the library toml misreads it"),
        ('a = 1\n[t]\n"k s" = "\\""', "t.?: valid TOML, but the library toml misreads it"),
        ("m = [\n 1,\n 'x',\n]\n", "valid TOML, but the library toml cannot read it"),
        ("m = [1]\n", ""),
    ],
)
def test_what_toml_misreads_is_read_as_the_standard_says_with_a_warning(text, warning):
    assert read_toml(text) == (tomllib.loads(text), warning)


@pytest.mark.parametrize("text", ["a = " + "9" * 5000, "a = " + "[" * 5000])
def test_what_is_too_large_is_refused(text):
    with pytest.raises(NotTOML):
        read_toml(text)


LINES = st.sampled_from(
    ["[a]", "[[m]]", "[m.t]", "x = 1", 'y = "s"', "z = [1, 2]", "w = { a = 1, b = 'x' }", "#", ""]
)


@given(st.lists(LINES).map("\n".join))
def test_what_is_read_is_what_the_standard_library_reads(text):
    try:
        assert read_toml(text)[0] == tomllib.loads(text)
    except NotTOML as error:
        assert 1 <= error.line <= max(1, text.count("\n") + 1)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("t = {\n  a = 1,\n}\n", 1),
        ("x = 1\n[[m]]\nt = { a = 'b', # {\n  c = 1 }\n", 3),
        ("a = [\n  { b = 1 },\n  { c = 2,\n d = 3 },\n]\n", 3),
        ('t = { a = "}", b = { c = [\n1,\n] },\n d = 1 }', 1),
        ("t = {\n", 1),
    ],
)
def test_an_inline_table_of_several_lines_is_told_as_such(text, line):
    with pytest.raises(NotTOML) as error:
        read_toml(text)
    assert error.value.line == line
    assert "must end on the line where it begins" in error.value.problem


@pytest.mark.parametrize(
    "text",
    [
        "t = { a = [\n  1,\n  2,\n] }\n",
        "t = { a = \"\"\"{\n\"\"\", b = '''\n{''' }\n",
        "a = '{'\nb = 1 # {\nc = [ # {\n 1 ]\n",
    ],
)
def test_lines_may_end_where_the_standard_lets_them(text):
    assert read_toml(text)[0] == tomllib.loads(text)
    with pytest.raises(NotTOML) as error:
        read_toml(text + "x = \n")
    assert "inline" not in error.value.problem


# Keys.


def test_keys_of_the_right_type():
    def ask(table):
        return (
            table.text("s"),
            table.text("none", "default"),
            table.integer("i", 0, least=1, most=9),
            table.integer("j", 7, least=1, most=9),
            table.texts("l"),
            table.texts("m"),
            table.table("t").text("u"),
        )

    value = {"s": "x", "i": 3, "l": ["a", "b"], "t": {"u": "v"}}
    assert asked(value, ask) == (("x", "default", 3, 7, ["a", "b"], None, "v"), [])


@pytest.mark.parametrize(
    ("value", "ask", "problem"),
    [
        (5, lambda t: t.text("k"), "k: found an integer (5), expected a string"),
        (True, lambda t: t.text("k"), "k: found a boolean (True), expected a string"),
        ("", lambda t: t.text("k"), "k: found an empty string, expected a string"),
        (["x"], lambda t: t.text("k"), "k: found an array, expected a string"),
        ({"x": "y"}, lambda t: t.text("k"), "k: found a table, expected a string"),
        (
            "z",
            lambda t: t.text("k", choices=("x", "y")),
            "k: found a string ('z'), expected one of \"x\", \"y\"",
        ),
        (5, lambda t: t.text("k", secret=True), "k: found an integer, expected a string"),
        (
            "80",
            lambda t: t.integer("k", 1, least=1, most=9),
            "k: found a string ('80'), expected an integer from 1 to 9",
        ),
        (
            True,
            lambda t: t.integer("k", 1, least=1, most=9),
            "k: found a boolean (True), expected an integer from 1 to 9",
        ),
        (
            10,
            lambda t: t.integer("k", 1, least=1, most=9),
            "k: found an integer (10), expected an integer from 1 to 9",
        ),
        (1.5, lambda t: t.integer("k", 1, least=1, most=9),
            "k: found a float (1.5), expected an integer from 1 to 9"),
        ("x", lambda t: t.texts("k"), "k: found a string ('x'), expected an array of strings"),
        ([], lambda t: t.texts("k"), "k: found an empty array, expected an array of strings"),
        (["x", 1], lambda t: t.texts("k"), "k[1]: found an integer (1), expected a string"),
        ("sk-x", lambda t: t.table("k"), "k: found a string, expected a table"),
        ("sk-x", lambda t: t.tables("k"), "k: found a string, expected [[k]] tables"),
        ({}, lambda t: t.tables("k"), "k: found a table, expected [[k]] tables"),
        (["sk-x"], lambda t: t.tables("k"), "k[0]: found a string, expected a table"),
    ],
)  # fmt: skip
def test_a_wrong_type_is_told(value, ask, problem):
    assert asked({"k": value}, ask)[1] == [problem]


@pytest.mark.parametrize(
    ("ask", "problem"),
    [
        (lambda t: t.text("k", required=True), "a.k: found nothing, expected a string"),
        (
            lambda t: t.text("k", required=True, choices=("x",)),
            'a.k: found nothing, expected one of "x"',
        ),
        (lambda t: t.table("k", required=True), "a.k: found nothing, expected a table"),
        (lambda t: t.tables("k"), "a.k: expected at least one [[k]] table"),
    ],
)
def test_what_is_missing_is_told(ask, problem):
    assert asked({}, ask, "a")[1] == [problem]


def test_a_missing_table_is_told_once():
    def ask(table):
        below = table.table("k", required=True)
        below.text("u", required=True)
        below.done()

    assert asked({}, ask)[1] == ["k: found nothing, expected a table"]


def test_an_unknown_key_is_told_with_the_nearest_known_one():
    def ask(table):
        table.text("url", required=True)
        table.text("model")

    assert asked({"ulr": "x"}, ask, "models[2].target")[1] == [
        'models[2].target.ulr: unknown key (did you mean "url"?)'
    ]
    assert asked({"url": "x", "zzz": 1}, ask)[1] == ["zzz: unknown key (known here: model, url)"]


def test_a_key_that_is_no_plain_word_is_not_shown():
    _, problems = asked({"api_key sk-1234": 1, "a\nb": 2}, lambda t: None, "models[0]")
    assert (
        problems == ["models[0].?: unknown key, not a plain word: look for a misplaced quote"] * 2
    )


def test_tables_count_from_nought():
    def ask(table):
        for each in table.tables("m"):
            each.done()

    assert asked({"m": [{}, {"x": 1}]}, ask)[1] == ["m[1].x: unknown key (known here: )"]


def test_long_values_are_cut():
    assert len(describe("x" * 1000)) < SHOWN + 30
    assert "\n" not in describe("a\nb")
