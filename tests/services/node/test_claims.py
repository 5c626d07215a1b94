"""Claiming on a real chain: what is paid by receipt ends up with the payee, once, whatever happens."""

from functools import partial
from pathlib import Path

import pytest
from eth_typing import ChecksumAddress
from structlog.testing import capture_logs
from tests.services.node.money_node import (
    EAGER,
    PATIENT,
    Clock,
    MoneyNode,
    NodeKeys,
    assert_books_agree,
    open_node,
    until,
)
from tests.services.node.world import DEPOSIT, ETHER, PRICE, Client, World

from waypost.chain.channels import ChannelStatus, Claimed
from waypost.chain.connection import Connection
from waypost.chain.transactions import Sender
from waypost.errors import ClaimPaysNothing, InsufficientFunds
from waypost.node.accounts import Status
from waypost.node.closing import FREEZE_SECONDS
from waypost.node.transactions import State, conclude

ABSURD_GAS = PATIENT.model_copy(update={"token_per_ether": 10**15})
"""One claim's gas is worth more than every deposit of these tests."""


async def test_a_channel_lives_from_opening_to_closing(world: World, keys: NodeKeys) -> None:
    client = await world.client(keys.payee)
    async with open_node(world, keys) as node, node.running():
        opened = await node.open(client.request())
        assert opened.account is not None
        assert (opened.charged, opened.account.spent, opened.account.paid) == (PRICE, PRICE, PRICE)
        await node.pay(client, 2_000_000)
        await node.has_claimed(2_000_000)
        assert await world.token.balance_of(keys.payee) == 2_000_000

        consent = await node.closing.consent(client.signer)
        stranger = await world.sender()
        await stranger.send(world.channels.close(consent.close, consent.signature, consent.receipt))
        await until(lambda: _has_status(node, client, Status.CLOSED))
        state = await world.channels.channel(keys.payee, world.token.address, client.signer)
        assert state.status is ChannelStatus.CLOSED
        assert await world.token.balance_of(client.payer) == DEPOSIT - 2_000_000
        await assert_books_agree(node)


async def test_a_payer_who_starts_closing_does_not_outrun_the_claim(world: World, keys: NodeKeys) -> None:
    client = await world.client(keys.payee)
    async with open_node(world, keys, claim=PATIENT) as node:
        await node.serve(client, 3_000_000)
    # No price of gas and no patience counts now.
    async with open_node(world, keys, claim=ABSURD_GAS) as node:
        async with node.running():
            await client.start_close()
            await node.has_claimed(3_000_000)
        assert await world.connection.nonce(keys.gas_account) == 2
        await world.rpc("evm_increaseTime", 61)
        stranger = await world.sender()
        await stranger.send(world.channels.finish_close(keys.payee, world.token.address, client.signer))
        await node.catch_up()
        assert await world.token.balance_of(client.payer) == DEPOSIT - 3_000_000
        assert (await node.books(client)).status is Status.CLOSED
        assert (await node.ledger.totals()).lost == 0
        await assert_books_agree(node)


async def test_what_does_not_pay_is_not_claimed(world: World, keys: NodeKeys) -> None:
    client = await world.client(keys.payee)
    async with open_node(world, keys, claim=PATIENT) as node:
        await node.serve(client, DEPOSIT)
    for settings in (PATIENT, ABSURD_GAS, EAGER.model_copy(update={"token_per_ether": 10**15})):
        async with open_node(world, keys, claim=settings) as node:
            await node.catch_up()
            assert await node.claimer.step() is None
            assert (await node.claimer.status()).fault is None
    assert await world.connection.nonce(keys.gas_account) == 1


async def test_the_wait_is_remembered_across_restarts(world: World, keys: NodeKeys) -> None:
    client, clock = await world.client(keys.payee), Clock()
    waiting = PATIENT.model_copy(update={"max_age_seconds": 86_400})
    async with open_node(world, keys, claim=waiting, clock=clock) as node:
        await node.serve(client, 1_000_000)
        assert await node.claimer.step() is None
        assert (await node.claimer.status()).waiting_since is not None
    clock.shift += 86_000
    async with open_node(world, keys, claim=waiting, clock=clock) as node:
        assert await node.claimer.step() is None
        clock.shift += 401
        assert await node.claimer.step() is not None
        await node.catch_up()
        assert await node.claimed() == 1_000_000
        assert await node.claimer.step() is None
        assert (await node.claimer.status()).waiting_since is None


