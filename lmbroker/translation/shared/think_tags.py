"""Separates reasoning between ``<think>`` and ``</think>`` at the head of a text from that text.

Models write it there whose server has no parser for it (MiniMax, older R1 servers, Qwen). Only the
head of an answer is looked at: what stands between such tags further on is text. Where the chat
template has written the opening tag already (DeepSeek-R1, QwQ and Qwen's thinking models on servers
without a reasoning parser), the answer begins inside its reasoning. The work is linear however the
text is cut.
"""

from typing import Literal

OPEN, CLOSE = "<think>", "</think>"

Kind = Literal["reasoning", "text"]
Piece = tuple[Kind, str]


class ThinkTags:
    """Separates the reasoning of one answer from its text.

    ``opened``: the answer is reasoning up to its first closing tag, whether it has an opening one
    or not.
    """

    __slots__ = ("_held", "_opened", "_start", "_where")

    def __init__(self, *, opened: bool = False) -> None:
        self._opened = opened
        self._where: Literal["head", "inside", "behind", "text"] = "head"
        self._held: list[str] = []
        """At the head: the text so far. Inside: what may be the beginning of the closing tag."""
        self._start = ""
        """The head without the white space before it."""

    def feed(self, text: str) -> list[Piece]:
        """Return the pieces of reasoning and of text that are certain after ``text``."""
        pieces: list[Piece] = []
        if self._where == "head":
            text = self._head(text)
        if self._where == "inside":
            text = self._inside(text, pieces)
        if self._where == "behind":
            text = text.lstrip()
            if text:
                self._where = "text"
        if text:
            pieces.append(("text", text))
        return pieces

    def close(self) -> list[Piece]:
        """Return what was held back: reasoning where the answer ended inside it, else text."""
        text, self._held = "".join(self._held), []
        inside = self._where == "inside"
        if self._where == "head" and self._opened:
            inside = not text.isspace()
        kind: Kind = "reasoning" if inside else "text"
        self._where = "text"
        return [(kind, text)] if text else []

    def _head(self, text: str) -> str:
        """Return what follows the head in ``text``, "" while the head is not complete.

        A closing tag alone ends reasoning that came in another field, or none.
        """
        self._held.append(text)
        start = self._start = (self._start + text).lstrip()
        for tag, where in ((OPEN, "inside"), (CLOSE, "behind")):
            if start.startswith(tag):
                self._where, self._held = where, []  # type: ignore[assignment]
                return start[len(tag) :]
            if tag.startswith(start):
                return ""
        self._where = "inside" if self._opened else "text"
        whole, self._held = "".join(self._held), []
        return whole

    def _inside(self, text: str, pieces: list[Piece]) -> str:
        text = "".join((*self._held, text))
        thought, tag, rest = text.partition(CLOSE)
        kept = 0 if tag else _overlap(thought)
        self._held = [thought[len(thought) - kept :]] if kept else []
        thought = thought[: len(thought) - kept]
        if thought:
            pieces.append(("reasoning", thought))
        if tag:
            self._where = "behind"
        return rest


def _overlap(text: str) -> int:
    """Return how many characters at the end of ``text`` may begin the closing tag."""
    for size in range(min(len(CLOSE) - 1, len(text)), 0, -1):
        if text.endswith(CLOSE[:size]):
            return size
    return 0


def separated(text: str, *, opened: bool = False) -> tuple[str, str]:
    """Return the reasoning and the text of a whole answer."""
    tags = ThinkTags(opened=opened)
    pieces = [*tags.feed(text), *tags.close()]
    reasoning, said = (
        "".join(text for kind, text in pieces if kind == wanted) for wanted in ("reasoning", "text")
    )
    return reasoning, said
