"""The registry's bindings against the contract itself: every call, every read, every event."""

from typing import Any

import pytest
from tests.services.chain.endpoint import ask
from tests.services.chain.events import decoded, plain

from waypost.chain.blocks import TransactionReceipt
from waypost.chain.connection import Connection
from waypost.chain.embedded import FUNDED_KEYS, EmbeddedChain
from waypost.chain.registry import (
    KeyPeriod,
    KeyRotated,
    Locked,
    Provision,
    Provisioned,
    Registered,
    Registry,
    Slashed,
    Staked,
    ThawCancelled,
    Thawing,
    Unlocked,
    Updated,
    Withdrawn,
)
from waypost.chain.token import Token
from waypost.chain.transactions import Sender
from waypost.errors import TransactionReverted
from waypost.protocol.nodes import NodeKey
from waypost.protocol.signatures import address_of, keccak

STRANGER: Any = "0x1111111111111111111111111111111111111111"


async def register(registry: Registry, operator: Sender, services: int, endpoint: str) -> TransactionReceipt:
    """Registers a node with a node key of its own."""
    node_key = keccak(b"node" + operator.address.encode())
    proof = NodeKey(operator.address, address_of(node_key)).sign(registry.domain(), node_key)
    call = registry.register(services, address_of(node_key), operator.address, endpoint, proof, b"\7" * 32)
    return await operator.send(call)


async def test_the_life_of_a_node(
    chain: EmbeddedChain, sender: Sender, registry: Registry, token: Token
) -> None:
    assert await registry.node(sender.address) is None
    (registered,) = decoded(registry, await register(registry, sender, 1, "https://one.example"))
    assert isinstance(registered, Registered)
    node_key = registered.node_key
    node = await registry.node(sender.address)
    assert node is not None
    assert (registered.services, registered.endpoint) == (1, "https://one.example")
    assert registered.metadata_hash == b"\7" * 32
    assert await registry.key_period(node_key) == KeyPeriod(sender.address, node.registered_at, None)
    assert await registry.key_period(STRANGER) is None

    stake = await registry.min_stake()
    await sender.send(token.mint(sender.address, stake))
    await sender.send(token.approve(registry.address, stake))
    (staked,) = decoded(registry, await sender.send(registry.stake(stake)))
    assert isinstance(staked, Staked)
    assert plain(staked) == {"operator": sender.address, "amount": stake, "stake": stake}
    node = await registry.node(sender.address)
    assert node is not None
    assert (node.stake, node.thawing, node.endpoint) == (stake, 0, "https://one.example")
    assert (node.operator, node.node_key, node.payout) == (sender.address, node_key, sender.address)
    assert (await registry.count(), await registry.total()) == (1, stake)
    assert await registry.token() == token.address

    (updated,) = decoded(registry, await sender.send(registry.update(3, STRANGER, "https://two.example")))
    assert isinstance(updated, Updated)
    assert (updated.services, updated.payout, updated.endpoint) == (3, STRANGER, "https://two.example")

    (thawing,) = decoded(registry, await sender.send(registry.thaw(stake)))
    assert isinstance(thawing, Thawing)
    (cancelled,) = decoded(registry, await sender.send(registry.cancel_thaw()))
    assert isinstance(cancelled, ThawCancelled)
    await sender.send(registry.thaw(stake))
    with pytest.raises(TransactionReverted, match="TooEarly"):
        await sender.send(registry.withdraw(STRANGER))
    await ask(chain.url, "evm_increaseTime", await registry.unbonding())
    (withdrawn,) = decoded(registry, await sender.send(registry.withdraw(STRANGER)))
    assert isinstance(withdrawn, Withdrawn)
    assert await token.balance_of(STRANGER) == stake


async def test_a_node_key_is_rotated(sender: Sender, registry: Registry) -> None:
    (registered,) = decoded(registry, await register(registry, sender, 1, "https://one.example"))
    assert isinstance(registered, Registered)
    new_key = keccak(b"the next key")
    proof = NodeKey(sender.address, address_of(new_key)).sign(registry.domain(), new_key)
    (rotated,) = decoded(registry, await sender.send(registry.rotate_key(address_of(new_key), proof)))
    assert isinstance(rotated, KeyRotated)
    assert (rotated.node_key, rotated.previous) == (address_of(new_key), registered.node_key)
    old = await registry.key_period(rotated.previous)
    new = await registry.key_period(rotated.node_key)
    assert old is not None
    assert new is not None
    assert (old.until, new.until) == (new.since, None)


async def test_a_provision_is_locked_slashed_and_left(
    chain: EmbeddedChain, connection: Connection, sender: Sender, registry: Registry, token: Token
) -> None:
    slasher = Sender(connection, FUNDED_KEYS[1])
    await register(registry, sender, 1, "https://one.example")
    await sender.send(token.mint(sender.address, 100))
    await sender.send(token.approve(registry.address, 100))
    await sender.send(registry.stake(100))
    steps = (
        (sender, registry.provision(slasher.address, 60), Provisioned),
        (slasher, registry.lock(sender.address, 20), Locked),
        (slasher, registry.slash(sender.address, 5, STRANGER), Slashed),
        (sender, registry.thaw(40, slasher.address), Thawing),
        (sender, registry.cancel_thaw(slasher.address), ThawCancelled),
        (sender, registry.thaw(50, slasher.address), Thawing),
        (slasher, registry.unlock(sender.address, 4), Unlocked),
    )
    for who, call, kind in steps:
        (event,) = decoded(registry, await who.send(call))
        assert isinstance(event, kind)
        assert (event.operator, event.slasher) == (sender.address, slasher.address)
    free, provision = await registry.provisions(sender.address)
    assert free == Provision(None, 40, 0, 0, 0)
    assert provision == Provision(slasher.address, 0, 50, provision.thawed_at, 16)
    assert await token.balance_of(STRANGER) == 5

    now, unbonding = provision.thawed_at, await registry.unbonding()
    assert [provision.withdrawable(at, unbonding) for at in (now - 1, now, now + unbonding)] == [0, 34, 50]
    await ask(chain.url, "evm_increaseTime", unbonding)
    (withdrawn,) = decoded(registry, await sender.send(registry.withdraw(STRANGER, slasher.address)))
    assert isinstance(withdrawn, Withdrawn)
    assert withdrawn.amount == 34


async def test_nodes_are_listed_page_by_page(
    connection: Connection, sender: Sender, registry: Registry, token: Token
) -> None:
    stake = await registry.min_stake()
    for number, key in enumerate(FUNDED_KEYS[:5]):
        operator = Sender(connection, key)
        await register(registry, operator, 1 if number % 2 else 3, f"https://{number}.example")
        if number == 4:
            break  # registered, without stake
        await sender.send(token.mint(operator.address, stake))
        await operator.send(token.approve(registry.address, stake))
        await operator.send(registry.stake(stake))

    async def listed(services: int, page: int) -> list[str]:
        return [node.endpoint[8:9] async for node in registry.nodes(services, page)]

    for page in (1, 2, 3, 50):
        assert await listed(1, page) == ["0", "1", "2", "3"]
        assert await listed(2, page) == ["0", "2"]
        assert await listed(4, page) == []
