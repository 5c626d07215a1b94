"""Members without ether: registered once, extended, and hardly a way to waste the node's gas."""

import asyncio
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
from tests.services.node.money_node import Clock, NodeKeys, price_list, until
from tests.services.node.world import ETHER, World, new_key

from waypost.chain.transactions import Sender
from waypost.errors import (
    InsufficientFunds,
    InvalidAuthorization,
    MembershipRateLimited,
    MembershipRefused,
    MemberUnknown,
    OpeningRateLimited,
    WaypostError,
)
from waypost.node.transactions import State
from waypost.protocol.memberships import parse_authorization
from waypost.protocol.poseidon import R

COST = RATE * (STAKE + 2 * FEE)


async def test_a_payer_without_ether_becomes_a_member(registry: Registry, keys: NodeKeys) -> None:
    world, anna = registry.world, await person(registry, keys)
    async with home_node(registry, keys) as node, node.running():
        registered = await node.register(anna)
        assert registered.index == 0
        record = await node.record(anna)
        assert (record.owner, record.home_node) == (anna.address, keys.payee)
        assert (record.rate, record.periods) == (RATE, 2)
        assert await world.connection.balance(anna.address) == 0
        assert await world.token.balance_of(anna.address) == 10_000 - COST
        assert await registry.contract.total() == COST


async def test_asking_again_is_the_same_registration(registry: Registry, keys: NodeKeys) -> None:
    anna = await person(registry, keys)
    registration = anna.registration()
    payment = anna.pay(registration)
    async with home_node(registry, keys) as node, node.running():
        submit = node.registrations.register
        first, second = await asyncio.gather(submit(registration, payment), submit(registration, payment))
        assert first == second == await submit(registration, payment)
        assert await registry.world.connection.nonce(keys.gas_account) == 1
    async with home_node(registry, keys) as node, node.running():
        assert await node.registrations.register(registration, payment) == first
        # Also when the signature would not last for another one.
        node.money.clock.shift += 3_600
        assert await node.registrations.register(registration, payment) == first
        assert await registry.world.connection.nonce(keys.gas_account) == 1


async def test_a_pending_registration_is_no_error(registry: Registry, keys: NodeKeys) -> None:
    world, anna = registry.world, await person(registry, keys)
    registration = anna.registration()
    async with home_node(registry, keys, wait_seconds=0) as node:
        async with world.mining_by_hand():
            await node.catch_up()
            pending = await node.registrations.register(registration, anna.pay(registration))
            assert pending.index is None
            await world.mine()
        await node.catch_up()
        registered = await node.registrations.register(registration, anna.pay(registration))
        assert (registered.transaction, registered.index) == (pending.transaction, 0)


Change = Callable[[Person], tuple[Any, Any]]


def _with(**terms: Any) -> Change:
    def change(anna: Person) -> tuple[Any, Any]:
        registration = anna.registration(**terms)
        return registration, anna.pay(registration)

    return change


def _paid(**changes: Any) -> Change:
    def change(anna: Person) -> tuple[Any, Any]:
        registration = anna.registration()
        return registration, anna.pay(registration, **changes)

    return change


def _forged(**fields: Any) -> Change:
    def change(anna: Person) -> tuple[Any, Any]:
        registration = anna.registration()
        return registration, {**anna.pay(registration), **fields}

    return change


BAD: dict[str, tuple[type[WaypostError], Change]] = {
    "another home node": (MembershipRefused, lambda anna: _with(home_node=anna.address)(anna)),
    "no rate": (MembershipRefused, _with(rate=0)),
    "no periods": (MembershipRefused, _with(periods=0)),
    "commitment zero": (MembershipRefused, _with(id_commitment=0)),
    "commitment above the field": (MembershipRefused, _with(id_commitment=R)),
    "deadline passed": (MembershipRefused, lambda anna: _with(deadline=int(time.time()) - 1)(anna)),
    "deadline too soon": (MembershipRefused, lambda anna: _with(deadline=int(time.time()) + 30)(anna)),
    "more than the payer has": (MembershipRefused, _with(rate=2**16 - 1, periods=2**32 - 1)),
    "too little": (InvalidAuthorization, _paid(amount=COST - 1)),
    "too much": (InvalidAuthorization, _paid(amount=COST + 1)),
    "by another key": (InvalidAuthorization, lambda anna: _paid(key=new_key("thief"))(anna)),
    "ends too soon": (MembershipRefused, lambda anna: _paid(valid_before=int(time.time()) + 30)(anna)),
    "not valid yet": (InvalidAuthorization, lambda anna: _forged(validAfter=int(time.time()) + 9)(anna)),
    "v of no signature": (InvalidAuthorization, _forged(v=0)),
    "r of no signature": (InvalidAuthorization, _forged(r="0x" + "00" * 32)),
    "high s": (InvalidAuthorization, _forged(s="0x" + "ff" * 32)),
    "of another registration": (
        InvalidAuthorization,
        lambda anna: (anna.registration(), anna.pay(anna.registration(periods=3))),
    ),
}


