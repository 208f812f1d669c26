"""The limits of what clients may send and take, each with its default and its reason."""

import msgspec

from lmbroker.constraints import Count, CountOrNone, Positive

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Every resource that a client can take without having been asked who it is.

    Sizes are bytes, times seconds. Times are checked twice a second. The first paragraph of a
    field's docstring is its line in docs/configuration.md, the second is the reason of its default.
    """

    body: Count = 32 * MIB
    """Bytes of the largest request body, decoded where the client compressed it.

    What Anthropic takes; a conversation with images reaches 20 MiB."""

    body_by_path: tuple[tuple[str, int], ...] = ()
    """Bytes of the largest body for paths that begin so: `{ "/v1/embeddings" = 1048576 }`. The
    longest beginning that fits wins over `limits.body`.

    (start of the path, limit), the longest start first. None by default: all operations may carry
    images or long lists."""

    max_tokens: Count | None = None
    """Most tokens that a call may ask for; see [Request limits](#request-limits).

    None by default: only those who pay for the tokens know what is too much."""

    n: Count | None = None
    """Most answers that a call may ask for at once.

    None by default, for the same reason."""

    top_level_keys: Count = 1000
    """Keys at the top level of a request body.

    No format has a hundred."""

    messages: Count = 100_000
    """Messages of a request.

    What Anthropic takes."""

    tools: Count = 10_000
    """Tools of a request.

    What Anthropic takes for its search among tools."""

    json_values: Count = 1_000_000
    """Keys and values in a request body, wherever they stand. They are counted in bodies with more
    than eight bytes for each.

    Each part of a message is among them: the conversation of a coding agent has some thousands in
    each megabyte. A million take about a quarter of a second to be read."""

    bodies: Count = 256 * MIB
    """Bytes of request bodies in memory at once, of all clients. A body counts until its answer has
    begun: that of a stream ends with its first event.

    Eight of the largest, or thousands of usual ones. A body counts as it arrives: announcing a
    large one and not sending it takes nothing. Parsed, a body can take 14 times its size."""

    answers: Count = 256 * MIB
    """Bytes of answers in memory at once that are not streamed on as they come.

    They count from their first byte until their clients have them. Four of the largest, or
    thousands of usual ones."""

    stream_event: Count = 4 * MIB
    """Bytes of the longest event of a backend's stream. A model that draws large images, each in
    one event, wants more; see
    [How long one body holds all others](performance.md#how-long-one-body-holds-all-others).

    Signatures, encrypted reasoning, whole arguments and images of 3 MiB are shorter. An event is
    taken apart in one go, which holds all other calls up for up to 10 ms for each MiB, and half as
    much again where it is made to be slow."""

    helpers: CountOrNone = 2
    """Processes that work at large bodies, so that these hold no other call up; see
    [Large bodies](operations.md#large-bodies). 0: none.

    They are started when there is something to do, and end after half a minute without. One of
    several is kept free for bodies below 2 MiB."""

    helper_memory: Count = 2 * GIB
    """Bytes of address space that one helper process may have.

    A body of 32 MiB takes 0.1 GiB where it is one text, 1 GiB where it is made of the smallest
    parts."""

    helper_seconds: Positive = 15.0
    """Seconds that a helper process may work at one body.

    An honest one of 32 MiB takes two."""

    beginnings: CountOrNone = 64 * MIB
    """Bytes of memory for beginnings of conversations that were translated before; see
    [Long conversations](operations.md#long-conversations). 0: none is remembered.

    The beginnings of a hundred conversations of 300 kB, which take twice that."""

    header_count: Count = 100
    """Header lines of a request.

    SDKs send about 20, proxies add some."""

    header_bytes: Count = 32 * KIB
    """Bytes of a request line and its headers.

    Long tokens and the cookies of a proxy are among them."""

    line: Count = 16 * KIB
    """Bytes of a request line, or of one header line."""

    header_seconds: Positive = 30.0
    """Seconds from the first byte of a request to the end of its headers.

    However they drip. Enough for lost packets; a client sends its headers at once."""

    body_seconds: Positive = 600.0
    """Seconds from the end of a request's headers to the end of its body.

    30 MiB take 8 minutes at 512 kbit/s, and the SDKs wait 10 minutes themselves."""

    idle_seconds: Positive = 75.0
    """Seconds that a connection may be open without a request.

    Also before its first one and in its TLS handshake. Longer than the 60 s of usual proxies and
    load balancers, so that they close first and never send into a connection that is just being
    closed."""

    stall_seconds: Positive = 120.0
    """Seconds that a client may take nothing of an answer that waits for it.

    It counts while more than 64 KiB wait here. Slow is not stalled: each byte taken starts the time
    anew. A stalled client holds a backend's slot, but a laptop may sleep a moment."""

    linger_seconds: Positive = 30.0
    """Seconds that a connection may take to close.

    Without progress, after we have closed: a client that does not take the rest of its answer, or
    does not finish the end of TLS. After a refusal, in all: the time to stop sending."""

    linger_bytes: Count = 8 * MIB
    """Bytes that are read and thrown away after a refusal.

    A client that sends its whole body before it reads anything still finds the answer."""

    calls: Count = 1000
    """Calls at once.

    Each may hold a body, an answer and a connection to a backend."""

    connections: Count = 1000
    """Open connections of clients.

    With as many to backends, this wants ``LimitNOFILE=4096`` or more."""

    connections_per_address: Count = 250
    """Open connections of one address; loopback and Unix sockets are exempt.

    One address may be an office behind one router. A reverse proxy, or many programs of one
    machine, stand on loopback."""

    def body_limit(self, path: str) -> int:
        """Return the largest body for ``path``."""
        for start, limit in self.body_by_path:
            if path.startswith(start):
                return limit
        return self.body
