"""Work at large bodies in a process of its own, so that it holds no other call up.

The pure core turns bytes into bytes, and holds the interpreter while it does: a thread would not
help. ``jobs`` says what is asked and answered, ``work`` does it, ``helper`` is a helper process as
its owner sees it, ``offload`` gives each job to one, and ``__main__`` is what runs there.
"""

from lmbroker.offload.offload import (
    LARGE,
    LARGE_ENVELOPE,
    Offload,
    Terms,
    has_large_envelope,
    is_large,
    takes_long,
)

__all__ = [
    "LARGE",
    "LARGE_ENVELOPE",
    "Offload",
    "Terms",
    "has_large_envelope",
    "is_large",
    "takes_long",
]
