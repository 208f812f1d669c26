"""The tables of keys in docs/configuration.md are as the structs that the file is read into."""

import re
import runpy
from pathlib import Path

import msgspec
import pytest

from lmbroker.config.settings import Access, ModelTable, ServerTable
from lmbroker.translation.dialects.catalog import ADAPTERS
from lmbroker.translation.profiles.profile import Profile

DOCS = Path(__file__).resolve().parents[1] / "docs"
WRITER = runpy.run_path(str(DOCS / "configuration_page.py"))
TEXT = (DOCS / "configuration.md").read_text()


def test_the_page_is_as_the_code_says():
    assert WRITER["page"](TEXT) == TEXT, "run: make docs"


def test_prose_around_the_tables_stays():
    text = "Before.\n<!-- keys of keys[] -->\nold\n<!-- end -->\nBehind.\n"
    page = WRITER["page"](text)
    assert page.startswith("Before.\n<!-- keys of keys[] -->\n| key |")
    assert page.endswith("|\n<!-- end -->\nBehind.\n") and "old" not in page


def test_every_table_of_the_file_has_its_place_on_the_page():
    titles = [title for _, title, _ in WRITER["TABLE"].findall(TEXT)]
    tables = [path.rstrip(".") for path in WRITER["SECTIONS"].values()]
    assert sorted(titles) == sorted(["the file", *tables])


def anchors(page):
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"(?m)^#+ (.*)$", page)
    return {re.sub(r"[^\w\- ]", "", each.lower()).strip().replace(" ", "-") for each in headings}


def test_every_link_of_the_page_leads_to_a_heading():
    links = re.findall(r"\]\(([\w./]*)#([\w-]+)\)", TEXT)
    assert len(links) > 10
    for page, anchor in links:
        assert anchor in anchors((DOCS / page).read_text() if page else TEXT), anchor


@pytest.mark.parametrize(
    ("struct", "name", "kind", "default"),
    [
        (ServerTable, "port", "integer, 1 to 65535", "`8080`"),
        (ServerTable, "engine", 'one of `"lean"`, `"stock"`', '`"lean"`'),
        (ServerTable, "listen", "array of strings", "none"),
        (Access, "ca", "string", "the system's"),
        (Access, "queue", "integer, 0 or more", "`100`"),
        (ModelTable, "alias", "string", "required"),
        (ModelTable, "sticky", "array of strings or `false`", "the conversation"),
        (Profile, "max_output", "integer, 1 or more", "unknown"),
        (Profile, "think_tags", 'boolean or `"open"`', "`false`"),
        (Profile, "ranges", "array of arrays", "`[]`"),
    ],
)
def test_a_type_and_a_default_in_words(struct, name, kind, default):
    field = next(each for each in msgspec.structs.fields(struct) if each.name == name)
    assert WRITER["type_of"](field.type) == kind
    assert WRITER["default_of"](struct, field) == default


def test_a_default_that_differs_between_dialects_names_them():
    field = next(each for each in msgspec.structs.fields(Profile) if each.name == "mid_system")
    shown = WRITER["default_of"](Profile, field).split("; ")
    assert "`anthropic`: `false`" in shown
    assert sum(each.count("`") // 2 - 1 for each in shown) == len(ADAPTERS)
