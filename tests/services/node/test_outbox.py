"""Transactions that are not simply mined: stuck, dropped, pointless, out of order, or sent through an
endpoint that fails and lies. Whatever becomes of them, nonces go on and the books stay right."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import pytest
from tests.services.node.money_node import PATIENT, Clock, MoneyNode, NodeKeys, assert_books_agree, open_node
from tests.services.node.tampering import Tampered, stored, tampered
from tests.services.node.world import ETHER, PRICE, World

from waypost.chain.blocks import TransactionReceipt
from waypost.chain.connection import Connection
from waypost.chain.transactions import Sender
from waypost.errors import ChainError, OpeningRateLimited, RpcFailed, RpcUnreachable
from waypost.node import transactions
from waypost.node.outbox import DOUBTS, PATIENCE, RESEND
from waypost.node.transactions import State, Transaction

T = TypeVar("T")


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