@pytest.mark.parametrize("name", BAD)
async def test_what_is_wrong_is_refused_before_it_costs_gas(
    registry: Registry, keys: NodeKeys, name: str
) -> None:
    error, change = BAD[name]
    anna = await person(registry, keys)
    async with home_node(registry, keys) as node:
        with pytest.raises(error) as refusal:
            await node.registrations.register(*change(anna))
        assert refusal.value.code == error.code
        status = await node.money.outbox.status()
        assert (status.waiting, status.balance) == (0, 10 * ETHER)
        async with node.running():  # who is refused may correct itself
            assert (await node.register(anna)).index == 0


async def test_a_commitment_is_registered_once(registry: Registry, keys: NodeKeys) -> None:
    world, anna = registry.world, await person(registry, keys)
    twin = replace(await person(registry, keys), secret=anna.secret)
    async with home_node(registry, keys, wait_seconds=0) as node:
        async with world.mining_by_hand():
            await node.catch_up()
            await node.register(anna)
            with pytest.raises(MembershipRateLimited):  # of two, one would be reverted
                await node.register(twin)
            await world.mine()
        await node.catch_up()
        for who in (twin, anna):
            with pytest.raises(MembershipRefused, match="once"):
                await node.register(who, periods=3)
        assert await world.connection.nonce(keys.gas_account) == 1


async def test_no_more_than_so_many_an_hour_also_across_restarts(registry: Registry, keys: NodeKeys) -> None:
    people, clock = [await person(registry, keys) for _ in range(3)], Clock()
    late = int(time.time()) + 9_000
    async with home_node(registry, keys, cap_per_hour=2, clock=clock) as node, node.running():
        for who in people[:2]:
            await node.register(who, deadline=late)
    async with home_node(registry, keys, cap_per_hour=2, clock=clock) as node, node.running():
        with pytest.raises(MembershipRateLimited):
            await node.register(people[2], deadline=late)
        assert (await node.register(people[0], deadline=late)).index == 0  # asking again is free
        await node.idle()
        await node.extend(people[0], deadline=late)  # counted by itself
        clock.shift += 3_601
        assert (await node.register(people[2], deadline=late)).index == 2


async def test_one_payer_has_one_transaction_under_way(registry: Registry, keys: NodeKeys) -> None:
    """Each would pass its simulation; together they are more than the payer has. Openings count, too."""
    world, anna = registry.world, await person(registry, keys, tokens=COST + 10)
    client = await world.client(keys.payee)
    async with home_node(registry, keys, wait_seconds=0) as node:
        async with world.mining_by_hand():
            await node.catch_up()
            await node.register(anna)
            with pytest.raises(MembershipRateLimited):
                await node.register(replace(anna, secret=7))
            with pytest.raises(OpeningRateLimited):
                await node.money.open(replace(client, payer_key=anna.key).request())
            await world.mine()
        await node.catch_up()
        assert (await node.register(anna)).index == 0


