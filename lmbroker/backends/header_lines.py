"""The grammar of plain header lines, for heads that are read without a full parser.

A line that does not match is left to a full parser, which decides what is an error (RFC 9112, 5).
"""

import re

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
"""A name (RFC 9110, 5.6.2)."""

LINES = rb"((?:\r\n" + TOKEN + rb":[\t -~\x80-\xff]*+)+)\r\n\r\n"
"""Header lines, each of which begins with its CR LF, and the end of the head: one group."""

FIELDS = re.compile(r"\r\n([^:]+):[\t ]*((?:[^\r]*[^\r\t ])?)")
"""Name and value of each of these lines, decoded as Latin-1."""
