"""What is asked besides ordinary calls: requests that are no calls, odd bodies, odd aliases, other
operations, pages, keys, limits and backends that say nothing."""

import gzip
import json
from collections.abc import Iterator
from typing import Any

from installations.samples import (
    CLIENT_HEADERS,
    DIALECTS,
    JSON,
    PATHS,
    Answer,
    Sample,
    answer_of,
    answers,
    changed,
    fitting,
    http_request,
    post,
    question,
    requests,
    streamed,
    streaming,
    streams,
    whole,
)
from installations.tables import BACKENDS, MORE_BACKENDS

CHUNKED = b"Transfer-Encoding: chunked\r\n"


def http_samples() -> Iterator[Sample]:
    """Requests that are no calls, or broken ones, as raw bytes."""
    body = json.dumps(question("openai", "openai")).encode()
    call = post("openai", body)
    head, _, _ = call.partition(b"\r\n\r\n")
    for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW"):
        for path in (
            *PATHS.values(),
            "/",
            "/health",
            "/ready",
            "/v1/nothing",
            "/api/hello",
            "/metrics/x",
        ):
            yield Sample(f"{method} {path}", http_request(method, path))
    for path in (
        "/v1/models/openai",
        "/v1/models/nothing",
        "/v1/models/openai:gpt-5.2",
        "/v1/models/failing-openai-*",
        "/chat/completions",
        "/v1//chat/completions",
        "/v1/v1/messages",
        "/v1/messages/batches",
        "/v1/responses",
        "/api/chat",
        "/v1/chat/completions?x=1",
        "/%76%31/models/%6f",
        "*",
        "http://other/health",
    ):
        for method in ("GET", "POST"):
            yield Sample(f"{method} {path}", http_request(method, path))
            named = http_request(method, path, headers={"anthropic-version": "2023-06-01"})
            yield Sample(f"{method} {path} of Anthropic's client", named)
    raws = {
        "two requests": http_request("GET", "/health") * 2,
        "a call and a request": call + http_request("GET", "/health"),
        "HTTP/1.0": b"GET /health HTTP/1.0\r\n\r\n",
        "HTTP/1.0, kept": b"GET /health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "close": b"GET /health HTTP/1.1\r\nHost: broker\r\nConnection: close\r\n\r\n",
        "no host": b"GET /health HTTP/1.1\r\n\r\n",
        "two hosts": b"GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "nonsense": b"nonsense\r\n\r\n",
        "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        "bare LF": b"GET /health HTTP/1.1\nHost: broker\n\n",
        "a space before the colon": b"GET /health HTTP/1.1\r\nHost : broker\r\n\r\n",
        "a folded header": b"GET /health HTTP/1.1\r\nHost: broker\r\nX: a\r\n b\r\n\r\n",
        "a long line": b"GET /%s HTTP/1.1\r\nHost: broker\r\n\r\n" % (b"x" * 20000),
        "a long header": b"GET /health HTTP/1.1\r\nX: %s\r\n\r\n" % (b"x" * 20000),
        "many headers": b"GET /health HTTP/1.1\r\n%s\r\n" % (b"X: y\r\n" * 200),
        "no length": _posted(b""),
        "two lengths": head + b"\r\nContent-Length: 3\r\n\r\n" + body,
        "a length that is none": _posted(b"Content-Length: x\r\n"),
        "a negative length": _posted(b"Content-Length: -1\r\n"),
        "too large": _posted(b"Content-Length: 99999999999\r\n"),
        "length and chunks": head + b"\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "chunks": _posted(CHUNKED, b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)),
        "a broken chunk": _posted(CHUNKED, b"xyz\r\n"),
        "an unknown coding": _posted(b"Transfer-Encoding: gzip\r\n"),
        "to be continued": head + b"\r\nExpect: 100-continue\r\n\r\n" + body,
        "expects much": head + b"\r\nExpect: much\r\n\r\n" + body,
    }
    for name, data in raws.items():
        yield Sample(name, data, (answer_of("openai"),), raw=True)


