"""Checks of backends: when one is made, what it says, and that there is never more than one. Over
a clock, with backends that answer when the test says so."""

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher

from lmbroker.broker.broker import Broker
from lmbroker.broker.health_checks import JITTER, SECONDS, Checks
from lmbroker.config.config import ConfigError, parse
from lmbroker.errors import ErrorInfo, Unreachable

CONFIG = """
[breaker]
failures = 3
[[backends]]
name = "checked"
type = "openai"
url = "http://checked"
check_interval = 20
[[backends]]
name = "left-alone"
type = "openai"
url = "http://left-alone"
[[models]]
alias = "m"
targets = [{ backend = "checked" }, { backend = "left-alone" }]
[[models]]
alias = "n-*"
targets = [{ backend = "checked", model = "*" }]
"""
REFUSED = Unreachable(ErrorInfo(kind="unreachable", message="", code="refused"))
TLS = Unreachable(ErrorInfo(kind="unreachable", message="", code="tls"), phase="tls")


class Answer:
    def __init__(self, status=200, **headers):
        self.status = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self.aborted = False

    def abort(self):
        self.aborted = True


class Network:
    """Backends that are asked, and wait for the test."""

    def __init__(self):
        self.asked = []
        self.left = 0

    async def get(self, backend, outbound, timeouts):
        assert (outbound.method, outbound.path) == ("GET", "/models")
        answer = Deferred()
        self.asked.append((backend.name, answer))
        try:
            return await answer
        except Exception as error:
            self.left += not isinstance(error, Unreachable)
            raise


class Watch:
    """A broker whose backends are checked, ``chance`` being always the same."""

    def __init__(self, config=CONFIG, chance=0.5):
        self.clock = Clock()
        self.network = Network()
        self.counted = []
        self.broker = Broker(read(config), self.network, (), self.clock, lambda: 1795000000.0)
        self.checks = Checks(
            self.broker, self.network, lambda *told: self.counted.append(told), lambda: chance
        )
        self.checks.start()

    def turn(self, *answers, seconds=20):
        """So many checks, one after the other, ``seconds`` apart, and how each ends."""
        for answer in answers:
            self.clock.advance(seconds)
            waiting = self.network.asked[-1][1]
            assert not waiting.called
            waiting.errback(answer) if isinstance(answer, Exception) else waiting.callback(answer)

    def timers(self):
        return len(self.clock.getDelayedCalls())

    @property
    def standings(self):
        health = self.broker._failovers.health
        return {(each.backend, each.model): each for each in health.snapshot(self.clock.seconds())}

    @property
    def states(self):
        return {each.state for name, each in self.standings.items() if name[0] == "checked"}


def read(text):
    return parse(text, name="test.toml", environ={}, read_file=lambda path: "")


@pytest.fixture
def lines():
    """What was logged by now, as (level, text)."""
    logged = []

    def observe(event):
        level = event["log_level"].name
        if event.get("log_namespace", "").startswith("lmbroker."):
            logged.append((level, event["log_format"].format(**event)))

    globalLogPublisher.addObserver(observe)
    yield logged
    globalLogPublisher.removeObserver(observe)


def test_none_unless_wanted():
    watch = Watch(CONFIG.replace("check_interval = 20", ""))
    watch.clock.advance(3600)
    assert (watch.network.asked, watch.timers()) == ([], 0)


def test_one_check_at_each_interval_whatever_number_of_targets():
    watch = Watch(chance=0.5)
    watch.clock.advance(9.9)
    assert watch.network.asked == []
    watch.turn(Answer(), seconds=0.1)
    for _ in range(5):
        watch.turn(Answer())
    assert [name for name, _ in watch.network.asked] == ["checked"] * 6
    assert watch.counted == [("checked", "ok")] * 6


@pytest.mark.parametrize(("chance", "interval"), [(0.0, 1 - JITTER), (0.999, 1 + JITTER)])
def test_intervals_differ_by_chance(chance, interval):
    watch = Watch(chance=chance)
    watch.turn(Answer(), seconds=20 * chance)
    watch.clock.advance(20 * interval - 0.1)
    assert len(watch.network.asked) == 1
    watch.clock.advance(0.1)
    assert len(watch.network.asked) == 2


