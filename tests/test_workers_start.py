"""Between the parent's first listening and the readiness of its workers no call is lost."""

import json
import socket
import threading
import time

from running import PRACTICE_CONFIG

CALLERS = 64


def test_who_connects_while_the_workers_start_is_served(start_daemon):
    running = start_daemon(PRACTICE_CONFIG, arguments=["--workers", "2"])
    body = json.dumps({"model": "o", "messages": [{"role": "user", "content": "hi"}]}).encode()
    request = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
    request += b"content-length: %d\r\n\r\n" % len(body) + body
    answers, lost, over = [], [], threading.Event()

    def call():
        while not over.is_set():
            try:
                client = socket.create_connection(("127.0.0.1", running.port), 20)
            except ConnectionRefusedError:
                # Nobody listens yet.
                time.sleep(0.2)
                continue
            with client:
                try:
                    client.sendall(request)
                    with client.makefile("rb") as answer:
                        answers.append(answer.read()[:12])
                except OSError as error:
                    lost.append(repr(error))

    callers = [threading.Thread(target=call) for _ in range(CALLERS)]
    for caller in callers:
        caller.start()
    deadline = time.monotonic() + 20
    while len(answers) < 2 * CALLERS and time.monotonic() < deadline and not lost:
        time.sleep(0.02)
    over.set()
    for caller in callers:
        caller.join(30)
    assert lost == [] and len(answers) >= CALLERS
    assert set(answers) == {b"HTTP/1.1 200"}
    running.stop()
