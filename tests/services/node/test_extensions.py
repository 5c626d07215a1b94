"""Members without ether who pay for longer."""

import time
from dataclasses import replace
from typing import Any

import pytest
from tests.services.node.home_node import Person, home_node, person
from tests.services.node.home_node import deployed as deployed
from tests.services.node.home_node import registry as registry
from tests.services.node.membership import Registry
from tests.services.node.money_node import NodeKeys
from tests.services.node.world import new_key

from waypost.errors import (
    InvalidAuthorization,
    MemberRemoved,
    MembershipRefused,
    MemberUnknown,
    WaypostError,
)


async def test_a_member_without_ether_is_extended(registry: Registry, keys: NodeKeys) -> None:
    anna = await person(registry, keys)
    async with home_node(registry, keys) as node, node.running():
        await node.register(anna)
        await node.idle()
        record = await node.record(anna)
        before = await registry.contract.paid_until(record)
        extension = anna.extension(periods=3)
        payment = anna.pay(extension)
        extended = await node.registrations.extend(extension, payment)
        assert extended.paid_until == before + 3 * (before - record.start) // 2
        assert extended.paid_until == await registry.contract.paid_until(record)
        assert await node.registrations.extend(extension, payment) == extended
        assert (await node.extend(anna, salt=b"\1" * 32)).transaction != extended.transaction
        assert await registry.world.connection.nonce(keys.gas_account) == 3
        assert await registry.world.connection.balance(anna.address) == 0


async def test_extensions_that_the_node_does_not_send(registry: Registry, keys: NodeKeys) -> None:
    anna, stranger = await person(registry, keys), await person(registry, keys)
    elsewhere = replace(stranger, secret=5)
    await registry.register(5)
    async with home_node(registry, keys) as node, node.running():
        await node.register(anna)
        extension = anna.extension()
        cases: list[tuple[type[WaypostError], Any, Any]] = [
            (MemberUnknown, stranger.extension(), stranger.pay(stranger.extension())),
            (MembershipRefused, elsewhere.extension(), elsewhere.pay(elsewhere.extension())),
            (MembershipRefused, anna.extension(periods=0), anna.pay(anna.extension(periods=0))),
            (MembershipRefused, *_soon(anna)),
            (InvalidAuthorization, extension, anna.pay(extension, amount=1)),
            (InvalidAuthorization, extension, anna.pay(extension, key=new_key("thief"))),
        ]
        for error, asked, payment in cases:
            with pytest.raises(error) as refusal:
                await node.registrations.extend(asked, payment)
            assert refusal.value.code == error.code
        await node.idle()
        await node.leave(anna)
        with pytest.raises(MemberRemoved):
            await node.extend(anna)
        assert await registry.world.connection.nonce(keys.gas_account) == 2


def _soon(anna: Person) -> tuple[Any, Any]:
    extension = anna.extension(deadline=int(time.time()) + 30)
    return extension, anna.pay(extension)
