"""Finds the fields of a request that a refusal names, and what it says of them. Pure.

Backends name a field in a dozen ways: ``'x' is not supported``, ``body.x: Extra inputs are not
permitted``, ``Unknown name "x" at 'tools[0]'``, ``(parameter=x, value=3)``. What decides is not
the sentence but the request: a word counts as a name only if a field is called so in the body that
was refused, and only where the same sentence says that something is not taken.
"""

import re
from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from lmbroker.translation.refusals.wordings import ADVICE, CONFLICT, MALFORMED, REFUSING, VALUES

Verdict = Literal["unsupported", "values", "conflict", "named"]
"""``unsupported``: the field is not accepted; ``values``: other values of it are; ``conflict``: it
cannot stand beside another one; ``named``: the sentence only mentions it."""

TEXT = 3072
"""The maximum of characters of a refusal that are read."""

DEPTH = 12
"""The maximum depth of fields of a format in a request."""

_OPAQUE = frozenset(
    {"parameters", "input_schema", "schema", "input", "arguments", "logit_bias", "text", "data"}
)
"""Fields whose content is the client's own: a key in there is no name of a field."""

_AT_THE_TOP = frozenset({"input", "text"})
"""Those of them that are fields of the format at the top of a request: a conversation, and the form
of an answer."""

_EVERYWHERE = frozenset({"content", "id", "name", "role", "text", "type"})
"""Keys that stand in too many places to be found without a path."""

_ROLES = frozenset({"user", "assistant", "tool", "system", "developer", "message"})

_CHOICES = frozenset({"any", "auto", "function", "none", "required", "tool"})
"""Values of ``tool_choice``, some of which are another format's word for ours."""

_CALLED = {
    "chat_template": "chat_template_kwargs",
    "max_completion_tokens": "max_output_tokens",
    "max_tokens": "max_output_tokens",
    "reasoning_effort": "effort",
    "response_format": "format",
    "think": "reasoning_effort",
}
"""Other names for fields of a request, which count where the request has no field of that name:
servers that speak several dialects check requests in the words of one."""

_PREFIXES = ("body", "request", "params", "parameters", "parameter", "root", "input", "$", "json")

_NAME = re.compile(
    r"(?P<quote>[\"'`*]{0,2})(?P<name>[A-Za-z_$][A-Za-z0-9_$]*"
    r"(?:(?:\.|/|->|\[)['\"]?[A-Za-z0-9_$*]+['\"]?\]?)*)"
    r"(?P<end>[\"'`*]{0,2})"
)
_POINTER = re.compile(r"(?:#/|(?<![\w/:])/)(?=[a-z_]+)")
_KIND = r"(?:parameter|param|argument|field|property|propertie|key|name|option|input|keyword)"
_BEFORE = re.compile(
    rf"(?:{_KIND}(?:s|\(s\)|es)?(?: supplied| provided| found| passed| in (?:the )?request)?"
    r"[ :=(\[{'\"`]{1,6}|\bloc['\"]?: ?['\"\[(]+|parameter=|support(?:s|ed)?:? "
    r"(?:the |a |any |custom |setting |this )?|accept (?:the |a |any )?|参数[ :：]{1,2})$",
    re.IGNORECASE,
)
_AFTER = re.compile(
    rf"[\"'`*)\]]{{0,3}}(?: ?:| {_KIND}| (?:is|are|was|were|has|may|must|cannot|can't|does|do|value"
    r"|specified|parameter|and|or|should|needs|out|outside|,)\b|=| \(| ?参数)",
    re.IGNORECASE,
)
_UNKNOWN = re.compile(
    rf"extra|additional|(?:unrecogni[sz]ed|unknown|unexpected) {_KIND}", re.IGNORECASE
)
"""Words that say that a field is not known, or that a body does not parse."""

_JOINT = re.compile(r"(?:,| and| or|, and|, or|、)\s*")
"""The words between the names of a list."""

