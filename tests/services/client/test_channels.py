"""Opening, paying, topping up and closing, on a real chain with a node that keeps the rules."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.services.client.people import DEPOSIT, new_node, open_channel, send, state_files
from tests.services.client.scripted import changed
from tests.services.client.world import DOLLAR, World

from waypost.client.closing import Step
from waypost.errors import (
    AnswerLost,
    ChannelMissing,
    DepositExhausted,
    InsufficientFunds,
    InvalidOpening,
    NodeDisagrees,
    NodeRefused,
    NodeUnreachable,
    OpeningPending,
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


# ---- Limits ----


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


async def test_lower_prices_are_taken_at_once(world: World, tmp_path: Path) -> None:
    node = await new_node(world)
    async with world.client(await world.account(), tmp_path) as client:
        channel = await open_channel(client, node)
        before = await send(client, b"x" * 10_000)
        node.store_per_kib_hour //= 2
        assert await send(client, b"x" * 10_000) == pytest.approx(before / 2, abs=1)
        assert channel.books.spent == node.accounts[channel.signer].spent


# ---- Networks that lose things ----


def losing(path: str, times: int) -> "tuple[list[str], object]":
    lost: list[str] = []

    def tamper(request: httpx.Request, response: httpx.Response) -> httpx.Response:
        if request.url.path == path and len(lost) < times:
            lost.append(request.headers.get("idempotency-key", ""))
            raise httpx.ReadError("connection reset", request=request)
        return response

    return lost, tamper


async def test_a_lost_answer_is_asked_for_again_and_paid_once(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = await new_node(world)
    async with world.client(await world.account(), tmp_path) as client:
        channel = await open_channel(client, node)
        monkeypatch.setattr("waypost.client.channel.FIRST_PAUSE_SECONDS", 0)
        lost, node.tamper = losing("/v1/messages", 3)  # type: ignore[assignment]
        charged = await send(client)
        assert len(lost) == 3
        assert len(set(lost)) == 1
        assert channel.books.spent == node.accounts[channel.signer].spent == node.opening + charged
        assert len(node.messages) == 1


async def test_answers_that_never_come_cost_at_most_one_price(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = await new_node(world)
    account = await world.account()
    monkeypatch.setattr("waypost.client.channel.FIRST_PAUSE_SECONDS", 0)
    async with world.client(account, tmp_path) as client:
        channel = await open_channel(client, node)
        charged = await send(client)
        _, node.tamper = losing("/v1/messages", 10**6)  # type: ignore[assignment]
        for error in (AnswerLost, AnswerLost, NodeDisagrees, NodeDisagrees):
            with pytest.raises(error):
                await send(client)
        assert channel.books.signed == node.opening + 3 * charged
        assert "never answered" in channel.books.stopped
    async with world.client(account, tmp_path) as client:
        with pytest.raises(NodeDisagrees, match="never answered"):
            await send(client)


async def test_a_request_that_was_never_sent_costs_nothing(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = await new_node(world)
    monkeypatch.setattr("waypost.client.channel.FIRST_PAUSE_SECONDS", 0)
    async with world.client(await world.account(), tmp_path) as client:
        channel = await open_channel(client, node)
        await send(client)
        handler = world.network.hosts.pop(node.operator.host)
        before = channel.books.spent
        with pytest.raises(NodeUnreachable):
            await send(client)
        assert not channel.books.doubtful
        world.network.hosts[node.operator.host] = handler
        await send(client)
        assert channel.books.spent == node.accounts[channel.signer].spent > before


async def test_a_killed_client_finds_out_what_was_charged(world: World, tmp_path: Path) -> None:
    node = await new_node(world)
    account = await world.account()
    async with world.client(account, tmp_path) as client:
        channel = await open_channel(client, node)
        charged = await send(client)
        served = asyncio.Event()

        async def hang(request: httpx.Request) -> httpx.Response:
            response = await node.handle(request)
            if request.url.path == "/v1/messages":
                served.set()
                await asyncio.Event().wait()
            return response

        world.network.hosts[node.operator.host] = hang
        sending = asyncio.gather(*(send(client) for _ in range(5)))
        await served.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        world.network.hosts[node.operator.host] = node.handle
    async with world.client(account, tmp_path) as client:
        channel = client.channels.by_signer(channel.signer)
        assert channel.books.doubtful
        await send(client)
        assert channel.books.spent == node.accounts[channel.signer].spent
        assert channel.books.signed <= node.opening + 7 * charged
        assert channel.books.strikes == 0


async def test_an_expired_session_is_replaced(world: World, tmp_path: Path) -> None:
    node = await new_node(world)
    async with world.client(await world.account(), tmp_path) as client:
        channel = await open_channel(client, node)
        await send(client)
        node.tokens.clear()
        await send(client)
        assert channel.books.spent == node.accounts[channel.signer].spent
        assert node.count("/v1/sessions") == 2


async def test_a_refused_request_costs_nothing_and_its_receipt_pays_for_the_next(
    world: World, tmp_path: Path
) -> None:
    node = await new_node(world)
    async with world.client(await world.account(), tmp_path) as client:
        channel = await open_channel(client, node)
        charged = await send(client)

        def full(request: httpx.Request, response: httpx.Response) -> httpx.Response:
            return httpx.Response(507, json={"code": "storage_full", "detail": "Full."})

        honest = node.handle

        async def refuse(request: httpx.Request) -> httpx.Response:
            return (
                full(request, httpx.Response(507))
                if request.url.path == "/v1/messages"
                else await honest(request)
            )

        world.network.hosts[node.operator.host] = refuse
        for _ in range(3):
            with pytest.raises(NodeRefused) as raised:
                await send(client)
            assert raised.value.details["reason"] == "storage_full"
        assert channel.books.signed == node.opening + 2 * charged
        world.network.hosts[node.operator.host] = honest
        await send(client)
        assert channel.books.signed == channel.books.spent == node.opening + 2 * charged


# ---- Openings that take their time ----


async def test_an_opening_is_continued_not_repeated(world: World, tmp_path: Path) -> None:
    node = await new_node(world)
    account = await world.account()

    def lost(request: httpx.Request, response: httpx.Response) -> httpx.Response:
        if request.url.path == "/v1/channels":
            raise httpx.ReadError("reset", request=request)
        return response

    node.tamper = lost
    async with world.client(account, tmp_path) as client:
        verified = await client.nodes.get(node.operator.address)
        terms = await client.channels.terms(verified, DEPOSIT)
        with pytest.raises(AnswerLost):
            await client.channels.open(verified, terms, wait=0)
        (channel,) = client.channels.all()
        assert channel.record.status == "opening"
    node.tamper = None
    async with world.client(account, tmp_path) as client:
        verified = await client.nodes.get(node.operator.address)
        again = await client.channels.open(verified, terms)
        assert again.signer == channel.signer
        assert await client.balance() == 1000 * DOLLAR - DEPOSIT
        assert again.books.spent == node.opening
        await send(client)


async def test_an_opening_that_is_not_mined_is_pending(world: World, tmp_path: Path) -> None:
    node = await new_node(world)
    account = await world.account()
    honest = node.handle

    async def slow(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/channels":
            return httpx.Response(202, json={"transaction": "0x" + "00" * 32, "status": "pending"})
        return await honest(request)

    world.network.hosts[node.operator.host] = slow
    async with world.client(account, tmp_path) as client:
        verified = await client.nodes.get(node.operator.address)
        terms = await client.channels.terms(verified, DEPOSIT)
        with pytest.raises(OpeningPending):
            await client.channels.open(verified, terms, wait=0)
        (channel,) = await client.channels.refresh()
        assert channel.record.status == "opening"
        world.network.hosts[node.operator.host] = honest
        assert (await client.channels.open(verified, terms)).signer == channel.signer


async def test_an_opening_whose_time_is_up_is_forgotten(world: World, tmp_path: Path) -> None:
    node = await new_node(world)
    now = time.time() - 7200  # the opening's deadline is half an hour later: long past on chain
    node.clock = lambda: now

    def refuse(request: httpx.Request, response: httpx.Response) -> httpx.Response:
        return response

    async with world.client(await world.account(), tmp_path, clock=lambda: now) as client:
        node.tamper = refuse
        with pytest.raises(NodeRefused, match="opening_refused"):
            await open_channel(client, node)
        assert len(client.channels.all()) == 1
        assert await client.channels.refresh() == []
        assert state_files(tmp_path, "0x*") == []


async def test_signers_that_another_device_used_are_skipped(world: World, tmp_path: Path) -> None:
    node = await new_node(world)
    account = await world.account()
    async with (
        world.client(account, tmp_path / "phone") as phone,
        world.client(account, tmp_path / "desk") as desk,
    ):
        used = [(await open_channel(phone, node)).record.index for _ in range(2)]
        assert used == [0, 1]
        assert (await open_channel(desk, node)).record.index == 2


async def test_a_payer_with_ether_can_do_without_the_node(world: World, tmp_path: Path) -> None:
    node = await new_node(world)
    async with world.client(await world.account(), tmp_path) as client:
        sender = await world.funded()
        verified = await client.nodes.get(node.operator.address)
        terms = await client.channels.terms(verified, DEPOSIT)

        def notice(request: httpx.Request, response: httpx.Response) -> httpx.Response:
            if request.url.path == "/v1/sessions" and response.status_code == 404:  # not seen yet, but now
                node.know(json.loads(request.content)["signer"], client.account.payer, DEPOSIT)
            return response

        node.tamper = notice
        channel = await client.channels.open(verified, terms, sender=sender)
        assert channel.books.spent == 0
        assert node.count("/v1/channels") == 0
        await send(client)


async def test_topping_up_raises_deposit_and_limit(world: World, tmp_path: Path) -> None:
    node = await new_node(world)
    async with world.client(await world.account(), tmp_path) as client:
        channel = await open_channel(client, node, limit=DOLLAR)
        assert await client.channels.top_up(channel, 3 * DOLLAR, await world.funded()) == DEPOSIT + 3 * DOLLAR
        assert channel.books.limit == 4 * DOLLAR
        state = await world.channels.channel(node.payee, channel.token, channel.signer)
        assert state.deposited == DEPOSIT + 3 * DOLLAR


# ---- Closing ----


async def test_with_the_nodes_consent_the_rest_comes_back_at_once(world: World, tmp_path: Path) -> None:
    node = await new_node(world)
    async with world.client(await world.account(), tmp_path) as client:
        channel = await open_channel(client, node)
        await send(client)
        spent = channel.books.spent
        plan = await client.channels.plan_close(channel)
        assert (plan.step, plan.final, plan.refund) == (Step.CONSENT, spent, DEPOSIT - spent)
        closing = await client.channels.close(channel, await world.funded())
        assert (closing.step, closing.final) == (Step.DONE, spent)
        assert await client.balance() == 1000 * DOLLAR - spent
        assert channel.record.status == "closed"
        with pytest.raises(ChannelMissing):
            await send(client)


async def test_consent_is_not_asked_for_in_vain(world: World, tmp_path: Path) -> None:
    node = await new_node(world)
    async with world.client(await world.account(), tmp_path) as client:
        channel = await open_channel(client, node)
        with pytest.raises(InsufficientFunds, match="anybody may send it"):
            await client.channels.close(channel, client.sender())
        assert node.count(f"{channel.path}/close") == 0
        await send(client)


async def test_without_consent_the_rest_comes_back_after_the_delay(world: World, tmp_path: Path) -> None:
    node = await new_node(world)
    now = [time.time()]
    node.clock = lambda: now[0]
    async with world.client(await world.account(), tmp_path, clock=lambda: now[0]) as client:
        channel, sender = await open_channel(client, node), await world.funded()
        started = await client.channels.close(channel, sender, consent=False)
        assert started.step is Step.WAIT
        assert started.closes_at > 0
        assert channel.record.status == "closing"
        assert (await client.channels.close(channel, sender, consent=False)).step is Step.WAIT
        with pytest.raises(ChannelMissing):
            await send(client)
        while (await world.connection.head()).timestamp < started.closes_at:
            await world.mint(node.payee, 1)  # every transaction is a block
        now[0] = started.closes_at
        assert (await client.channels.plan_close(channel, consent=False)).step is Step.FINISH
        assert (await client.channels.close(channel, sender, consent=False)).step is Step.DONE
        assert await client.balance() == 1000 * DOLLAR


async def test_a_node_that_asks_for_more_than_it_is_owed_gets_no_close(world: World, tmp_path: Path) -> None:
    node = await new_node(world)
    async with world.client(await world.account(), tmp_path) as client:
        channel = await open_channel(client, node)

        def greedy(close: dict[str, object]) -> dict[str, object]:
            return close | {"finalCumulative": str(node.opening + 1)}

        node.tamper = changed(f"{channel.path}/close", close=greedy)
        with pytest.raises(NodeDisagrees, match="without its consent"):
            await client.channels.close(channel, await world.funded())
        state = await world.channels.channel(node.payee, channel.token, channel.signer)
        assert state.status.name == "OPEN"
