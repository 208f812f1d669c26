"""What docs/architecture.md and CONTRIBUTING.md name in code exists, and the modules that any other
page names. A streamed event goes the way that the page draws."""

import ast
import re
import sys
from functools import cache
from itertools import product
from types import FrameType
from typing import Any

import pytest
from streams import passed as passed_through
from streams import told, translated
from test_layers import PACKAGE, SOURCES
from test_relay import Scene

from lmbroker.broker.relay import Relay
from lmbroker.translation.dialects.catalog import ADAPTERS
from lmbroker.translation.unified.fold import unfold
from lmbroker.translation.unified.parts import TextPart
from lmbroker.translation.unified.response import Response, Stop

ROOT = PACKAGE.parent
PLUGIN = ROOT / "twisted" / "plugins" / "lmbroker_plugin.py"
PAGE = (ROOT / "docs" / "architecture.md").read_text()
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()

LAYOUT = PAGE.split("\n## Layout\n")[1].split("\n## Layers\n")[0]
"""The section of which tests/test_layers.py takes care: its lines are paths within other lines."""

CODE = re.compile(r"```.*?```|`[^`\n]+`", re.DOTALL)
PATH = re.compile(
    r"(?<![\w./<-])(?:[\w.*-]+/)*[\w.*-]+(?:\.py|\.md|\.toml)\b"
    r"|(?<![\w./<])(?:\w+/)+"
)
CAMEL_CASE = re.compile(r"\b[A-Z]\w*[a-z]\w*[A-Z]\w*\b")
NAME = re.compile(r"`([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)(?:\([\w, ]*\))?`")

DIALECTS = PACKAGE / "translation" / "dialects"
FOLDERS = (PACKAGE, DIALECTS / "openai_chat", DIALECTS / "openai", ROOT)
"""Where a path may begin; the modules of one dialect, and of its vendor, stand for those of all."""

ABSENT = {"twisted/__init__.py"}
"""Paths that the page names because they must not exist."""

OUR_OWN = {"LMBroker"}
NOT_IN_SOURCES = {
    "process": "a marker",
    "sockets": "a marker",
    "recordings": "a marker",
    "pure": "a marker",
    "return": "a statement",
    "elif": "a statement",
    "trial": "Twisted's test runner",
    "dropin.cache": "a file of Twisted's plugin system",
    "test_case_27_": "the beginning of a name",
    "LMBROKER_RECORDINGS": "a variable of the environment",
}
"""What stands in code and is no name of the package or its tests, and what it is."""

OUTSIDE_NAMES = {
    "lmbroker.accesslog.AccessLog": "the logger of access lines, whose name stays",
    "lmbroker.service": "a unit of systemd",
    "lmbroker.socket": "a unit of systemd",
    "lmbroker.sock": "a socket's file",
    "lmbroker.log": "a file",
}
"""What looks like a module of the package in other pages, and what it is."""


def code(text: str) -> str:
    """The pieces of ``text`` that are set as code."""
    return "\n".join(CODE.findall(text))


@cache
def names() -> frozenset[str]:
    """Every name that the package or its tests define or import, and every module."""
    found = {path.stem for path in SOURCES} | {path.parent.name for path in SOURCES}
    found |= {"lmbroker", "dialects"}
    for path in (*SOURCES, PLUGIN, *(ROOT / "tests").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                    found.add(node.name)
                case ast.alias():
                    found.update((node.asname or node.name).split("."))
                case ast.ImportFrom():
                    found.update((node.module or "").split("."))
                case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
                    found.add(name)
                case ast.Constant(value=str() as word) if path.is_relative_to(DIALECTS):
                    found.update(word.split("."))  # what stands in bodies and events
    return frozenset(found)


@pytest.mark.parametrize("text", [PAGE.replace(LAYOUT, ""), CONTRIBUTING], ids=["page", "work"])
def test_each_path_exists(text):
    missing = set()
    for path in PATH.findall(code(text)):
        if not any(any(folder.glob(path)) for folder in FOLDERS):
            missing.add(path)
    assert missing - ABSENT == set()


@pytest.mark.parametrize("text", [PAGE, CONTRIBUTING], ids=["page", "work"])
def test_each_name_in_code_exists(text):
    named = set(CAMEL_CASE.findall(code(text))) - OUR_OWN
    for dotted in NAME.findall(text):
        if dotted not in NOT_IN_SOURCES and not PATH.fullmatch(dotted):
            named.update(dotted.split("."))
    assert named - names() == set()


@pytest.mark.parametrize("page", sorted(ROOT.glob("docs/**/*.md")), ids=lambda page: page.stem)
def test_each_module_that_a_page_names_exists(page):
    """``lmbroker.broker.relay.LINGER_BYTES`` is a name in a module, or names a module itself."""
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in SOURCES}
    modules |= {name.removesuffix(".__init__") for name in modules}
    named = set(re.findall(r"\blmbroker(?:\.\w+)+", page.read_text())) - set(OUTSIDE_NAMES)
    assert {name for name in named if not {name, name.rpartition(".")[0]} & modules} == set()


