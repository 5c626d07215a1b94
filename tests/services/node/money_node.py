"""The money side of a node, on a real chain and a real database: everything but HTTP and messages."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eth_typing import ChecksumAddress
from tests.services.node.world import PRICE, Client, World, new_key

from waypost.chain.channels import Channels, Claimed, Closed, Opened
from waypost.chain.connection import Connection, connect
from waypost.chain.transactions import Sender
from waypost.node.accounts import ChannelAccount
from waypost.node.audit import Audit
from waypost.node.backends.schema import Identity
from waypost.node.backends.sqlite import Database
from waypost.node.claims import Claimer
from waypost.node.closing import Closing
from waypost.node.ledger import Ledger
from waypost.node.loops import Signal
from waypost.node.opening_rules import OpeningRules, Request
from waypost.node.openings import OpeningResult, Openings
from waypost.node.outbox import Outbox
from waypost.node.settings import ClaimSettings
from waypost.node.submissions import Submissions
from waypost.node.sync import Sync
from waypost.protocol.prices import PriceList
from waypost.protocol.receipts import ReceiptVerifier
from waypost.protocol.signatures import address_of

EAGER = ClaimSettings(min_value=0, max_age_seconds=0, close_margin_seconds=0)
PATIENT = ClaimSettings(min_value=2**90, max_age_seconds=10**8, close_margin_seconds=0)
POLL = 0.02


@dataclass
class Clock:
    """The time of day, which a test can move."""

    shift: int = 0

    def __call__(self) -> int:
        return int(time.time()) + self.shift


def price_list(world: World, **prices: int) -> PriceList:
    """What the node under test asks."""
    defaults = {
        "store_per_kib_hour": 10,
        "fetch_per_kib": 5,
        "opening": PRICE,
        "min_receipt": 1,
        "min_deposit": 1_000_000,
    }
    return PriceList(token=world.token.address, valid_until=2**40, **defaults | prices)


@dataclass
class NodeKeys:
    """A node's accounts and folder: what outlives its process."""

    folder: Path
    gas_key: bytes = field(default_factory=lambda: new_key("gas"))
    payee_key: bytes = field(default_factory=lambda: new_key("payee"))

    @property
    def payee(self) -> ChecksumAddress:
        """Whom channels pay."""
        return address_of(self.payee_key)

    @property
    def gas_account(self) -> ChecksumAddress:
        """Who pays for gas."""
        return address_of(self.gas_key)


