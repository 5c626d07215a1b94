"""The SDK against the node itself, on a real chain: both sides' books agree to the unit, whatever is lost."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretBytes, SecretStr
from tests.services.client.people import DEPOSIT
from tests.services.client.world import DOLLAR, Operator, World

from waypost.client.channel import Channel
from waypost.client.client import Client
from waypost.client.closing import Step
from waypost.errors import NodeRefused, PriceTooHigh
from waypost.node.app import create_app
from waypost.node.node import Node
from waypost.node.settings import NodeConfig, PriceSettings, RateSettings
from waypost.node.settings import settings as complete

pytestmark = pytest.mark.asyncio(loop_scope="module")

DAY = 24 * 3600


@asynccontextmanager
async def running(world: World, operator: Operator, folder: Path, **prices: int) -> AsyncIterator[Node]:
    """A node in this process, reached through the world's network."""
    config = NodeConfig(
        rpc_url=world.url,
        chain_id=world.manifest.chain_id,
        channels=world.manifest.channels,
        registry=world.manifest.registry,
        token=world.manifest.token,
        start_block=world.manifest.start_block,
        operator=operator.address,
        payee=operator.address,
        endpoint=operator.endpoint,
        confirmations=0,
        min_close_delay=2,
        poll_seconds=0.05,
        prices=PriceSettings(**prices),
        rate=RateSettings(requests_per_second=1000, burst=1000),
    )
    app = create_app(
        complete(
            config,
            data_dir=folder,
            node_key=SecretBytes(operator.node_key),
            gas_key=SecretBytes(operator.key),
            payee_key=SecretBytes(operator.key),
            admin_token=SecretStr(secrets.token_urlsafe()),
        )
    )
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app)
        world.network.hosts[operator.host] = transport.handle_async_request
        node: Node = app.state.node
        await until(lambda: node.sync.ready)
        try:
            yield node
        finally:
            del world.network.hosts[operator.host]


async def until(done: Callable[[], bool]) -> None:
    """Lets the node's loops work."""
    async with asyncio.timeout(30):
        while not done():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def open_channel(client: Client, operator: Operator, **options: Any) -> Channel:
    node = await client.nodes.get(operator.address)
    return await client.channels.open(node, await client.channels.terms(node, DEPOSIT, **options))


async def agree(channel: Channel, node: Node) -> int:
    """Both sides' books are equal; returns what was spent."""
    account = await node.ledger.account(channel.signer)
    assert account is not None
    books = channel.books
    assert (account.paid, account.spent, account.deposited) == (books.paid, books.spent, books.deposited)
    return account.spent


async def test_the_whole_life_of_a_channel(world: World, tmp_path: Path) -> None:
    operator = await world.operator()
    alice, bob = await world.account(), await world.account()
    async with (
        running(world, operator, tmp_path / "node") as node,
        world.client(alice, tmp_path / "alice") as sender,
        world.client(bob, tmp_path / "bob") as reader,
    ):
        out, back = await open_channel(sender, operator), await open_channel(reader, operator)
        texts = {f"message {number}".encode() for number in range(50)}
        await asyncio.gather(*(sender.mailbox.send(reader.mailbox.address, t, retention=DAY) for t in texts))
        fetched = await reader.mailbox.fetch(await reader.mailbox.look([operator.address]))
        await reader.mailbox.acknowledge(fetched)
        assert {received.plaintext for received in fetched.messages} == texts
        assert not fetched.faults
        spent = await agree(out, node) + await agree(back, node)
        signed = out.books.signed + back.books.signed
        assert spent <= signed < spent + 2 * 1000  # the minimum receipt

        before = await world.token.balance_of(operator.address)
        await node.claimer.claim_now()
        assert await world.token.balance_of(operator.address) - before == signed

        plan = await sender.channels.plan_close(out)
        assert plan.step is Step.CONSENT
        assert (await sender.channels.close(out, await world.funded())).step is Step.DONE
        assert await sender.balance() == 1000 * DOLLAR - out.books.signed


