"""The page for users says what the code does."""

import runpy
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"


def test_the_page_is_as_the_code_behaves():
    page = runpy.run_path(str(DOCS / "translation_page.py"))["page"]()
    assert (DOCS / "translation.md").read_text() == page, "run: python docs/translation_page.py"
