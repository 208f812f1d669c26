"""Numbered events of a stream (translation.md 4.2)."""

from typing import NamedTuple

from lmbroker.json_text import JSON, encode


class Template(NamedTuple):
    """The bytes of an event before its number, between number and text, and after the text."""

    before: bytes
    between: bytes
    after: bytes


class Events:
    """Writes the events of one stream; ``number`` is that of the next one."""

    __slots__ = ("number",)

    def __init__(self) -> None:
        self.number = 0

    def write(self, kind: str, fields: JSON) -> bytes:
        """Return the bytes of an event of type ``kind``."""
        return self.raw(kind, b"," + encode(fields)[1:])

    def raw(self, kind: str, fields: bytes) -> bytes:
        """Return the bytes of an event of type ``kind`` with encoded fields.

        ``fields`` are the JSON after its number: a comma, keys and values, and the closing brace.
        """
        number = self.number
        self.number = number + 1
        name = kind.encode()
        return b"".join((_before(name), encode(number), fields, b"\n\n"))

    def filled(self, template: Template, text: bytes) -> bytes:
        """Return the bytes of the event of ``template`` with ``text``, which is JSON."""
        number = self.number
        self.number = number + 1
        before, between, after = template
        return b"".join((before, encode(number), between, text, after))


def template(kind: str, fields: JSON, *, logprobs: bool = False) -> Template:
    """Return the template for deltas of type ``kind`` of one item.

    ``fields`` say to which item and part they belong.
    """
    after = b',"logprobs":[]}\n\n' if logprobs else b"}\n\n"
    return Template(_before(kind.encode()), b"," + encode(fields)[1:-1] + b',"delta":', after)


def _before(name: bytes) -> bytes:
    return b'event: %b\ndata: {"type":"%b","sequence_number":' % (name, name)
