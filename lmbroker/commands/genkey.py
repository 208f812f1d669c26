"""``lmbroker genkey``: makes a key for a client, and the hash for the configuration."""

import argparse
import secrets

from lmbroker.routing.keys import hash_of

KEY_PREFIX = "lmb-"
"""The prefix of our keys, by which people and scanners recognise one."""

KEY_BYTES = 32
"""The number of random bytes in a key."""


def run(_options: argparse.Namespace) -> int:
    """Print a new key and its hash; returns the exit code."""
    key = KEY_PREFIX + secrets.token_urlsafe(KEY_BYTES)
    print(f"key:  {key}")
    print(f"hash: {hash_of(key)}")
    return 0
