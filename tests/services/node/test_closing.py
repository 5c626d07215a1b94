"""Closing by consent: the node keeps what was spent, the payer gets the rest at once."""

import pytest
from tests.services.node.money_node import PATIENT, Clock, NodeKeys, assert_books_agree, open_node
from tests.services.node.world import DEPOSIT, PRICE, World, new_key

from waypost.errors import (
    ChannelClosed,
    ChannelClosing,
    ChannelNotFinal,
    ChannelUnknown,
    ConsentUnavailable,
)
from waypost.node.accounts import Status
from waypost.node.closing import CONSENT_SECONDS, FREEZE_SECONDS, Closing
from waypost.node.ledger import Charge
from waypost.protocol.signatures import address_of


async def test_what_was_not_spent_goes_back(world: World, keys: NodeKeys) -> None:
    client, stranger = await world.client(keys.payee), await world.sender()
    async with open_node(world, keys, claim=PATIENT) as node:
        await node.serve(client, 3_000_000)
        await node.ledger.charge(Charge(client.signer, lambda connection: (700_000, None), session=True))
        consent = await node.closing.consent(client.signer)
        assert consent.close.final_cumulative == PRICE + 700_000
        # Paid in advance, 2,200,000 of it: the receipt proves more than the node takes.
        assert consent.receipt is not None
        assert consent.receipt.cumulative == 3_000_000
        await stranger.send(world.channels.close(consent.close, consent.signature, consent.receipt))
        await node.catch_up()
        account = await node.books(client)
        assert (account.status, account.claimed) == (Status.CLOSED, PRICE + 700_000)
        assert await world.token.balance_of(client.payer) == DEPOSIT - PRICE - 700_000
        assert (await node.ledger.totals()).lost == 0
        with pytest.raises(ChannelClosed):
            await node.closing.consent(client.signer)
        await assert_books_agree(node)


async def test_never_less_than_was_claimed(world: World, keys: NodeKeys) -> None:
    client, stranger = await world.client(keys.payee), await world.sender()
    async with open_node(world, keys) as node:
        await node.serve(client, 2_000_000)
        await node.claimer.step()
        await node.catch_up()
        consent = await node.closing.consent(client.signer)
        assert consent.close.final_cumulative == 2_000_000
        await stranger.send(world.channels.close(consent.close, consent.signature))
        await node.catch_up()
        assert await world.token.balance_of(client.payer) == DEPOSIT - 2_000_000
        await assert_books_agree(node)


async def test_a_claim_that_was_under_way_breaks_nothing(world: World, keys: NodeKeys) -> None:
    client, stranger = await world.client(keys.payee), await world.sender()
    async with open_node(world, keys) as node:
        await node.serve(client, 2_000_000)
        async with world.mining_by_hand():
            await node.claimer.step()
            consent = await node.closing.consent(client.signer)
            await world.mine()
        assert consent.close.final_cumulative == PRICE
        await stranger.send(world.channels.close(consent.close, consent.signature, consent.receipt))
        await node.catch_up()
        assert (await node.books(client)).claimed == 2_000_000
        assert await world.token.balance_of(client.payer) == DEPOSIT - 2_000_000
        await assert_books_agree(node)


async def test_while_a_consent_is_out_the_channel_stands_still(world: World, keys: NodeKeys) -> None:
    client, clock = await world.client(keys.payee), Clock()
    async with open_node(world, keys, claim=PATIENT, clock=clock) as node:
        await node.serve(client, 1_000_000)
        first = await node.closing.consent(client.signer)
        for _ in range(2):
            with pytest.raises(ChannelClosing):
                await node.pay(client, 2_000_000)
            with pytest.raises(ChannelClosing):
                await node.ledger.charge(Charge(client.signer, lambda connection: (1, None), session=True))
            # Asking again does not change the sum, only how long it counts.
            clock.shift += CONSENT_SECONDS
            again = await node.closing.consent(client.signer)
            assert again.close.final_cumulative == first.close.final_cumulative
            assert again.close.deadline > first.close.deadline
        # It was never used: some time after its deadline the channel works again.
        clock.shift += FREEZE_SECONDS
        await node.pay(client, 2_000_000)


async def test_a_payer_can_close_by_consent_after_starting_to_close(world: World, keys: NodeKeys) -> None:
    client, stranger = await world.client(keys.payee), await world.sender()
    async with open_node(world, keys, claim=PATIENT) as node:
        await node.serve(client, 2_000_000)
        async with node.running():
            await client.start_close()
            await node.has_claimed(2_000_000)
        consent = await node.closing.consent(client.signer)
        await stranger.send(world.channels.close(consent.close, consent.signature, consent.receipt))
        assert await world.token.balance_of(client.payer) == DEPOSIT - 2_000_000


async def test_no_consent_for_what_is_unknown_or_too_young(world: World, keys: NodeKeys) -> None:
    client = await world.client(keys.payee)
    async with open_node(world, keys, confirmations=5, wait_seconds=0) as node:
        with pytest.raises(ChannelUnknown):
            await node.closing.consent(client.signer)
        await node.open(client.request())
        await node.catch_up()
        with pytest.raises(ChannelNotFinal):
            await node.closing.consent(client.signer)


@pytest.mark.parametrize("key", [None, new_key("not the payee's")], ids=["none", "another"])
async def test_without_the_payees_key_there_is_no_consent(
    world: World, keys: NodeKeys, key: bytes | None
) -> None:
    client = await world.client(keys.payee)
    async with open_node(world, keys, claim=PATIENT) as node:
        await node.serve(client, 1_000_000)
        closing = Closing(node.ledger, node.channels.domain(), key, node.clock)
        assert key is None or address_of(key) != keys.payee
        with pytest.raises(ConsentUnavailable):
            await closing.consent(client.signer)
        await node.pay(client, 2_000_000)  # nothing was frozen
