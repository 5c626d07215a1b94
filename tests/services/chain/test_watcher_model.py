"""The watcher against a model: a chain in memory that changes between any two requests; machines
that fail or lag; consumers that fail. Whatever happens, the books end up equal to the chain."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from waypost.chain import watcher
from waypost.chain.blocks import BlockRef, Event, Log
from waypost.chain.watcher import Applied, Change, RolledBack, Watcher
from waypost.errors import RpcFailed, RpcUnreachable

ADDRESS: Any = "0x" + "11" * 20
OTHER: Any = "0x" + "22" * 20
START = 3
MOST_LOGS = 20


@dataclass(frozen=True, slots=True)
class Grow:
    """So many blocks are added; each holds as many events as its number in `events` says."""

    events: list[int]


@dataclass(frozen=True, slots=True)
class Reorganise:
    """Up to `depth` blocks are replaced by others."""

    depth: int
    events: list[int]


@dataclass(frozen=True, slots=True)
class Fail:
    """The request at hand fails."""

    away: bool


@dataclass(frozen=True, slots=True)
class Lag:
    """The request at hand is answered by a machine that is some blocks behind."""

    by: int


Happening = Grow | Reorganise | Fail | Lag | None

events = st.lists(st.sampled_from([0, 0, 1, 2]), min_size=1, max_size=9)
reorgs = st.builds(Reorganise, st.integers(1, 12), events)
quiet = st.integers(0, 7).map(lambda length: [None] * length)
busy = st.one_of(
    st.builds(Grow, events), reorgs, reorgs, st.builds(Fail, st.booleans()), st.builds(Lag, st.integers(1, 5))
)
happenings = st.lists(st.tuples(quiet, busy), min_size=1, max_size=12).map(
    lambda turns: [happening for calm, sudden in turns for happening in (*calm, sudden)]
)


@dataclass
class Chain:
    """Stands in for a Connection. Before each request the next happening happens."""

    happenings: list[Happening]
    most_lag: int
    blocks: list[BlockRef] = field(default_factory=list)
    logs_by_hash: dict[bytes, tuple[Log, ...]] = field(default_factory=dict)
    host: str = "model"

    def __post_init__(self) -> None:
        self._serial = count(1)
        self._highest = 0
        self._grow([0] * START)

    async def head(self) -> BlockRef:
        return self._view()[-1]

    async def block(self, block: int) -> BlockRef | None:
        view = self._view()
        return view[block] if block < len(view) else None

    async def logs(self, addresses: Sequence[Any], first: int, last: int) -> tuple[Log, ...]:
        assert addresses == [ADDRESS]
        found = [log for block in self._view()[first : last + 1] for log in self.logs_by_hash[block.hash]]
        if last > first and len(found) > MOST_LOGS:
            raise RpcFailed("too many")
        return tuple(found)

    async def logs_of(self, addresses: Sequence[Any], block_hash: bytes) -> tuple[Log, ...]:
        if all(block.hash != block_hash for block in self._view()):
            raise RpcFailed("unknown block")
        return self.logs_by_hash[block_hash]

    def truth(self) -> list[tuple[bytes, int]]:
        return [
            (log.block_hash, log.index)
            for block in self.blocks[START:]
            for log in self.logs_by_hash[block.hash]
            if log.address == ADDRESS
        ]

    def _view(self) -> list[BlockRef]:
        happening = self.happenings.pop(0) if self.happenings else None
        match happening:
            case Grow(events=events):
                self._grow(events)
            case Reorganise(depth=depth, events=events):
                # Never below START, where the anchor is: that is refused, and tested elsewhere.
                del self.blocks[max(START, len(self.blocks) - depth) :]
                self._grow(events)
            case Fail(away=away):
                raise RpcUnreachable("away") if away else RpcFailed("busy")
            case Lag(by=by):
                return self.blocks[: max(START, self._highest - min(by, self.most_lag))]
        return self.blocks

    def _grow(self, events: list[int]) -> None:
        for amount in events:
            number = len(self.blocks)
            name = next(self._serial).to_bytes(32)
            parent = self.blocks[-1].hash if self.blocks else bytes(32)
            self.blocks.append(BlockRef(number, name, parent, number))
            self._highest = max(self._highest, len(self.blocks))
            self.logs_by_hash[name] = tuple(
                Log(ADDRESS if index % 2 == 0 else OTHER, (), b"", number, name, name, index)
                for index in range(amount * 2)
            )


class Contract:
    """Decodes every log of its address."""

    address = ADDRESS

    def decode(self, log: Log) -> Event:
        return Event(
            contract=log.address,
            block_number=log.block_number,
            block_hash=log.block_hash,
            transaction_hash=log.transaction_hash,
            log_index=log.index,
        )


@dataclass
class Books:
    """A consumer's books, kept as one would keep them on disk."""

    blocks: list[BlockRef] = field(default_factory=list)
    entries: list[Event] = field(default_factory=list)

    def take(self, change: Change) -> None:
        if isinstance(change, Applied):
            assert not self.blocks or change.block.number > self.blocks[-1].number
            assert all(entry.block_hash == change.block.hash for entry in change.events)
            self.blocks.append(change.block)
            self.entries.extend(change.events)
        else:
            assert isinstance(change, RolledBack)
            assert change.to in self.blocks[:-1]
            self.blocks = self.blocks[: self.blocks.index(change.to) + 1]
            self.entries = [entry for entry in self.entries if entry.block_number <= change.to.number]
        # At no moment is anything in the books twice.
        assert len({(entry.block_hash, entry.log_index) for entry in self.entries}) == len(self.entries)

    @property
    def facts(self) -> list[tuple[bytes, int]]:
        return [(entry.block_hash, entry.log_index) for entry in self.entries]


