"""Paying through a channel: to the unit, within limits, on disk before anything is sent."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.services.client.people import DEPOSIT, new_node, open_channel, send, state_files
from tests.services.client.world import DOLLAR, World

from waypost.errors import (
    DepositExhausted,
    InsufficientFunds,
    InvalidOpening,
    PriceTooHigh,
    SpendingLimitExceeded,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

DAY = 24 * 3600


async def test_a_payer_without_ether_opens_a_channel(world: World, tmp_path: Path) -> None:
    node = await new_node(world)
    account = await world.account(dollars=5)
    async with world.client(account, tmp_path) as client:
        channel = await open_channel(client, node)
        assert await client.balance() == 0
        assert await world.connection.balance(account.payer) == 0
        state = await world.channels.channel(node.payee, channel.token, channel.signer)
        assert (state.payer, state.deposited) == (account.payer, DEPOSIT)
        assert (channel.books.signed, channel.books.spent) == (node.opening, node.opening)
        assert client.channels.at(node.operator.address) is channel


async def test_every_request_is_paid_to_the_unit(world: World, tmp_path: Path) -> None:
    node = await new_node(world)
    async with world.client(await world.account(), tmp_path) as client:
        channel = await open_channel(client, node)
        charges = [await send(client, b"x" * size, retention=DAY) for size in (1, 1000, 100_000)]
        account = node.accounts[channel.signer]
        assert account.spent == node.opening + sum(charges)
        assert (channel.books.signed, channel.books.paid, channel.books.spent) == (account.spent,) * 3


async def test_many_requests_at_once_share_one_channel(world: World, tmp_path: Path) -> None:
    node = await new_node(world, min_receipt=5000)
    async with world.client(await world.account(), tmp_path) as client:
        channel = await open_channel(client, node)
        charges = await asyncio.gather(*(send(client, b"%d" % n) for n in range(40)))
        assert len(node.messages) == 40
        assert channel.books.spent == node.accounts[channel.signer].spent == node.opening + sum(charges)
        assert channel.books.signed - channel.books.spent < node.min_receipt
        assert node.count("/v1/sessions") == 1


async def test_totals_are_on_disk_before_they_are_sent(world: World, tmp_path: Path) -> None:
    node = await new_node(world)
    async with world.client(await world.account(), tmp_path) as client:
        channel = await open_channel(client, node)
        (file,) = state_files(tmp_path, channel.signer)
        signed: list[int] = []

        def watch(request: httpx.Request, response: httpx.Response) -> httpx.Response:
            if request.url.path == "/v1/messages":
                assert f'"signed": "{node.accounts[channel.signer].paid}"' in file.read_text()
                signed.append(node.accounts[channel.signer].paid)
            return response

        node.tamper = watch
        for _ in range(3):
            await send(client)
        assert signed == sorted(set(signed))
        assert len(signed) == 3


async def test_the_next_run_goes_on_where_the_last_one_ended(world: World, tmp_path: Path) -> None:
    node = await new_node(world)
    account = await world.account()
    async with world.client(account, tmp_path) as client:
        first = await open_channel(client, node)
        await send(client)
        books = first.books
    async with world.client(account, tmp_path) as client:
        assert client.channels.by_signer(first.signer).books == books
        node.requests.clear()
        await send(client)
        assert node.count(first.path) == 0  # nothing was in doubt, so nothing was asked


async def test_nothing_is_signed_above_the_spending_limit(world: World, tmp_path: Path) -> None:
    node = await new_node(world)
    async with world.client(await world.account(), tmp_path) as client:
        channel = await open_channel(client, node, limit=node.opening + 100)
        with pytest.raises(SpendingLimitExceeded):
            await send(client, b"x" * 10_000)
        assert channel.books.signed == node.opening
        assert node.count("/v1/messages") == 0
        await client.channels.limit(channel, DEPOSIT)
        await send(client, b"x" * 10_000)


async def test_the_deposit_is_a_limit_too(world: World, tmp_path: Path) -> None:
    node = await new_node(world, store_per_kib_hour=10_000)
    async with world.client(await world.account(), tmp_path) as client:
        await open_channel(client, node)
        with pytest.raises(DepositExhausted):
            await send(client, b"x" * 100_000, retention=DAY)


@pytest.mark.parametrize(
    ("amount", "options", "error"),
    [
        (99_999, {}, InvalidOpening),
        (2**96, {}, InvalidOpening),
        (0, {}, InvalidOpening),
        (DEPOSIT, {"close_delay": 1}, InvalidOpening),
        (DEPOSIT, {"close_delay": 3601}, InvalidOpening),
        (DEPOSIT, {"limit": 9_999}, SpendingLimitExceeded),
        (1001 * DOLLAR, {}, InsufficientFunds),
    ],
)
async def test_impossible_terms_are_refused_before_anything_is_signed(
    world: World, tmp_path: Path, amount: int, options: dict[str, Any], error: type[Exception]
) -> None:
    node = await new_node(world)
    async with world.client(await world.account(), tmp_path) as client:
        with pytest.raises(error):
            await open_channel(client, node, amount, **options)
        assert client.channels.all() == []
        assert node.count("/v1/channels") == 0


async def test_a_node_cannot_raise_its_prices_behind_our_back(world: World, tmp_path: Path) -> None:
    node = await new_node(world)
    async with world.client(await world.account(), tmp_path) as client:
        channel = await open_channel(client, node)
        agreed = await send(client)
        node.store_per_kib_hour *= 2
        for _ in range(3):
            with pytest.raises(PriceTooHigh, match="asks 200"):
                await send(client)
        assert (
            channel.books.signed == node.opening + 2 * agreed
        )  # one request at the price that was agreed on
        await channel.agree()
        assert await send(client) > agreed


async def test_a_node_cannot_have_the_deposit_signed_as_one_smallest_receipt(
    world: World, tmp_path: Path
) -> None:
    greedy, patient = await new_node(world, min_receipt=DEPOSIT // 20 + 1), await new_node(world)
    async with world.client(await world.account(), tmp_path) as client:
        with pytest.raises(PriceTooHigh, match="ahead of what is used"):
            await open_channel(client, greedy)
        channel = await open_channel(client, patient)
        patient.min_receipt = DEPOSIT
        for _ in range(2):
            with pytest.raises(PriceTooHigh, match="min_receipt"):
                await send(client)
        assert channel.books.signed < patient.opening + 5000  # one request at the terms that were agreed on


async def test_lower_prices_are_taken_at_once(world: World, tmp_path: Path) -> None:
    node = await new_node(world)
    async with world.client(await world.account(), tmp_path) as client:
        channel = await open_channel(client, node)
        before = await send(client, b"x" * 10_000)
        node.store_per_kib_hour //= 2
        assert await send(client, b"x" * 10_000) == pytest.approx(before / 2, abs=1)
        assert channel.books.spent == node.accounts[channel.signer].spent
