"""A call that has ended leaves nothing behind that only the garbage collector would find.

What is freed at once is memory that the next call gets while it is still in the processor's
cache, and a collection that has nothing to do does not hold up a stream.
"""

import json
import subprocess
import sys

import pytest
from ports import free_port

pytestmark = [pytest.mark.process, pytest.mark.sockets]

SCRIPT = """
import gc, http.client, json, sys
from lmbroker.daemon.reactor import install
install()
from twisted.internet import reactor
from twisted.internet.threads import blockingCallFromThread
from lmbroker.config.config import parse
from lmbroker.daemon.service import BrokerService, Surroundings
from lmbroker.observers.json_log import JSONLog

port, path, alias, stream = json.loads(sys.argv[1])
text = f'''
[server]
port = {port}
''' + "".join(f'''
[[models]]
alias = "{type}"
type = "{type}"
target = {{ url = "practice:", model = "echo" }}
''' for type in ("openai", "anthropic", "responses"))
config = parse(text, name="x", environ={}, read_file=lambda path: "")
log, around = JSONLog(sys.stderr, "error"), Surroundings(pace=0.0)
service = BrokerService(config, reactor, log, lambda: config, around)
service.privilegedStartService()
service.startService()
messages = [{"role": "user", "content": "hello"}]
asked = {"max_tokens": 9, "messages": messages}
if path.endswith("/responses"):
    asked = {"max_output_tokens": 16, "input": messages}
body = json.dumps({"model": alias, "stream": stream, **asked})

def calls(count):
    client = http.client.HTTPConnection("127.0.0.1", port)
    for _ in range(count):
        client.request("POST", path, body, {"content-type": "application/json"})
        answer = client.getresponse()
        assert answer.status == 200 and answer.read()
    client.close()

def watch():
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)

def look():
    gc.collect()
    gc.set_debug(0)
    print(json.dumps([type(each).__name__ for each in gc.garbage]), flush=True)

def play():
    try:
        calls(5)
        blockingCallFromThread(reactor, watch)
        calls(20)
        blockingCallFromThread(reactor, look)
    finally:
        reactor.callFromThread(reactor.stop)

reactor.callWhenRunning(reactor.callInThread, play)
reactor.run()
"""


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("alias", ["openai", "anthropic", "responses"])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses"])
def test_calls_leave_no_cycles(path, alias, stream):
    asked = json.dumps([free_port(), path, alias, stream])
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, asked], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    left = json.loads(done.stdout)
    # Connections that come and go may have some; calls may not.
    assert len(left) < 20, left
