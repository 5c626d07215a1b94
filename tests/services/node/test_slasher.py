"""Slashing on a real chain: the stake is burned and rewarded to the unit, once, whatever happens between."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.services.node.faults import Fuse, PowerCut
from tests.services.node.membership import RATE, Registry, RlnNode, deploy_membership
from tests.services.node.money_node import POLL, MoneyNode, NodeKeys, open_node, until
from tests.services.node.world import Deployed, World, deployed_chain, new_key

from waypost.chain.membership import REVEAL_BLOCKS, MemberRecord, Membership, SlashCommitted, Slashed
from waypost.node import exposures
from waypost.node.exposures import Slashes
from waypost.node.loops import Signal
from waypost.node.slasher import LAST_BLOCKS, RETRY_SECONDS, Slasher
from waypost.protocol.poseidon import R
from waypost.protocol.signatures import checksum

STAKE = 10 * RATE
FEE = 5 * RATE
BURN = checksum(bytes(18) + b"\xde\xad")
ETHER_PRICE = 10**15
"""Base units for one ETH at which no slash of these tests pays its gas."""


@pytest.fixture(scope="module")
def deployed() -> Iterator[Deployed]:
    """A chain of its own, since its time is moved."""
    with deployed_chain() as chain:
        yield chain


@dataclass
class SlashingNode:
    """The sides of a node that slash, on one database."""

    money: MoneyNode
    rln: RlnNode
    slasher: Slasher

    async def expose(self, secret: int) -> None:
        """It has seen two shares of this member."""
        clock = self.money.clock
        await self.money.db.write(lambda connection: exposures.enter(connection, secret, clock()))

    async def follow(self) -> None:
        """Both books are level with the chain, and the outbox has looked."""
        await self.money.catch_up()
        await self.rln.catch_up()
        await self.money.outbox.follow()

    async def round(self) -> None:
        """As time passes: a block, the books, a step."""
        await self.money.world.mine()
        await self.follow()
        await self.slasher.step()

    async def slashes(self) -> Slashes:
        return await self.slasher.slashes()

    async def slash(self, rounds: int = 8) -> None:
        """Until nothing can be slashed any more."""
        for _ in range(rounds):
            await self.round()
            if not await self.money.db.read(exposures.open_exposures):
                return
        raise AssertionError("the slash did not happen")


@pytest.fixture
async def registry(world: World) -> Registry:
    return await deploy_membership(world)


@contextlib.asynccontextmanager
async def slashing(
    registry: Registry, keys: NodeKeys, *, price: int = 0, below_cost: bool = False, **options: Any
) -> AsyncIterator[SlashingNode]:
    async with open_node(registry.world, keys, **options) as money:
        rln = RlnNode(registry, money.connection, money.db, money.clock)
        slasher = Slasher(
            Membership(money.connection, registry.contract.address),
            money.outbox,
            money.db,
            money.clock,
            Signal(),
            receiver=keys.payee,
            token_per_ether=price,
            below_cost=below_cost,
            poll_seconds=POLL,
        )
        yield SlashingNode(money, rln, slasher)


@pytest.fixture
async def node(registry: Registry, keys: NodeKeys) -> AsyncIterator[SlashingNode]:
    async with slashing(registry, keys) as node:
        yield node


async def other_keys(world: World, folder: Path) -> NodeKeys:
    keys = NodeKeys(folder)
    await world.fund(keys.gas_account)
    return keys


async def events(registry: Registry) -> list[Any]:
    head = await registry.world.connection.head()
    logs = await registry.world.connection.logs([registry.contract.address], registry.start, head.number)
    return [registry.contract.decode(log) for log in logs]


async def count(registry: Registry, kind: type) -> int:
    return sum(isinstance(event, kind) for event in await events(registry))


async def secret_member(registry: Registry, **terms: Any) -> tuple[int, MemberRecord]:
    secret = int.from_bytes(new_key("secret")) % R
    return secret, await registry.register(secret, **terms)


async def gas_used(world: World, keys: NodeKeys) -> int:
    return await world.connection.nonce(keys.gas_account)


async def test_a_spammers_stake_is_slashed_burned_and_rewarded_exactly(
    registry: Registry, node: SlashingNode, keys: NodeKeys
) -> None:
    world = registry.world
    secret, record = await secret_member(registry)
    assert await registry.contract.total() == STAKE + FEE
    burned = await world.token.balance_of(BURN)
    owner = await world.token.balance_of(record.owner)
    await node.follow()
    await node.expose(secret)
    assert await node.slashes() == Slashes(1, 0, 0, 0, 0)
    await node.slash()
    (slashed,) = [event for event in await events(registry) if isinstance(event, Slashed)]
    assert (slashed.id_commitment, slashed.receiver) == (record.id_commitment, keys.payee)
    assert (slashed.reward, slashed.secret) == (STAKE // 5, secret)
    assert slashed.burned == STAKE - STAKE // 5 + FEE  # of which nothing has streamed in these seconds
    assert await world.token.balance_of(keys.payee) == STAKE // 5
    assert await world.token.balance_of(BURN) - burned == slashed.burned
    assert await world.token.balance_of(record.owner) == owner
    assert await registry.contract.total() == 0
    assert await node.slashes() == Slashes(1, 1, 1, 0, STAKE // 5)
    assert await gas_used(world, keys) == 2
    await node.round()
    assert await gas_used(world, keys) == 2, "nothing more is sent"


async def test_two_nodes_race_for_one_slash(registry: Registry, node: SlashingNode, tmp_path: Path) -> None:
    world, (secret, _) = registry.world, await secret_member(registry)
    keys = await other_keys(world, tmp_path / "other")
    async with slashing(registry, keys) as other:
        for each in (node, other):
            await each.follow()
            await each.expose(secret)
        for _ in range(8):
            await world.mine()
            for each in (node, other):
                await each.follow()
            for each in (node, other):
                await each.slasher.step()
        assert await count(registry, Slashed) == 1
        results = [await each.slashes() for each in (node, other)]
        assert sorted((each.won, each.lost, each.reward) for each in results) == [
            (0, 1, 0),
            (1, 0, STAKE // 5),
        ]
        # The loser has committed, seen in a rehearsal that it lost, and revealed nothing.
        used = [await gas_used(world, each.money.keys) for each in (node, other)]
        assert sorted(used) == [1, 2]
        assert not await other.money.db.read(exposures.open_exposures)


async def test_two_reveals_in_one_block_end_cleanly(
    registry: Registry, node: SlashingNode, tmp_path: Path
) -> None:
    world, (secret, _) = registry.world, await secret_member(registry)
    keys = await other_keys(world, tmp_path / "other")
    async with slashing(registry, keys) as other:
        for each in (node, other):
            await each.follow()
            await each.expose(secret)
            await each.slasher.step()
        await world.mine(3)
        for each in (node, other):
            await each.follow()
        async with world.mining_by_hand():
            for each in (node, other):
                await each.slasher.step()
            await world.mine()
        assert await count(registry, Slashed) == 1
        for _ in range(2):
            for each in (node, other):
                await each.round()
        results = [await each.slashes() for each in (node, other)]
        assert sorted((each.won, each.lost) for each in results) == [(0, 1), (1, 0)]
        assert [await gas_used(world, each.money.keys) for each in (node, other)] == [2, 2]


async def test_who_is_slashed_already_costs_no_gas(
    registry: Registry, node: SlashingNode, keys: NodeKeys
) -> None:
    secret, record = await secret_member(registry)
    await node.follow()
    await node.expose(secret)
    await registry.slash(secret, record)
    await node.slasher.step()  # its books do not know yet: it asks the chain
    assert await gas_used(registry.world, keys) == 0
    await node.round()
    assert await node.slashes() == Slashes(1, 0, 0, 1, 0)


async def test_who_has_left_is_slashed_and_who_was_withdrawn_is_not(
    registry: Registry, node: SlashingNode, keys: NodeKeys
) -> None:
    secret, record = await secret_member(registry)
    await registry.exit(record)
    await node.follow()
    await node.expose(secret)
    await node.slash()
    assert await node.slashes() == Slashes(1, 1, 1, 0, STAKE // 5)
    gone, unknown = (int.from_bytes(new_key("secret")) % R for _ in range(2))
    await node.expose(unknown)  # a member of undone blocks, perhaps
    snapshot = await registry.world.rpc("evm_snapshot")
    try:
        left = await registry.register(gone)
        await registry.exit(left)
        await registry.world.rpc("evm_increaseTime", 200_000)
        await registry.payer.send(registry.contract.withdraw(left))
        await node.expose(gone)
        await node.round()
        assert await node.slashes() == Slashes(3, 1, 1, 1, STAKE // 5)
        assert await gas_used(registry.world, keys) == 2
    finally:
        await registry.world.rpc("evm_revert", snapshot)


async def test_a_slash_below_its_gas_waits_unless_it_is_wanted(registry: Registry, keys: NodeKeys) -> None:
    secret, _ = await secret_member(registry)
    async with slashing(registry, keys, price=ETHER_PRICE) as node:
        await node.follow()
        await node.expose(secret)
        with capture_logs() as logs:
            for _ in range(3):
                await node.round()
        assert [log["event"] for log in logs].count("slash_not_worth_its_gas") == 1
        assert await gas_used(registry.world, keys) == 0
    async with slashing(registry, keys, price=ETHER_PRICE, below_cost=True) as node:
        await node.slash()
        assert (await node.slashes()).won == 1


async def test_an_expired_commit_is_made_anew_with_another_salt(
    registry: Registry, node: SlashingNode, keys: NodeKeys
) -> None:
    secret, _ = await secret_member(registry)
    await node.follow()
    await node.expose(secret)
    await node.slasher.step()
    await registry.world.mine(REVEAL_BLOCKS.stop - LAST_BLOCKS)
    await node.slash()
    hashes = [event.slash_hash for event in await events(registry) if isinstance(event, SlashCommitted)]
    assert len(set(hashes)) == 2
    assert (await node.slashes()).won == 1
    assert await gas_used(registry.world, keys) == 3


async def test_a_commit_that_was_lost_is_made_again_after_a_rest(
    registry: Registry, node: SlashingNode, keys: NodeKeys
) -> None:
    """Another program used the nonce."""
    secret, _ = await secret_member(registry)
    await node.follow()
    await node.expose(secret)
    async with registry.world.mining_by_hand():
        await node.slasher.step()
        await node.money.db.write(
            lambda connection: connection.execute("UPDATE transactions SET state = 'lost'").rowcount
        )
        await node.slasher.step()
        assert len(await node.money.db.read(_transactions)) == 1, "not at once"
        node.money.clock.shift += 2 * RETRY_SECONDS
        await node.slasher.step()
        assert len(await node.money.db.read(_transactions)) == 2
    await node.slash()
    assert (await node.slashes()).won == 1


def _transactions(connection: Any) -> list[Any]:
    rows: list[Any] = connection.execute("SELECT * FROM transactions").fetchall()
    return rows


@pytest.mark.parametrize("stage", ["committed", "slashed"])
async def test_a_reorg_opens_it_again(
    registry: Registry, node: SlashingNode, keys: NodeKeys, stage: str
) -> None:
    world, (secret, record) = registry.world, await secret_member(registry)
    await node.follow()
    await node.expose(secret)
    if stage == "slashed":
        await node.slasher.step()
        await world.mine(2)
        await node.follow()
    snapshot = await world.rpc("evm_snapshot")
    await node.slasher.step()
    await node.round()
    before = await node.slashes()
    assert before == (Slashes(1, 1, 1, 0, STAKE // 5) if stage == "slashed" else Slashes(1, 1, 0, 0, 0))
    await world.rpc("evm_revert", snapshot)
    await world.mine(5)
    await node.money.catch_up()
    await node.rln.catch_up()
    after = await node.slashes()
    assert after == (Slashes(1, 1, 0, 0, 0) if stage == "slashed" else Slashes(1, 0, 0, 0, 0))
    node.money.clock.shift += 3600
    await node.slash(16)
    state = await registry.contract.member(record.id_commitment)
    assert state is not None
    assert state.ended
    assert (await node.slashes()).won == 1
    assert await world.token.balance_of(keys.payee) == STAKE // 5


async def test_the_largest_stakes_come_first(registry: Registry, node: SlashingNode) -> None:
    small, _ = await secret_member(registry, rate=2)
    large, record = await secret_member(registry, rate=50)
    await node.follow()
    for secret in (small, large):
        await node.expose(secret)
    found = await node.money.db.read(exposures.open_exposures)
    assert [each.record.rate for each in found] == [50, 2]
    await node.slash()
    assert (await node.slashes()).reward == 10 * 50 // 5 + 10 * 2 // 5
    assert record.rate == 50


async def test_it_runs_by_itself(registry: Registry, node: SlashingNode) -> None:
    secret, _ = await secret_member(registry)
    await node.expose(secret)
    async with node.money.running(claiming=False), node.rln.following():
        task = asyncio.ensure_future(node.slasher.run())

        async def won() -> bool:
            await registry.world.mine()
            return (await node.slashes()).won == 1

        await until(won)
        assert node.slasher.fault is None
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_crash_between_any_two_steps_slashes_once(world: World, tmp_path: Path) -> None:
    for at in itertools.count():
        world.start = (await world.connection.head()).number
        registry, keys = await deploy_membership(world), await other_keys(world, tmp_path / str(at))
        secret, _ = await secret_member(registry)
        fuse = Fuse(10**9)
        with contextlib.suppress(PowerCut):
            async with slashing(registry, keys, connection=fuse.connection, database=fuse.database) as node:
                await node.follow()
                await node.expose(secret)
                fuse.blow_after(at)
                await node.slash()
        async with slashing(registry, keys) as node:
            await node.expose(secret)  # the messages are still there, and come again
            await node.slash()
            assert (await node.slashes()).won == 1
        assert await world.token.balance_of(keys.payee) == STAKE // 5
        # One commit and one reveal: no crash makes the node pay gas twice.
        assert await gas_used(world, keys) == 2
        if not fuse.blown:
            break
    assert at >= 10
