"""The daemon: the service that listens, reloads and drains, its reactor and its workers."""