async def test_lost_answers_are_never_paid_twice(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("waypost.client.channel.FIRST_PAUSE_SECONDS", 0)
    operator = await world.operator()
    async with (
        running(world, operator, tmp_path / "node") as node,
        world.client(await world.account(), tmp_path / "home") as client,
    ):
        channel = await open_channel(client, operator)
        honest, served = world.network.hosts[operator.host], set[str]()

        async def lossy(request: httpx.Request) -> httpx.Response:
            response = await honest(request)
            key = request.headers.get("idempotency-key", "")
            if key and key not in served:
                served.add(key)
                raise httpx.ReadError("the first answer to everything is lost", request=request)
            return response

        world.network.hosts[operator.host] = lossy
        await asyncio.gather(*(client.mailbox.send(client.mailbox.address, b"%d" % n) for n in range(10)))
        fetched = await client.mailbox.fetch(await client.mailbox.look([operator.address]))
        assert len(fetched.messages) == 10
        assert len(served) == 11
        await agree(channel, node)


async def test_a_node_that_restarts_keeps_its_word(world: World, tmp_path: Path) -> None:
    operator = await world.operator()
    async with world.client(await world.account(), tmp_path / "home") as client:
        async with running(world, operator, tmp_path / "node"):
            channel = await open_channel(client, operator)
            await client.mailbox.send(client.mailbox.address, b"before")
        async with running(world, operator, tmp_path / "node") as node:
            await client.mailbox.send(client.mailbox.address, b"after")
            fetched = await client.mailbox.fetch(await client.mailbox.look([operator.address]))
            assert [received.plaintext for received in fetched.messages] == [b"before", b"after"]
            await agree(channel, node)


async def test_new_prices_need_consent_if_they_are_higher(world: World, tmp_path: Path) -> None:
    operator = await world.operator()
    async with world.client(await world.account(), tmp_path / "home") as client:
        async with running(world, operator, tmp_path / "node", store_per_kib_hour=10):
            channel = await open_channel(client, operator)
        async with running(world, operator, tmp_path / "node", store_per_kib_hour=11) as node:
            await client.nodes.get(operator.address, fresh=True)
            with pytest.raises(PriceTooHigh):
                await client.mailbox.send(client.mailbox.address, b"hello")
            await channel.agree()
            await client.mailbox.send(client.mailbox.address, b"hello")
            await agree(channel, node)


async def test_the_seed_brings_the_channel_back(world: World, tmp_path: Path) -> None:
    operator, account = await world.operator(), await world.account()
    async with running(world, operator, tmp_path / "node") as node:
        async with world.client(account, tmp_path / "lost") as client:
            channel = await open_channel(client, operator)
            await client.mailbox.send(client.mailbox.address, b"hello")
        async with world.client(account, tmp_path / "new") as client:
            recovered = await client.channels.recover([operator.address])
            assert not recovered.faults
            assert [found.books.spent for found in recovered.channels] == [channel.books.spent]
            await client.mailbox.send(client.mailbox.address, b"again")
            await agree(recovered.channels[0], node)


async def test_a_close_without_consent_leaves_the_node_what_it_is_owed(world: World, tmp_path: Path) -> None:
    operator, sender = await world.operator(), await world.funded()
    async with (
        running(world, operator, tmp_path / "node") as node,
        world.client(await world.account(), tmp_path / "home") as client,
    ):
        channel = await open_channel(client, operator)
        await client.mailbox.send(client.mailbox.address, b"hello")
        owed = channel.books.signed
        closing = await client.channels.close(channel, sender, consent=False)
        started = await world.connection.head()
        await until(lambda: node.sync.head >= started.number)
        channel.record.status = "open"  # a client that does not know of its own closing
        with pytest.raises(NodeRefused, match="channel_closing"):
            await client.mailbox.send(client.mailbox.address, b"needs another receipt" * 5000)
        while closing.step is not Step.DONE:
            await asyncio.sleep(0.05)
            closing = await client.channels.close(channel, sender, consent=False)
        assert closing.final == owed
        assert await client.balance() == 1000 * DOLLAR - owed


async def test_a_payer_with_ether_opens_on_its_own(world: World, tmp_path: Path) -> None:
    operator = await world.operator()
    async with (
        running(world, operator, tmp_path / "node") as node,
        world.client(await world.account(), tmp_path / "home") as client,
    ):
        verified = await client.nodes.get(operator.address)
        terms = await client.channels.terms(verified, DEPOSIT)
        channel = await client.channels.open(verified, terms, sender=await world.funded())
        assert channel.books.spent == 0
        await client.channels.top_up(channel, DOLLAR, await world.funded())
        topped_up = await world.connection.head()
        await client.mailbox.send(client.mailbox.address, b"hello")
        await until(lambda: node.sync.head >= topped_up.number)
        await agree(channel, node)
