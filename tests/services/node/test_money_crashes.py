"""The power fails at every single step of a channel's life; after the restart nothing is lost or doubled."""

import contextlib
import itertools
from pathlib import Path

from tests.services.node.faults import Fuse, PowerCut
from tests.services.node.money_node import MoneyNode, NodeKeys, assert_books_agree, open_node
from tests.services.node.world import PRICE, Client, World

from waypost.node.opening_rules import Request

PAID = 1_234_567


async def live(node: MoneyNode, client: Client, request: Request) -> None:
    """A channel's life at this node, one step after the other."""
    await node.open(request)
    await node.catch_up()
    await node.pay(client, PAID)
    await node.claimer.step()
    await node.outbox.follow()
    await node.catch_up()
    assert await node.claimer.step() is None


async def test_a_crash_between_any_two_steps_loses_and_doubles_nothing(world: World, tmp_path: Path) -> None:
    for at in itertools.count():
        world.start = (await world.connection.head()).number
        keys = NodeKeys(tmp_path / str(at))
        await world.fund(keys.gas_account)
        client = await world.client(keys.payee)
        request = client.request()
        fuse = Fuse(at)
        with contextlib.suppress(PowerCut):
            async with open_node(
                world, keys, connection=fuse.connection, database=fuse.database, wait_seconds=0
            ) as node:
                await live(node, client, request)
        await restart(world, keys, client, request)
        if not fuse.blown:
            break
    assert at >= 8


async def restart(world: World, keys: NodeKeys, client: Client, request: Request) -> None:
    """A new process on the same folder; the client, who got no answer, asks again."""
    async with open_node(world, keys) as node:
        async with node.running(claiming=False):
            opened = await node.open(request)
            assert opened.account is not None
            assert opened.charged == PRICE
            await node.pay(client, PAID)
        async with node.running():
            await node.has_claimed(PAID)
        account = await node.books(client)
        assert (account.paid, account.spent, account.claimed) == (PAID, PRICE, PAID)
        await assert_books_agree(node)
    # One opening and one claim: no crash makes the node pay gas twice.
    assert await world.connection.nonce(keys.gas_account) == 2
