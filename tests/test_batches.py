"""A batch runs all of its cases, and its failure names those that failed."""

import pytest
from batches import in_batches

CASES = [(f"case {number}", (number, f"text {number}")) for number in range(7)]


@pytest.fixture
def given() -> str:
    return "given"


@in_batches(CASES, size=3)
def test_each_case_is_run_with_its_values_and_the_fixtures(
    number: int, text: str, given: str
) -> None:
    assert (text, given) == (f"text {number}", "given")


def odd_fails(number: int, text: str) -> None:
    assert number % 2 == 0, text


def test_each_case_is_in_one_batch() -> None:
    (mark,) = in_batches(CASES, size=3)(odd_fails).pytestmark
    batches = [batch for each in mark.args[1] for batch in each.values]
    assert list(map(len, batches)) == [3, 3, 1]
    assert [case for batch in batches for case in batch] == CASES


def test_where_there_are_no_cases_the_test_is_skipped() -> None:
    (mark,) = in_batches([])(odd_fails).pytestmark
    (only,) = mark.args[1]
    assert [each.name for each in only.marks] == ["skip"]


def test_a_failure_names_the_cases_that_failed() -> None:
    with pytest.raises(AssertionError, match="text 1") as failure:
        in_batches(CASES)(odd_fails)(batch=CASES)
    assert failure.value.__notes__ == ["failed: case 1, case 3, case 5"]
