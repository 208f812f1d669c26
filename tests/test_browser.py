"""A page in a real browser calls the running broker from another origin, and reads a stream."""

import http.server
import json
import shutil
import subprocess
import threading

import pytest
from running import PRACTICE_CONFIG

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--virtual-time-budget=20000",
    "--dump-dom",
)
SECONDS = 60
PAGE = """<!doctype html><title>page</title><pre id="told">nothing</pre><script type="module">
const told = document.getElementById("told");
try {
  const answer = await fetch("%s/v1/chat/completions", {
    method: "POST",
    headers: {"content-type": "application/json", "authorization": "Bearer any"},
    body: JSON.stringify({
      model: "o", stream: true, messages: [{role: "user", content: "one two three four"}],
    }),
  });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "", reads = 0;
  for (;;) {
    const {done, value} = await reader.read();
    if (done) break;
    text += value;
    reads += 1;
  }
  const id = answer.headers.get("x-request-id");
  told.textContent = JSON.stringify({status: answer.status, id, reads, text});
} catch (error) {
  told.textContent = JSON.stringify({error: String(error)});
}
</script>"""

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="a browser is needed: Debian's package chromium"
)


@pytest.fixture
def page():
    """A server of one page on an origin of its own; ``text`` is to be set."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            raw = self.server.text.encode()
            self.send_response(200)
            self.send_header("content-type", "text/html; charset=utf-8")
            self.send_header("content-length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *_):
            """Nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.origin = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def shown(page, broker, tmp_path):
    """What the page shows once its script has ended."""
    page.text = PAGE % broker.url
    done = subprocess.run(
        [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", page.origin],
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    told = done.stdout.partition('<pre id="told">')[2].partition("</pre>")[0]
    return json.loads(told.replace("&gt;", ">").replace("&lt;", "<").replace("&amp;", "&"))


def test_a_page_of_a_configured_origin_reads_a_stream(page, start_daemon, tmp_path):
    allowed = f'[server]\ncors_origins = ["{page.origin}"]'
    # At full speed: the browser's virtual time does not wait for text that comes at a pace.
    config = PRACTICE_CONFIG.replace("[server]", allowed).replace('"echo"', '"long-4"', 1)
    broker = start_daemon(config).wait()
    told = shown(page, broker, tmp_path)
    assert told.get("status") == 200, told
    assert told["text"].endswith("data: [DONE]\n\n") and told["id"]


def test_a_page_of_any_other_origin_reads_nothing(page, start_daemon, tmp_path):
    broker = start_daemon(PRACTICE_CONFIG).wait()
    assert "Failed to fetch" in shown(page, broker, tmp_path)["error"]
