"""Follows the chain by parent hash and says what happened, in order and without gaps: blocks applied, blocks
rolled back. Whoever persists a change before asking for the next one never misses an event, nor sees one twice."""

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass

from waypost.chain.blocks import BlockRef, Event
from waypost.chain.connection import Connection
from waypost.chain.contract import Contract


@dataclass(frozen=True, slots=True)
class Applied:
    """A block became part of the chain; `events` are those of the watched contracts, in order.
    During catch-up, blocks without events are left out."""

    block: BlockRef
    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class RolledBack:
    """All blocks above `to` are no longer part of the chain. `to` is None if nothing that was applied is."""

    to: BlockRef | None


Change = Applied | RolledBack


class Watcher:
    """`async for change in Watcher(...)`: a change counts as taken when the next one is asked for."""

    def __init__(
        self,
        connection: Connection,
        contracts: Sequence[Contract],
        start: int,
        known: Iterable[BlockRef] = (),
        *,
        confirmations: int = 0,
        poll_seconds: float = 1.0,
    ) -> None:
        """`start`: the first block of interest (the deployment's). `known`: recent applied blocks in ascending order,
        the last one being the cursor; empty at first."""

    def __aiter__(self) -> AsyncIterator[Change]:
        raise NotImplementedError
