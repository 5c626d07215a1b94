"""Proofs that wait to be verified: in batches, fairly among those who send them, and with a price on invalid
ones. Memory and work are bounded whatever strangers send."""

import asyncio
import math
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NoReturn, Protocol

from waypost.errors import InvalidProof, NodeError, NodeNotReady, RateLimited
from waypost.node.limits import TokenBuckets
from waypost.node.proof_process import Job
from waypost.zk.proof import Proof
from waypost.zk.verifier import Public

BATCH = 32
"""Proofs that are verified at once."""
MAX_WAITING = 1024
"""Proofs that wait, of all sources together: a second's work."""
PEER = "peer:"
"""What the names of other nodes begin with; other sources are addresses of clients."""


class Judge(Protocol):
    """Verifies, see proof_process."""

    async def judge(self, together: Sequence[Job], apart: Sequence[Job]) -> list[bool]:
        """Whether each proof holds: those `together`, then those `apart`. Raises NodeNotReady."""

    async def close(self) -> None:
        """Nothing more is asked."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """What one source may have: `failures` invalid proofs at once, and `per_second` more with time;
    `waiting` proofs in the queue. `sources` are remembered."""

    failures: int
    per_second: float
    waiting: int
    sources: int


CLIENTS = Allowance(failures=8, per_second=0.1, waiting=32, sources=65_536)
PEERS = Allowance(failures=64, per_second=1.0, waiting=256, sources=1024)


class _Kind:
    """Sources that have the same allowance."""

    def __init__(self, allowance: Allowance, clock: Callable[[], float]) -> None:
        self.allowance = allowance
        self.failures = TokenBuckets(allowance.per_second, allowance.failures, allowance.sources, clock)


@dataclass(eq=False, slots=True)
class _Waiting:
    job: Job
    source: str
    verdict: asyncio.Future[bool] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Proofs:
    """The queue, served round robin over sources. `clock` gives monotonic seconds."""

    def __init__(
        self,
        judge: Judge,
        clock: Callable[[], float],
        *,
        clients: Allowance = CLIENTS,
        peers: Allowance = PEERS,
    ) -> None:
        self._judge = judge
        self._clients, self._peers = _Kind(clients, clock), _Kind(peers, clock)
        self._queues: OrderedDict[str, deque[_Waiting]] = (
            OrderedDict()
        )  # none is empty; the next in turn first
        self._count = 0
        self._more = asyncio.Event()
        self.verified = 0
        """Proofs that were looked at."""
        self.invalid = 0
        """Those of them that did not hold."""
        self.batches = 0
        """In which they were looked at."""

    def __len__(self) -> int:
        return self._count

    def admit(self, source: str) -> None:
        """Raises RateLimited while the source has used up its invalid proofs."""
        if seconds := self._kind(source).failures.wait(source):
            raise RateLimited("Too many invalid proofs came from here.", retryAfter=math.ceil(seconds))

    def refuse(self, source: str, sentence: str) -> NoReturn:
        """Raises InvalidProof, at the source's charge: no proof was needed to see it."""
        self._kind(source).failures.take(source)
        raise InvalidProof(sentence)

    async def verify(self, proof: Proof, public: Public, source: str) -> None:
        """Returns when the proof was found to hold. `public` are reduced.

        Raises InvalidProof, RateLimited when the source has used up its invalid proofs or has too many
        waiting, and NodeNotReady.
        """
        self.admit(source)
        waiting = _Waiting((proof, public), source)
        self._enter(waiting)
        if not await waiting.verdict:
            raise InvalidProof("The proof does not hold.")

    async def run(self) -> None:
        """Verifies until it is cancelled; who waits then is told."""
        try:
            while True:
                await self._more.wait()
                await self._verify_batch()
        finally:
            self._give_up()
            await self._judge.close()

    # ---- Steps ----

    def _enter(self, waiting: _Waiting) -> None:
        queue = self._queues.get(waiting.source, deque())
        if len(queue) >= self._kind(waiting.source).allowance.waiting:
            raise _busy()
        if self._count >= MAX_WAITING:
            self._make_room(len(queue))
        queue.append(waiting)
        self._queues[waiting.source] = queue
        self._count += 1
        self._more.set()

    def _make_room(self, length: int) -> None:
        """Whoever has most in the queue loses its last one, unless that is the newcomer itself."""
        source, longest = max(self._queues.items(), key=lambda item: len(item[1]))
        if len(longest) <= length + 1:
            raise _busy()
        dropped = longest.pop()
        self._count -= 1
        if not longest:
            del self._queues[source]
        if not dropped.verdict.done():
            dropped.verdict.set_exception(_busy())

    def _next_batch(self) -> tuple[list[_Waiting], list[_Waiting]]:
        """One of each source in turn. Those of sources that failed lately are checked apart and one at a
        time, so that they spoil no batch, and nobody is over its failures when it is looked at."""
        together: list[_Waiting] = []
        apart: list[_Waiting] = []
        taken: dict[str, int] = {}
        rested: list[tuple[str, deque[_Waiting]]] = []
        while self._queues and len(together) + len(apart) < BATCH:
            source, queue = self._queues.popitem(last=False)
            kind = self._kind(source)
            clean = kind.failures.is_full(source)
            if taken.get(source, 0) >= (kind.allowance.failures if clean else 1):
                rested.append((source, queue))
                continue
            waiting = queue.popleft()
            self._count -= 1
            if queue:
                self._queues[source] = queue
            if waiting.verdict.done():  # nobody waits for it any more
                continue
            try:
                self.admit(source)
            except RateLimited as error:
                waiting.verdict.set_exception(error)
                continue
            taken[source] = taken.get(source, 0) + 1
            (together if clean else apart).append(waiting)
        self._queues.update(rested)
        return together, apart

    async def _verify_batch(self) -> None:
        together, apart = self._next_batch()
        if not self._queues:
            self._more.clear()
        batch = [*together, *apart]
        if not batch:
            return
        try:
            verdicts = await self._judge.judge(*([each.job for each in jobs] for jobs in (together, apart)))
        except NodeError as error:
            for each in batch:  # one of them may have been the end of it
                self._kind(each.source).failures.take(each.source)
                if not each.verdict.done():
                    each.verdict.set_exception(error)
            return
        except BaseException:
            _tell_of_end(batch)
            raise
        self.batches += 1
        for each, holds in zip(batch, verdicts, strict=True):
            self.verified += 1
            if not holds:
                self.invalid += 1
                self._kind(each.source).failures.take(each.source)
            if not each.verdict.done():
                each.verdict.set_result(holds)

    def _give_up(self) -> None:
        for queue in self._queues.values():
            _tell_of_end(queue)
        self._queues.clear()
        self._count = 0

    def _kind(self, source: str) -> _Kind:
        return self._peers if source.startswith(PEER) else self._clients


def _tell_of_end(batch: Iterable[_Waiting]) -> None:
    for each in batch:
        if not each.verdict.done():
            each.verdict.set_exception(NodeNotReady("The node is stopping.", retryAfter=5))


def _busy() -> RateLimited:
    return RateLimited("Too many proofs wait to be verified.", retryAfter=1)
