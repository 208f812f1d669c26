"""Turns of another dialect -> messages or items of OpenAI's dialects (translation.md 2.4, 8.1).

Instructions and the turns of users become the same in all of these dialects.
"""

from collections.abc import Callable, Sequence

import msgspec

from lmbroker.json_text import JSON
from lmbroker.translation.dialects.openai.encode_parts import Parts, joined
from lmbroker.translation.dialects.openai.fast_paths import plain_words
from lmbroker.translation.shared.attribution import MARK as BILLING
from lmbroker.translation.shared.attribution import without_attribution
from lmbroker.translation.shared.left_out import NO_PLACE
from lmbroker.translation.shared.readable import summary
from lmbroker.translation.unified.parts import (
    AudioPart,
    DocumentPart,
    ImagePart,
    OpaquePart,
    Part,
    TextPart,
    ToolResultPart,
)
from lmbroker.translation.unified.request import Turn

CONTINUE = "Continue."
"""The user's message that asks for a new answer where a model cannot go on with its last one."""

FIRST = "."
"""The user's message with which a conversation begins that must not begin with the model."""

BETWEEN = "Understood."
"""The model's message between a user's message and what must not stand directly before it."""

Content = str | list[JSON]

_MEDIA: dict[type, str] = {ImagePart: "image", DocumentPart: "document", AudioPart: "audio"}


class Turns:
    """Writes the turns of one request.

    A dialect says how it writes a message and the result of a call.
    """

    message: Callable[[str, Content, str | None], JSON]
    """Makes a message: (role, content, name of the speaker) -> the message."""
    answer: Callable[[ToolResultPart, list[JSON]], JSON]
    """The result of a call; what it cannot hold is added to the list, for the user's message after
    it."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts

    def allowed_later(self) -> bool:
        """Return whether the backend takes instructions inside the conversation as such."""
        profile = self.parts.profile
        strict = (
            profile.system_first_only or profile.alternate_roles or profile.after_tool != "user"
        )
        return profile.mid_system and not strict and profile.system_role != "user"

    def later(self, turn: Turn) -> list[JSON]:
        """Return the messages for an instruction inside the conversation, none for an empty one."""
        content = self.parts.content(unattributed(turn.parts))
        if content and not self.allowed_later():
            self.parts.change("mid_system")
        return [self.instruction(content, turn.name)] if content else []

    def instruction(self, content: list[JSON], name: str | None = None) -> JSON:
        """Return an instruction inside the conversation, or a user's message labelled as one."""
        words = joined(content, "\n\n")
        if self.allowed_later():
            return self.message(self.parts.profile.system_role, words, name)
        if isinstance(words, str):
            return self.message("user", f"[system]\n{words}", name)
        return self.message("user", [self.parts.text("[system]"), *words], name)

    def user(self, turns: Sequence[Turn]) -> list[JSON]:
        """Return the messages for consecutive turns of a user, results of calls first."""
        results: list[JSON] = []
        rest: list[JSON] = []
        for turn in turns:
            words = plain_words(turn.parts)
            if words is not None:
                rest.append(self.message("user", words, turn.name))
                continue
            before, shown, said = len(results), list[JSON](), list[JSON]()
            for part in turn.parts:
                if isinstance(part, ToolResultPart):
                    results.append(self.answer(part, shown))
                else:
                    said += self.parts.part(part)
            content = [*shown, *said]
            texts = all(type(part) is TextPart for part in turn.parts)
            if content or (len(results) == before and texts):
                said_once = content if len(content) > 1 else joined(content, "")
                rest.append(self.message("user", said_once, turn.name))
        return results + rest


class Words:
    """Collects the texts of a model's answer, which become one text.

    What stands in for a part that is no text is a paragraph of its own.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._texts: list[str] = []
        self._apart = False

    def say(self, words: str, *, apart: bool = False) -> None:
        """Add a text; one that is ``apart`` becomes a paragraph of its own."""
        gap = "\n\n" if self._texts and (apart or self._apart) else ""
        if gap + words:
            self._texts.append(gap + words)
        self._apart = apart

    def stand_in(self, part: ImagePart | DocumentPart | AudioPart | OpaquePart) -> str:
        """Add the text that stands in for a part that is no text.

        An answer of the model can hold only text. Returns the summary of a conversation that was
        compacted, which is no part of the answer; "" for other parts.
        """
        what = _MEDIA.get(type(part), "")
        for written in self._parts.part(part):
            if what and written["type"] != self._parts.TEXT:
                written = self._parts.left_out(what, what, NO_PLACE)
            self.say(written["text"], apart=True)
        if isinstance(part, OpaquePart) and part.type == "compaction":
            return summary(part)
        return ""

    def take(self) -> str:
        """Return the collected text and begin a new one."""
        words = "".join(self._texts)
        self._texts, self._apart = [], False
        return words


def unattributed(parts: Sequence[Part]) -> list[Part]:
    """Return instructions without the attribution line, which is meant for Anthropic only."""
    kept: list[Part] = []
    for part in parts:
        if isinstance(part, TextPart) and part.text.startswith(BILLING):
            rest = without_attribution(part.text)
            if not rest:
                continue
            part = msgspec.structs.replace(part, text=rest)
        kept.append(part)
    return kept