async def test_batches_take_the_most_valuable_first(world: World, keys: NodeKeys) -> None:
    clients = [await world.client(keys.payee) for _ in range(5)]
    two = EAGER.model_copy(update={"max_batch": 2})
    async with open_node(world, keys, claim=two) as node:
        for number, client in enumerate(clients):
            await node.serve(client, 1_000_000 + number)
        for _ in range(3):
            await node.claimer.step()
            await node.catch_up()
        assert await node.claimer.step() is None
        batches = [event for event in await world.events(keys.payee) if isinstance(event, Claimed)]
        signers = [[signer for signer, _ in batch.entries] for batch in batches]
        assert signers == [
            [clients[4].signer, clients[3].signer],
            [clients[2].signer, clients[1].signer],
            [clients[0].signer],
        ]
        history = await node.claimer.history()
        assert [record.hash for record in history] == [b.transaction_hash for b in reversed(batches)]
        assert [record.value for record in history] == [b.total for b in reversed(batches)]
        assert {record.state for record in history} == {State.MINED}
        await assert_books_agree(node)


async def test_claiming_now_takes_everything(world: World, keys: NodeKeys) -> None:
    clients = [await world.client(keys.payee) for _ in range(3)]
    async with open_node(world, keys, claim=PATIENT) as node:
        for client in clients:
            await node.serve(client, 1_000_000)
    async with open_node(world, keys, claim=ABSURD_GAS.model_copy(update={"max_batch": 2})) as node:
        async with node.running():
            hashes = await node.claimer.claim_now()
            assert await node.claimer.claim_now() == []
        assert len(hashes) == 2
        assert await node.claimed() == 3_000_000
        claims = [event for event in await world.events(keys.payee) if isinstance(event, Claimed)]
        assert [claim.transaction_hash for claim in claims] == hashes
        await assert_books_agree(node)


async def test_a_reorg_puts_receipts_back(world: World, keys: NodeKeys) -> None:
    client = await world.client(keys.payee)
    async with open_node(world, keys) as node:
        await node.serve(client, 2_000_000)
        await world.mine()
        await node.catch_up()
        snapshot = await world.rpc("evm_snapshot")
        first = await node.claimer.step()
        assert first is not None
        await node.catch_up()
        assert await node.claimed() == 2_000_000

        await world.rpc("evm_revert", snapshot)
        await world.mine(3)
        await node.catch_up()
        assert await node.claimed() == 0
        assert (await node.books(client)).claimable == 2_000_000
        # The same transaction comes back: no second one is made.
        again = await node.claimer.step()
        assert again is not None
        assert again.hash == first.hash
        await node.outbox.follow()
        await node.catch_up()
        assert await node.claimed() == 2_000_000
        assert await world.connection.nonce(keys.gas_account) == 2
        await assert_books_agree(node)


async def test_a_reorg_of_the_whole_channel(world: World, keys: NodeKeys) -> None:
    client = await world.client(keys.payee)
    await world.mine()
    async with open_node(world, keys) as node:
        await node.catch_up()
        snapshot = await world.rpc("evm_snapshot")
        await node.serve(client, 2_000_000)
        await node.claimer.step()
        await node.catch_up()
        assert await node.claimed() == 2_000_000

        await world.rpc("evm_revert", snapshot)
        await world.mine(4)
        await node.catch_up()
        account = await node.books(client)
        assert (account.status, account.paid, account.spent) == (Status.OPENING, 2_000_000, PRICE)
        assert account.claimable == 0
        await node.outbox.follow()
        await node.catch_up()
        account = await node.books(client)
        # Opened and claimed again by the same two transactions, and charged only once.
        assert (account.status, account.claimed, account.spent) == (Status.OPEN, 2_000_000, PRICE)
        assert await world.connection.nonce(keys.gas_account) == 2
        await assert_books_agree(node)