class MoneyNode:
    """The money side of a node: everything but HTTP and messages."""

    def __init__(
        self,
        world: World,
        keys: NodeKeys,
        connection: Connection,
        db: Database,
        *,
        clock: Clock | None = None,
        claim: ClaimSettings = EAGER,
        confirmations: int = 0,
        cap_per_hour: int = 100,
        wait_seconds: float = 20.0,
    ) -> None:
        self.world, self.keys, self.connection, self.db = world, keys, connection, db
        self.clock = clock or Clock()
        self.signal = Signal()
        self.channels = Channels(connection, world.channels.address)
        verifier = ReceiptVerifier(self.channels.domain(), keys.payee, world.token.address)
        self.ledger = Ledger(db, verifier, self.clock, confirmations=confirmations)
        self.outbox = Outbox(Sender(connection, keys.gas_key), db, self.clock, self.signal, poll_seconds=POLL)
        self.submissions = Submissions(
            self.outbox,
            db,
            self.clock,
            cap_per_hour=cap_per_hour,
            token_per_ether=claim.token_per_ether,
        )
        self.openings = Openings(
            self.channels,
            self.ledger,
            OpeningRules(verifier, self.channels.address, min_close_delay=2),
            self.submissions,
            db,
            self.signal,
            wait_seconds=wait_seconds,
        )
        self.claimer = Claimer(
            self.channels, self.ledger, self.outbox, db, self.clock, self.signal, claim, poll_seconds=POLL
        )
        self.closing = Closing(self.ledger, self.channels.domain(), keys.payee_key, self.clock)
        self.sync = Sync(
            connection,
            db,
            [self.channels],
            [self.ledger, self.openings, self.outbox],
            self.clock,
            self.signal,
            start=world.start,
            poll_seconds=POLL,
            max_head_age_seconds=600,
        )

        self.audit = Audit(self.channels, self.ledger, db, self.sync, seconds=POLL)

    @contextlib.asynccontextmanager
    async def running(self, *, claiming: bool = True) -> AsyncIterator["MoneyNode"]:
        """With its tasks, like a node's lifespan."""
        runs = [self.sync.run(), self.outbox.run(), self.audit.run()]
        runs += [self.claimer.run()] if claiming else []
        tasks = [asyncio.ensure_future(run) for run in runs]
        try:
            yield self
        finally:
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
        unexpected = [end for end in ends if not isinstance(end, asyncio.CancelledError)]
        assert not unexpected, unexpected

    @contextlib.asynccontextmanager
    async def following(self) -> AsyncIterator["asyncio.Future[None]"]:
        """With its sync alone."""
        task = asyncio.ensure_future(self.sync.run())
        try:
            yield task
        finally:
            task.cancel()
            (end,) = await asyncio.gather(task, return_exceptions=True)
        if isinstance(end, BaseExceptionGroup):
            raise end.exceptions[0]

    async def catch_up(self) -> None:
        """Follows the chain to its head, and stops."""
        head = (await self.world.connection.head()).number
        async with self.following() as task:
            await until(lambda: task.done() or self.sync.head >= head)

    async def serve(self, client: Client, paid: int, **terms: Any) -> None:
        """Opens the client's channel and takes a receipt of `paid` in all."""
        async with self.following():
            await self.open(client.request(**terms))
        await self.pay(client, paid)

    async def open(self, request: Request) -> OpeningResult:
        """What POST /v1/channels does."""
        parts = request.signed, request.authorization, request.receipt
        return await self.openings.submit(*parts, price_list(self.world))

    async def pay(self, client: Client, cumulative: int) -> None:
        """What POST /v1/receipts does."""
        await self.ledger.accept(client.signer, client.receipt(cumulative))

    async def books(self, client: Client) -> ChannelAccount:
        """The channel's account."""
        account = await self.ledger.account(client.signer)
        assert account is not None
        return account

    async def has_claimed(self, amount: int) -> None:
        """Waits until the books say so."""

        async def claimed() -> bool:
            return await self.claimed() == amount

        await until(claimed)

    async def claimed(self) -> int:
        """By its own books."""
        totals = await self.ledger.totals()
        return totals.claimed + totals.confirming


@contextlib.asynccontextmanager
async def open_node(
    world: World,
    keys: NodeKeys,
    *,
    connection: Callable[[Connection], Connection] = lambda real: real,
    database: Callable[..., Database] = Database,
    url: str = "",
    **options: Any,
) -> AsyncIterator[MoneyNode]:
    """A node on its folder; the wrappers, and what answers at `url`, stand between it and the world."""
    manifest = world.manifest
    identity = Identity(manifest.chain_id, manifest.channels, manifest.registry, manifest.token, keys.payee)
    async with await connect(url or world.url) as real:
        db = database(keys.folder, identity)
        try:
            yield MoneyNode(world, keys, connection(real), db, **options)
        finally:
            await db.close()


async def until(true: Callable[[], bool] | Callable[[], Awaitable[bool]], seconds: float = 30.0) -> None:
    """Waits for something that must happen; fails if it does not."""
    end = time.monotonic() + seconds
    while True:
        found = true()
        if found is True or (not isinstance(found, bool) and await found):
            return
        assert time.monotonic() < end, "it did not happen in time"
        await asyncio.sleep(POLL)


async def assert_books_agree(node: MoneyNode) -> None:
    """What the chain's events say was paid, what the payee has, and what the books call claimed are one
    number, in sum and for every channel."""
    world, payee = node.world, node.keys.payee
    paid: Counter[ChecksumAddress] = Counter()
    for event in await world.events(payee):
        if isinstance(event, Claimed):
            assert event.total == sum(amount for _, amount in event.entries)
            for signer, amount in event.entries:
                paid[signer] += amount
        elif isinstance(event, Closed):
            assert event.claimed >= paid[event.signer]
            paid[event.signer] = event.claimed
        elif isinstance(event, Opened):
            assert event.signer not in paid
            paid[event.signer] = 0
    assert await world.token.balance_of(payee) == paid.total() == await node.claimed()
    for signer, amount in paid.items():
        account = await node.ledger.account(signer)
        assert account is not None
        assert account.claimed == amount
