"""Canaries: secrets and contents that are recognised wherever they come out again, requests that
are full of them, and a backend that repeats all that it hears."""

import base64
import json
import threading
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote

from rig import A_EVENT, O_EVENT

from lmbroker.testing.ask import SIGNATURE
from lmbroker.testing.sealed import sealed

BY_ENV = "kE7/env+backend=Secret.41"
BY_FILE = "kF9-file-backend_Secret~27"
LITERAL = "kL3.literal-backend/Secret88"
BACKEND_KEYS = (BY_ENV, BY_FILE, LITERAL)
CLIENT_HASHED = "lmb-Hashed0client0Secret0550"
CLIENT_PLAIN = "cP4-plain-client-Secret56"
CLIENT_WRONG = "cW5-wrong-client-Secret66"
SECRETS = (*BACKEND_KEYS, CLIENT_HASHED, CLIENT_PLAIN, CLIENT_WRONG)

PROMPT = "quokka prompt"
SYSTEM = "ocelot system"
ARGUMENT = "walrus argument"
RESULT = "narwhal result"
EARLIER = "pangolin answer"
THOUGHT = "capybara thought"
FILE = "wombat file.pdf"
END_USER = "numbat user"
DESCRIPTION = "axolotl description"
CONTENTS = (PROMPT, SYSTEM, ARGUMENT, RESULT, EARLIER, THOUGHT, FILE, END_USER, DESCRIPTION)

IMAGE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5E"
PATHS = {
    "openai": "/v1/chat/completions",
    "anthropic": "/v1/messages",
    "responses": "/v1/responses",
}


def spellings(canary):
    """The ways in which a text can come out."""
    yield canary
    yield quote(canary)
    yield quote(canary, safe="")
    yield json.dumps(canary).replace("/", "\\/")[1:-1]
    yield base64.b64encode(canary.encode()).decode()
    yield sha256(canary.encode()).hexdigest()