async def test_claimed_counts_as_final_at_depth(world: World, keys: NodeKeys) -> None:
    client = await world.client(keys.payee)
    async with open_node(world, keys, confirmations=2, wait_seconds=0) as node:
        await node.open(client.request())
        await world.mine(2)
        await node.catch_up()
        await node.claimer.step()
        await node.catch_up()
        totals = await node.ledger.totals()
        assert (totals.claimed, totals.confirming, totals.claimable) == (0, PRICE, 0)
        await world.mine(2)
        await node.catch_up()
        totals = await node.ledger.totals()
        assert (totals.claimed, totals.confirming) == (PRICE, 0)


async def test_somebody_else_claims_at_the_same_time(world: World, keys: NodeKeys) -> None:
    client, stranger = await world.client(keys.payee), await world.sender()
    async with open_node(world, keys) as node:
        await node.serve(client, 2_000_000)
        receipts = [client.receipt(2_000_000)]
        async with world.mining_by_hand():
            ours = await node.claimer.step()
            assert ours is not None
            call = world.channels.claim(keys.payee, world.token.address, receipts)
            theirs = await stranger.sign(call, gas=200_000)
            await stranger.broadcast(theirs)
            await world.mine()
        await node.catch_up()
        claims = [event for event in await world.events(keys.payee) if isinstance(event, Claimed)]
        assert sorted(claim.total for claim in claims) == [0, 2_000_000]
        assert await node.claimer.step() is None
        await assert_books_agree(node)


async def test_books_that_are_behind_do_not_send_a_worthless_claim(world: World, keys: NodeKeys) -> None:
    client, stranger = await world.client(keys.payee), await world.sender()
    async with open_node(world, keys) as node:
        await node.serve(client, 2_000_000)
        receipts = [client.receipt(2_000_000)]
        await stranger.send(world.channels.claim(keys.payee, world.token.address, receipts))
        with pytest.raises(ClaimPaysNothing):
            await node.claimer.step()
        await node.catch_up()
        assert await node.claimer.step() is None
        assert await world.connection.nonce(keys.gas_account) == 1
        await assert_books_agree(node)


async def test_two_nodes_on_one_key_by_mistake(world: World, keys: NodeKeys, tmp_path: Path) -> None:
    """Say, a backup that was started beside the original: same keys, same receipts, another folder."""
    copy = NodeKeys(tmp_path / "copy", keys.gas_key, keys.payee_key)
    clients = [await world.client(keys.payee) for _ in range(2)]
    async with open_node(world, keys) as node, open_node(world, copy, connection=Secluded) as twin:
        for client in clients:
            await node.serve(client, 1_000_000)
        await twin.catch_up()
        await node.pay(clients[0], 2_000_000)
        for client in clients:
            await twin.pay(client, 1_500_000)
        async with world.mining_by_hand():
            # Both use the same nonce; the chain takes one of them.
            first, second = await node.claimer.step(), await twin.claimer.step()
            assert first is not None
            assert second is not None
            assert first.nonce == second.nonce
            await world.mine()
        async with node.running(), twin.running():
            await node.has_claimed(3_500_000)
            await twin.has_claimed(3_500_000)
            await until(lambda: _idle(node))
            await until(lambda: _idle(twin))
        await assert_books_agree(node)
        await assert_books_agree(twin)


async def test_another_program_takes_the_nonce(world: World, keys: NodeKeys) -> None:
    client = await world.client(keys.payee)
    intruder = Sender(world.connection, keys.gas_key)
    async with open_node(world, keys) as node:
        await node.serve(client, 1_000_000)
        async with world.mining_by_hand():
            claim = await node.claimer.step()
            assert claim is not None
            call = world.token.approve(client.payer, 1)
            theirs = intruder.sign_exactly(call, nonce=claim.nonce, gas=100_000, max_fee=10**12, tip=10**11)
            await intruder.broadcast(theirs)
            await world.mine()
        async with node.running():
            await node.has_claimed(1_000_000)
        lost = (await node.claimer.history())[-1]
        assert (lost.hash, lost.state) == (claim.hash, State.LOST)
        await assert_books_agree(node)


