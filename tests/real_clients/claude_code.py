"""Drive the real Claude Code through the broker, against twelve backends that refuse things.

``make test-claude-code`` installs the npm package below ``build/`` and runs this. For each backend
Claude Code gets one task in headless mode: read a picture, read a PDF, call an MCP tool without
arguments, run a command, and answer by a forced schema, at effort high with 32,000 output tokens.
The task must end with the schema's answer. Everything runs on loopback, and each run is bounded in
time.
"""

import argparse
import base64
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from refusing_backends import BACKENDS  # noqa: E402
from running import Daemon  # noqa: E402
from scripted_model import ANSWER, ScriptedModel  # noqa: E402

TASK_SECONDS = 120
"""How long one task may take."""

TASK = "Read the picture and the paper, list the inventory, say five, and give your verdict."
SCHEMA = {
    "type": "object",
    "properties": {"verdict": {"type": "string"}, "count": {"type": "integer"}},
    "required": ["verdict", "count"],
    "additionalProperties": False,
}
PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)


def paper() -> bytes:
    """A PDF of one empty page."""
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 200 200] >>",
    ]
    out, places = b"%PDF-1.4\n", []
    for number, text in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%b\nendobj\n" % (number, text)
    table = len(out)
    out += b"xref\n0 4\n0000000000 65535 f \n"
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    return out + b"trailer << /Size 4 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % table


def config(port: int) -> str:
    """The broker's configuration: an alias per backend."""
    text = 'log_level = "info"\n[server]\nhost = "127.0.0.1"\nport = PORT\n'
    for backend in BACKENDS:
        url = f"http://127.0.0.1:{port}/{backend.name}/v1"
        text += (
            f'[[models]]\nalias = "claude-{backend.name}"\ntype = "openai"\n'
            f'target = {{ url = "{url}", model = "{backend.model}" }}\n'
        )
    return text


def run(claude: str, daemon: Daemon, folder: Path, name: str) -> tuple[bool, str]:
    """One task at one backend: whether it ended well, and a line about it."""
    home = folder / f"home-{name}"
    home.mkdir()
    servers = {
        "mcpServers": {"lab": {"command": sys.executable, "args": [str(HERE / "mcp_server.py")]}}
    }
    keep = {key: os.environ[key] for key in ("PATH", "LANG", "TERM") if key in os.environ}
    started = time.monotonic()
    command = [
        claude,
        *("--print", "--output-format", "json", "--model", f"claude-{name}"),
        *("--effort", "high", "--json-schema", json.dumps(SCHEMA)),
        *("--mcp-config", json.dumps(servers), "--strict-mcp-config"),
        *("--allowedTools", "Read,Bash,mcp__lab__inventory,StructuredOutput"),
    ]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={
                **keep,
                "HOME": str(home),
                "ANTHROPIC_BASE_URL": daemon.url,
                "ANTHROPIC_API_KEY": "none",
                "CLAUDE_CODE_MAX_OUTPUT_TOKENS": "32000",
                "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
                "DISABLE_AUTOUPDATER": "1",
                "MCP_CONNECTION_NONBLOCKING": "0",
                "ENABLE_TOOL_SEARCH": "false",
            },
            input=TASK,
            capture_output=True,
            text=True,
            timeout=TASK_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return False, f"did not end within {TASK_SECONDS} s"
    seconds = time.monotonic() - started
    try:
        result = json.loads(done.stdout)
    except ValueError:
        return False, f"exit {done.returncode}: {(done.stdout or done.stderr)[:300]}"
    good = not result.get("is_error") and result.get("structured_output") == ANSWER
    told = f"{result.get('num_turns')} turns, {seconds:.1f} s"
    return good, told if good else f"{told}: {str(result.get('result'))[:300]}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--claude", required=True, help="the claude program")
    parser.add_argument("--only", default="", help="names of backends, with commas between them")
    options = parser.parse_args()
    wanted = options.only.split(",") if options.only else [backend.name for backend in BACKENDS]
    failed = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "picture.png").write_bytes(PICTURE)
        (folder / "paper.pdf").write_bytes(paper())
        model = ScriptedModel(str(folder))
        daemon = Daemon(folder, config(model.port)).wait()
        try:
            for each in wanted:
                good, told = run(str(Path(options.claude).resolve()), daemon, folder, each)
                failed += not good
                print(f"{'pass' if good else 'FAIL'}  {each:10} {told}", flush=True)
                print(
                    f"      {model.answered[each]} answers, {len(model.refused[each])} refusals",
                    flush=True,
                )
                if not good:
                    for refusal in model.refused[each][-4:]:
                        print(f"      refused: {refusal}", flush=True)
        finally:
            daemon.stop()
            model.close()
    print(f"{len(wanted) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
