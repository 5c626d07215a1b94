"""Channels opened for payers without ether: once, paid for by the first receipt, and with hardly a way to
waste the node's gas."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.services.node.money_node import (
    EAGER,
    PATIENT,
    Clock,
    MoneyNode,
    NodeKeys,
    assert_books_agree,
    open_node,
    price_list,
    until,
)
from tests.services.node.world import DEPOSIT, ETHER, PRICE, Client, World, new_key

from waypost.chain.transactions import Sender
from waypost.errors import (
    CloseDelayTooShort,
    InsufficientFunds,
    InvalidAuthorization,
    InvalidReceipt,
    InvalidSignature,
    OpeningRateLimited,
    OpeningRefused,
    ReceiptExceedsDeposit,
    ReceiptForAnotherNode,
    ReceiptTooSmall,
    WaypostError,
)
from waypost.node.accounts import Status
from waypost.node.opening_rules import Request
from waypost.node.transactions import State
from waypost.protocol.openings import SignedOpening, authorize


async def test_a_payer_without_ether_gets_a_channel(world: World, keys: NodeKeys) -> None:
    client = await world.client(keys.payee)
    async with open_node(world, keys, claim=PATIENT) as node, node.following():
        opened = await node.open(client.request(paid=300_000))
        account = opened.account
        assert account is not None
        assert opened.charged == PRICE
        assert (account.deposited, account.paid, account.spent) == (DEPOSIT, 300_000, PRICE)
        assert account.balance == 300_000 - PRICE
        assert await world.connection.balance(client.payer) == 0
        assert await world.token.balance_of(client.payer) == 0


async def test_asking_again_is_the_same_opening(world: World, keys: NodeKeys) -> None:
    client = await world.client(keys.payee)
    request = client.request()
    async with open_node(world, keys) as node, node.following():
        first, second = await asyncio.gather(node.open(request), node.open(request))
        third = await node.open(request)
        assert first.transaction == second.transaction == third.transaction
        assert first.account == third.account
        assert await world.connection.nonce(keys.gas_account) == 1
        # Its terms and receipt are not asked about again, even when they would no longer do.
        late = replace(price_list(world), opening=10 * PRICE)
        parts = request.signed, request.authorization, request.receipt
        assert (await node.openings.submit(*parts, late)).charged == PRICE


async def test_a_pending_opening_is_no_error(world: World, keys: NodeKeys) -> None:
    client = await world.client(keys.payee)
    request = client.request()
    async with open_node(world, keys, wait_seconds=0, confirmations=2) as node:
        async with world.mining_by_hand():
            pending = await node.open(request)
            assert (pending.account, pending.charged) == (None, 0)
            await world.mine()
        await node.catch_up()
        assert (await node.open(request)).account is None
        await world.mine(2)
        await node.catch_up()
        opened = await node.open(request)
        assert opened.transaction == pending.transaction
        assert opened.account is not None
        assert opened.charged == PRICE


async def test_another_request_of_the_same_signer_is_refused(world: World, keys: NodeKeys) -> None:
    client = await world.client(keys.payee, tokens=2 * DEPOSIT)
    async with open_node(world, keys) as node, node.following():
        await node.open(client.request())
        for other in (client.request(paid=PRICE + 1), client.request(salt=b"\1" * 32)):
            with pytest.raises(OpeningRefused):
                await node.open(other)
        assert await world.connection.nonce(keys.gas_account) == 1


async def test_a_channel_that_its_payer_opened_is_not_opened_again(world: World, keys: NodeKeys) -> None:
    client = await world.client(keys.payee, tokens=2 * DEPOSIT)
    async with open_node(world, keys) as node:
        await _submit_as_stranger(world, client.request())
        await node.catch_up()
        with pytest.raises(OpeningRefused):
            await node.open(client.request(salt=b"\1" * 32))
        assert (await node.books(client)).spent == 0
        assert await world.connection.nonce(keys.gas_account) == 0


Change = Callable[[World, Client], Request]

BAD: dict[str, tuple[type[WaypostError], Change]] = {
    "another payee": (OpeningRefused, lambda world, c: c.request(payee=c.payer)),
    "another token": (OpeningRefused, lambda world, c: c.request(token=world.channels.address)),
    "closes too fast": (CloseDelayTooShort, lambda world, c: c.request(close_delay=1)),
    "small deposit": (OpeningRefused, lambda world, c: c.request(amount=999_999)),
    "nothing deposited": (OpeningRefused, lambda world, c: c.request(amount=0, paid=0)),
    "absurd deposit": (OpeningRefused, lambda world, c: c.request(amount=2**128 - 1)),
    "receipt below the price": (ReceiptTooSmall, lambda world, c: c.request(paid=PRICE - 1)),
    "receipt above the deposit": (ReceiptExceedsDeposit, lambda world, c: c.request(paid=DEPOSIT + 1)),
    "deadline passed": (OpeningRefused, lambda world, c: c.request(deadline=int(time.time()) - 1)),
    "deadline too soon": (OpeningRefused, lambda world, c: c.request(deadline=int(time.time()) + 30)),
    "payer has not enough": (OpeningRefused, lambda world, c: c.request(amount=DEPOSIT + 1)),
    "close delay above the contract's": (OpeningRefused, lambda world, c: c.request(close_delay=3601)),
    "another's signature": (
        InvalidSignature,
        lambda world, c: replace(
            c.request(), signed=replace(c.opening(), signer_signature=_forged(c).signer_signature)
        ),
    ),
    "another signer's receipt": (
        InvalidReceipt,
        lambda world, c: replace(c.request(), receipt=Client(world, c.payee).receipt(PRICE)),
    ),
    "receipt for another node": (
        ReceiptForAnotherNode,
        lambda world, c: replace(c.request(), receipt=replace(c, payee=c.payer).receipt(PRICE)),
    ),
    "authorization of another opening": (
        InvalidAuthorization,
        lambda world, c: replace(c.request(), authorization=c.authorization(c.opening(salt=b"\1" * 32))),
    ),
    "authorization by another key": (
        OpeningRefused,
        lambda world, c: replace(
            c.request(),
            authorization=authorize(
                c.opening().opening,
                world.channels.address,
                world.token_domain,
                new_key("thief"),
                c.opening().opening.deadline,
            ),
        ),
    ),
    "authorization expires too soon": (
        OpeningRefused,
        lambda world, c: replace(
            c.request(), authorization=c.authorization(c.opening(), valid_before=int(time.time()) + 30)
        ),
    ),
}


@pytest.mark.parametrize("name", BAD)
async def test_what_is_wrong_is_refused_before_it_costs_gas(world: World, keys: NodeKeys, name: str) -> None:
    error, change = BAD[name]
    client = await world.client(keys.payee)
    async with open_node(world, keys) as node:
        with pytest.raises(error) as refusal:
            await node.open(change(world, client))
        assert refusal.value.code == error.code
        status = await node.outbox.status()
        assert (status.waiting, status.balance) == (0, 10 * ETHER)
        # The client may correct itself.
        async with node.following():
            assert (await node.open(client.request())).account is not None


async def test_no_more_than_so_many_an_hour_also_across_restarts(world: World, keys: NodeKeys) -> None:
    clients, clock = [await world.client(keys.payee) for _ in range(4)], Clock()
    requests = [client.request(deadline=int(time.time()) + 9_000) for client in clients]
    async with open_node(world, keys, cap_per_hour=2, clock=clock) as node, node.following():
        await node.open(requests[0])
        await node.open(requests[1])
        with pytest.raises(OpeningRateLimited):
            await node.open(requests[2])
    async with open_node(world, keys, cap_per_hour=2, clock=clock) as node, node.following():
        with pytest.raises(OpeningRateLimited):
            await node.open(requests[2])
        assert (await node.open(requests[0])).charged == PRICE  # asking again is free
        clock.shift += 3_601
        assert (await node.open(requests[2])).account is not None


async def test_one_payer_has_one_opening_under_way(world: World, keys: NodeKeys) -> None:
    """Each of two would pass its simulation; together they are more than the payer has."""
    client = await world.client(keys.payee)
    twin = replace(client, signer_key=new_key("signer"))
    async with open_node(world, keys, wait_seconds=0) as node:
        async with world.mining_by_hand():
            await node.open(client.request())
            with pytest.raises(OpeningRateLimited):
                await node.open(twin.request())
            await world.mine()
        await node.catch_up()
        assert (await node.books(client)).spent == PRICE


async def test_a_payer_who_makes_an_opening_fail_waits_an_hour(world: World, keys: NodeKeys) -> None:
    client, other, clock = await world.client(keys.payee), await world.client(keys.payee), Clock()
    request = client.request(deadline=int(time.time()) + 9_000)
    async with open_node(world, keys, wait_seconds=0, clock=clock) as node:
        await _fail(node, client, request)
        assert await node.ledger.account(client.signer) is None
        for attempt in (request, replace(client, signer_key=new_key("signer")).request()):
            with pytest.raises(OpeningRateLimited) as refusal:
                await node.open(attempt)
            retry_after = refusal.value.details["retryAfter"]
            assert isinstance(retry_after, int)
            assert 3_500 < retry_after <= 3_600
        assert (await node.open(other.request())).transaction
        await world.mint(client.payer, DEPOSIT)
        clock.shift += 3_601
        await node.open(request)
        await node.catch_up()
        assert (await node.books(client)).spent == PRICE


async def test_an_opening_that_failed_is_not_charged_for_later(world: World, keys: NodeKeys) -> None:
    client = await world.client(keys.payee)
    async with open_node(world, keys, wait_seconds=0) as node:
        await _fail(node, client, client.request())
        await world.mint(client.payer, DEPOSIT)
        await _submit_as_stranger(world, client.request(salt=b"\1" * 32))
        await node.catch_up()
        account = await node.books(client)
        assert (account.paid, account.spent) == (0, 0)
        await node.pay(client, PRICE)


async def test_somebody_else_sends_the_opening_first(world: World, keys: NodeKeys) -> None:
    client = await world.client(keys.payee)
    request, stranger = client.request(), await world.sender()
    async with open_node(world, keys, wait_seconds=0) as node:
        async with world.mining_by_hand():
            call = world.channels.open_with_authorization(request.signed, request.authorization)
            await stranger.broadcast(await stranger.sign(call, gas=300_000))
            await node.open(request)
            await world.mine()
        await node.catch_up()
        await node.outbox.follow()
        # The node's gas is spent, and the channel is open: the bargain stands.
        opened = await node.open(request)
        assert opened.account is not None
        assert (opened.account.paid, opened.account.spent) == (PRICE, PRICE)
        states = await node.db.read(
            lambda connection: connection.execute("SELECT state FROM transactions").fetchall()
        )
        assert [row["state"] for row in states] == [State.REVERTED]


async def test_the_price_is_paid_even_if_the_payer_closes_at_once(world: World, keys: NodeKeys) -> None:
    client = await world.client(keys.payee)
    async with open_node(world, keys, confirmations=2, wait_seconds=0, claim=PATIENT) as node:
        await node.open(client.request())
        await client.start_close()
        await node.catch_up()
        account = await node.books(client)
        assert (account.status, account.paid, account.spent) == (Status.CLOSING, PRICE, PRICE)
        await world.mine(2)
        async with node.running():
            await node.has_claimed(PRICE)
        await assert_books_agree(node)


async def test_gas_that_is_too_dear_for_the_price(world: World, keys: NodeKeys) -> None:
    client = await world.client(keys.payee)
    async with open_node(world, keys) as node:
        price = await node.outbox.gas_price()
    # 200,000 gas are worth more than twice the price, but less than five times.
    rate = 2 * PRICE * 10**18 // (120_000 * price)
    dear = EAGER.model_copy(update={"token_per_ether": rate})
    async with open_node(world, keys, claim=dear) as node, node.following():
        with pytest.raises(OpeningRefused, match="gas"):
            await node.open(client.request())
        parts = client.request(paid=5 * PRICE)
        prices = price_list(world, opening=5 * PRICE)
        opened = await node.openings.submit(parts.signed, parts.authorization, parts.receipt, prices)
        assert opened.charged == 5 * PRICE


async def test_an_empty_gas_account_sends_nothing_and_keeps_nothing(world: World, keys: NodeKeys) -> None:
    poor = NodeKeys(keys.folder)
    client = await world.client(poor.payee)
    request = client.request()
    async with open_node(world, poor) as node, node.following():
        with pytest.raises(InsufficientFunds):
            await node.open(request)
        assert (await node.outbox.status()).waiting == 0
        await world.fund(poor.gas_account)
        assert (await node.open(request)).account is not None


async def test_a_client_that_goes_away_still_gets_its_channel(world: World, keys: NodeKeys) -> None:
    client = await world.client(keys.payee)
    async with open_node(world, keys) as node, node.running():
        waiting = asyncio.ensure_future(node.open(client.request()))

        async def is_under_way() -> bool:
            return await world.connection.nonce(keys.gas_account, pending=True) > 0

        await until(is_under_way)
        waiting.cancel()
        await node.has_claimed(PRICE)
        assert (await node.books(client)).spent == PRICE


async def _fail(node: MoneyNode, client: Client, request: Request) -> None:
    """The payer's tokens are gone when the opening is mined."""
    world = node.world
    await world.fund(client.payer, ETHER // 10)
    payer = Sender(world.connection, client.payer_key)
    async with world.mining_by_hand():
        # Simulated, all is well; but this comes first.
        transfer = world.token.transfer(world.faucet.address, DEPOSIT)
        await payer.broadcast(await payer.sign(transfer, gas=100_000))
        await node.open(request)
        await world.mine()
    await node.catch_up()
    await node.outbox.follow()
    assert (await node.outbox.status()).waiting == 0


def _forged(client: Client) -> SignedOpening:
    """A like opening, signed by somebody else."""
    return replace(client, signer_key=new_key("signer")).opening()


async def _submit_as_stranger(world: World, request: Request) -> None:
    stranger = await world.sender()
    await stranger.send(world.channels.open_with_authorization(request.signed, request.authorization))