class Crash(Exception):
    """The consumer fails."""


async def consume(chain: Chain, confirmations: int, crashes: list[bool]) -> Books:
    """Follows the chain until nothing more happens and the books are level. A crash is a failure before a
    change was taken; every other one restarts the consumer from its books."""
    books = Books()
    watching = watch(chain, books, confirmations)
    seen = 0
    while True:
        try:
            async for change in watching:
                seen += 1
                if crashes and crashes.pop():
                    raise Crash
                books.take(change)
                level = len(chain.blocks) - 1 - confirmations
                if not chain.happenings and books.blocks[-1] == chain.blocks[max(level, START - 1)]:
                    return books
        except Crash:
            if seen % 2:
                watching = watch(chain, books, confirmations)


def watch(chain: Chain, books: Books, confirmations: int) -> Watcher:
    return Watcher(
        chain,  # type: ignore[arg-type]
        [Contract()],  # type: ignore[list-item]
        START,
        books.blocks,
        confirmations=confirmations,
        poll_seconds=0,
    )


@example([None, None, Grow([1, 1]), *[None] * 5, Grow([1] * 3), None, Reorganise(5, [1] * 6)], 0, [], [0], 0)
@example([Grow([1, 0, 0]), None, Grow([0, 0]), Reorganise(4, [0]), None, Lag(2)], 3, [], [0], 2)
@example([None, None, Grow([1] * 5), None, None, Lag(2)], 0, [], [0], 2)
@settings(max_examples=500)
@given(
    happenings=happenings,
    confirmations=st.integers(0, 3),
    crashes=st.lists(st.booleans(), max_size=12),
    ending=events,
    near=st.sampled_from([0, 0, 2, 64]),
)
def test_the_books_end_up_equal_to_the_chain(
    happenings: list[Happening],
    confirmations: int,
    crashes: list[bool],
    ending: list[int],
    near: int,
) -> None:
    # The last thing that happens is growth past every earlier height, as on every living chain.
    happened = [*happenings, Grow([0] * 130), Grow(ending)]
    # A machine that lags gives fewer logs and no error: the watcher relies on none lagging more than NEAR.
    chain = Chain(list(happened), near)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(watcher, "NEAR", near)
        patched.setattr(watcher, "MAX_SPAN", 16)
        patched.setattr(watcher, "MAX_PAUSE", 0)
        books = asyncio.run(asyncio.wait_for(consume(chain, confirmations, list(crashes)), 60))
    deep = {block.hash for block in chain.blocks[: len(chain.blocks) - confirmations]}
    assert books.facts == [fact for fact in chain.truth() if fact[0] in deep]
    numbers = {block.number: block for block in chain.blocks}
    assert all(numbers[block.number] == block for block in books.blocks)
