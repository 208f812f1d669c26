"""Many cases in few tests: pytest takes longer to set up a test than one case takes to run."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import pytest

Case = tuple[str, tuple[Any, ...]]
"""The name of a case, and its values."""


def in_batches(
    cases: Sequence[Case], *, size: int = 50, without: str = "no recordings beside the project"
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorates a test that is run for each of ``cases``, ``size`` of them in one test of pytest.

    The values of a case are the first arguments of the test, and what follows them are fixtures.
    All cases of a batch are run; the failure of the first that fails names it, and all others.
    Where there are no cases, the test is skipped; ``without`` says why.
    """
    starts = range(0, len(cases), size)
    batches = [pytest.param(cases[at : at + size], id=f"{at}-{cases[at][0]}") for at in starts]
    if not batches:
        batches = [pytest.param((), marks=pytest.mark.skip(reason=without), id="none")]

    def decorated(test: Callable[..., None]) -> Callable[..., None]:
        def batch_of(batch: Sequence[Case], **fixtures: Any) -> None:
            failures = {}
            for name, values in batch:
                try:
                    test(*values, **fixtures)
                except Exception as failure:
                    failures[name] = failure
            for failure in failures.values():
                failure.add_note(f"failed: {', '.join(failures)}")
                raise failure

        count = len(cases[0][1]) if cases else 0
        fixtures = list(inspect.signature(test).parameters.values())[count:]
        keyword = inspect.Parameter.KEYWORD_ONLY
        batch_of.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [
                inspect.Parameter("batch", inspect.Parameter.POSITIONAL_OR_KEYWORD),
                *(each.replace(kind=keyword) for each in fixtures if cases),
            ]
        )
        batch_of.__name__, batch_of.__doc__ = test.__name__, test.__doc__
        batch_of.__module__ = test.__module__
        return pytest.mark.parametrize("batch", batches)(batch_of)

    return decorated