def test_the_exceptions_are_named():
    both = PAGE + CONTRIBUTING
    assert [name for name in (*NOT_IN_SOURCES, *ABSENT) if name not in both] == []


def test_the_modules_that_import_the_reactor_are_named():
    sentence = PAGE.split("The global reactor is imported in ")[1].partition(" only.")[0]
    importing = {
        str(path.relative_to(PACKAGE))
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module == "twisted.internet"
        if "reactor" in {alias.name for alias in node.names}
    }
    assert set(re.findall(r"`([\w./]+)`", sentence)) == importing


# The way of a streamed event.

WAY = PAGE.split("\n## The way of a streamed event\n")[1].split("```")[1]
STEP = re.compile(r"Relay\.\w+|sse\.\w+|(?:Decoder|Encoder|Tap)\.\w+|consumer\.write")
OF_TRANSLATION = ("sse.Reader", "Decoder.feed", "Encoder.feed")
OF_PASSTHROUGH = ("sse.Boundary", "Tap.see")
INTERFACES = {"stream_decode": "Decoder", "stream_encode": "Encoder", "tap": "Tap"}
"""The module of a dialect -> which interface of ``base`` its class has."""


def drawn(others: tuple[str, ...]) -> list[str]:
    """The steps of one column of the diagram; ``others`` are those of the other one."""
    steps = STEP.findall(WAY.partition("back-pressure")[0])
    return [step for step in steps if step not in others]


def step_of(frame: FrameType) -> str:
    """The step of the diagram that a call is, by its function; "" for none."""
    code = frame.f_code
    module, name = frame.f_globals.get("__name__", ""), code.co_name
    if module.startswith("lmbroker.translation.dialects."):
        interface = INTERFACES.get(module.rpartition(".")[2], "")
        return f"{interface}.{name}" if interface and name in ("feed", "see") else ""
    match code.co_qualname:
        case "Relay.dataReceived" as step if module == Relay.__module__:
            return step
        case "Reader.feed" | "Boundary.feed" as step if module == "lmbroker.sse":
            return f"sse.{step.partition('.')[0]}"
        case "StringTransport.write":
            return "consumer.write"
    return ""


def steps_of(scene: Scene, chunk: bytes) -> list[str]:
    """The steps that a chunk goes, in the order of their first call, each write as it comes."""
    found: list[str] = []

    def look(frame: FrameType, event: str, _: Any) -> None:
        step = step_of(frame) if event == "call" else ""
        if step and (step == "consumer.write" or step not in found):
            found.append(step)

    before = sys.getprofile()
    sys.setprofile(look)
    try:
        scene.relay.dataReceived(chunk)
    finally:
        sys.setprofile(before)
    return found


@pytest.mark.parametrize(("backend", "client"), [*product(ADAPTERS, repeat=2)])
def test_an_event_goes_the_way_that_is_drawn(backend: str, client: str) -> None:
    """From the backend's chunk to the one write, for each pair of dialects."""
    passes = backend == client
    transform = passed_through(backend) if passes else translated(backend, client)
    parts = (TextPart(text="one"), TextPart(text="two"))
    events = unfold(Response(id="i", model="m", parts=parts, stop=Stop(reason="end")))
    stream = told(backend, events)
    scene = Scene()
    scene.relay.transform = transform
    scene.deliver()
    way = drawn(OF_TRANSLATION if passes else OF_PASSTHROUGH)
    steps = steps_of(scene, stream[:1]), steps_of(scene, stream[1:])
    if passes:  # A tap has a reader of its own.
        steps[1].remove("sse.Reader")
    assert steps == (way[:2], way)  # a chunk that completes no event writes nothing
    assert transform.phase == "complete"
