"""The Unified Model's pieces of a message (translation.md section 1).

A part is one of a closed set of types; code that handles parts handles all of them. Names of
dialects appear in none but ``Extra.origin``, ``FileRef.origin``, ``Citation.origin`` and
``OpaquePart.origin``, which say where a thing that only its own vendor understands came from.
"""

from typing import Any, Literal

import msgspec

NAMESPACE_END = "__"
"""The separator between the name of a namespace and that of a tool in it."""


def joined_name(namespace: str | None, name: str) -> str:
    """Return a tool's name with its namespace before it, for dialects without namespaces."""
    return f"{namespace}{NAMESPACE_END}{name}" if namespace else name


def own_name(namespace: str | None, name: str) -> str:
    """Return the name of a tool within its ``namespace``: the reverse of ``joined_name``."""
    return name.removeprefix(f"{namespace}{NAMESPACE_END}") if namespace else name


LossClass = Literal["none", "change", "drop", "refuse", "refuse_soft"]


class Extra(msgspec.Struct, frozen=True, kw_only=True):
    """A field that the Unified Model has no field for.

    ``origin`` is the dialect, ``name`` the key at its place, ``path`` the place in the client's
    naming (``messages[].name``). ``loss`` is what happens where it cannot be carried: ``none``
    (class N), ``change`` (B: something else stands in its place, reported), ``drop`` (B: reported),
    ``refuse`` (C: 400), ``refuse_soft`` (C°: lenient drops it).
    ``details`` go into that 400, for clients that branch on them, and ``reason`` into its message.
    """

    origin: str
    name: str
    path: str
    value: Any
    loss: LossClass = "drop"
    details: dict[str, Any] | None = None
    reason: str = ""


class Cache(msgspec.Struct, frozen=True, kw_only=True):
    """A prompt-cache mark after the part that carries it; ``ttl`` None is the vendor's default."""

    ttl: Literal["5m", "30m", "1h", "12h"] | None = None
    raw: Any = None