async def test_a_payer_who_makes_a_registration_fail_waits_an_hour(
    registry: Registry, keys: NodeKeys
) -> None:
    world, clock = registry.world, Clock()
    anna = await person(registry, keys, tokens=COST)
    registration = anna.registration(deadline=int(time.time()) + 9_000)
    payment = anna.pay(registration)
    async with home_node(registry, keys, wait_seconds=0, clock=clock) as node:
        await world.fund(anna.address, ETHER // 10)
        async with world.mining_by_hand():
            payer = Sender(world.connection, anna.key)
            transfer = world.token.transfer(world.faucet.address, COST)
            await payer.broadcast(await payer.sign(transfer, gas=100_000))
            await node.registrations.register(registration, payment)
            await world.mine()
        await node.catch_up()
        await world.mint(anna.address, COST)
        with pytest.raises(MembershipRateLimited) as refusal:
            await node.registrations.register(registration, payment)
        retry_after = refusal.value.details["retryAfter"]
        assert isinstance(retry_after, int)
        assert 3_500 < retry_after <= 3_600
        clock.shift += 3_601
        await node.registrations.register(registration, payment)
        await node.catch_up()
        assert (await node.registrations.register(registration, payment)).index == 0


async def test_somebody_else_sends_the_registration_first(registry: Registry, keys: NodeKeys) -> None:
    world, anna, stranger = registry.world, await person(registry, keys), await registry.world.sender()
    registration = anna.registration()
    payment = anna.pay(registration)
    async with home_node(registry, keys, wait_seconds=0) as node:
        async with world.mining_by_hand():
            await node.catch_up()
            cost = parse_authorization(payment, registration, COST, registry.contract.address)
            call = registry.contract.register_with_authorization(registration, cost)
            await stranger.broadcast(await stranger.sign(call, gas=300_000))
            await node.registrations.register(registration, payment)
            await world.mine()
        await node.catch_up()
        assert await node.states() == [State.REVERTED]
        assert (await node.registrations.register(registration, payment)).index == 0


async def test_an_empty_gas_account_sends_nothing_and_keeps_nothing(
    registry: Registry, keys: NodeKeys
) -> None:
    poor = NodeKeys(keys.folder)
    anna = await person(registry, poor)
    async with home_node(registry, poor) as node, node.running():
        with pytest.raises(InsufficientFunds):
            await node.register(anna)
        assert await node.states() == []
        await registry.world.fund(poor.gas_account)
        assert (await node.register(anna)).index == 0


async def test_a_reorg_takes_a_member_away_and_the_outbox_brings_it_back(
    registry: Registry, keys: NodeKeys
) -> None:
    world, anna = registry.world, await person(registry, keys)
    registration = anna.registration()
    payment = anna.pay(registration)
    async with home_node(registry, keys, wait_seconds=0) as node:
        snapshot = await world.rpc("evm_snapshot")
        await node.registrations.register(registration, payment)
        await node.catch_up()
        first = await node.registrations.register(registration, payment)
        assert first.index == 0
        await world.rpc("evm_revert", snapshot)
        await world.mine(3)
        await node.rln.catch_up()
        await node.money.catch_up()
        assert (await node.registrations.register(registration, payment)).index is None
        assert await node.states() == [State.SENT]
        async with node.running():
            await until(lambda: _is_member(node, anna))
        again = await node.registrations.register(registration, payment)
        assert again == first
        assert await world.connection.nonce(keys.gas_account) == 1


async def test_a_crash_between_any_two_steps_registers_once(world: World, tmp_path: Path) -> None:
    for at in itertools.count():
        world.start = (await world.connection.head()).number
        registry, keys = await deploy_membership(world), NodeKeys(tmp_path / str(at))
        await world.fund(keys.gas_account)
        anna = await person(registry, keys)
        registration = anna.registration()
        payment = anna.pay(registration)
        fuse = Fuse(at)
        with contextlib.suppress(PowerCut):
            async with home_node(
                registry, keys, connection=fuse.connection, database=fuse.database, wait_seconds=0
            ) as node:
                await node.registrations.register(registration, payment)
                await node.catch_up()
        async with home_node(registry, keys) as node, node.running():
            assert (await node.registrations.register(registration, payment)).index == 0
            await node.idle()
        assert await world.connection.nonce(keys.gas_account) == 1
        if not fuse.blown:
            break
    assert at >= 4


async def test_a_member_may_open_a_channel(registry: Registry, keys: NodeKeys) -> None:
    """Once its registration is mined: one after the other."""
    world = registry.world
    client = await world.client(keys.payee)
    anna = replace(await person(registry, keys), key=client.payer_key)
    async with home_node(registry, keys) as node, node.running():
        await world.mint(client.payer, COST)
        await node.register(anna)
        await node.idle()
        request = client.request()
        parts = request.signed, request.authorization, request.receipt
        assert (await node.money.openings.submit(*parts, price_list(world))).account is not None


async def _is_member(node: HomeNode, anna: Person) -> bool:
    try:
        await node.record(anna)
    except MemberUnknown:
        return False
    return await node.states() == [State.MINED]