async def test_claims_that_the_chain_refuses_are_tried_again_ever_more_slowly(
    world: World, keys: NodeKeys
) -> None:
    client, clock = await world.client(keys.payee), Clock()
    async with open_node(world, keys, clock=clock) as node:
        await node.serve(client, 1_000_000)
        async with world.mining_by_hand():
            for pause in (5, 10, 20):
                refused = await node.claimer.step()
                assert refused is not None
                await node.db.write(partial(conclude, attempt=refused.hash, state=State.REVERTED, block=1))
                clock.shift += pause - 2
                assert await node.claimer.step() is None
                clock.shift += 2
            assert await node.claimer.step() is not None


async def test_an_empty_gas_account_is_said_once_and_outlived(world: World, keys: NodeKeys) -> None:
    poor = NodeKeys(keys.folder)
    client = await world.client(poor.payee)
    async with open_node(world, poor) as node:
        await _open_directly(world, client)
        await node.catch_up()
        await node.pay(client, 1_000_000)
        with capture_logs() as logs:
            async with node.running():
                await until(lambda: _faulty(node))
                status = await node.outbox.status()
                assert (status.balance, status.waiting) == (0, 0)
                assert status.faults == (InsufficientFunds.code,)
                with pytest.raises(InsufficientFunds):
                    await node.claimer.claim_now()
                await world.fund(poor.gas_account)
                await node.has_claimed(1_000_000)
                await until(lambda: _recovered(node))
        said = [entry for entry in logs if entry.get("code") == InsufficientFunds.code]
        assert [(entry["task"], entry["event"]) for entry in said if entry["task"] == "claimer"] == [
            ("claimer", "task_failed"),
            ("claimer", "task_recovered"),
        ]
        await assert_books_agree(node)


async def test_a_consent_in_use_is_not_outrun_by_a_claim(world: World, keys: NodeKeys) -> None:
    client, clock = await world.client(keys.payee), Clock()
    async with open_node(world, keys, claim=PATIENT, clock=clock) as node:
        await node.serve(client, 3_000_000)
        await node.closing.consent(client.signer)
        assert await node.claimer.step(forced=True) is None
        clock.shift += FREEZE_SECONDS
        assert await node.claimer.step(forced=True) is not None


async def test_a_claim_that_comes_late_is_said(world: World, keys: NodeKeys) -> None:
    client = await world.client(keys.payee)
    anxious = PATIENT.model_copy(update={"close_margin_seconds": 3600})
    async with open_node(world, keys, claim=anxious) as node:
        await node.serve(client, 1_000_000)
        await client.start_close()
        await node.catch_up()
        with capture_logs() as logs:
            await node.claimer.step()
            await node.claimer.step()
        assert [entry["signer"] for entry in logs if entry["event"] == "claim_late"] == [client.signer]


class Secluded(Connection):
    """Of an endpoint that does not see what waits elsewhere."""

    def __init__(self, real: Connection) -> None:
        super().__init__(real.web3, real.host, real.chain_id)

    async def nonce(self, address: ChecksumAddress, *, pending: bool = False) -> int:
        return await super().nonce(address)


async def _open_directly(world: World, client: Client) -> None:
    """By the payer itself."""
    payer = Sender(world.connection, client.payer_key)
    await world.fund(client.payer, ETHER // 10)
    await payer.send(world.token.approve(world.channels.address, DEPOSIT))
    await payer.send(world.channels.open(client.opening()))


async def _has_status(node: MoneyNode, client: Client, status: Status) -> bool:
    return (await node.books(client)).status is status


async def _idle(node: MoneyNode) -> bool:
    return (await node.outbox.status()).waiting == 0


async def _faulty(node: MoneyNode) -> bool:
    return (await node.claimer.status()).fault == InsufficientFunds.code


async def _recovered(node: MoneyNode) -> bool:
    return (await node.claimer.status()).fault is None
