"""Numbered events of a stream (translation.md 4.2)."""

from typing import NamedTuple

from lmbroker.json_text import JSON, encode


class Template(NamedTuple):
    """The bytes of an event before its number, between that and its text, and behind that."""

    before: bytes
    between: bytes
    after: bytes


class Events:
    """Writes the events of one stream; ``number`` is that of the next."""

    __slots__ = ("number",)

    def __init__(self) -> None:
        self.number = 0

    def write(self, kind: str, fields: JSON) -> bytes:
        """Return the event ``kind``."""
        return self.raw(kind, b"," + encode(fields)[1:])

    def raw(self, kind: str, fields: bytes) -> bytes:
        """Return the event ``kind``.

        ``fields`` are JSON after its number: a comma, keys and values, and the closing brace.
        """
        number = self.number
        self.number = number + 1
        name = kind.encode()
        return b"".join((_before(name), encode(number), fields, b"\n\n"))

    def filled(self, template: Template, text: bytes) -> bytes:
        """Return the event of ``template`` with ``text``, which is JSON."""
        number = self.number
        self.number = number + 1
        before, between, after = template
        return b"".join((before, encode(number), between, text, after))


def template(kind: str, fields: JSON, *, logprobs: bool = False) -> Template:
    """Return the template of the deltas ``kind`` of one item, whose ``fields`` say where they
    belong."""
    after = b',"logprobs":[]}\n\n' if logprobs else b"}\n\n"
    return Template(_before(kind.encode()), b"," + encode(fields)[1:-1] + b',"delta":', after)


def _before(name: bytes) -> bytes:
    return b'event: %b\ndata: {"type":"%b","sequence_number":' % (name, name)
