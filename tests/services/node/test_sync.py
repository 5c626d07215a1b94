"""Following the chain: books and cursor move together, through restarts, faults and reorgs."""

import sqlite3
from collections.abc import Iterable

import pytest
from structlog.testing import capture_logs
from tests.services.node.money_node import POLL, Clock, MoneyNode, NodeKeys, open_node, until
from tests.services.node.world import PRICE, World

from waypost.chain.blocks import BlockRef, Event
from waypost.chain.connection import Connection
from waypost.errors import ChainStalled, ReorgTooDeep, RpcUnreachable, StorageFull
from waypost.node import blocks
from waypost.node.accounts import Status
from waypost.node.backends.sqlite import Database
from waypost.node.loops import Signal
from waypost.node.sync import Sync


class Stumbling:
    """A book that cannot take an event in, a number of times."""

    def __init__(self, times: int, error: Exception) -> None:
        self.times, self.error = times, error
        self.applied: list[int] = []

    def apply(self, connection: sqlite3.Connection, events: Iterable[Event], block: BlockRef) -> None:
        if list(events) and self.times:
            self.times -= 1
            raise self.error
        self.applied.append(block.number)

    def rollback(self, connection: sqlite3.Connection, to: BlockRef) -> None:
        self.applied = [number for number in self.applied if number <= to.number]


def sync_of(node: MoneyNode, *books: Stumbling, **options: object) -> Sync:
    settings = {"start": node.world.start, "poll_seconds": POLL, "max_head_age_seconds": 30}
    return Sync(
        node.connection,
        node.db,
        [node.channels],
        [node.ledger, node.openings, node.outbox, *books],
        node.clock,
        node.signal,
        **settings | options,  # type: ignore[arg-type]
    )


async def head(db: Database) -> int:
    found = await db.read(blocks.head)
    assert found is not None
    return found.number


async def test_a_restart_goes_on_where_the_cursor_was(world: World, keys: NodeKeys) -> None:
    client = await world.client(keys.payee)
    async with open_node(world, keys, wait_seconds=0) as node:
        await node.catch_up()
        before = await head(node.db)
        await node.open(client.request())
    await world.mine(3)
    async with open_node(world, keys) as node:
        assert await head(node.db) == before
        await node.catch_up()
        assert await head(node.db) == (await world.connection.head()).number
        assert (await node.books(client)).spent == PRICE


@pytest.mark.parametrize("error", [StorageFull(), ValueError("a defect")], ids=["disk full", "defect"])
async def test_a_failing_book_stops_the_cursor_and_skips_nothing(
    world: World, keys: NodeKeys, error: Exception
) -> None:
    client = await world.client(keys.payee)
    async with open_node(world, keys, wait_seconds=0) as node:
        await node.catch_up()
        before = await head(node.db)
        await node.open(client.request())
        await world.mine(2)
        book = Stumbling(3, error)
        node.sync = sync_of(node, book)
        with capture_logs() as logs:
            async with node.following():
                await until(lambda: node.sync.fault is not None)
                assert await head(node.db) == before
                assert await node.ledger.account(client.signer) is None  # all of the write was undone
                await until(lambda: node.sync.head == before + 3)
                await until(lambda: node.sync.fault is None)
        assert book.applied == [before + 1, before + 2, before + 3]
        assert (await node.books(client)).spent == PRICE
        # Said once for the three failures, and once when it was over.
        said = [entry["event"] for entry in logs if entry.get("task") == "sync"]
        assert said == ["task_failed", "task_recovered"]


async def test_a_reorg_is_followed_back_and_forth(world: World, keys: NodeKeys) -> None:
    clients = [await world.client(keys.payee) for _ in range(2)]
    await world.mine()
    async with open_node(world, keys, wait_seconds=0) as node:
        await node.catch_up()
        fork = await head(node.db)
        snapshot = await world.rpc("evm_snapshot")
        await node.open(clients[0].request())
        await world.mine(5)
        await node.catch_up()
        assert (await node.books(clients[0])).status is Status.OPEN
        await world.rpc("evm_revert", snapshot)
        await world.mine(7)
        await node.catch_up()
        assert (await node.books(clients[0])).status is Status.OPENING
        kept = await node.db.read(blocks.recent)
        for block in kept:
            found = await world.connection.block(block.number)
            assert found == block
        assert [block.number for block in kept][-7:] == [fork + n for n in range(1, 8)]


async def test_a_chain_that_was_replaced_is_an_error_not_a_reorg(world: World, keys: NodeKeys) -> None:
    async with open_node(world, keys) as node:
        alien = [BlockRef(number, bytes([number]) * 32, bytes(32), 0) for number in (1, 2, 3)]

        def advance(connection: sqlite3.Connection) -> None:
            for block in alien:
                blocks.advance(connection, block)

        await node.db.write(advance)
        async with node.following():
            await until(lambda: node.sync.fault == ReorgTooDeep.code)
            assert not node.sync.ready
        assert await node.db.read(blocks.recent) == alien


class Interrupted(Connection):
    """An endpoint that a test takes away."""

    def __init__(self, real: Connection) -> None:
        super().__init__(real.web3, real.host, real.chain_id)
        self.away = False

    async def head(self) -> BlockRef:
        if self.away:
            raise RpcUnreachable
        return await super().head()


async def test_ready_means_level_with_the_chain_a_moment_ago(world: World, keys: NodeKeys) -> None:
    clock = Clock()
    async with open_node(world, keys, connection=Interrupted, clock=clock) as node:
        node.sync = sync_of(node)
        connection = node.connection
        assert isinstance(connection, Interrupted)
        assert (node.sync.ready, node.sync.head_age) == (False, None)
        async with node.following():
            await until(lambda: node.sync.ready)
            connection.away = True
            await until(lambda: node.sync.fault == RpcUnreachable.code)
            assert node.sync.ready  # a short absence changes nothing
            newest = await world.connection.head()
            clock.shift += 31 + max(0, newest.timestamp - clock())  # other tests moved the chain's clock
            assert (node.sync.head_age or 0) >= 31
            await until(lambda: not node.sync.ready)
            connection.away = False
            await until(lambda: node.sync.ready)
            # It answers again; but by this clock its newest block is old.
            await until(lambda: node.sync.fault == ChainStalled.code)
            clock.shift = 0
            await until(lambda: node.sync.fault is None)


async def test_only_so_many_blocks_are_remembered(world: World, keys: NodeKeys) -> None:
    async with open_node(world, keys) as node:

        def advance(connection: sqlite3.Connection) -> list[int]:
            for number in range(blocks.KEPT + 10):
                blocks.advance(connection, BlockRef(number, number.to_bytes(32), bytes(32), 0))
            return [block.number for block in blocks.recent(connection)]

        assert await node.db.write(advance) == list(range(10, blocks.KEPT + 10))


async def test_a_signal_wakes_who_waits_now_and_not_who_came_later() -> None:
    signal = Signal()
    before = signal.next()
    signal.ring()
    assert before.is_set()
    assert not signal.next().is_set()