def found(text, canaries):
    """Those of ``canaries`` that stand in ``text``, str or bytes, with the place where they do."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    out = []
    for canary in canaries:
        for spelling in spellings(canary):
            at = text.find(spelling)
            if at >= 0:
                out.append((canary, text[max(0, at - 150) : at + 80]))
                break
    return out


FORM = {
    "name": "answer",
    "description": DESCRIPTION,
    "schema": {"type": "object", "properties": {"a": {"type": "string", "enum": [ARGUMENT]}}},
}


def openai(model, *, stream=False, **more):
    """A Chat Completions request with contents wherever one has them."""
    function = {
        "name": "look",
        "description": DESCRIPTION,
        "parameters": {
            "type": "object",
            "properties": {"q": {"type": "string", "enum": [ARGUMENT]}},
            "required": ["q"],
        },
    }
    arguments = json.dumps({"q": ARGUMENT})
    return {
        "model": model,
        "stream": stream,
        "user": END_USER,
        "max_tokens": 50,
        "temperature": 0.5,
        "tools": [{"type": "function", "function": function}],
        "tool_choice": {"type": "function", "function": {"name": "look"}},
        "response_format": {"type": "json_schema", "json_schema": FORM},
        "messages": [
            {"role": "system", "content": SYSTEM},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": PROMPT},
                    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{IMAGE}"}},
                    {
                        "type": "file",
                        "file": {"filename": FILE, "file_data": "data:application/pdf;base64,aGk="},
                    },
                ],
            },
            {
                "role": "assistant",
                "content": EARLIER,
                "reasoning_content": THOUGHT,
                "tool_calls": [
                    {
                        "id": "call_1",
                        "type": "function",
                        "function": {"name": "look", "arguments": arguments},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": RESULT},
            {"role": "user", "content": PROMPT},
        ],
        **more,
    }


def anthropic(model, *, stream=False, **more):
    """A Messages request with contents wherever one has them."""
    image = {"type": "base64", "media_type": "image/png", "data": IMAGE}
    return {
        "model": model,
        "stream": stream,
        "max_tokens": 50,
        "metadata": {"user_id": END_USER},
        "system": [{"type": "text", "text": SYSTEM, "cache_control": {"type": "ephemeral"}}],
        "tools": [
            {
                "name": "look",
                "description": DESCRIPTION,
                "input_schema": {
                    "type": "object",
                    "properties": {"q": {"type": "string", "enum": [ARGUMENT]}},
                    "required": ["q"],
                },
            }
        ],
        "tool_choice": {"type": "tool", "name": "look", "disable_parallel_tool_use": True},
        "thinking": {"type": "disabled"},
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": PROMPT},
                    {"type": "image", "source": image},
                    {
                        "type": "document",
                        "title": FILE,
                        "source": {"type": "text", "media_type": "text/plain", "data": RESULT},
                    },
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": THOUGHT, "signature": SIGNATURE},
                    {"type": "text", "text": EARLIER},
                    {"type": "tool_use", "id": "t1", "name": "look", "input": {"q": ARGUMENT}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "t1", "content": RESULT},
                    {"type": "text", "text": PROMPT},
                ],
            },
        ],
        **more,
    }


def responses(model, *, stream=False, **more):
    """A Responses request with contents wherever one has them."""
    tool = {
        "type": "function",
        "name": "look",
        "description": DESCRIPTION,
        "parameters": {
            "type": "object",
            "properties": {"q": {"type": "string", "enum": [ARGUMENT]}},
            "required": ["q"],
        },
    }
    space = {"type": "namespace", "name": "far", "description": DESCRIPTION, "tools": [tool]}
    call = {"type": "function_call", "call_id": "call_1", "name": "look"}
    note = {"type": "custom_tool_call", "call_id": "call_2", "name": "note", "input": ARGUMENT}
    return {
        "model": model,
        "stream": stream,
        "store": False,
        "safety_identifier": END_USER,
        "metadata": {"who": END_USER},
        "max_output_tokens": 50,
        "temperature": 0.5,
        "instructions": SYSTEM,
        "tools": [tool, space, {"type": "custom", "name": "note", "description": DESCRIPTION}],
        "tool_choice": {"type": "function", "name": "look"},
        "text": {"format": {"type": "json_schema", **FORM}, "verbosity": "low"},
        "reasoning": {"effort": "none", "summary": "auto"},
        "include": ["reasoning.encrypted_content"],
        "prompt_cache_options": {"mode": "implicit"},
        "input": [
            {"role": "developer", "content": SYSTEM},
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": PROMPT},
                    {"type": "input_image", "image_url": f"data:image/png;base64,{IMAGE}"},
                    {
                        "type": "input_file",
                        "filename": FILE,
                        "file_data": "data:application/pdf;base64,aGk=",
                    },
                ],
            },
            {
                "type": "reasoning",
                "id": "rs_1",
                "summary": [{"type": "summary_text", "text": THOUGHT}],
                "encrypted_content": sealed("rs_1", THOUGHT),
            },
            {
                "type": "message",
                "id": "msg_1",
                "role": "assistant",
                "content": [{"type": "output_text", "text": EARLIER}],
            },
            {**call, "arguments": json.dumps({"q": ARGUMENT})},
            note,
            {"type": "function_call_output", "call_id": "call_1", "output": RESULT},
            {"type": "custom_tool_call_output", "call_id": "call_2", "output": RESULT},
            {"role": "user", "content": PROMPT},
        ],
        **more,
    }


REQUESTS = {"openai": openai, "anthropic": anthropic, "responses": responses}


class Parrot:
    """A backend of all dialects on a port of its own, in a thread. Whatever it is asked, its
    answer repeats the credential and the prompt; the model's name says in which form:

    ``status-N``  an error of the dialect
    ``text-N``    plain text
    ``html-N``    a page
    ``odd-N``     JSON of no known form
    ``moved``     a redirect
    ``no-http``   no HTTP at all
    ``first``     a stream that begins with an error event
    ``mid``       a stream that ends with one
    ``learn``     "Unsupported parameter: 'temperature'", and then an answer
    ``blame``     the credential as the name of an unsupported parameter
    """

    def __init__(self):
        self.heard = []
        """The credential of each request that had the prompt."""
        parrot = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                bearer = self.headers.get("authorization", "").removeprefix("Bearer ")
                key = self.headers.get("x-api-key") or bearer
                if PROMPT.encode() in body:
                    parrot.heard.append(key)
                parrot.answer(self, key, json.loads(body))

            def log_message(self, *_):
                pass

        class Server(ThreadingHTTPServer):
            request_queue_size = 256
            """All calls come at once; a connection above this would wait a second."""

            daemon_threads = True

            def handle_error(self, *_):
                """The broker cuts connections whenever it likes."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, handler, key, body):
        path = handler.path.partition("?")[0]
        dialect = next(name for name, each in PATHS.items() if path.startswith(each))
        how, _, status = body["model"].partition("-")
        words = f"{key} is no good for {PROMPT}: Bearer {key}, {quote(key, safe='')}"
        if how == "learn" and "temperature" not in body:
            self.say(handler, key, json.dumps(WHOLE[dialect]))
        elif how in ("learn", "blame"):
            name = "temperature" if how == "learn" else key
            told = error(dialect, f"Unsupported parameter: '{name}' {words}", key)
            self.say(handler, key, told, 400)
        elif how in ("first", "mid"):
            event = f"event: error\ndata: {error(dialect, words, key)}\n\n"
            begun = BEGUN[dialect] if how == "mid" else ""
            self.say(handler, key, begun + event, kind="text/event-stream")
        elif how == "no":
            handler.wfile.write(f"{words}\r\n\r\n".encode())
            handler.close_connection = True
        elif how == "moved":
            self.say(handler, key, words, 302, "text/plain")
        elif how in ("text", "html"):
            page = f"<html><body>{words}</body></html>" if how == "html" else words
            kind = "text/html" if how == "html" else "text/plain"
            self.say(handler, key, page, int(status), kind)
        elif how == "odd":
            odd = {"detail": [{"loc": ["body", key], "msg": words, "input": PROMPT}], key: key}
            self.say(handler, key, json.dumps(odd), int(status))
        else:
            self.say(handler, key, error(dialect, words, key), int(status))

    def say(self, handler, key, body, status=200, kind="application/json"):
        data = body.encode()
        handler.send_response(status, key)
        headers = {
            "content-type": kind,
            "content-length": str(len(data)),
            "location": f"http://127.0.0.1:1/{key}",
            "set-cookie": f"key={key}",
            "www-authenticate": f'Bearer realm="{key}"',
            "x-echo": key,
        }
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(data)


def error(dialect, words, key):
    """An error body that says too much in every one of its fields."""
    inner = {"message": words, "type": key, "code": key, "param": key, "details": {key: key}}
    if dialect == "anthropic":
        return json.dumps({"type": "error", "error": inner, "request_id": key})
    return json.dumps({"error": inner})


WHOLE = {
    "openai": {
        "id": "c1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": EARLIER},
                "finish_reason": "stop",
            }
        ],
    },
    "anthropic": {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "text", "text": EARLIER}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 1},
    },
    "responses": {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "status": "completed",
        "model": "m",
        "output": [
            {
                "id": "msg_1",
                "type": "message",
                "role": "assistant",
                "status": "completed",
                "content": [{"type": "output_text", "text": EARLIER, "annotations": []}],
            }
        ],
        "usage": {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2},
    },
}
R_EVENTS = (
    {"type": "response.created", "response": {"id": "resp_1", "status": "in_progress"}},
    {"type": "response.output_text.delta", "output_index": 0, "delta": EARLIER},
)
BEGUN = {
    "openai": O_EVENT.decode(),
    "anthropic": A_EVENT.decode(),
    "responses": "".join(
        f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in R_EVENTS
    ),
}
