"""Transactions that are not simply mined: stuck, dropped, pointless, out of order, or sent through an
endpoint that fails and lies. Whatever becomes of them, nonces go on and the books stay right."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import pytest
from eth_typing import ChecksumAddress
from tests.services.node.money_node import PATIENT, Clock, MoneyNode, NodeKeys, assert_books_agree, open_node
from tests.services.node.world import ETHER, PRICE, World

from waypost.chain.blocks import TransactionReceipt
from waypost.chain.connection import Call, Connection
from waypost.chain.fees import MAX_TIP
from waypost.chain.transactions import Sender
from waypost.errors import ChainError, InsufficientFunds, OpeningRateLimited, RpcFailed, RpcUnreachable
from waypost.node import transactions
from waypost.node.outbox import DOUBTS, MAKE_WAY, PATIENCE, RESEND
from waypost.node.transactions import Draft, State, Transaction

T = TypeVar("T")


class Tampered(Connection):
    """An endpoint of which a test says what it gets wrong."""

    def __init__(self, real: Connection) -> None:
        super().__init__(real.web3, real.host, real.chain_id)
        self.free = False
        """Says that gas costs nothing, so that what is sent is never mined."""
        self.tips = 0
        self.extra_nonces = 0
        self.extra_pending = 0
        self.gas: int | None = None
        self.receipts: Callable[[TransactionReceipt | None], TransactionReceipt | None] = lambda found: found

    async def base_fee(self) -> int:
        return 0 if self.free else await super().base_fee()

    async def tip(self) -> int:
        return 0 if self.free else self.tips or await super().tip()

    async def nonce(self, address: ChecksumAddress, *, pending: bool = False) -> int:
        extra = self.extra_pending if pending else self.extra_nonces
        return extra + await super().nonce(address, pending=pending)

    async def estimate(self, call: Call, sender: ChecksumAddress | None = None) -> int:
        found = await super().estimate(call, sender)
        return found if self.gas is None else self.gas

    async def receipt(self, transaction: bytes) -> TransactionReceipt | None:
        return self.receipts(await super().receipt(transaction))


def tampered(node: MoneyNode) -> Tampered:
    assert isinstance(node.connection, Tampered)
    return node.connection


async def stored(node: MoneyNode, transaction: Transaction | None) -> Transaction:
    assert transaction is not None
    number = transaction.id
    return await node.db.read(lambda connection: transactions.find(connection, number))


def nothing(connection: Any, transaction: int) -> None:
    """A record of nothing."""


async def test_what_is_stuck_is_sent_again_for_more(world: World, keys: NodeKeys) -> None:
    client, clock = await world.client(keys.payee), Clock()
    async with open_node(world, keys, connection=Tampered, clock=clock) as node:
        await node.serve(client, 1_000_000)
        tampered(node).free = True
        claim = await node.claimer.step()
        tampered(node).free = False
        await node.outbox.follow()
        assert len((await stored(node, claim)).attempts) == 1
        clock.shift += PATIENCE
        await node.outbox.follow()
        await node.catch_up()
        raised = await stored(node, claim)
        assert (raised.state, len(raised.attempts)) == (State.MINED, 2)
        assert raised.hash == raised.newest.hash
        assert await world.connection.nonce(keys.gas_account) == 2
        await assert_books_agree(node)


async def test_fees_rise_no_further_than_it_is_worth(world: World, keys: NodeKeys) -> None:
    clock = Clock()
    async with open_node(world, keys, connection=Tampered, clock=clock) as node:
        tampered(node).free = True
        draft = Draft("claim", world.token.approve(keys.payee, 1), 100_000, ceiling=1)
        transaction = await node.outbox.post(draft, nothing)
        tampered(node).free = False
        for _ in range(3):
            clock.shift += PATIENCE
            await node.outbox.follow()
        assert (await stored(node, transaction)).newest.max_fee <= 1
        await node.outbox.hurry(transaction)
        await node.outbox.follow()
        assert await world.token.allowance(keys.gas_account, keys.payee) == 1


async def test_what_gas_became_too_dear_for_makes_way(world: World, keys: NodeKeys) -> None:
    clock = Clock()
    async with open_node(world, keys, connection=Tampered, clock=clock) as node:
        tampered(node).free = True
        cheap = Draft("exit", world.token.approve(keys.payee, 1), 100_000, ceiling=1)
        first = await node.outbox.post(cheap, nothing)
        tampered(node).free = False
        second = await node.outbox.post(Draft("slash", world.token.approve(keys.payee, 2), 100_000), nothing)
        for seconds in (PATIENCE, MAKE_WAY - 1):  # first it is raised as far as it may be
            clock.shift += seconds
            await node.outbox.follow()
        assert not (await stored(node, first)).newest.empty
        clock.shift += 1
        await node.outbox.follow()
        await node.catch_up()
        await node.outbox.follow()
        assert (await stored(node, first)).state is State.CANCELLED
        assert (await stored(node, second)).state is State.MINED
        assert await world.token.allowance(keys.gas_account, keys.payee) == 2


async def test_an_urgent_claim_pulls_along_what_is_stuck_before_it(world: World, keys: NodeKeys) -> None:
    closing, opening = await world.client(keys.payee), await world.client(keys.payee)
    async with open_node(world, keys, connection=Tampered, claim=PATIENT, wait_seconds=0) as node:
        await node.open(closing.request())
        await node.catch_up()
        await node.pay(closing, 2_000_000)
        tampered(node).free = True
        await node.open(opening.request())
        tampered(node).free = False
        await closing.start_close()
        await node.catch_up()
        claim = await node.claimer.step()
        assert claim is not None
        assert claim.urgent
        assert (await node.outbox.status()).waiting == 2
        await node.outbox.follow()  # no patience is asked of an urgent claim
        await node.catch_up()
        assert (await node.books(closing)).claimed == 2_000_000
        assert (await node.books(opening)).spent == PRICE
        await assert_books_agree(node)


async def test_a_claim_in_flight_becomes_urgent_with_its_channel(world: World, keys: NodeKeys) -> None:
    client = await world.client(keys.payee)
    async with open_node(world, keys, connection=Tampered) as node:
        await node.serve(client, 2_000_000)
        tampered(node).free = True
        await node.claimer.step()
        tampered(node).free = False
        await client.start_close()
        await node.catch_up()
        flight = await node.claimer.step()
        assert (await stored(node, flight)).urgent
        await node.outbox.follow()
        await node.catch_up()
        assert await node.claimed() == 2_000_000
        await assert_books_agree(node)


async def test_what_was_dropped_is_sent_again(world: World, keys: NodeKeys) -> None:
    client, clock = await world.client(keys.payee), Clock()
    async with open_node(world, keys, clock=clock) as node:
        await node.serve(client, 1_000_000)
        async with world.mining_by_hand():
            snapshot = await world.rpc("evm_snapshot")
            claim = await node.claimer.step()
            assert claim is not None
            await world.rpc("evm_revert", snapshot)
            assert not await world.connection.knows(claim.hash)
        await node.outbox.follow()
        assert not await world.connection.knows(claim.hash)
        clock.shift += RESEND
        await node.outbox.follow()
        await node.catch_up()
        assert (await stored(node, claim)).hash == claim.hash
        assert await node.claimed() == 1_000_000
        await assert_books_agree(node)


async def test_what_became_pointless_is_cancelled(world: World, keys: NodeKeys) -> None:
    client, other = await world.client(keys.payee), await world.client(keys.payee)
    clock = Clock()
    async with open_node(world, keys, connection=Tampered, clock=clock, wait_seconds=0) as node:
        tampered(node).free = True
        await node.open(client.request())
        tampered(node).free = False
        # The deposit leaves the payer's account before the opening is mined.
        await world.fund(client.payer, ETHER // 10)
        payer = Sender(world.connection, client.payer_key)
        await payer.send(world.token.transfer(other.payer, 5_000_000))
        clock.shift += PATIENCE
        await node.outbox.follow()
        await node.catch_up()
        await node.outbox.follow()
        (opening,) = await node.db.read(every)
        assert (opening.state, opening.newest.empty) == (State.CANCELLED, True)
        receipt = await world.connection.receipt(opening.hash)
        assert receipt is not None
        assert receipt.gas_used == 21_000
        # The payer has to wait; nobody else has.
        with pytest.raises(OpeningRateLimited):
            await node.open(client.request())
        await node.open(other.request())
        await node.catch_up()
        assert (await node.books(other)).spent == PRICE


async def test_a_gap_before_our_nonce_is_noticed(world: World, keys: NodeKeys) -> None:
    client, clock = await world.client(keys.payee), Clock()
    async with open_node(world, keys, connection=Tampered, clock=clock) as node:
        await node.serve(client, 1_000_000)
        tampered(node).extra_pending = 3
        claim = await node.claimer.step()
        assert claim is not None
        assert claim.nonce == 4
        tampered(node).extra_pending = 0
        clock.shift += PATIENCE
        for _ in range(DOUBTS):
            assert (await stored(node, claim)).state is State.SENT
            await node.outbox.follow()
        assert (await stored(node, claim)).state is State.LOST
        again = await node.claimer.step()
        assert again is not None
        assert again.nonce == 1
        await node.catch_up()
        assert await node.claimed() == 1_000_000
        await assert_books_agree(node)


async def test_a_lost_nonce_that_was_not_lost_counts_once(world: World, keys: NodeKeys) -> None:
    client = await world.client(keys.payee)
    async with open_node(world, keys, connection=Tampered) as node:
        await node.serve(client, 1_000_000)
        async with world.mining_by_hand():
            first = await node.claimer.step()
            tampered(node).extra_nonces = 1
            for _ in range(DOUBTS):
                await node.outbox.follow()
            assert (await stored(node, first)).state is State.LOST
            tampered(node).extra_nonces = 0
            second = await node.claimer.step()
            assert second is not None
            await world.mine()
        await node.catch_up()
        assert (await stored(node, first)).state is State.MINED
        assert (await stored(node, second)).state is State.MINED
        assert await node.claimer.step() is None
        await assert_books_agree(node)


async def test_an_endpoint_that_sees_nothing_waiting_gets_distinct_nonces(
    world: World, keys: NodeKeys
) -> None:
    clients = [await world.client(keys.payee) for _ in range(3)]
    async with open_node(world, keys, connection=Tampered, wait_seconds=0) as node:
        async with world.mining_by_hand():
            for waiting, client in enumerate(clients):
                tampered(node).extra_pending = -waiting
                await node.open(client.request())
            sent = await node.db.read(transactions.sent)
            assert [transaction.nonce for transaction in sent] == [0, 1, 2]
            await world.mine()
        await node.catch_up()
        for client in clients:
            assert (await node.books(client)).spent == PRICE


@pytest.mark.parametrize(
    "lie",
    [
        lambda found: found and replace(found, block_number=found.block_number + 10**6),
        lambda found: found and replace(found, block_number=found.block_number - 1, block_hash=bytes(32)),
        lambda found: found and replace(found, hash=bytes(32)),
        lambda found: None,
    ],
    ids=["future block", "block of another fork", "another transaction", "none at all"],
)
async def test_receipts_alone_prove_nothing(
    world: World, keys: NodeKeys, lie: Callable[[TransactionReceipt | None], TransactionReceipt | None]
) -> None:
    client = await world.client(keys.payee)
    async with open_node(world, keys, connection=Tampered) as node:
        await node.serve(client, 1_000_000)
        tampered(node).receipts = lie
        claim = await node.claimer.step()
        await node.outbox.follow()
        assert (await stored(node, claim)).state is State.SENT
        assert await node.claimed() == 0
        await node.catch_up()
        assert (await stored(node, claim)).state is State.MINED
        await assert_books_agree(node)


@pytest.mark.parametrize("gas", [1, 10**12])
async def test_gas_estimates_may_be_wrong(world: World, keys: NodeKeys, gas: int) -> None:
    client = await world.client(keys.payee)
    async with open_node(world, keys, connection=Tampered) as node:
        await node.serve(client, 1_000_000)
        tampered(node).gas = gas
        claim = await node.claimer.step()
        assert claim is not None
        assert 53_000 <= claim.gas <= 2**24
        await node.catch_up()
        assert await node.claimed() == 1_000_000


async def test_the_last_wei_is_enough(world: World, keys: NodeKeys) -> None:
    poor = NodeKeys(keys.folder)
    async with open_node(world, poor) as node:
        price = await node.outbox.gas_price()
        draft = Draft("claim", world.token.approve(keys.payee, 1), 100_000)
        await world.fund(poor.gas_account, 100_000 * price // 2)
        with pytest.raises(InsufficientFunds):
            await node.outbox.post(draft, nothing)
        assert (await node.outbox.status()).faults == (InsufficientFunds.code,)
        await world.fund(poor.gas_account, 100_000 * price - 100_000 * price // 2)
        assert (await node.outbox.status()).faults == ()
        transaction = await node.outbox.post(draft, nothing)
        # Less than twice the base fee is offered, but enough for the next block.
        assert price <= transaction.newest.max_fee <= price * 11 // 10
        assert (await node.outbox.status()).faults == ()
        assert await world.token.allowance(poor.gas_account, keys.payee) == 1


async def test_promised_wei_are_not_promised_twice(world: World, keys: NodeKeys) -> None:
    poor = NodeKeys(keys.folder)
    async with open_node(world, poor) as node:
        draft = Draft("claim", world.token.approve(keys.payee, 1), 100_000)
        price = await node.outbox.gas_price()
        await world.fund(poor.gas_account, 100_000 * price * 19 // 10)
        async with world.mining_by_hand():
            await node.outbox.post(draft, nothing)
            with pytest.raises(InsufficientFunds):
                await node.outbox.post(draft, nothing)
        await node.outbox.follow()


async def test_fees_rise_as_far_as_the_account_goes(world: World, keys: NodeKeys) -> None:
    poor, clock = NodeKeys(keys.folder), Clock()
    async with open_node(world, poor, connection=Tampered, clock=clock) as node:
        price = await node.outbox.gas_price()
        await world.fund(poor.gas_account, 100_000 * price)
        tampered(node).free = True
        call = world.token.approve(keys.payee, 1)
        transaction = await node.outbox.post(Draft("claim", call, 100_000), nothing)
        tampered(node).free = False
        clock.shift += PATIENCE
        await node.outbox.follow()
        newest = (await stored(node, transaction)).newest
        assert newest.max_fee == price  # less than what is usual, but all there is
        assert await world.token.allowance(poor.gas_account, keys.payee) == 1


async def test_bad_advice_on_tips_does_not_empty_the_account(world: World, keys: NodeKeys) -> None:
    async with open_node(world, keys, connection=Tampered) as node:
        tampered(node).tips = 10**14
        draft = Draft("claim", world.token.approve(keys.payee, 1), 100_000, urgent=True)
        transaction = await node.outbox.post(draft, nothing)
        assert transaction.newest.tip == MAX_TIP


class Flaky(Connection):
    """An endpoint that loses requests, and answers, with a probability."""

    dice = random.Random(0)

    def __init__(self, real: Connection) -> None:
        super().__init__(real.web3, real.host, real.chain_id)

    async def _ask(self, read: Callable[[Any], T], method: str, params: Sequence[Any]) -> T:
        self._stumble()
        found = await super()._ask(read, method, params)
        self._stumble()
        return found

    def _stumble(self) -> None:
        if self.dice.random() < 0.04:
            raise self.dice.choice([RpcUnreachable, RpcFailed])()


@pytest.mark.parametrize("seed", range(4))
async def test_an_endpoint_that_fails_at_random(world: World, keys: NodeKeys, seed: int) -> None:
    Flaky.dice = random.Random(seed)
    client = await world.client(keys.payee)
    request = client.request()
    async with open_node(world, keys, connection=Flaky, claim=PATIENT) as node:
        async with node.running():
            while not await _opened(node, request):
                pass
            await node.pay(client, 1_500_000)
            await client.start_close()
            await node.has_claimed(1_500_000)
        assert await world.connection.nonce(keys.gas_account) == 2
        account = await node.books(client)
        assert (account.paid, account.spent) == (1_500_000, PRICE)
        await assert_books_agree(node)


async def _opened(node: MoneyNode, request: Any) -> bool:
    try:
        return (await node.open(request)).account is not None
    except ChainError:
        return False


def every(connection: Any) -> list[Transaction]:
    rows = connection.execute("SELECT id FROM transactions ORDER BY id").fetchall()
    return [transactions.find(connection, row["id"]) for row in rows]