def test_never_two_at_once():
    """Not where a check takes longer than the interval, and not after a reload."""
    watch = Watch(CONFIG.replace("= 20", "= 1"))
    watch.clock.advance(0.5)
    for _ in range(9):
        watch.clock.advance(SECONDS / 10)
    assert len(watch.network.asked) == 1
    watch.clock.advance(SECONDS / 10)
    assert (watch.network.left, watch.counted) == (1, [("checked", "timeout")])
    watch.clock.advance(1)
    assert len(watch.network.asked) == 2
    watch.checks.start()
    assert watch.network.left == 2
    watch.clock.advance(0.5)
    assert len(watch.network.asked) == 3


def test_the_end_leaves_nothing():
    watch = Watch()
    watch.clock.advance(10)
    watch.checks.stop()
    assert (watch.network.left, watch.timers(), watch.counted) == (1, 0, [])


def test_a_reload_takes_what_is_wanted_now():
    watch = Watch()
    watch.broker.config = read(CONFIG.replace("check_interval = 20", ""))
    watch.checks.start()
    watch.clock.advance(100)
    assert (watch.network.asked, watch.timers()) == ([], 0)


def test_failed_checks_open_all_breakers_of_the_backend_and_are_told_once(lines):
    watch = Watch()
    watch.turn(REFUSED, REFUSED)
    assert watch.states == {"closed"}
    watch.turn(Answer(503), REFUSED, REFUSED)
    assert watch.states == {"open"}
    assert ("left-alone", "m") not in watch.standings
    assert watch.counted[1:3] == [("checked", "refused"), ("checked", "status_503")]
    assert lines == [
        ("warn", "Backend checked fails its checks (refused)"),
        (
            "warn",
            "Backend checked model m: open (3 failures in a row, last check: status_503)",
        ),
        (
            "warn",
            "Backend checked model *: open (3 failures in a row, last check: status_503)",
        ),
    ]
    lines.clear()
    watch.turn(Answer(), Answer())
    assert lines == [("info", "Backend checked answers its checks again")]


def test_while_checks_fail_no_call_is_let_through_and_after_them_the_next_is():
    watch = Watch()
    watch.turn(*[REFUSED] * 3)
    for _ in range(10):
        watch.turn(REFUSED)
        assert watch.standings["checked", "m"].free_at == watch.clock.seconds() + 15
    watch.turn(Answer())
    assert watch.standings["checked", "m"].free_at <= watch.clock.seconds()
    assert watch.states == {"open"}, "a call has to show it"


@pytest.mark.parametrize("status", [200, 302, 400, 401, 402, 403, 429])
def test_who_answers_is_alive(status):
    watch = Watch()
    watch.turn(REFUSED, REFUSED, Answer(status), REFUSED, REFUSED)
    assert watch.states == {"closed"}


@pytest.mark.parametrize("status", [404, 405, 501])
def test_a_backend_that_cannot_be_checked_is_asked_once(status, lines):
    watch = Watch()
    watch.turn(Answer(status))
    watch.clock.advance(1000)
    assert len(watch.network.asked) == 1
    assert watch.counted == [("checked", "cannot")]
    assert lines == [("warn", f"Backend checked cannot be checked: it answers {status}")]


def test_the_list_itself_is_not_read():
    watch, answer = Watch(), Answer()
    watch.turn(answer)
    assert answer.aborted
    assert watch.counted == [("checked", "ok")]


def test_a_backend_says_when_to_come_back():
    watch = Watch()
    watch.turn(Answer(503, retry_after="100"))
    assert watch.standings["checked", "m"].free_at == watch.clock.seconds() + 100
    assert watch.states == {"closed"}
    watch.turn(Answer())
    assert watch.standings["checked", "m"].free_at == watch.clock.seconds() + 80


def test_a_certificate_that_does_not_fit_opens_at_once_and_until_it_fits():
    watch = Watch()
    watch.turn(TLS)
    assert watch.states == {"open"}
    assert watch.standings["checked", "m"].free_at == watch.clock.seconds() + 300
    watch.turn(Answer())
    assert watch.standings["checked", "m"].free_at <= watch.clock.seconds()


def test_an_interval_is_at_least_a_second():
    config = read(CONFIG)
    intervals = {each.backend.check_interval for each in config.aliases["m"].targets}
    assert intervals == {20, None}
    with pytest.raises(ConfigError, match=r"backends\[0\].check_interval: .* a number from 1 to"):
        read(CONFIG.replace("check_interval = 20", "check_interval = 0.5"))
