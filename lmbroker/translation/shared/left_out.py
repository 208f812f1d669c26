"""The short texts that stand in for what a target cannot take (translation.md 2.8).

They are pure functions of what they replace: the same conversation gets the same text on its next
turn, so that prompt caches stay valid.
"""

NO_IMAGES = "this model cannot see images"
NO_PDF = "this model cannot read PDF files"
NO_AUDIO = "this model cannot hear audio"
NO_FORMAT = "this model cannot read files of its type"
ELSEWHERE = "the file lies with another vendor"
BY_ADDRESS = "only its address was given, and this model cannot open addresses"
UNKNOWN_SOURCE = "its source is of an unknown kind"
NO_PLACE = "an answer of this model cannot hold it"
UNKNOWN_PART = "only its own provider can read it"
NO_CONTAINER = "there is no container that could hold it"

NO_RESULT = "[no result]"
"""The result of a call that was never answered."""

NO_CALL = "[result of a tool call that is not in this conversation]"
"""The text before a result that answers no call."""

_LONGEST_NAME = 200
"""The maximum of characters of a file's name in a text."""


def left_out(what: str, reason: str, name: str | None = None) -> str:
    """Return the text that says what was left out, and why.

    ``what`` is its kind, ``name`` the name of its file where there is one.
    """
    named = "" if not name else f' "{name[:_LONGEST_NAME]}"'
    return f"[{what}{named} left out: {reason}]"
