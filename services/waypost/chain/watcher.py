"""Follows the chain by parent hash and says what happened, in order and without gaps: blocks applied, blocks
rolled back. Whoever persists a change before asking for the next misses nothing and sees nothing twice."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass

import structlog

from waypost.chain.blocks import BlockRef, Event, Log
from waypost.chain.connection import Connection
from waypost.chain.contract import Contract
from waypost.errors import ReorgTooDeep, RpcFailed, RpcUnreachable

KEPT = 1_024
"""Blocks that are remembered; a reorg below the oldest of them is not followed."""
NEAR = 64
"""Blocks below the head that are read one by one, by hash; older ones are read in ranges. A machine that lags
answers for a range as if nothing had happened in what it does not have: none may lag by more than this."""
MAX_SPAN = 2_000
MAX_PAUSE = 30.0
BLOCKS_AT_ONCE = 16

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Applied:
    """A block became part of the chain; `events` are those of the watched contracts, in order.
    While catching up, blocks without events are left out."""

    block: BlockRef
    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class RolledBack:
    """All blocks above `to` are no longer part of the chain; `to` was applied before, and still is."""

    to: BlockRef


Change = Applied | RolledBack


class Watcher:
    """`async for change in watcher`, without end: a change counts as taken when the next one is asked for.
    After a failure in the loop's body, iterating again begins with the change that was not taken.

    Waits for endpoints that are away. Raises ReorgTooDeep if no known block is part of the chain any more.
    """

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
        """`start`: the first block that can hold an event. `known`: applied blocks in ascending order, the
        cursor last. Blocks with fewer than `confirmations` on top are not applied yet."""
        self._connection = connection
        self._contracts = {contract.address: contract for contract in contracts}
        self._start = start
        self._known = deque(known, maxlen=KEPT)
        self._confirmations = confirmations
        self._poll_seconds = poll_seconds
        self._span = MAX_SPAN
        self._found: deque[Change] = deque()

    async def __aiter__(self) -> AsyncIterator[Change]:
        pause = self._poll_seconds
        while True:
            try:
                if not self._found:
                    self._found.extend(await self._look())
            except (RpcUnreachable, RpcFailed) as error:
                log.warning("watching_interrupted", error=str(error), code=error.code, pause=pause)
                await asyncio.sleep(pause)
                pause = min(pause * 2, MAX_PAUSE)
                continue
            pause = self._poll_seconds
            if not self._found:
                await asyncio.sleep(pause)
                continue
            yield self._found[0]
            self._take(self._found.popleft())

    def _take(self, change: Change) -> None:
        if isinstance(change, Applied):
            self._known.append(change.block)
            return
        while self._known[-1] != change.to:
            self._known.pop()

    async def _look(self) -> Sequence[Change]:
        """The next changes, if there are any yet."""
        head = await self._connection.head()
        target = head.number - self._confirmations
        if not self._known:
            # An anchor below the first event: even a reorg of the deployment itself finds its way back.
            anchor = await self._connection.block(max(self._start - 1, 0))
            return [] if anchor is None or anchor.number > target else [Applied(anchor, ())]
        cursor = self._known[-1]
        if head.number <= cursor.number:
            return await self._compare(head)
        if target <= cursor.number:
            return []
        if head.number - cursor.number > NEAR:
            try:
                return await self._catch_up(cursor, min(target, head.number - NEAR))
            except RpcFailed:
                self._span = max(1, self._span // 2)  # the fewer requests, the likelier that all succeed
                raise
        return await self._follow(cursor)

    async def _compare(self, head: BlockRef) -> Sequence[Change]:
        """The chain is not longer than what was applied: a reorg if it differs, else the endpoint lags."""
        reference = next((block for block in reversed(self._known) if block.number <= head.number), None)
        if reference is None:
            return []
        found = head if reference.number == head.number else await self._canonical(reference.number)
        return [] if found.hash == reference.hash else [await self._roll_back(head)]

    async def _follow(self, cursor: BlockRef) -> Sequence[Change]:
        """The one block after the cursor."""
        block = await self._canonical(cursor.number + 1)
        if block.parent_hash != cursor.hash:
            return [await self._roll_back(block)]
        logs = await self._connection.logs_of(list(self._contracts), block.hash)
        if any(entry.block_hash != block.hash for entry in logs):
            raise RpcFailed(f"{self._connection.host} gave logs of another block than it was asked for.")
        return [Applied(block, self._decode(logs))]

    async def _catch_up(self, cursor: BlockRef, target: int) -> Sequence[Change]:
        """A range of old blocks: those with events, and the last one.

        Nothing of it is believed unless the last block is the same before and after: then all of it was said
        about one chain, to which the cursor belongs.
        """
        last = min(cursor.number + self._span, target)
        tip = await self._canonical(last)
        first = await self._canonical(cursor.number + 1)
        if first.parent_hash != cursor.hash:
            return [await self._roll_back(first)]
        try:
            logs = await self._connection.logs(list(self._contracts), first.number, last)
        except RpcFailed:
            # Endpoints limit how much one answer holds, each in its own words.
            if self._span == 1:
                raise
            self._span //= 2
            return []
        self._span = min(self._span * 2, MAX_SPAN)
        by_block: dict[int, list[Log]] = {last: []}
        for entry in logs:
            by_block.setdefault(entry.block_number, []).append(entry)
        blocks = {last: tip} | await self._blocks(sorted(by_block.keys() - {last}))
        changes = []
        for number in sorted(by_block):
            if any(entry.block_hash != blocks[number].hash for entry in by_block[number]):
                raise RpcFailed(f"{self._connection.host} gave logs that are not of block {number}.")
            changes.append(Applied(blocks[number], self._decode(by_block[number])))
        return changes if await self._canonical(last) == tip else []

    async def _roll_back(self, head: BlockRef) -> RolledBack:
        """To the newest known block that the chain still has: it has all below that, and none above."""
        known = [block for block in self._known if block.number <= head.number]
        low, high = 0, len(known)
        while low < high:
            middle = (low + high) // 2
            if (await self._canonical(known[middle].number)).hash == known[middle].hash:
                low = middle + 1
            else:
                high = middle
        if low == 0:
            oldest, name = self._known[0], "0x" + self._known[0].hash.hex()
            sentence = f"The chain no longer has block {oldest.number} ({name}), the oldest that is known."
            raise ReorgTooDeep(sentence, block=oldest.number, hash=name)
        return RolledBack(known[low - 1])

    async def _blocks(self, numbers: Sequence[int]) -> dict[int, BlockRef]:
        found: dict[int, BlockRef] = {}
        for start in range(0, len(numbers), BLOCKS_AT_ONCE):
            chunk = numbers[start : start + BLOCKS_AT_ONCE]
            blocks = await asyncio.gather(*(self._canonical(number) for number in chunk))
            found |= dict(zip(chunk, blocks, strict=True))
        return found

    async def _canonical(self, number: int) -> BlockRef:
        block = await self._connection.block(number)
        if block is None or block.number != number:
            raise RpcFailed(f"{self._connection.host} does not have block {number}, below its own head.")
        return block

    def _decode(self, logs: Iterable[Log]) -> tuple[Event, ...]:
        ours = [entry for entry in logs if entry.address in self._contracts]
        events = (self._contracts[entry.address].decode(entry) for entry in ours)
        return tuple(event for event in events if event is not None)
