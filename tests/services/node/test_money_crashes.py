"""The power fails at every single step of a channel's life; after the restart nothing is lost or doubled."""

import contextlib
import itertools
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.services.node.earning import CHANNELS, Job, client_of, request_of
from tests.services.node.faults import Fuse, PowerCut
from tests.services.node.money_node import MoneyNode, NodeKeys, assert_books_agree, open_node, until
from tests.services.node.world import DEPOSIT, ETHER, PRICE, Client, World

from waypost.chain.channels import Opened
from waypost.node.opening_rules import Request
from waypost.node.outbox import PATIENCE

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


async def live_dangerously(node: MoneyNode, client: Client, request: Request) -> None:
    """The same, but nothing is mined before its fees were raised, and the payer closes meanwhile."""
    async with node.world.mining_by_hand():
        await node.open(request)
        node.clock.shift += PATIENCE
        await node.outbox.follow()
        await node.world.mine()
    await node.catch_up()
    await node.pay(client, PAID)
    await client.start_close()
    async with node.world.mining_by_hand():
        await node.claimer.step()
        await node.catch_up()
        await node.claimer.step()
        node.clock.shift += PATIENCE
        await node.outbox.follow()
        await node.world.mine()
    await node.catch_up()
    assert await node.claimer.step() is None


@pytest.mark.parametrize(("life", "effects"), [(live, 10), (live_dangerously, 16)])
async def test_a_crash_between_any_two_steps_loses_and_doubles_nothing(
    world: World, tmp_path: Path, life: Callable[[MoneyNode, Client, Request], Awaitable[None]], effects: int
) -> None:
    for at in itertools.count():
        world.start = (await world.connection.head()).number
        keys = NodeKeys(tmp_path / str(at))
        await world.fund(keys.gas_account)
        client = await world.client(keys.payee)
        await world.fund(client.payer, ETHER // 100)
        request = client.request()
        fuse = Fuse(at)
        with contextlib.suppress(PowerCut):
            async with open_node(
                world, keys, connection=fuse.connection, database=fuse.database, wait_seconds=0
            ) as node:
                await life(node, client, request)
        await restart(world, keys, client, request)
        if not fuse.blown:
            break
    assert at >= effects


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
            await until(lambda: _is_idle(node))
        account = await node.books(client)
        assert (account.paid, account.spent, account.claimed) == (PAID, PRICE, PAID)
        await assert_books_agree(node)
    # One opening and one claim: no crash makes the node pay gas twice.
    assert await world.connection.nonce(keys.gas_account) == 2


async def _is_idle(node: MoneyNode) -> bool:
    return (await node.outbox.status()).waiting == 0


async def test_killed_processes_lose_and_double_nothing(world: World, keys: NodeKeys, tmp_path: Path) -> None:
    chance = random.Random(7)
    world.manifest.save(tmp_path / "manifest.json")
    job = Job(
        url=world.url,
        manifest=str(tmp_path / "manifest.json"),
        folder=str(keys.folder),
        gas_key=keys.gas_key.hex(),
        payee_key=keys.payee_key.hex(),
        start=world.start,
        deadline=int(time.time()) + 3_000,
        round=0,
    )
    clients = [client_of(world, job, number) for number in range(CHANNELS)]
    for client in clients:
        await world.mint(client.payer, DEPOSIT)
    paid: Counter[int] = Counter()
    for number in range(5):
        for what, channel, amount in run_and_kill(replace(job, round=number), chance.randint(5, 60)):
            if what == "paid":
                paid[channel] = max(paid[channel], amount)
            else:
                assert amount == PRICE

    async with open_node(world, keys) as node:
        async with node.running(claiming=False):
            for client in clients:
                assert (await node.open(request_of(client, job))).charged == PRICE
        accounts = [await node.books(client) for client in clients]
        assert all(account.paid >= paid[number] for number, account in enumerate(accounts))
        assert all(account.spent == PRICE for account in accounts)
        async with node.running():
            await node.has_claimed(sum(account.paid for account in accounts))
        await assert_books_agree(node)
    # Every transaction opened a channel or claimed something: no kill made the node pay gas for nothing.
    events = await world.events(keys.payee)
    useful = [event for event in events if isinstance(event, Opened) or event.total > 0]
    assert await world.connection.nonce(keys.gas_account) == len(useful)
    assert len(useful) > CHANNELS + 5


def run_and_kill(job: Job, lines: int) -> list[tuple[str, int, int]]:
    """What a process said before it was killed, some time after so many lines."""
    command = [sys.executable, "-m", "tests.services.node.earning", job.to_json()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(lines)]
        process.kill()
        said += process.stdout.readlines()
    fields = [line.split() for line in said if line.endswith("\n")]
    assert len(fields) >= lines
    return [(what, int(number), int(amount)) for what, number, amount in fields]
