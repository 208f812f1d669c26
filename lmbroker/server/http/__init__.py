"""The daemon's own ``twisted.web`` site: what holds between an open port and a whole request.

Twisted's stock site lets one connection wait for ever and a body fill the disk, and answers in
HTML. This one bounds every resource (``Limits``), refuses what two parsers could read in two
ways (``framing``), and says each refusal once, as JSON in the dialect of the path. It overrides
hooks of ``twisted.web``, some of them underscored: all in this package, each with a test that
fails loudly when an upgrade changes it. With the lean engine usual requests take a shorter way
(``lean_channel``, ``lean_request``), of which nobody sees anything.

What a client sees, and from whom:

    400  malformed HTTP                        framing, channel
    404, 405  a target that is no path         request
    408  head or body came too slowly          channel
    413  body over its limit                   channel, before the body is read
    414, 431  request line, headers too large  channel
    429  too many connections of one address   site
    503 (Anthropic: 529)  too many connections or bodies in flight, with ``retry-after``
    500  a resource failed before its first byte; after it, the connection is cut

After a refusal the connection is half-closed and what still comes is read and thrown away, for a
bounded number of bytes and seconds: closing at once would reset it, and a client that is still
uploading would never see the answer. Pipelining is not served: bytes that come before the answer
is whole end the connection after it, and too many of them at once. A client that half-closes has
left. Times are checked twice a second.
"""

from lmbroker.limits import Limits
from lmbroker.server.http.site import Site

__all__ = ["Limits", "Site"]
