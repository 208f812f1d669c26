"""What limit rules cost each call, in this process: ``python -m bench.limits``.

CPU microseconds of admission and settlement together, by how many amounts meet a call. Each figure
is the best of many, with the garbage collector off.
"""

import gc
import json
import time

from twisted.internet.task import Clock

from lmbroker import envelope
from lmbroker.call import Call, Record
from lmbroker.config.config import Config, parse
from lmbroker.limiting.limiter import Limiter
from lmbroker.limiting.store import LocalStore
from lmbroker.routing.limit_ledger import Ledger
from lmbroker.usage import Usage

GOAL = 20.0
CALLS = 500
BEST_OF = 30
AMOUNTS = (
    'requests = "1G/min"',
    'parallel = 1000000\nrequests = "1G/min"',
    'tokens = "1G/min"\nrequests = "1G/min"',
    'cost = "1_000_000 USD/month"',
    'cost = "1_000_000 USD/month"\ntokens = "1G/day"\nrequests = "1G/min"\nparallel = 1000000',
)
MODEL = """
[[models]]
alias = "m"
type = "openai"
target = { url = "http://127.0.0.1:1" }
price = { input = 1, output = 2 }
"""
BODY = json.dumps(
    {"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "hello " * 80}]}
).encode()


def main() -> None:
    """Print the table."""
    gc.disable()
    print(f"µs for each call, by the amounts that meet it; at most {GOAL:g}")
    for dialect in ("openai", "anthropic"):
        for amounts in AMOUNTS:
            text = f'[[limits.rules]]\nname = "r"\nper = "caller"\n{amounts}\n{MODEL}'
            config = parse(text, name="bench", environ={}, read_file=str)
            names = ", ".join(line.partition(" ")[0] for line in amounts.splitlines())
            best = min(_us(config, dialect) for _ in range(BEST_OF))
            print(f"{dialect:10} {names:32} {best:6.1f}")


def _us(config: Config, dialect: str) -> float:
    """Return the mean CPU microseconds of a number of calls."""
    store = LocalStore(Ledger(), Clock(), time.time)
    limiter = Limiter(store, config.limit_rules, lambda target: target.price, time.time)
    route, fields = config.aliases["m"], envelope.read(BODY).fields
    pairs = []
    for number in range(CALLS):
        name = f"req_{number}"
        call = Call(id=name, operation="chat", dialect=dialect, asked="m", body=BODY, fields=fields)
        record = Record(id=name, operation="chat", dialect=dialect, opened_at=0.0)
        record.usage, record.cost = Usage(input=100, output=10), 100
        pairs.append((call, record))
    began = time.process_time()
    for call, record in pairs:
        try:
            limiter.admit(call, record, route, config.index).send(None)
        except StopIteration:
            record.reservation.settle(record)
    return (time.process_time() - began) / CALLS * 1e6


if __name__ == "__main__":
    main()
