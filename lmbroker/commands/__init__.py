"""The ``lmbroker`` command: one module for each of its subcommands."""
