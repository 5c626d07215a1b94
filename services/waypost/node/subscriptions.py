"""Who reads along as messages are relayed: how many may, and what wakes them."""

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator, Sequence

from waypost.errors import NodeNotReady, RateLimited, RequestTimeout

PROVED = ""
"""Stands for all topics' proved messages, which other nodes read; no topic is empty."""
WAITING = 256
"""Connections that have not said yet what they want; one more ends the oldest."""
CONNECTIONS_OF_A_NODE = 2
"""So that one that lost its connection need not wait until that is noticed."""
CONNECTIONS_OF_A_PAYER = 8
"""Of one channel: some devices, each with its mailbox and a room or two."""


class Subscriptions:
    """At most `capacity` subscribers, and of them `per_source` of one address, or a few of one channel where
    delivery has a price; nodes of the registry have places of their own, which no stranger can take."""

    def __init__(self, capacity: int, per_source: int) -> None:
        self._capacity, self._per_source = capacity, per_source
        self._subscribers: Counter[str] = Counter()
        self._nodes: Counter[str] = Counter()
        self._waiting: deque[asyncio.Timeout] = deque()
        self._events: dict[str, set[asyncio.Event]] = {}

    def __len__(self) -> int:
        return self._subscribers.total() + self._nodes.total()

    @contextlib.asynccontextmanager
    async def patience(self, seconds: float) -> AsyncIterator[None]:
        """Time for the first frame: so much, or until too many others wait. Raises RequestTimeout."""
        try:
            async with asyncio.timeout(seconds) as limit:
                self._waiting.append(limit)
                try:
                    if len(self._waiting) > WAITING:
                        self._waiting.popleft().reschedule(asyncio.get_running_loop().time())
                    yield
                finally:
                    with contextlib.suppress(ValueError):
                        self._waiting.remove(limit)
        except TimeoutError:
            raise RequestTimeout(f"The first frame did not come within {seconds:g} s.") from None

    @contextlib.contextmanager
    def seat(self, source: str, payer: str | None) -> Iterator[None]:
        """A place for one subscriber, which counts for its channel where it pays, else for its address.
        Raises NodeNotReady or RateLimited when there is none."""
        if self._subscribers.total() >= self._capacity:
            raise NodeNotReady("The node has no place for another subscriber.", retryAfter=60)
        key, most = (source, self._per_source) if payer is None else (payer, CONNECTIONS_OF_A_PAYER)
        with _counted(self._subscribers, key, most):
            yield

    @contextlib.contextmanager
    def seat_of_node(self, operator: str) -> Iterator[None]:
        """A place for a node that has shown which one it is. Raises RateLimited."""
        with _counted(self._nodes, operator, CONNECTIONS_OF_A_NODE):
            yield

    @contextlib.contextmanager
    def listen(self, topics: Sequence[str]) -> Iterator[asyncio.Event]:
        """An event that is set whenever something is relayed on one of the topics."""
        event = asyncio.Event()
        for topic in topics:
            self._events.setdefault(topic, set()).add(event)
        try:
            yield event
        finally:
            for topic in topics:
                self._events[topic].discard(event)
                if not self._events[topic]:
                    del self._events[topic]

    def wake(self, topic: str) -> None:
        """Something was relayed there."""
        for event in self._events.get(topic, ()):
            event.set()


@contextlib.contextmanager
def _counted(counts: Counter[str], key: str, most: int) -> Iterator[None]:
    if counts[key] >= most:
        raise RateLimited(f"{most} subscriptions at the same time are allowed.", maximum=most, retryAfter=60)
    counts[key] += 1
    try:
        yield
    finally:
        counts[key] -= 1
        if not counts[key]:
            del counts[key]
