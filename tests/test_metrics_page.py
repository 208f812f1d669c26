"""The page of the metrics, the dashboard and the rules name what there is."""

import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WRITER = runpy.run_path(str(ROOT / "docs" / "metrics_page.py"))
TEXT = (ROOT / "docs" / "metrics.md").read_text()


def test_the_page_is_as_the_code_says():
    assert WRITER["page"]() == TEXT, "run: make docs"


def test_every_metric_has_one_row_a_meaning_and_a_full_stop():
    for metric in WRITER["registered"]():
        assert TEXT.count(f"| `{WRITER['name_of'](metric)}` |") == 1, metric
        assert metric._documentation.endswith("."), metric