class Base64(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes that stand in the request itself: ``data`` is base64, ``media_type`` its MIME type."""

    media_type: str
    data: str


class Url(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes that the backend fetches from ``url``, or reads from it where it is a data URL."""

    url: str


class FileRef(msgspec.Struct, frozen=True, kw_only=True):
    """A file that lies with a vendor; its id means nothing elsewhere."""

    id: str
    origin: str


class PlainText(msgspec.Struct, frozen=True, kw_only=True):
    """A document that is text: the text itself, not base64."""

    text: str
    media_type: str = "text/plain"


class Citation(msgspec.Struct, frozen=True, kw_only=True):
    """A source of a text.

    ``start`` and ``end`` are offsets into the part's own text in code points, where known. ``raw``
    is the citation as the dialect ``origin`` wrote it; ``place`` is where it stood in its answer,
    in the words of that dialect.
    """

    kind: Literal["url", "char", "page", "block", "search_result", "file", "other"]
    url: str | None = None
    title: str | None = None
    cited_text: str | None = None
    start: int | None = None
    end: int | None = None
    origin: str = ""
    raw: Any = None
    place: str = "content[].citations"


class Signature(msgspec.Struct, frozen=True, kw_only=True):
    """In which form a backend gave its reasoning, and what proves it (translation.md 4.6).

    ``origin`` is the form in which the reasoning came: ``signable``, a block with a place for a
    signature, which ``value`` is ("" where nobody signed); ``text``, a field of plain text
    (``value`` is empty, or the JSON text of the object that the field held); ``responses``, an item
    of OpenAI's Responses; or one of three further fields of servers of Chat Completions:
    ``details`` (``reasoning_details``), ``blocks`` (``thinking_blocks``) or ``extra``
    (``extra_content`` of calls and of the message), each as JSON text. ``field`` names the field in
    which the backend sent the text; "" is ``reasoning_content`` for ``text``, none for others.
    """

    origin: str
    value: str = ""
    field: str = ""


class TextPart(msgspec.Struct, frozen=True, kw_only=True):
    """Text, or the text of a refusal where ``refusal`` is set.

    ``citations`` are the sources of the text, in the order of the wire; ``cache`` is a prompt-cache
    mark behind it.
    """

    text: str
    citations: tuple[Citation, ...] = ()
    cache: Cache | None = None
    refusal: bool = False
    extras: tuple[Extra, ...] = ()


class ImagePart(msgspec.Struct, frozen=True, kw_only=True):
    """An image.

    ``detail`` is how closely OpenAI models look at it (``low``, ``high``, ``auto``).
    """

    source: Base64 | Url | FileRef
    detail: str | None = None
    cache: Cache | None = None
    extras: tuple[Extra, ...] = ()


class DocumentPart(msgspec.Struct, frozen=True, kw_only=True):
    """A document of any format, or one given as text and images (a tuple).

    ``title`` and ``context`` are shown to the model; ``filename`` may stand for a missing title.
    ``citations_on``: the client asked for citations of this document.
    """

    source: "Base64 | Url | FileRef | PlainText | tuple[TextPart | ImagePart, ...]"
    title: str | None = None
    context: str | None = None
    filename: str | None = None
    citations_on: bool = False
    cache: Cache | None = None
    extras: tuple[Extra, ...] = ()


class AudioPart(msgspec.Struct, frozen=True, kw_only=True):
    """Audio as base64 in ``data``; ``format`` is its encoding (``wav``, ``mp3``)."""

    format: str
    data: str
    extras: tuple[Extra, ...] = ()


class ReasoningPart(msgspec.Struct, frozen=True, kw_only=True):
    """Reasoning of a model: readable ``text``, or opaque data in ``redacted`` and no text.

    ``at`` is the place of a part that does not stand before everything else of its turn:
    (code points of text before it, tool calls before it).
    """

    text: str = ""
    signature: Signature | None = None
    redacted: str | None = None
    at: tuple[int, int] | None = None
    extras: tuple[Extra, ...] = ()


class ToolCallPart(msgspec.Struct, frozen=True, kw_only=True):
    """A model's call of a tool.

    ``args`` is the parsed object; None means that ``raw_args`` is no JSON object. ``raw_args`` is
    the text as it came, for dialects that write arguments as text; None where the source had an
    object. ``id`` is "" where the backend gave none. A tool of a ``namespace`` is called by the
    name that ``joined_name`` gives.
    """

    id: str
    name: str
    args: dict[str, Any] | None = None
    raw_args: str | None = None
    kind: Literal["function", "custom"] = "function"
    namespace: str | None = None
    cache: Cache | None = None
    extras: tuple[Extra, ...] = ()


class OpaquePart(msgspec.Struct, frozen=True, kw_only=True):
    """A block that only its own dialect understands (server tools, compaction, search results).

    ``origin`` is that dialect, ``type`` the type of the block and ``raw`` the block itself.
    ``place`` is where it stood in its answer, in the words of that dialect. ``text`` is what stands
    in its place in a request for another dialect, "" for nothing; None: its decoder does not know.
    """

    origin: str
    type: str
    raw: dict[str, Any]
    cache: Cache | None = None
    place: str = "content[]"
    text: str | None = None
    extras: tuple[Extra, ...] = ()

    @property
    def path(self) -> str:
        """The path under which its loss is reported."""
        return f"{self.place}.{self.type}"


class ToolResultPart(msgspec.Struct, frozen=True, kw_only=True):
    """The result of the call ``call_id`` of a tool.

    ``parts`` None: the result had no content at all. ``as_text``: it came as a plain string.
    ``is_error`` None: the client did not say whether the tool failed.
    """

    call_id: str
    parts: tuple["TextPart | ImagePart | DocumentPart | OpaquePart", ...] | None = None
    as_text: bool = False
    is_error: bool | None = None
    kind: Literal["function", "custom"] = "function"
    cache: Cache | None = None
    extras: tuple[Extra, ...] = ()


Part = (
    TextPart
    | ImagePart
    | DocumentPart
    | AudioPart
    | ReasoningPart
    | ToolCallPart
    | ToolResultPart
    | OpaquePart
)
