"""The command ``capture`` of the control socket: the next calls go to who asks for them.

The lines of the answer: ``on`` once, ``call`` with the ``lines`` of each call, and ``done`` with
the reason ``why`` it has ended, how many calls were ``kept``, and how many ``lost``: they were
wanted, and too large. The daemon itself writes nothing of them anywhere.
"""

import msgspec
from twisted.logger import Logger

from lmbroker.capture.wanted import Wanted
from lmbroker.daemon.captures import Capturing, Lines, TooMany
from lmbroker.daemon.control import Asking, Command, Refusal
from lmbroker.redaction import shown

_log = Logger()

TAKEN_BACK = "nobody waits for it any more"


def capture_command(capturing: Capturing) -> Command:
    """Return the command, for captures that ``capturing`` begins."""

    def capture(asking: Asking) -> None:
        try:
            wanted = msgspec.convert(asking.arguments, Wanted)
        except msgspec.ValidationError as error:
            raise Refusal(str(error)) from None
        count = 0

        def kept(lines: Lines) -> None:
            nonlocal count
            count += 1
            asking.say("call", lines=lines)

        def over(why: str, lost: int) -> None:
            _log.warn(
                "Capture is off: {count} calls of {alias} were kept, {lost} were too large ({why})",
                count=count,
                alias=shown(wanted.alias),
                lost=lost,
                why=why,
            )
            asking.done(why=why, kept=count, lost=lost)

        try:
            end = capturing.begin(wanted, kept, over)
        except TooMany:
            raise Refusal("as many captures are on as may be") from None
        asking.taken_back = lambda: end(TAKEN_BACK)
        _log.warn(
            "Capture is on: up to {calls} calls of {alias}{caller} are kept with their contents, "
            "for {seconds:g} s",
            calls=wanted.calls,
            alias=shown(wanted.alias),
            caller="" if wanted.caller is None else f" by {shown(wanted.caller)}",
            seconds=wanted.seconds,
        )
        asking.say("on", wanted=wanted)

    return capture
