"""Who reads along as messages are relayed: how many may, and what wakes them."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence

from waypost.errors import NodeNotReady, RateLimited

PROVED = ""
"""Stands for all topics' proved messages, which other nodes read; no topic is empty."""


class Subscriptions:
    """At most `capacity` subscribers, and `per_source` of one address."""

    def __init__(self, capacity: int, per_source: int) -> None:
        self._capacity, self._per_source = capacity, per_source
        self._sources: Counter[str] = Counter()
        self._waiting: dict[str, set[asyncio.Event]] = {}

    def __len__(self) -> int:
        return self._sources.total()

    @contextlib.contextmanager
    def seat(self, source: str) -> Iterator[None]:
        """A place for one subscriber. Raises NodeNotReady or RateLimited when there is none."""
        if len(self) >= self._capacity:
            raise NodeNotReady("The node has no place for another subscriber.", retryAfter=60)
        if self._sources[source] >= self._per_source:
            raise RateLimited(
                f"An address may have {self._per_source} subscriptions.",
                maximum=self._per_source,
                retryAfter=60,
            )
        self._sources[source] += 1
        try:
            yield
        finally:
            self._sources[source] -= 1
            self._sources += Counter()  # forgets addresses that have none

    @contextlib.contextmanager
    def listen(self, topics: Sequence[str]) -> Iterator[asyncio.Event]:
        """An event that is set whenever something is relayed on one of the topics."""
        event = asyncio.Event()
        for topic in topics:
            self._waiting.setdefault(topic, set()).add(event)
        try:
            yield event
        finally:
            for topic in topics:
                self._waiting[topic].discard(event)
                if not self._waiting[topic]:
                    del self._waiting[topic]

    def wake(self, topic: str) -> None:
        """Something was relayed there."""
        for event in self._waiting.get(topic, ()):
            event.set()
