"""Members without ether leave with their stake; and the node collects what streamed to it, to the unit."""

import contextlib
import itertools
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.services.node.faults import Fuse, PowerCut
from tests.services.node.home_node import FEE, STAKE, HomeNode, Person, home_node, person
from tests.services.node.home_node import deployed as deployed
from tests.services.node.home_node import registry as registry
from tests.services.node.membership import RATE, Registry, deploy_membership
from tests.services.node.money_node import NodeKeys, until
from tests.services.node.world import World, new_key

from waypost.chain.blocks import TransactionReceipt
from waypost.chain.fee_streams import Tariff
from waypost.chain.membership import Collected, Expired
from waypost.errors import (
    InvalidSignature,
    MemberRemoved,
    MembershipRateLimited,
    MembershipRefused,
    MemberUnknown,
)
from waypost.node.exits import ExitState
from waypost.node.transactions import State

BURN: Any = "0x000000000000000000000000000000000000dEaD"


@pytest.fixture
async def hasty(world: World) -> Registry:
    """With periods of two seconds, and a window of one."""
    return await deploy_membership(world, period=2, window=1)


async def test_the_chains_time_says_when_the_stake_is_free(hasty: Registry, keys: NodeKeys) -> None:
    world, anna = hasty.world, await person(hasty, keys)
    exit_ = anna.exit()
    signature = exit_.sign(hasty.contract.domain(), anna.key)
    async with home_node(hasty, keys) as node, node.running():
        await node.register(anna)
        await node.idle()
        node.money.clock.shift = -1000  # it is behind

        async def is_withdrawn() -> bool:
            await world.mine()
            return (await node.exits.leave(exit_, signature)).state is ExitState.WITHDRAWN

        await until(is_withdrawn)


async def test_a_member_without_ether_leaves_with_its_stake(hasty: Registry, keys: NodeKeys) -> None:
    world, anna = hasty.world, await person(hasty, keys)
    exit_ = anna.exit()
    signature = exit_.sign(hasty.contract.domain(), anna.key)
    async with home_node(hasty, keys) as node, node.running():
        await node.register(anna, periods=100)
        await node.idle()
        left = await node.exits.leave(exit_, signature)
        assert left.state is ExitState.EXITED
        at = left.withdrawable_at
        assert at is not None
        await node.idle()

        async def is_withdrawn() -> bool:
            # The same request, again and again; its deadline is for the exit alone.
            found = await node.exits.leave(replace(exit_), signature)
            assert found.transaction is not None
            return found.state is ExitState.WITHDRAWN

        await until(is_withdrawn)
        await node.idle()
        assert (await node.exits.leave(exit_, signature)).state is ExitState.WITHDRAWN
        # All but the periods that had begun came back, without any ether.
        spent = 10_000 - await world.token.balance_of(anna.address)
        assert spent > 0
        assert spent % (RATE * FEE) == 0
        assert await world.token.balance_of(keys.payee) == spent * 4 // 5
        assert await hasty.contract.total() == 0
        assert await world.connection.balance(anna.address) == 0
        assert await world.connection.nonce(keys.gas_account) == 3  # each once


async def test_an_exit_is_sent_once(registry: Registry, keys: NodeKeys) -> None:
    anna = await person(registry, keys)
    async with home_node(registry, keys) as node, node.running():
        await node.register(anna)
        await node.idle()
        first = await node.leave(anna)
        await node.idle()
        second = await node.leave(anna, deadline=int(time.time()) + 5_000)
        assert first == second
        assert await registry.world.connection.nonce(keys.gas_account) == 2


async def test_a_pending_exit_is_no_error(registry: Registry, keys: NodeKeys) -> None:
    world, anna = registry.world, await person(registry, keys)
    async with home_node(registry, keys, wait_seconds=0) as node:
        await node.register(anna)
        await node.catch_up()
        async with world.mining_by_hand():
            pending = await node.leave(anna)
            assert (pending.state, pending.withdrawable_at) == (ExitState.PENDING, None)
            assert await node.leave(anna) == pending
        await node.catch_up()
        left = await node.leave(anna)
        assert (left.state, left.transaction) == (ExitState.EXITED, pending.transaction)


