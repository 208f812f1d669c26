"""``python -m lmbroker.testing --port 9001``: the practice backend by itself."""

import argparse
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.error import CannotListenError

from lmbroker.testing import PracticeBackend


def main() -> None:
    """Serve until a signal comes. One line on stderr and exit code 1 if the port is taken."""
    parser = argparse.ArgumentParser(
        prog="python -m lmbroker.testing",
        description="A backend without a model; speaks all formats that LMBroker knows.",
    )
    parser.add_argument("--port", type=int, default=9001, help="0 takes any free one")
    parser.add_argument("--pace", type=float, default=0.02, help="seconds between two events")
    options = parser.parse_args()
    reactor: Any = installed
    practice = PracticeBackend(reactor, port=options.port, pace=options.pace)
    try:
        practice.start()
    except CannotListenError as error:
        raise SystemExit(f"cannot listen on port {options.port}: {error.socketError}") from None
    print(f"practice backend on {practice.url}", flush=True)
    reactor.run()


main()
