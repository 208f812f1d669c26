"""Workflows are pure: bytes in, bytes out."""

import pytest


@pytest.fixture(autouse=True)
def nothing_fails_unheard() -> None:
    """Nothing here knows Twisted; the guard's garbage collection would be most of the time."""