async def test_exits_that_the_node_does_not_send(registry: Registry, keys: NodeKeys) -> None:
    anna, stranger = await person(registry, keys), await person(registry, keys)
    await registry.register(5)
    async with home_node(registry, keys, cap_per_hour=1) as node, node.running():
        await node.register(anna)
        await node.idle()
        with pytest.raises(MemberUnknown):
            await node.leave(stranger)
        with pytest.raises(MembershipRefused, match="home node"):
            await node.leave(replace(stranger, secret=5))
        with pytest.raises(InvalidSignature):
            await node.leave(replace(anna, key=new_key("thief")))
        with pytest.raises(MembershipRefused, match="ends"):
            await node.leave(anna, deadline=int(time.time()) + 30)
        assert await registry.world.connection.nonce(keys.gas_account) == 1
        await node.leave(anna)
        other = await _register_at(registry, keys, node)
        with pytest.raises(MembershipRateLimited):
            await node.leave(other)


async def test_a_crash_between_any_two_steps_leaves_once(world: World, tmp_path: Path) -> None:
    for at in itertools.count():
        world.start = (await world.connection.head()).number
        registry, keys = await deploy_membership(world), NodeKeys(tmp_path / str(at))
        await world.fund(keys.gas_account)
        anna = await person(registry, keys)
        async with home_node(registry, keys) as node, node.running():
            await node.register(anna)
            await node.idle()
        exit_, fuse = anna.exit(), Fuse(at)
        signature = exit_.sign(registry.contract.domain(), anna.key)
        with contextlib.suppress(PowerCut):
            async with home_node(
                registry, keys, connection=fuse.connection, database=fuse.database, wait_seconds=0
            ) as node:
                await node.exits.leave(exit_, signature)
                await node.catch_up()
        async with home_node(registry, keys) as node, node.running():
            assert (await node.exits.leave(exit_, signature)).state is ExitState.EXITED
            await node.idle()
        assert await world.connection.nonce(keys.gas_account) == 2
        if not fuse.blown:
            break
    assert at >= 4


async def test_a_slashed_member_gets_nothing(registry: Registry, keys: NodeKeys) -> None:
    anna = await person(registry, keys)
    async with home_node(registry, keys, wait_seconds=0) as node:
        await node.register(anna)
        await node.catch_up()
        await registry.slash(anna.secret, await node.record(anna))
        await node.catch_up()
        with pytest.raises(MemberRemoved):
            await node.leave(anna)


# ---- Collecting ----


async def test_collecting_pays_exactly_what_the_contract_says(hasty: Registry, keys: NodeKeys) -> None:
    registry, world, contract = hasty, hasty.world, hasty.contract
    terms: dict[str, Any] = {"rate": 50, "home": keys.payee, "periods": 1_000}
    mine = [await registry.register(secret, **terms) for secret in (11, 12, 13)]
    await registry.register(14, periods=1_000)  # another home node's
    async with home_node(registry, keys) as node, node.running():
        await level(node, 4)
        assert await node.collector.count() == (4, 3)
        await streamed(node)
        await registry.exit(mine[2])
        await level(node, 4)
        fees = await node.collector.survey()
        assert [member.record for member in fees.members] == mine
        assert fees.gas > 100_000
        assert fees.collectable > 0
        sent = await node.collector.collect()
        assert [each.state for each in sent] == [State.MINED]
        receipt = await world.connection.receipt(sent[0].hash)
        assert receipt is not None
        collected = event(registry, receipt, Collected)
        # As of the block in which it was mined, by the contract itself.
        before = receipt.block_number - 1
        assert collected.id_commitments == tuple(record.id_commitment for record in mine)
        assert await world.token.balance_of(keys.payee) == collected.paid
        stamp = await _timestamp(world, receipt.block_number)
        tariff = await Tariff.of(contract)
        expected = [0, 0]
        for record in mine:
            state = await contract.member(record.id_commitment, block=before)
            assert state is not None
            paid, burned = tariff.collectable(record, state, stamp)
            expected[0] += paid
            expected[1] += burned
        assert (collected.paid, collected.burned) == tuple(expected)
        after = await node.collector.survey()
        assert sum(member.collected for member in after.members) == collected.paid


