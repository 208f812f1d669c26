"""The options of the ``lmbroker`` command: one parser with a subparser for each subcommand.

The help, the manual page and the completions of shells are made from it.
"""

import argparse
from typing import Any, TypeAlias

from lmbroker import __version__
from lmbroker.capture.wanted import WISHES
from lmbroker.commands import (
    bench,
    capture,
    check,
    completion,
    explain,
    genkey,
    importing,
    init,
    limits,
    manual,
    replay,
    serve,
    translate,
    usage,
)
from lmbroker.config.models import MODES
from lmbroker.config.settings import MOST_WORKERS
from lmbroker.observers.usage_report import BY
from lmbroker.translation.dialects.catalog import ADAPTERS

EXAMPLES = "examples:"
"""The heading of examples at the end of a help."""

CONFIG_HELP = (
    "the configuration (default: the first of ./config.toml, ./etc/config.toml, "
    "$XDG_CONFIG_HOME/lmbroker/config.toml, /etc/lmbroker/config.toml)"
)


class _Help(argparse.HelpFormatter):
    """Wraps texts but for examples, whose lines stand as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if text.startswith(EXAMPLES) else super()._fill_text(text, width, indent)


class CommandParser(argparse.ArgumentParser):
    """A parser whose help ends with ``examples``: pairs of what one wants and how it is asked."""

    def __init__(self, *, examples: tuple[tuple[str, str], ...] = (), **more: Any) -> None:
        super().__init__(**more, formatter_class=_Help)
        self.examples = examples
        if examples:
            lines = [f"  {line}" for pair in examples for line in (f"# {pair[0]}", pair[1])]
            self.epilog = "\n".join((EXAMPLES, *lines))


Commands: TypeAlias = "argparse._SubParsersAction[CommandParser]"


def parser() -> CommandParser:
    """Return the parser of the whole command."""
    whole = CommandParser(
        prog="lmbroker",
        description="LMBroker: a broker between programs and their LLM providers.",
        examples=(
            ("write a configuration, then serve", "lmbroker init && lmbroker serve"),
            ("the options of a command", "lmbroker serve --help"),
        ),
    )
    whole.add_argument("--version", action="version", version=f"lmbroker {__version__}")
    commands = whole.add_subparsers(metavar="COMMAND", required=True, parser_class=CommandParser)
    for add in (
        _serve,
        _init,
        _import,
        _check,
        _explain,
        _bench,
        _usage,
        _limits,
        _capture,
        _replay,
        _genkey,
        _translate,
        _completion,
        _manual,
    ):
        add(commands)
    return whole


def _serve(commands: Commands) -> None:
    serving = commands.add_parser(
        "serve",
        help="run the broker",
        description="Run the broker in the foreground, until SIGTERM or Ctrl-C. It is the service "
        "of `twistd -n --pidfile= lmbroker`, with the same code.",
        examples=(
            ("the configuration of this folder", "lmbroker serve"),
            ("another one, on another port", "lmbroker serve --config my.toml --listen 9000"),
            ("four processes", "lmbroker serve --workers 4"),
        ),
    )
    _config(serving)
    serving.add_argument(
        "--workers",
        metavar="N",
        help=f"how many processes serve, 1 to {MOST_WORKERS} (default: server.workers)",
    )
    serving.add_argument(
        "--listen",
        metavar="WHERE",
        action="append",
        default=[],
        help="where to listen instead of where the configuration says: PORT, HOST:PORT or a "
        "Twisted endpoint string; may stand several times",
    )
    serving.set_defaults(run=serve.run)


def _init(commands: Commands) -> None:
    beginning = commands.add_parser(
        "init",
        help="write a configuration to begin with",
        description="Write a commented configuration, never over an existing file. Without an "
        "option that names a provider it asks at a terminal; elsewhere it writes models of the "
        "practice backend, which needs no key and no network.",
        examples=(
            ("answer questions", "lmbroker init"),
            ("OpenAI and local models of Ollama", "lmbroker init --openai --ollama"),
            ("Claude Code with its own login", "lmbroker init --claude-code"),
            ("the systemd unit", "lmbroker init --print lmbroker.service"),
        ),
    )
    beginning.add_argument(
        "--config",
        metavar="FILE",
        default=init.FILE,
        help=f"the file to write (default: {init.FILE})",
    )
    beginning.add_argument(
        "--openai", action="store_true", help="OpenAI's models, with the key in OPENAI_API_KEY"
    )
    beginning.add_argument(
        "--anthropic",
        action="store_true",
        help="Anthropic's models, with the key in ANTHROPIC_API_KEY",
    )
    beginning.add_argument(
        "--ollama",
        metavar="URL",
        nargs="?",
        const=init.OLLAMA,
        help=f"the models of an Ollama server (default: {init.OLLAMA})",
    )
    beginning.add_argument(
        "--claude-code",
        action="store_true",
        help="Anthropic's models for Claude Code, with the key or login that it sends itself",
    )
    beginning.add_argument(
        "--print",
        dest="printed",
        metavar="FILE",
        nargs="?",
        const=init.CONFIGURATION,
        choices=(init.CONFIGURATION, *init.SHIPPED),
        help="print instead of writing: the configuration (default), or a file that comes with "
        "LMBroker: " + ", ".join(init.SHIPPED),
    )
    beginning.set_defaults(run=init.run, usage_error=beginning.error)


def _import(commands: Commands) -> None:
    importing_from = commands.add_parser(
        "import",
        help="make a configuration of another program's",
        description="Make a configuration of one of LiteLLM's proxy (config.yaml) or of "
        "claude-code-router (config.json). Each key that could not be carried is named on stderr.",
        examples=(
            ("look at it first", "lmbroker import litellm config.yaml"),
            (
                "write it",
                "lmbroker import ccr ~/.claude-code-router/config.json --output config.toml",
            ),
        ),
    )
    importing_from.add_argument(
        "program", choices=tuple(importing.PROGRAMS), help="whose configuration it is"
    )
    importing_from.add_argument("file", metavar="FILE", help="the configuration to read")
    importing_from.add_argument(
        "--output",
        metavar="FILE",
        help="the file to write, never over an existing one; else stdout",
    )
    importing_from.set_defaults(run=importing.run)


def _check(commands: Commands) -> None:
    checking = commands.add_parser(
        "check",
        help="list every mistake of a configuration file",
        description="List every mistake of a configuration file, or show what it amounts to: "
        "where each alias leads, and where the broker listens.",
        examples=(("before a reload", "lmbroker check && kill -HUP PID"),),
    )
    _config(checking)
    checking.set_defaults(run=check.run)


def _explain(commands: Commands) -> None:
    dialects = tuple(ADAPTERS)
    explaining = commands.add_parser(
        "explain",
        help="show where a call would go",
        description="Show which targets a model name leads to and, for a request on stdin, what "
        "the first of them would get. Calls nobody.",
        examples=(
            ("the targets of an alias", "lmbroker explain --alias fast --no-request"),
            ("what a request becomes", "lmbroker explain --alias fast < request.json"),
            ("and a captured one", "lmbroker explain --captured captured/0001-req_1.jsonl"),
        ),
    )
    _config(explaining)
    explaining.add_argument(
        "--alias", metavar="NAME", help="the model's name that a client asks for"
    )
    explaining.add_argument(
        "--captured",
        metavar="FILE",
        help="a captured call, in the place of stdin, --alias and --from",
    )
    explaining.add_argument(
        "--from",
        dest="client",
        choices=dialects,
        default=dialects[0],
        help=f"the client's format (default: {dialects[0]})",
    )
    explaining.add_argument(
        "--caller",
        metavar="KEY",
        default="",
        help="the name of the client's key, for the limits that it meets (default: every key)",
    )
    explaining.add_argument(
        "--no-request", action="store_true", help="do not read a request from stdin"
    )
    explaining.set_defaults(run=explain.run, usage_error=explaining.error)


def _bench(commands: Commands) -> None:
    measuring = commands.add_parser(
        "bench",
        help="measure what the broker adds to a model's latency",
        description="Ask a model directly and through a broker in this process, in turns, and show "
        "how much longer the one takes than the other. Says first how many calls and tokens that "
        "takes.",
        examples=(("a model, 50 calls each way", "lmbroker bench --alias fast --calls 50"),),
    )
    _config(measuring)
    measuring.add_argument("--alias", metavar="NAME", required=True, help="the model to ask")
    measuring.add_argument(
        "--from", dest="client", choices=tuple(ADAPTERS), help="default: as the backend"
    )
    measuring.add_argument(
        "--calls", type=int, default=20, metavar="N", help="each way; default: 20"
    )
    measuring.add_argument(
        "--rate", type=float, default=1.0, metavar="R", help="calls a second; default: 1"
    )
    measuring.add_argument(
        "--stream",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="ask for streams (the default), or for whole answers",
    )
    measuring.set_defaults(run=bench.run, usage_error=measuring.error)


def _usage(commands: Commands) -> None:
    counting = commands.add_parser(
        "usage",
        help="show who used what",
        description="Show tokens and costs by caller, model or whatever else, from the usage "
        "journal (usage.file in the configuration). Hours and days are UTC.",
        examples=(
            ("the last week by caller", "lmbroker usage --since 7d --by caller"),
            ("each day of a month, for a spreadsheet", "lmbroker usage --by day --csv"),
        ),
    )
    _config(counting)
    counting.add_argument("--file", metavar="FILE", help="the journal, in the place of --config")
    counting.add_argument(
        "--since", metavar="SPAN", default="30d", help="24h, 7d, 4w; default: 30d"
    )
    counting.add_argument(
        "--by",
        metavar="A,B",
        default="caller,model",
        help=f"some of {','.join(BY)}; default: caller,model",
    )
    for name in ("csv", "json"):
        counting.add_argument(
            f"--{name}", dest="format", action="store_const", const=name, help=f"write {name}"
        )
    counting.set_defaults(run=usage.run, format="table", usage_error=counting.error)


def _limits(commands: Commands) -> None:
    showing = commands.add_parser(
        "limits",
        help="show what is left of the limits",
        description="Show what is left of each amount of [[limits.rules]], from the usage journal "
        "(usage.file in the configuration), as of the last second. What is in flight is known to "
        "the running broker only.",
        examples=(
            ("what all have left", "lmbroker limits"),
            ("what one key has left", "lmbroker limits --caller ann --json"),
        ),
    )
    _config(showing)
    showing.add_argument(
        "--caller", metavar="KEY", default="", help="the name of one key (default: every key)"
    )
    showing.add_argument("--json", action="store_true", help="as JSON")
    showing.set_defaults(run=limits.run)


def _capture(commands: Commands) -> None:
    capturing = commands.add_parser(
        "capture",
        help="keep the next calls of a running daemon, with their contents",
        description="Keep the next calls of an alias in files: the requests as they were received "
        "and sent, the answers as they came and went out. Credentials are taken out. The daemon "
        "needs server.control in its configuration.",
        examples=(
            ("the next five calls", "lmbroker capture --alias fast --out captured"),
            (
                "a call that fails, within an hour",
                "lmbroker capture --alias fast --outcome failed --calls 1 --for 1h --out captured",
            ),
        ),
    )
    _config(capturing)
    capturing.add_argument("--control", metavar="SOCKET", help="in the place of --config")
    capturing.add_argument(
        "--alias", metavar="NAME", required=True, help="calls for this alias, or for this name"
    )
    capturing.add_argument("--caller", metavar="NAME", help="calls with this key only")
    capturing.add_argument(
        "--outcome",
        choices=WISHES,
        default="any",
        help="calls that end so; failed: any end but complete; retried: after several attempts "
        "(default: any)",
    )
    capturing.add_argument(
        "--calls", type=int, default=5, metavar="N", help="so many calls (default: 5)"
    )
    capturing.add_argument(
        "--for", dest="span", default="60s", metavar="SPAN", help="60s, 5m, 1h (default: 60s)"
    )
    capturing.add_argument(
        "--megabytes", type=int, default=64, metavar="N", help="of all bodies (default: 64)"
    )
    capturing.add_argument(
        "--out", metavar="DIR", required=True, help="a folder that others cannot look into"
    )
    capturing.set_defaults(run=capture.run, usage_error=capturing.error)


def _replay(commands: Commands) -> None:
    replaying = commands.add_parser(
        "replay",
        help="run captured calls through the code of today",
        description="Make the requests and answers of captured calls anew, offline, and show what "
        "differs. The exit code is 0 where nothing does, 1 where something does, and 2 for what is "
        "no captured call.",
        examples=(("before an upgrade, with the new version", "lmbroker replay captured"),),
    )
    replaying.add_argument(
        "place", metavar="PLACE", nargs="+", help="a file of a captured call, or a folder of these"
    )
    replaying.set_defaults(run=replay.run)


def _genkey(commands: Commands) -> None:
    making = commands.add_parser(
        "genkey",
        help="make a key for a client, and its hash",
        description="Make a key for a client. The key goes to the client, its hash into [[keys]] "
        "of the configuration.",
    )
    making.set_defaults(run=genkey.run)


def _translate(commands: Commands) -> None:
    translating = commands.add_parser(
        "translate",
        help="translate what stands on stdin",
        description="Translate a request, a whole answer or a streamed one from stdin to stdout; "
        "what could not be carried over is named on stderr.",
        examples=(
            (
                "what an OpenAI backend would get of a client of Anthropic's API",
                "lmbroker translate --from anthropic --to openai < request.json",
            ),
            (
                "what the client of a captured call got of the answer",
                "lmbroker translate --captured captured/0001-req_1.jsonl --stream",
            ),
        ),
    )
    translating.add_argument(
        "--from", dest="source", choices=tuple(ADAPTERS), help="the format of stdin"
    )
    translating.add_argument(
        "--to", dest="goal", choices=tuple(ADAPTERS), help="the format of stdout"
    )
    translating.add_argument(
        "--captured",
        metavar="FILE",
        help="a captured call, in the place of stdin, --from and --model; --to only for another "
        "format than the backend's",
    )
    translating.add_argument(
        "--attempt",
        type=int,
        metavar="N",
        help="with --captured: which attempt (default: the last)",
    )
    what = translating.add_mutually_exclusive_group()
    for name, meaning in (
        ("request", "a client's request for a backend (default)"),
        ("response", "a backend's whole answer for a client"),
        ("stream", "a backend's event stream for a client"),
    ):
        what.add_argument(f"--{name}", dest="what", action="store_const", const=name, help=meaning)
    translating.add_argument("--model", metavar="NAME", help="the model's name in what comes out")
    _config(translating)
    translating.add_argument(
        "--alias", metavar="NAME", help="the alias whose model to translate for"
    )
    translating.add_argument("--mode", choices=MODES, help="what may be lost")
    translating.set_defaults(
        run=translate.run, what="request", route=None, usage_error=translating.error
    )


def _completion(commands: Commands) -> None:
    completing = commands.add_parser(
        "completion",
        help="print the completions of a shell",
        description="Print what lets a shell complete this command.",
        examples=(
            ("bash, in this shell", 'eval "$(lmbroker completion bash)"'),
            ("zsh, in this shell", 'eval "$(lmbroker completion zsh)"'),
            ("fish", "lmbroker completion fish > ~/.config/fish/completions/lmbroker.fish"),
        ),
    )
    completing.add_argument("shell", choices=tuple(completion.SHELLS))
    completing.set_defaults(run=lambda options: completion.run(options, parser()))


def _manual(commands: Commands) -> None:
    printing = commands.add_parser(
        "manual",
        help="print the manual page",
        description="Print the manual page, as man reads it.",
        examples=(("read it", "lmbroker manual | man -l -"),),
    )
    printing.set_defaults(run=lambda options: manual.run(parser()))


def _config(command: CommandParser) -> None:
    command.add_argument("--config", metavar="FILE", help=CONFIG_HELP)
