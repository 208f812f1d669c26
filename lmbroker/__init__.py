"""LMBroker: a broker between programs and their LLM providers, on Twisted.

The names in ``__all__`` are for programs that embed it (docs/embedding.md). Each is imported when
it is first used: most of them import Twisted, whose reactor the program may want to choose first.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lmbroker.backends.sending import Backends
    from lmbroker.broker.broker import Broker
    from lmbroker.broker.health_checks import Checks
    from lmbroker.call import Attempt, Caller, Observer, Record
    from lmbroker.config.config import Config, ConfigError
    from lmbroker.config.file import load
    from lmbroker.daemon.reactor import time_by_monotonic_clock
    from lmbroker.errors import Refused
    from lmbroker.observers.access_log import AccessLog
    from lmbroker.observers.metrics import Metrics
    from lmbroker.server.embedded import EmbeddedBroker
    from lmbroker.server.http import Site
    from lmbroker.server.routes import Front
    from lmbroker.testing import PracticeBackend

__all__ = [
    "AccessLog",
    "Attempt",
    "Backends",
    "Broker",
    "Caller",
    "Checks",
    "Config",
    "ConfigError",
    "EmbeddedBroker",
    "Front",
    "Metrics",
    "Observer",
    "PracticeBackend",
    "Record",
    "Refused",
    "Site",
    "__version__",
    "load",
    "time_by_monotonic_clock",
]

__version__ = "0.1.0"

_HOMES = {
    "AccessLog": "lmbroker.observers.access_log",
    "Attempt": "lmbroker.call",
    "Backends": "lmbroker.backends.sending",
    "Broker": "lmbroker.broker.broker",
    "Caller": "lmbroker.call",
    "Checks": "lmbroker.broker.health_checks",
    "Config": "lmbroker.config.config",
    "ConfigError": "lmbroker.config.config",
    "EmbeddedBroker": "lmbroker.server.embedded",
    "Front": "lmbroker.server.routes",
    "Metrics": "lmbroker.observers.metrics",
    "Observer": "lmbroker.call",
    "PracticeBackend": "lmbroker.testing",
    "Record": "lmbroker.call",
    "Refused": "lmbroker.errors",
    "Site": "lmbroker.server.http",
    "load": "lmbroker.config.file",
    "time_by_monotonic_clock": "lmbroker.daemon.reactor",
}
"""The module of each public name."""


def __getattr__(name: str) -> Any:
    """Return the public name ``name``, imported from its module.

    Raises AttributeError for any other.
    """
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    """Return the public names, whether or not they were used."""
    return sorted({*globals(), *__all__})