_KIND_BEHIND = re.compile(rf" {_KIND}\b", re.IGNORECASE)
_TOLD_AT_END = re.compile(rf"\b{_KIND}s?\b[^:]*: $", re.IGNORECASE)
_SENTENCE = re.compile(r"\n+|;\s|(?<=[.!?])\s+(?=[A-Z'\"`{(])")
_UNDER_ITS_PATH = re.compile(r"^([\w.\[\]-]+)\n\s+(?=[A-Z])", re.MULTILINE)
_LOC = re.compile(r"['\"]loc['\"]: ?([\[(][^\])]*[\])]|['\"][^'\"]*['\"])")
_ESCAPED = re.compile(r"(?<!\\)\\++([\"'n/])")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_STEP = re.compile(r"\.|/|->|\[|\]|['\"]")
_END_OF_LIST = re.compile(r"\n|['\"](?:input|ctx)['\"]|\b(?:got|but|received)\b|[;)\]}]|\.\s")
_VALUE = re.compile(r"['\"`]?([A-Za-z_][\w-]{0,40})['\"`]?")


class Named(msgspec.Struct, frozen=True):
    """A field that a refusal names.

    ``path``: where it stands in the request, list places as ``[]`` (``messages[].name``);
    ``sentence``: what was said of it.
    """

    path: str
    verdict: Verdict
    sentence: str

    @property
    def key(self) -> str:
        """The last step of the path."""
        return self.path.rpartition(".")[2]


class Fields:
    """The fields of a request that was refused, by their names."""

    def __init__(self, body: dict[str, Any]) -> None:
        self.body = body
        self._known: dict[str, dict[str, None]] = {}
        for path in _walk(body):
            self._known.setdefault(path.rpartition(".")[2], {})[path] = None

    def find(self, name: str) -> str | None:
        """Return the path of the field that a backend calls ``name``.

        It is None where the request has none.

        ``name`` may have steps (``body.messages.0.user.name``): those that the request does not
        have are the backend's own words for a kind, and are passed over.
        """
        steps = [step for step in _STEP.split(name) if step]
        while len(steps) > 1 and steps[0].lower() in _PREFIXES and steps[0] not in self.body:
            del steps[0]
        while len(steps) > 1 and steps[0].isdigit():
            # The place in a list of messages, each of which was checked by itself.
            del steps[0]
        if not steps:
            return None
        if len(steps) > 1:
            return self._follow(steps)
        own = _snake(steps[0])
        for each in (steps[0], own, _CALLED.get(own, "")):
            found = self._known.get(each)
            if found:
                return min(found, key=lambda path: path.count("."))
        return None

    def _follow(self, steps: list[str]) -> str | None:
        here: Any = self.body
        path = ""
        last = ""
        for step in steps:
            if isinstance(here, list):
                if step.isdigit() or step == "*":
                    place = int(step) if step.isdigit() else 0
                    here = here[place] if place < len(here) else None
                    path += "[]"
                    continue
                here = here[0] if here else None
                path += "[]"
            if isinstance(here, dict):
                own = next((key for key in (step, _snake(step)) if key in here), "")
                if own:
                    here = here[own]
                    path = f"{path}.{own}" if path else own
                    last = step
        if last == steps[-1] or (path and steps[-1].isdigit()):
            return path
        kind = here.get("type") if isinstance(here, dict) else here
        if path and isinstance(kind, str) and kind == steps[-1]:
            # The path names a value instead of the field: ``toolChoice.any``.
            return path
        if path == "tool_choice" and steps[-1] in _CHOICES:
            return path
        key = _snake(steps[-1])
        if key in _EVERYWHERE:
            return None
        first = "messages" if steps[0] in _ROLES else steps[0]
        first = "tools" if steps[0] in ("custom", "function") else first
        return next((each for each in self._known.get(key, ()) if each.startswith(first)), None)


def _snake(name: str) -> str:
    """Return ``camelCase`` as ``camel_case``; a word that begins a sentence is none."""
    return _CAMEL.sub("_", name).lower() if name[0].islower() else name


def plain(message: str) -> str:
    """Return ``message`` in the form in which it is searched.

    JSON inside a text loses its escapes, a path and what is said of it come into one line, a JSON
    pointer loses its first slash, and it is no longer than needed.
    """
    text = _ESCAPED.sub(lambda found: "\n" if found[1] == "n" else found[1], message[:TEXT])
    return _UNDER_ITS_PATH.sub(r"\1: ", _POINTER.sub("", text))


