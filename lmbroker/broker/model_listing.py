"""Lists the models for which clients may ask.

They are the aliases, and in the place of a pattern the models that its backends list and it fits.

A backend is asked when a client asks, at most once at a time, and not again while its list is
fresh. Whatever it answers is no error for the client: where it cannot say, its last list stands,
or none.
"""

from collections.abc import Mapping

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from lmbroker.backends.sending import Sender
from lmbroker.call import Caller, Target
from lmbroker.errors import AttemptFailed
from lmbroker.routing.aliases import ANY, Aliases, Route
from lmbroker.routing.keys import may_use
from lmbroker.workflows import model_list
from lmbroker.workflows.listed_limits import ListedLimits

SECONDS = 2.5
"""How long a backend may take to list its models: some clients wait for ours no longer than 3."""

FRESH_SECONDS = 300.0
"""The seconds for which a list is used."""

AGAIN_SECONDS = 30.0
"""The seconds after which a backend that did not list its models is asked again."""

LIST_BYTES = 4 * 1024 * 1024
"""The maximum of bytes of one page of a list."""

PAGES = 10
"""The maximum of pages of one list."""


class _Known:
    """The models of one backend as far as they are known.

    ``names`` is None before the first list.
    """

    __slots__ = ("asking", "fresh_until", "names", "silent", "target", "waiting")

    def __init__(self, target: Target) -> None:
        self.target = target
        self.names: tuple[str, ...] | None = None
        self.fresh_until: float | None = None
        self.asking = False
        self.waiting: list[Deferred[None]] = []
        self.silent = False


class Listing:
    """The models of one configuration."""

    log = Logger()

    def __init__(
        self,
        aliases: Aliases,
        backends: Sender,
        clock: IReactorTime,
        limits: ListedLimits | None = None,
    ) -> None:
        """Prepare to list models; ``limits`` learns what the lists say of them."""
        self._limits = ListedLimits() if limits is None else limits
        self._aliases = aliases
        self._backends = backends
        self._clock = clock
        self._known = {
            target.backend.name: _Known(target)
            for _, targets in model_list.patterns(aliases)
            for target in targets
            if not target.backend.clients_key
        }

    async def all(self, caller: Caller) -> Mapping[str, Route]:
        """Return every known name that ``caller`` may ask for, and where it leads."""
        waits = [self._fresh(known) for known in self._known.values()]
        for each in waits:
            if each is not None:
                await each
        lists = {
            name: known.names for name, known in self._known.items() if known.names is not None
        }
        return model_list.offered(self._aliases, lists, caller)

    async def one(self, caller: Caller, name: str) -> Route | None:
        """Return where ``name`` leads, None where ``all`` does not have it."""
        route = self._aliases.exact.get(name)
        if route is not None and not name.endswith(ANY):
            return route if may_use(caller, name) else None
        return (await self.all(caller)).get(name)

    def _fresh(self, known: _Known) -> "Deferred[None] | None":
        """Return a Deferred that fires when the backend's list is known, None where it is.

        It also fires where the backend failed to give one.
        """
        if known.fresh_until is not None and self._clock.seconds() < known.fresh_until:
            return None
        waiter: Deferred[None] = Deferred()
        known.waiting.append(waiter)
        if not known.asking:
            known.asking = True
            # No client owns this request: the one that asked first may leave.
            asking = Deferred.fromCoroutine(self._ask(known))
            asking.addErrback(lambda failure: self.log.failure("A list failed", failure))
        return waiter

    async def _ask(self, known: _Known) -> None:
        backend = known.target.backend.name
        fresh, silent = AGAIN_SECONDS, ""
        asking = Deferred.fromCoroutine(self._list(known.target))
        try:
            known.names = await asking.addTimeout(SECONDS, self._clock)
            fresh = FRESH_SECONDS
        except AttemptFailed as error:
            silent = error.info.label
        except TimeoutError:
            silent = "timeout"
        except ValueError as error:
            silent = str(error)
        finally:
            known.fresh_until = self._clock.seconds() + fresh
            known.asking = False
            waiting, known.waiting = known.waiting, []
            for waiter in waiting:
                if not waiter.called:
                    waiter.callback(None)
        if silent and not known.silent:
            self.log.info(
                "Backend {backend} does not list its models ({reason})",
                backend=backend,
                reason=silent,
            )
        known.silent = bool(silent)

    async def _list(self, target: Target) -> tuple[str, ...]:
        """Return the models that a target's backend lists. Raises AttemptFailed or ValueError.

        ValueError is for an answer that is no list.
        """
        dialect = target.backend.dialect
        found: dict[str, None] = {}
        after = ""
        for _ in range(PAGES):
            outbound = model_list.request(dialect, after)
            answer = await self._backends.get(target.backend, outbound, target.timeouts)
            body = await answer.body(LIST_BYTES)
            if answer.status != 200:
                raise ValueError(f"status {answer.status}")
            more = bool(after)
            names, after = model_list.decode(body, dialect)
            self._limits.learn(target.backend.name, body, more=more)
            found.update(dict.fromkeys(names))
            if not after or len(found) > model_list.MODELS_OF_A_BACKEND:
                break
        known = tuple(found)[: model_list.MODELS_OF_A_BACKEND]
        if after or len(found) > len(known):
            self.log.info(
                "Backend {backend} lists more models than the first {count}, which are known",
                backend=target.backend.name,
                count=len(known),
            )
        return known