def _posted(headers: bytes, body: bytes = b"") -> bytes:
    path = PATHS["openai"].encode()
    return b"POST %s HTTP/1.1\r\nHost: broker\r\n%s\r\n%s" % (path, headers, body)


def body_samples() -> Iterator[Sample]:
    """Bodies that are no JSON, no object, odd JSON, or packed."""
    plain = json.dumps(question("openai", "openai"))
    for client in DIALECTS:
        for backend in DIALECTS:
            text = json.dumps(streaming(client, backend))
            odd = {
                "empty": b"",
                "no JSON": b"{",
                "cut": text[:-1].encode(),
                "more": text.encode() + b"x",
                "an array": b"[]",
                "a text": b'"x"',
                "null": b"null",
                "no UTF-8": text.replace("folder", "\udcff").encode(errors="surrogateescape"),
                "a BOM": b"\xef\xbb\xbf" + text.encode(),
                "NaN": text.replace("{", '{"temperature": NaN, ', 1).encode(),
                "spaces": json.dumps(json.loads(text), indent=3).encode(),
                "a key twice": text.replace("{", '{"model": "anthropic", ', 1).encode(),
                "a long number": text.replace("{", '{"seed": 1%s, ' % ("0" * 30), 1).encode(),
                "half a character": text.replace("folder", "\\ud83d").encode(),
                "a zero": text.replace("folder", "\\u0000").encode(),
                "no ASCII": text.replace("folder", "földer 🙂").encode(),
                "escapes": text.replace("model", "mod\\u0065l", 1).encode(),
                "deep": text.replace('"What', "[" * 2000 + '"What').encode(),
                "a megabyte": text.replace("folder", "folder " * 150_000).encode(),
                "many values": text.replace("{", '{"x": [%s 1], ' % ("1, " * 60_000), 1).encode(),
            }
            for name, data in odd.items():
                answer = fitting(backend, {"stream": True})
                yield Sample(f"{name} of {client} for {backend}", post(client, data), (answer,))
    for coding, data in {
        "gzip": gzip.compress(plain.encode(), mtime=0),
        "identity": plain.encode(),
        "br": b"x",
        "deflate": b"x",
    }.items():
        headers = {"Content-Encoding": coding}
        yield Sample(f"packed: {coding}", post("openai", data, headers), (answer_of("openai"),))


def alias_samples() -> Iterator[Sample]:
    """Aliases of a kind of their own, unknown ones, and headers of clients."""
    ratios = {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-reset-requests": "1s",
        "anthropic-ratelimit-tokens-limit": "1000",
        "openai-processing-ms": "12",
        "set-cookie": "a=b",
        "server": "backend",
    }
    failures = (whole({"error": {"message": "No."}}, 500), whole({"error": "busy"}, 503))
    for client in DIALECTS:
        for name in MORE_BACKENDS:
            backend = next(each["type"] for each in BACKENDS if each["name"] == name)
            for ask in (question, streaming):
                asked = ask(client, name)
                yield Sample(
                    f"{name} for {client}", post(client, asked), (fitting(backend, asked),)
                )
                for failure in failures:
                    yield Sample(f"{name} fails for {client}", post(client, asked), (failure,))
        for name in ("openai-limits", "anthropic-limits", "openai"):
            answer = whole(dict(answers_by_dialect())[name.split("-")[0]], 200, ratios)
            yield Sample(f"{name} for {client}", post(client, question(client, name)), (answer,))
        for name in ("openai-thinks", "anthropic-thinks", "openai-asks", "anthropic-asks"):
            for _, dialect, stream in streams():
                if dialect == name.split("-")[0]:
                    asked = post(client, question(client, name, stream=True))
                    yield Sample(f"{name} for {client}", asked, (streamed(stream),))
                    tagged = stream.replace(b'"content":"', b'"content":"<think>a</think>', 1)
                    yield Sample(f"{name} for {client}, tags", asked, (streamed(tagged),))
        for failure in failures:
            for alias in ("two", "again"):
                well = answer_of("anthropic" if alias == "two" else "openai")
                asked = question(client, alias)
                yield Sample(f"{alias} for {client}", post(client, asked), (failure, well))
                yield Sample(f"{alias} for {client}, in vain", post(client, asked), (failure,))
        for name in ("", "nothing", 7, None, "x" * 300, "é", "a\nb"):
            asked = question(client, "x") | {"model": name}
            yield Sample(f"the model {name!r}", post(client, asked), (answer_of("openai"),))
        for headers in (
            {"x-lmbroker-mode": "unknown"},
            {"x-request-id": "of-the-client", "User-Agent": "client/1", "Cookie": "a=b"},
            {
                "Accept": "text/event-stream",
                "Accept-Encoding": "gzip",
                "X-Forwarded-For": "1.2.3.4",
            },
            {"anthropic-version": "1999", "OpenAI-Organization": "org", "OpenAI-Beta": "b"},
        ):
            for backend in DIALECTS:
                asked = post(client, question(client, backend), headers)
                yield Sample(f"{headers} for {backend}", asked, (answer_of(backend),))


