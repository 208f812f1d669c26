"""The configuration: a TOML file as a frozen ``Config``, with an error for each mistake.

``config`` reads the whole, ``backends`` and ``models`` read their tables, ``table`` and ``fields``
read one table and its fields. ``file`` alone touches the disk and the environment.
"""
