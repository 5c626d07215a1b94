"""RlnMembership on the shared chain, members of it, and nodes that follow it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

from eth_typing import ChecksumAddress
from tests.services.node.books import IDENTITY
from tests.services.node.money_node import POLL, Clock, until
from tests.services.node.world import World, new_key

from waypost.chain import artifacts, proxy
from waypost.chain.blocks import TransactionReceipt
from waypost.chain.connection import Connection, connect
from waypost.chain.membership import MemberRecord, Membership, Registered
from waypost.chain.transactions import Sender
from waypost.node import blocks
from waypost.node.backends.sqlite import Database
from waypost.node.loops import Signal
from waypost.node.member_audit import MemberAudit
from waypost.node.member_log import MemberLog
from waypost.node.members import TABLE, Members
from waypost.node.rln_tree import RlnTree
from waypost.node.sync import Sync
from waypost.protocol.memberships import slash_hash
from waypost.protocol.merkle import MerkleTree
from waypost.protocol.rln import DEPTH, identity_commitment, leaf

PERIOD, WINDOW = 100_000, 7_200
ROOT_SECONDS = 1_800
RATE = 8


@dataclass
class Registry:
    """A membership contract of one test, and what its tree must be: a model by the test's own account."""

    world: World
    contract: Membership
    payer: Sender
    start: int
    leaves: dict[int, int] = field(default_factory=dict)

    @property
    def root(self) -> int:
        """By the model, from nothing."""
        tree = MerkleTree()
        tree.set(self.leaves)
        return tree.root

    async def register(
        self, secret: int, *, rate: int = RATE, home: ChecksumAddress | None = None, periods: int = 1
    ) -> MemberRecord:
        """One more member; its home node is its payer, if no other is named."""
        commitment = identity_commitment(secret)
        call = self.contract.register(commitment, rate, home or self.payer.address, periods)
        record = recorded(self.contract, await self.payer.send(call))
        self.leaves[record.index] = leaf(commitment, rate)
        return record

    async def exit(self, record: MemberRecord) -> None:
        """Its leaf becomes zero."""
        await self.payer.send(self.contract.exit(record))
        self.leaves[record.index] = 0

    async def slash(self, secret: int, record: MemberRecord) -> None:
        """The same, for everybody knows the secret."""
        salt = bytes(32)
        slash = slash_hash(secret, self.payer.address, salt)
        await self.payer.send(self.contract.commit_slash(slash))
        await self.world.mine(2)
        await self.payer.send(self.contract.slash(secret, self.payer.address, salt, record))
        self.leaves[record.index] = 0


def recorded(contract: Membership, receipt: TransactionReceipt) -> MemberRecord:
    """The record in a registration's receipt."""
    events = [contract.decode(log) for log in receipt.logs]
    return next(MemberRecord.of(event) for event in events if isinstance(event, Registered))


async def deploy_membership(world: World, *, period: int = PERIOD, window: int = WINDOW) -> Registry:
    """A contract that no other test has, and somebody who pays for members."""
    start = (await world.connection.head()).number + 1
    init = artifacts.load("RlnMembership").init_code((world.token.address, DEPTH, period, window, 10, 5))
    salt = new_key("membership")
    await world.faucet.send(proxy.create(init, salt, "RlnMembership"))
    contract = Membership(world.connection, proxy.address_of(init, salt))
    payer = await world.sender()
    await world.mint(payer.address, 10**9)
    await payer.send(world.token.approve(contract.address, 10**9))
    return Registry(world, contract, payer, start)


class RlnNode:
    """The RLN side of a node: everything but HTTP."""

    def __init__(
        self, registry: Registry, connection: Connection, db: Database, clock: Callable[[], int]
    ) -> None:
        self.registry, self.db, self.connection = registry, db, connection
        contract = Membership(connection, registry.contract.address)
        self.tree = RlnTree(DEPTH, ROOT_SECONDS)
        self.members = Members(db, self.tree, clock)
        self.sync = Sync(
            connection,
            db,
            [contract],
            [MemberLog(self.tree, clock)],
            clock,
            Signal(),
            start=registry.start,
            poll_seconds=POLL,
            max_head_age_seconds=600,
            name="rln_sync",
            table=TABLE,
        )
        self.audit = MemberAudit(contract, db, self.sync, seconds=POLL)

    @contextlib.asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """With its sync running."""
        task = asyncio.ensure_future(self.sync.run())
        try:
            yield
        finally:
            task.cancel()
            (end,) = await asyncio.gather(task, return_exceptions=True)
        if isinstance(end, BaseExceptionGroup):
            raise end.exceptions[0]

    async def catch_up(self) -> None:
        """Follows the chain to its head, and stops."""
        newest = await self.registry.world.connection.head()
        async with self.following():

            async def level() -> bool:
                found = await self.sync_head()
                return found == newest.hash

            await until(level)

    async def sync_head(self) -> bytes:
        """The hash of the newest block in the book."""
        found = await self.db.read(lambda connection: blocks.head(connection, TABLE))
        return b"" if found is None else found.hash

    async def root(self) -> int:
        """Of its tree."""
        return (await self.members.state()).root


@contextlib.asynccontextmanager
async def rln_node(
    registry: Registry,
    folder: Path,
    *,
    connection: Callable[[Connection], Connection] = lambda real: real,
    database: Callable[..., Database] = Database,
    clock: Callable[[], int] | None = None,
) -> AsyncIterator[RlnNode]:
    """A node on its folder."""
    async with await connect(registry.world.url) as real:
        db = database(folder, IDENTITY)
        try:
            yield RlnNode(registry, connection(real), db, clock or Clock())
        finally:
            await db.close()