def named(message: str, param: str | None, code: str | None, fields: Fields) -> list[Named]:
    """Return the fields of the request that a refusal names, each once, first named first."""
    found: dict[str, Named] = {}
    text = plain(message)
    for sentence in _SENTENCE.split(text):
        for each in _in_sentence(sentence, fields):
            known = found.get(each.path)
            if known is None or known.verdict == "named":
                found[each.path] = each
    path = fields.find(param) if param else None
    if path is not None and path not in found:
        verdict: Verdict = "named"
        word = (code or "").lower()
        if word.startswith(("unsupported_parameter", "unknown_parameter", "unrecognized")):
            verdict = "unsupported"
        elif word.startswith("unsupported_value"):
            verdict = "values"
        elif REFUSING.search(text) and not MALFORMED.search(text):
            verdict = "values" if _lists_values(text) else "unsupported"
        found[path] = Named(path, verdict, text)
    return list(found.values())


def _in_sentence(sentence: str, fields: Fields) -> Iterator[Named]:
    if MALFORMED.search(sentence) and not _UNKNOWN.search(sentence):
        if "tool_choice" in sentence and isinstance(fields.body.get("tool_choice"), dict):
            # A named tool instead of a word: another kind of choice may be accepted.
            yield Named("tool_choice", "unsupported", sentence)
        return
    refusing = REFUSING.search(sentence) is not None
    verdict: Verdict = "named"
    if CONFLICT.search(sentence):
        verdict = "conflict"
    elif refusing:
        verdict = "unsupported"
    listed = _lists_values(sentence)
    if listed and verdict != "conflict":
        verdict = "values"
    place = _LOC.search(sentence)
    if place is not None:
        # A validator that names the place separately from its message.
        path = fields.find(".".join(re.findall(r"[\w$]+", place[1])))
        if path is not None:
            yield Named(path, verdict, sentence)
        return
    end = _advice(sentence)
    listed_until = -1
    for name in _NAME.finditer(sentence, 0, end):
        path = fields.find(name["name"].rstrip("."))
        if path is None:
            continue
        joined = listed_until >= 0 and _JOINT.fullmatch(sentence, listed_until, name.start())
        if joined or _stands_out(name, sentence):
            listed_until = name.end()
            yield Named(path, verdict, sentence)


def _advice(sentence: str) -> int:
    """Return where the sentence begins to say what would be right, its length if it does not."""
    for found in ADVICE.finditer(sentence):
        if found.start() > 0:
            return found.start()
    return len(sentence)


def _stands_out(name: re.Match[str], sentence: str) -> bool:
    """Return whether a word is a name: by its form, its quotes or its place.

    ``temperature`` in a sentence about the weather is none.
    """
    word = name["name"]
    if name["quote"] or "_" in word or "." in word or "[" in word or _CAMEL.search(word):
        return True
    before = sentence[max(0, name.start() - 60) : name.start()]
    if _BEFORE.search(before):
        return True
    if _KIND_BEHIND.match(sentence, name.end()):
        return True
    if not sentence[name.end() :].strip(" .") and _TOLD_AT_END.search(before):
        return True
    if word == "temperature" and before.endswith(("invalid ", ", ", ": ")):
        return _AFTER.match(sentence, name.end("name")) is not None
    return not before.strip(" \t'\"`([{") and _AFTER.match(sentence, name.end("name")) is not None


def _lists_values(sentence: str) -> bool:
    found = VALUES.search(sentence)
    return found is not None and bool(re.search(r"['\"`\[]\w", sentence[found.end() :]))


def values_of(text: str) -> list[str]:
    """Return the values that a refusal lists as accepted, as they are written.

    There are none without a list.
    """
    best: list[str] = []
    for found in VALUES.finditer(text):
        span = _END_OF_LIST.split(text[found.end() : found.end() + 200], maxsplit=1)[0]
        listed = [value[1] for value in _VALUE.finditer(span)]
        if len(listed) > len(best):
            best = listed
    return best


def _walk(value: Any, path: str = "", depth: int = DEPTH) -> Iterator[str]:
    """Return the paths of all fields, but for what is the client's own."""
    if depth == 0:
        return
    if isinstance(value, dict):
        for key, each in value.items():
            here = f"{path}.{key}" if path else str(key)
            yield here
            if key not in _OPAQUE or (depth == DEPTH and key in _AT_THE_TOP):
                yield from _walk(each, here, depth - 1)
    elif isinstance(value, list):
        for each in value:
            if isinstance(each, (dict, list)):
                yield from _walk(each, f"{path}[]", depth - 1)
