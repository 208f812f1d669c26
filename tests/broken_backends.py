"""What a scripted backend may do wrong: each script is a function of its end of a connection (a
``rig.Line``)."""

import json

from rig import chunk
from twisted.internet import reactor
from twisted.internet.task import LoopingCall


def fin(line):
    line.transport.loseConnection()


def rst(line, turns=4):
    """A reset; what was written before it leaves first, and is read: not even a busy machine calls
    so many timers in one turn of the reactor."""
    if turns:
        reactor.callLater(0.005, rst, line, turns - 1)
    elif line.lost is None:
        line.transport.abortConnection()


def write(*pieces, then=None):
    """A backend that writes and maybe closes."""

    def script(line):
        line.transport.write(b"".join(pieces))
        if then is not None:
            then(line)

    return script


def again_and_again(piece, seconds=0.05):
    """A backend that writes ``piece`` every few moments, for as long as it can."""

    def script(line):
        loop = LoopingCall(
            lambda: line.transport.write(piece) if line.lost is None else loop.stop()
        )
        loop.start(seconds)

    return script


def endless(piece):
    """A backend that writes ``piece`` as fast as it is read, for ever."""

    class Pull:
        def __init__(self, line):
            self.line = line

        def resumeProducing(self):
            self.line.transport.write(piece)

        def stopProducing(self): ...

    return lambda line: line.transport.registerProducer(Pull(line), False)


def both(*scripts):
    def script(line):
        for each in scripts:
            each(line)

    return script


HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"


HTML = b"<html><body>backend-key at 10.0.0.1</body></html>"


def page(status, extra=b""):
    return (
        b"HTTP/1.1 %s\r\ncontent-type: text/html\r\n%scontent-length: %d\r\n\r\n"
        % (status, extra, len(HTML))
        + HTML
    )


def refusal(alias, message):
    """An error body in the backend's dialect."""
    error = {"type": "x_error", "message": message}
    value = {"error": error} if alias == "o" else {"type": "error", "error": error}
    return json.dumps(value).encode()


def length(body, more=0):
    return write(HEAD, b"content-length: %d\r\n\r\n" % (len(body) + more), body)


def chunked(*pieces, end=b"0\r\n\r\n", then=None):
    head = HEAD + b"transfer-encoding: chunked\r\n\r\n"
    return write(head, *map(chunk, pieces), end, then=then)
