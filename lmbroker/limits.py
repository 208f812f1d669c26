"""The limits of what clients may send and take, each with its default and its reason."""

import msgspec

from lmbroker.constraints import Count, CountOrNone, Positive

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Every resource that a client can take without having been asked who it is.

    Sizes are bytes, times seconds. Times are checked twice a second.
    """

    body: Count = 32 * MIB
    """Largest request body: what Anthropic takes; a conversation with images reaches 20 MiB."""

    body_by_path: tuple[tuple[str, int], ...] = ()
    """(start of the path, limit); the first that fits wins over ``body``. None by default: all
    operations may carry images or long lists."""

    max_tokens: Count | None = None
    """Most tokens that one call may ask for, under any name; a model may have its own. None by
    default: only who pays for the tokens knows what is too much."""

    n: Count | None = None
    """Most answers that one call may ask for; the same."""

    top_level_keys: Count = 1000
    """Keys of a request body at its top level: no format has a hundred."""

    messages: Count = 100_000
    """Messages of one request: what Anthropic takes."""

    tools: Count = 10_000
    """Tools of one request: what Anthropic takes for its search among tools."""

    json_values: Count = 1_000_000
    """Keys and values in a request body, wherever they stand, each part of a message among them.
    The conversation of a coding agent has some thousands in each megabyte; a million take about
    a quarter of a second to be read."""

    bodies: Count = 256 * MIB
    """Request bodies in memory at once, of all connections: eight of the largest, or thousands of
    usual ones. A body counts as it arrives, until its answer has begun: announcing a large one
    and not sending it takes nothing. Parsed, a body can take 14 times its size."""

    answers: Count = 256 * MIB
    """Answers in memory at once that are not streamed on as they come: from their first byte until
    their clients have them. Four of the largest, or thousands of usual ones."""

    stream_event: Count = 4 * MIB
    """Longest event of a backend's stream: signatures, encrypted reasoning, whole arguments and
    images of 3 MiB are shorter. It is taken apart in one go, which holds all other calls up for
    up to 10 ms for each MiB, and half as much again where it is made to be slow."""

    helpers: CountOrNone = 2
    """Processes that work at large bodies, of requests and of answers, so that these hold no other
    call up: started when there is something to do, ended after half a minute without. One of
    several is kept free for bodies below 2 MiB. 0: all is done in the broker's own process."""

    helper_memory: Count = 2 * GIB
    """Address space of one of them. A body of 32 MiB takes 0.1 GiB where it is one text, 1 GiB
    where it is made of the smallest parts."""

    helper_seconds: Positive = 15.0
    """How long one of them may work at one body. An honest one of 32 MiB takes two."""

    header_count: Count = 100
    """Header lines. SDKs send about 20, proxies add some."""

    header_bytes: Count = 32 * KIB
    """Request line and headers together, with long tokens and the cookies of a proxy."""

    line: Count = 16 * KIB
    """One line of them."""

    header_seconds: Positive = 30.0
    """From the first byte of a request to the end of its headers, however they drip. Enough for
    lost packets; a client sends its head at once."""

    body_seconds: Positive = 600.0
    """From there to the end of the body. 30 MiB take 8 minutes at 512 kbit/s, and the SDKs wait
    10 minutes themselves."""

    idle_seconds: Positive = 75.0
    """A connection without a request, also before its first one and in its TLS handshake. Longer
    than the 60 s of usual proxies and load balancers, so that they close first and never send
    into a connection that is just being closed."""

    stall_seconds: Positive = 120.0
    """A client that takes nothing of an answer that is ready for it, while more than 64 KiB wait
    here. Slow is not stalled: each byte taken starts the time anew. It holds a backend's slot, but
    a laptop may sleep a moment."""

    linger_seconds: Positive = 30.0
    """Without progress, after we have closed: a client that does not take the rest of its answer,
    or does not finish the end of TLS. After a refusal, in all: the time to stop sending."""

    linger_bytes: Count = 8 * MIB
    """What is read and thrown away after a refusal, so that a client which sends its whole body
    before it reads anything still finds the answer."""

    calls: Count = 1000
    """Calls at once. Each may hold a body, an answer and a connection to a backend."""

    connections: Count = 1000
    """Open connections. With as many to backends, this wants ``LimitNOFILE=4096`` or more."""

    connections_per_address: Count = 250
    """Open connections from one address, which may be an office behind one router. Loopback and
    Unix sockets are exempt: a reverse proxy, or many programs of one machine, stand there."""

    def body_limit(self, path: str) -> int:
        """The largest body for ``path``."""
        for start, limit in self.body_by_path:
            if path.startswith(start):
                return limit
        return self.body
