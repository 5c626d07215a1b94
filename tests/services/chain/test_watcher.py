"""The watcher on a real chain: catch-up, following, reorgs, endpoints that fail, consumers that fail."""

import asyncio
from typing import Any

import pytest
from starlette.responses import Response
from tests.services.chain.endpoint import PASS, Endpoint, Fault, ask

from waypost.chain import watcher
from waypost.chain.blocks import BlockRef
from waypost.chain.channels import Channels, Claimed
from waypost.chain.connection import Connection, connect
from waypost.chain.embedded import EmbeddedChain
from waypost.chain.manifest import Manifest
from waypost.chain.transactions import Sender
from waypost.chain.watcher import Applied, Change, RolledBack, Watcher
from waypost.errors import ReorgTooDeep
from waypost.protocol.signatures import checksum

PAYEES = [checksum(number.to_bytes(20)) for number in range(0x1000, 0x1100)]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reads in ranges what is more than two blocks old, at most four at a time."""
    monkeypatch.setattr(watcher, "NEAR", 2)
    monkeypatch.setattr(watcher, "MAX_SPAN", 4)


class Scene:
    """A chain on which claims of nothing are the events: they need no channel and tell each other apart."""

    def __init__(self, chain: EmbeddedChain, sender: Sender, channels: Channels, manifest: Manifest) -> None:
        self.chain = chain
        self.sender = sender
        self.channels = channels
        self.manifest = manifest
        self.claims = 0

    def watch(self, known: list[BlockRef] | None = None, **options: Any) -> Watcher:
        start = self.manifest.start_block
        return Watcher(
            self.channels.connection, [self.channels], start, known or [], poll_seconds=0, **options
        )

    async def claim(self) -> str:
        """One block with one event; the payee that it names."""
        payee = PAYEES[self.claims]
        self.claims += 1
        await self.sender.send(self.channels.claim(payee, self.manifest.token, []))
        return payee

    async def mine(self, count: int = 1) -> None:
        for _ in range(count):
            await ask(self.chain.url, "evm_mine")

    async def snapshot(self) -> str:
        return str(await ask(self.chain.url, "evm_snapshot"))

    async def revert(self, snapshot: str) -> None:
        assert await ask(self.chain.url, "evm_revert", snapshot)


@pytest.fixture
def scene(chain: EmbeddedChain, sender: Sender, channels: Channels, manifest: Manifest) -> Scene:
    return Scene(chain, sender, channels, manifest)


class Books:
    """What a consumer persists: applied blocks, and whom the events in them named."""

    def __init__(self) -> None:
        self.blocks: list[BlockRef] = []
        self.named: list[tuple[int, str]] = []
        self.changes: list[Change] = []

    @property
    def payees(self) -> list[str]:
        return [payee for _, payee in self.named]

    def take(self, change: Change) -> None:
        self.changes.append(change)
        if isinstance(change, RolledBack):
            assert change.to in self.blocks[:-1]
            self.blocks = [block for block in self.blocks if block.number <= change.to.number]
            self.named = [entry for entry in self.named if entry[0] <= change.to.number]
            return
        assert not self.blocks or change.block.number > self.blocks[-1].number
        self.blocks.append(change.block)
        for event in change.events:
            assert isinstance(event, Claimed)
            assert event.block_hash == change.block.hash
            self.named.append((event.block_number, event.payee))

    async def follow(self, watching: Watcher, to: BlockRef) -> None:
        """Takes changes until the block `to` is applied."""
        async with asyncio.timeout(30):
            async for change in watching:
                self.take(change)
                if self.blocks[-1] == to:
                    return


async def test_catches_up_and_follows(scene: Scene, connection: Connection) -> None:
    before = [await scene.claim() for _ in range(3)]
    books = Books()
    await books.follow(scene.watch(), await connection.head())
    assert books.payees == before
    numbers = [block.number for block in books.blocks]
    assert numbers == list(range(scene.manifest.start_block - 1, numbers[-1] + 1))
    after = [await scene.claim() for _ in range(2)]
    await books.follow(scene.watch(books.blocks), await connection.head())
    assert books.payees == before + after


async def test_the_first_change_is_the_block_before_the_start(scene: Scene, connection: Connection) -> None:
    books = Books()
    anchor = await connection.block(scene.manifest.start_block - 1)
    assert anchor is not None
    await books.follow(scene.watch(), anchor)
    assert books.changes == [Applied(anchor, ())]


async def test_catching_up_skips_blocks_without_events(
    small: None, scene: Scene, connection: Connection
) -> None:
    named = []
    for gap in (1, 7, 0, 3):
        await scene.mine(gap)
        named.append(await scene.claim())
    await scene.mine(9)
    books = Books()
    head = await connection.head()
    await books.follow(scene.watch(), head)
    assert books.payees == named
    assert len(books.blocks) < head.number - scene.manifest.start_block


async def test_ranges_shrink_where_an_endpoint_answers_with_less(
    small: None, scene: Scene, endpoint: Endpoint, manifest: Manifest
) -> None:
    named = [await scene.claim() for _ in range(8)]
    await scene.mine(3)
    endpoint.behind = scene.chain.url
    widths: list[int] = []

    def limited(params: list[Any]) -> Any:
        if "fromBlock" in params[0]:
            widths.append(int(params[0]["toBlock"], 16) - int(params[0]["fromBlock"], 16) + 1)
            if widths[-1] > 1:
                raise Fault(-32005, "query returned more than 1 results")
        return PASS

    endpoint.answers["eth_getLogs"] = limited
    async with await connect(endpoint.url) as connection:
        books = Books()
        watching = Watcher(connection, [Channels(connection, manifest.channels)], 1, poll_seconds=0)
        await books.follow(watching, await connection.head())
    assert books.payees == named
    assert max(widths) == 4
    assert widths.count(1) >= 8


async def test_confirmations_hold_back_what_is_young(scene: Scene, connection: Connection) -> None:
    named = [await scene.claim() for _ in range(4)]
    head = await connection.head()
    deep = await connection.block(head.number - 2)
    assert deep is not None
    books = Books()
    async with asyncio.timeout(30):
        async for change in scene.watch(confirmations=2):
            books.take(change)
            if books.blocks[-1] == deep:
                break
    assert books.payees == named[:2]
    assert head not in books.blocks


# ---- Reorgs ----


@pytest.mark.parametrize("growth", [1, 3, 5], ids=["shorter", "equal", "longer"])
async def test_a_reorg_is_rolled_back_to_the_fork(scene: Scene, connection: Connection, growth: int) -> None:
    kept = await scene.claim()
    fork = await connection.head()
    snapshot = await scene.snapshot()
    for _ in range(3):
        await scene.claim()
    books = Books()
    await books.follow(scene.watch(), await connection.head())
    await scene.revert(snapshot)
    replaced = [await scene.claim() for _ in range(growth)]
    await books.follow(scene.watch(books.blocks), await connection.head())
    assert [change for change in books.changes if isinstance(change, RolledBack)] == [RolledBack(fork)]
    assert books.payees == [kept, *replaced]


async def test_a_reorg_while_catching_up(small: None, scene: Scene, connection: Connection) -> None:
    snapshot = await scene.snapshot()
    for _ in range(6):
        await scene.claim()
    books = Books()
    await books.follow(scene.watch(), await connection.head())
    await scene.revert(snapshot)
    named = []
    for _ in range(5):
        named.append(await scene.claim())
        await scene.mine(2)
    await books.follow(scene.watch(books.blocks), await connection.head())
    assert books.payees == named


async def test_a_reorg_of_the_first_block_of_interest(scene: Scene, connection: Connection) -> None:
    start = (await connection.head()).number + 1
    snapshot = await scene.snapshot()
    await scene.claim()
    books = Books()
    await books.follow(Watcher(connection, [scene.channels], start, poll_seconds=0), await connection.head())
    await scene.revert(snapshot)
    named = [await scene.claim() for _ in range(2)]
    again = Watcher(connection, [scene.channels], start, books.blocks, poll_seconds=0)
    await books.follow(again, await connection.head())
    assert books.payees == named


async def test_an_endpoint_that_lags_is_no_reorg(scene: Scene, endpoint: Endpoint) -> None:
    named = [await scene.claim() for _ in range(4)]
    endpoint.behind = scene.chain.url
    old = await ask(scene.chain.url, "eth_getBlockByNumber", "0x5", False)
    lagging = 0

    def lag(params: list[Any]) -> Any:
        nonlocal lagging
        if params[0] == "latest" and lagging:
            lagging -= 1
            return old
        return PASS

    endpoint.answers["eth_getBlockByNumber"] = lag
    async with await connect(endpoint.url) as connection:
        channels = Channels(connection, scene.channels.address)
        books = Books()
        start = scene.manifest.start_block
        await books.follow(Watcher(connection, [channels], start, poll_seconds=0), await connection.head())
        lagging = 3
        named.append(await scene.claim())
        lagging = 3
        later = await scene.channels.connection.head()
        await books.follow(Watcher(connection, [channels], start, books.blocks, poll_seconds=0), later)
    assert lagging == 0
    assert books.payees == named
    assert not any(isinstance(change, RolledBack) for change in books.changes)


async def test_a_reorg_below_everything_known_is_refused(scene: Scene, connection: Connection) -> None:
    snapshot = await scene.snapshot()
    for _ in range(4):
        await scene.claim()
    books = Books()
    await books.follow(scene.watch(), await connection.head())
    await scene.revert(snapshot)
    await scene.mine(6)
    with pytest.raises(ReorgTooDeep) as caught:
        await books.follow(scene.watch(books.blocks[-2:]), await connection.head())
    assert caught.value.details["block"] == books.blocks[-2].number


async def test_another_chain_is_refused(scene: Scene, connection: Connection) -> None:
    await scene.claim()
    books = Books()
    await books.follow(scene.watch(), await connection.head())
    async with EmbeddedChain() as other, await connect(other.url) as elsewhere:
        for _ in range(9):
            await ask(other.url, "evm_mine")
        channels = Channels(elsewhere, scene.channels.address)
        with pytest.raises(ReorgTooDeep):
            await books.follow(
                Watcher(elsewhere, [channels], 1, books.blocks, poll_seconds=0), await elsewhere.head()
            )


# ---- Failures ----


async def test_a_consumer_that_fails_gets_the_same_change_again(scene: Scene, connection: Connection) -> None:
    named = [await scene.claim() for _ in range(5)]
    head = await connection.head()
    watching, books, failures = scene.watch(), Books(), 0
    while not books.blocks or books.blocks[-1] != head:
        try:
            async for change in watching:
                if failures <= len(books.changes):
                    failures += 1
                    raise OSError("disk full")
                books.take(change)
                if books.blocks[-1] == head:
                    break
        except OSError:
            pass
    assert failures == len(books.changes)
    assert books.payees == named


async def test_faults_of_the_endpoint_change_nothing(small: None, scene: Scene, endpoint: Endpoint) -> None:
    named = []
    for _ in range(6):
        named.append(await scene.claim())
        await scene.mine()
    endpoint.behind = scene.chain.url
    asked = 0

    def sometimes(_: list[Any]) -> Any:
        nonlocal asked
        asked += 1
        if asked > 60:
            return PASS
        if asked % 3 == 0:
            raise Fault(-32000, "try again")
        if asked % 7 == 0:
            return None
        if asked % 11 == 0:
            return Response("<html>")
        return PASS

    async with await connect(endpoint.url) as connection:
        head = await connection.head()
        endpoint.answers |= dict.fromkeys(["eth_getBlockByNumber", "eth_getLogs"], sometimes)
        books = Books()
        channels = Channels(connection, scene.channels.address)
        await books.follow(Watcher(connection, [channels], 1, poll_seconds=0), head)
    assert books.payees == named
    assert asked > 20


@pytest.mark.parametrize("near", [0, 64], ids=["in a range", "by hash"])
async def test_logs_of_another_block_are_not_believed(
    monkeypatch: pytest.MonkeyPatch, scene: Scene, endpoint: Endpoint, near: int
) -> None:
    monkeypatch.setattr(watcher, "NEAR", near)
    snapshot = await scene.snapshot()
    await scene.claim()
    abandoned = await ask(scene.chain.url, "eth_getLogs", {})
    assert len(abandoned) == 1
    await scene.revert(snapshot)
    named = await scene.claim()
    endpoint.behind = scene.chain.url
    lies = iter([abandoned, abandoned])
    endpoint.answers["eth_getLogs"] = lambda _: next(lies, PASS)
    async with await connect(endpoint.url) as connection:
        books = Books()
        head = await connection.head()
        channels = Channels(connection, scene.channels.address)
        await books.follow(Watcher(connection, [channels], head.number, poll_seconds=0), head)
    assert next(lies, None) is None
    assert books.payees == [named]
