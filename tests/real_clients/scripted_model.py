"""The model behind the refusing backends: a task of five tools, played from the conversation.

It serves ``/NAME/v1/chat/completions`` for each backend and streams its answers. Which step comes
next follows from the number of tool results in the request, so that it needs no state of its own.
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from refusing_backends import BACKENDS, Backend

JSON = dict[str, Any]
ANSWER = {"verdict": "all read", "count": 5}
"""What the last tool, StructuredOutput, is called with."""


def steps(folder: str) -> list[tuple[str, JSON]]:
    """The tools that the task calls, in order, with their arguments."""
    return [
        ("Read", {"file_path": f"{folder}/picture.png"}),
        ("Read", {"file_path": f"{folder}/paper.pdf"}),
        ("mcp__lab__inventory", {}),
        ("Bash", {"command": "echo five", "description": "Say five"}),
        ("StructuredOutput", ANSWER),
    ]


class ScriptedModel:
    """An HTTP server with all backends; ``refused`` counts their refusals by name."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.refused: dict[str, list[str]] = {backend.name: [] for backend in BACKENDS}
        self.answered: dict[str, int] = dict.fromkeys(self.refused, 0)
        by_name = {backend.name: backend for backend in BACKENDS}
        model = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                backend = by_name[self.path.split("/")[1]]
                if not self.path.endswith("/chat/completions"):
                    self._json(404, {"error": {"message": "Not Found"}})
                    return
                refusal = backend.refuse(body)
                if refusal is not None:
                    model.refused[backend.name].append(json.dumps(refusal[1])[:160])
                    self._json(*refusal)
                    return
                model.answered[backend.name] += 1
                self._play(backend, body)

            def do_GET(self) -> None:
                self._json(404, {"error": {"message": "Not Found"}})

            def log_message(self, *_: object) -> None:
                """Nothing."""

            def _json(self, status: int, value: JSON) -> None:
                raw = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def _play(self, backend: Backend, body: JSON) -> None:
                deltas, finish = model.answer(backend, body)
                if not body.get("stream"):
                    message: JSON = {"role": "assistant", "content": None}
                    for delta in deltas:
                        message.update(delta)
                    choice = {"index": 0, "message": message, "finish_reason": finish}
                    usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
                    self._json(200, {"id": "c", "choices": [choice], "usage": usage})
                    return
                self.send_response(200)
                self.send_header("content-type", "text/event-stream")
                self.send_header("connection", "close")
                self.end_headers()
                chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
                for delta in deltas:
                    choice = {"index": 0, "delta": delta, "finish_reason": None}
                    self._event({**chunk, "choices": [choice]})
                self._event(
                    {**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}
                )
                self.wfile.write(b"data: [DONE]\n\n")
                self.close_connection = True

            def _event(self, value: JSON) -> None:
                self.wfile.write(b"data: " + json.dumps(value).encode() + b"\n\n")

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, backend: Backend, body: JSON) -> tuple[list[JSON], str]:
        """The deltas of the next answer, and its finish reason."""
        offered = {tool["function"]["name"] for tool in body.get("tools", [])}
        done = sum(message["role"] == "tool" for message in body["messages"])
        plan = steps(self.folder)
        if done >= len(plan) or plan[done][0] not in offered:
            return [{"content": json.dumps({"title": "A task", **ANSWER})}], "stop"
        name, arguments = plan[done]
        call = {
            "index": 0,
            "id": f"call_{done}",
            "type": "function",
            "function": {"name": name, "arguments": json.dumps(arguments)},
        }
        deltas: list[JSON] = [{"role": "assistant"}]
        if backend.reasoning:
            deltas.append({backend.reasoning: f"Step {done} comes next."})
        return [*deltas, {"tool_calls": [call]}], "tool_calls"