def answers_by_dialect() -> Iterator[tuple[str, JSON]]:
    for _, dialect, body in answers():
        yield dialect, body


def operation_samples() -> Iterator[Sample]:
    """Token counts, embeddings and old completions."""
    embedded = {
        "object": "list",
        "model": "m",
        "data": [{"object": "embedding", "index": 0, "embedding": [0.25, -0.5, 1]}],
        "usage": {"prompt_tokens": 3, "total_tokens": 3},
    }
    completed = {
        "id": "cmpl-1",
        "object": "text_completion",
        "created": 1790000000,
        "model": "m",
        "choices": [{"index": 0, "text": "Yes.", "logprobs": None, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    }
    asked: list[tuple[str, str, JSON, tuple[Any, ...]]] = [
        ("anthropic", "/v1/messages/count_tokens", body, ({"input_tokens": 12}, {"x": 1}))
        for _, dialect, body in requests()
        if dialect == "anthropic"
    ]
    vectors = ("AACAPgAAAL8=", "no base64", "AAA=", "AADAfwAAgH8=", [True, None], [], 7)
    odd = [changed(embedded, ("data", 0, "embedding"), each) for each in vectors]
    found = (embedded, *odd, {"data": []})
    for given in ("text", "", ["a", "b"], [1, 2], [[1], [2, 3]], [], 7, ["a"] * 3000):
        body = {"input": given, "dimensions": 2, "encoding_format": "base64", "user": "u"}
        asked.append(("openai", "/v1/embeddings", body, (embedded, {"data": []})))
    for encoding in ("float", "base64", "bytes", "unknown"):
        body = {"input": "text", "encoding_format": encoding}
        asked.append(("openai", "/v1/embeddings", body, found))
        asked.append(("openai", "/v1/embeddings", {**body, "dimensions": 1}, found))
    for given in ("Say yes.", ["a", "b"], [1], None):
        body = {"prompt": given, "max_tokens": 9, "suffix": "s"}
        asked.append(("openai", "/v1/completions", body, (completed, {"choices": []})))
        asked.append(("openai", "/v1/completions", {**body, "stream": True}, (completed,)))
    refused = whole({"error": {"message": "Not found", "code": "not_found"}}, 404)
    for client, path, body, bodies in asked:
        for alias in ("openai", "anthropic", "anthropic+vision", "openai+matryoshka"):
            for number, given in enumerate((*map(whole, bodies), refused)):
                request = post(client, {**body, "model": alias}, path=path)
                yield Sample(f"{path} for {alias}, {number}", request, (given,))


def page_samples() -> Iterator[Sample]:
    """Pages for people and other programs, when all else has been asked."""
    listed = {"object": "list", "data": [{"id": "failing-openai-1"}, {"id": "failing-anthropic-2"}]}
    for query in ("", "?limit=2", "?limit=x", "?after_id=openai&limit=3", "?before_id=two"):
        for headers in CLIENT_HEADERS.values():
            request = http_request("GET", f"/v1/models{query}", headers=headers)
            yield Sample(f"the models {query}", request, (whole(listed),))
    yield Sample("health", http_request("GET", "/health"))
    yield Sample("metrics", http_request("GET", "/metrics"), metrics=True)


def keyed_samples() -> Iterator[Sample]:
    """Keys, pages of other origins, and small limits."""
    credentials: list[dict[str, str]] = [
        {"Authorization": f"Bearer {key}"} for key in ("first-key", "second-key", "wrong", "")
    ]
    credentials += [
        {"X-Api-Key": "first-key"},
        {"Api-Key": "first-key"},
        {"Authorization": "Basic x"},
    ]
    credentials += [{"X-Lmbroker-Key": "first-key", "Authorization": "Bearer own"}]
    origins = ({"Origin": "https://app.example"}, {"Origin": "https://other.example"})
    for headers in (*credentials, *({**origin, **credentials[0]} for origin in origins)):
        for client, path in PATHS.items():
            for alias in (*DIALECTS, "own", "nothing"):
                asked = json.dumps(question(client, alias)).encode()
                answer = answer_of(
                    "anthropic" if alias == "own" else alias if alias in DIALECTS else "openai"
                )
                yield Sample(
                    f"{alias} with {headers}", http_request("POST", path, asked, headers), (answer,)
                )
        for page in ("/v1/models", "/v1/models/openai", "/metrics", "/health", "/ready"):
            yield Sample(
                f"{page} with {headers}",
                http_request("GET", page, headers=headers),
                metrics=page == "/metrics",
            )
        for path in (*PATHS.values(), "/v1/nothing"):
            asked_for = {
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "a, b",
            }
            yield Sample(
                f"OPTIONS with {headers}",
                http_request("OPTIONS", path, headers={**headers, **asked_for}),
            )
    for client in DIALECTS:
        for more in (
            {"max_tokens": 101},
            {"max_completion_tokens": 101},
            {"max_tokens": "x"},
            {"max_tokens": 2**70},
            {"n": 2},
            {"n": 1.5},
            {"messages": [{"role": "user", "content": "x"}] * 6},
            {"tools": [{"name": f"f{n}", "input_schema": {}} for n in range(4)]},
            {f"k{n}": n for n in range(30)},
            {"metadata": {str(n): n for n in range(300)}},
            {"x": "y" * 5000},
            {"metadata": {"user_id": "x" * 3000}},
        ):
            for backend in DIALECTS:
                asked = post(client, {**question(client, backend), **more}, credentials[0])
                yield Sample(f"{str(more)[:50]} for {backend}", asked, (answer_of(backend),))


def slow_samples() -> Iterator[Sample]:
    """Backends that say nothing, stop in the middle, or are gone."""
    for client in DIALECTS:
        for backend in DIALECTS:
            asked = post(client, streaming(client, backend))
            unary = post(client, question(client, backend))
            stream = fitting(backend, {"stream": True}).data
            for name, request in (("stream", asked), ("whole answer", unary)):
                named = f"{name} of {backend} for {client}"
                yield Sample(f"silence: {named}", request, (Answer(b"", "wait"),))
                yield Sample(f"gone: {named}", request, (Answer(b"", "close"),))
                yield Sample(f"no HTTP: {named}", request, (Answer(b"nonsense\r\n\r\n", "close"),))
                begun = Answer(stream[: stream.index(b"\r\n\r\n") + 4], "wait")
                yield Sample(f"a head only: {named}", request, (begun,))
                for share in (3, 2):
                    part = Answer(stream[: len(stream) - len(stream) // share], "wait")
                    yield Sample(f"stops after a part: {named}", request, (part,))
                yield Sample(f"never closed: {named}", request, (Answer(stream[:-5], "wait"),))
