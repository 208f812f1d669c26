"""``python -m lmbroker``: the ``lmbroker`` command."""

from lmbroker.commands.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
