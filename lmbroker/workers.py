"""A worker's process, started by the parent: ``python -m lmbroker.workers``."""

from lmbroker.daemon.workers.process import main

if __name__ == "__main__":
    main()
