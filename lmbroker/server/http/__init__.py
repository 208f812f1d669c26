"""The daemon's own ``twisted.web`` site: all between an open port and a whole request.

Twisted's stock site lets a connection wait for ever and a body fill the disk, and answers in
HTML. This one bounds every resource (``Limits``), refuses requests that two parsers could read in
two ways (``framing``), and answers each refusal once, as JSON in the dialect of the path. It
overrides methods of ``twisted.web``, some of them private: all in this folder, each with a test
that fails when an upgrade of Twisted changes it. The lean engine has a fast path for usual requests
(``lean_channel``, ``lean_request``), with the same answers.

The statuses that a client gets, and the module that sends them:

    400  malformed HTTP                        framing, channel
    404, 405  a target that is no path         request
    408  head or body came too slowly          channel
    413  body over its limit                   channel, before the body is read
    414, 431  request line, headers too large  channel
    429  too many connections of one address   site
    503 (Anthropic: 529)  too many connections or bodies in flight, with ``retry-after``
    500  a resource failed before its first byte; after it, the connection is cut

After a refusal the connection is half-closed, and what still comes is read and discarded, for a
bounded number of bytes and seconds: closing at once would reset the connection, and a client that
is still uploading would never see the answer. Pipelining is not supported: bytes that come before
the answer is whole end the connection after the answer, and too many of them end it at once. A
client that half-closes its connection counts as gone. Deadlines are checked twice a second.
"""

from lmbroker.limits import Limits
from lmbroker.server.http.site import Site

__all__ = ["Limits", "Site"]