async def test_nothing_to_collect(registry: Registry, keys: NodeKeys) -> None:
    async with home_node(registry, keys) as node, node.running():
        await level(node, 0)
        assert (await node.collector.survey()).members == ()
        assert await node.collector.collect() == []
        assert await node.collector.expire() == []


async def test_who_is_not_paid_for_is_removed_for_the_reward(hasty: Registry, keys: NodeKeys) -> None:
    world = hasty.world
    late = await hasty.register(31, rate=50, home=keys.payee)
    paid = await hasty.register(32, rate=50, home=keys.payee, periods=100_000)
    async with home_node(hasty, keys) as node, node.running():
        await level(node, 2)

        async def is_late() -> bool:
            return bool((await node.collector.survey()).late)

        await until(is_late)
        assert [member.record for member in (await node.collector.survey()).late] == [late]
        await world.mine()
        sent = await node.collector.expire()
        assert [each.state for each in sent] == [State.MINED]
        receipt = await world.connection.receipt(sent[0].hash)
        assert receipt is not None
        expired = event(hasty, receipt, Expired)
        assert (expired.id_commitment, expired.caller) == (late.id_commitment, keys.gas_account)
        assert expired.reward == STAKE * 50 // 10 == await world.token.balance_of(keys.gas_account)
        assert paid.id_commitment != late.id_commitment


async def test_a_reward_below_its_gas_is_left_to_others(hasty: Registry, keys: NodeKeys) -> None:
    await hasty.register(41, rate=1, home=keys.payee)
    async with home_node(hasty, keys, token_per_ether=10**15) as node, node.running():
        await level(node, 1)

        async def is_late() -> bool:
            return bool((await node.collector.survey()).late)

        await until(is_late)
        await hasty.world.mine()
        assert (await node.collector.survey()).cost > 1
        assert await node.collector.expire() == []


async def test_what_flies_is_not_sent_twice(hasty: Registry, keys: NodeKeys) -> None:
    world = hasty.world
    await hasty.register(51, rate=50, home=keys.payee, periods=1_000)
    async with home_node(hasty, keys) as node:
        await node.catch_up()
        await streamed(node)
        async with world.mining_by_hand():
            first = await node.collector.collect(patience=0)
            assert [each.state for each in first] == [State.SENT]
            assert await node.collector.collect(patience=0) == first
            assert await world.connection.nonce(keys.gas_account, pending=True) == 1


async def level(node: HomeNode, leaves: int) -> None:
    """Until both books have the chain's head."""

    async def is_level() -> bool:
        head = await node.registry.world.connection.head()
        if node.money.sync.head < head.number or await node.rln.sync_head() != head.hash:
            return False
        return (await node.rln.members.state()).leaves == leaves

    await until(is_level)


def event(registry: Registry, receipt: TransactionReceipt, kind: Callable[..., Any]) -> Any:
    """The event of this kind in a receipt."""
    found = [
        registry.contract.decode(log) for log in receipt.logs if log.address == registry.contract.address
    ]
    return next(each for each in found if isinstance(each, kind))  # type: ignore[arg-type]


async def _timestamp(world: World, number: int) -> int:
    block = await world.connection.block(number)
    assert block is not None
    return block.timestamp


async def streamed(node: HomeNode) -> None:
    """Until every member has something to collect, also by the clock of the chain's newest block."""

    async def has_streamed() -> bool:
        await node.registry.world.mine()
        return all(member.collectable > 0 for member in (await node.collector.survey()).members)

    await until(has_streamed)


async def _register_at(registry: Registry, keys: NodeKeys, node: HomeNode) -> Person:
    """A member of the node's that registered by itself."""
    other = await person(registry, keys)
    record = await registry.register(other.secret, home=keys.payee)
    await level(node, record.index + 1)
    assert record.owner == registry.payer.address
    return replace(other, key=registry.payer._key)
