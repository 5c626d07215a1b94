"""Channels.topUpFor: the one who pays signs, once per signature."""

import pytest
from brownie import chain

from anvil import next_block_at
from channel_ledger import CLOSING, DOLLAR, NO_PERMIT, NONE, as_tuple, fresh_key
from errors import reverts


@pytest.fixture
def opened(ledger):
    """A channel of the payer's; the client will add to it."""
    return ledger.open()


@pytest.fixture
def send(gasless, client, stranger):
    def send(signer, /, payer_key=client, permit=NO_PERMIT, payer_sig=None, **changes):
        action = gasless.top_up(signer, **changes)
        return gasless.channels.topUpFor(
            as_tuple(action),
            (payer_sig or gasless.sign(payer_key, "TopUp", action)).packed,
            permit,
            {"from": stranger},
        )

    return send


def test_adds_with_a_permit(gasless, send, client, opened):
    tx = send(opened, permit=gasless.permit(client, 10 * DOLLAR))
    assert gasless.state(opened)["deposited"] == gasless.token.balanceOf(gasless.channels) == 110 * DOLLAR
    assert tx.events["ToppedUp"]["from"] == client.address
    assert gasless.token.balanceOf(client.address) == 990 * DOLLAR


def test_refuses_the_same_signature_twice(gasless, send, client, opened):
    send(opened, permit=gasless.permit(client, 1_000 * DOLLAR))
    digest = gasless.domain.digest("TopUp", gasless.top_up(opened))
    with reverts("AlreadyUsed", digest):
        send(opened)


def test_adds_again_with_another_salt(gasless, send, client, opened):
    send(opened, permit=gasless.permit(client, 1_000 * DOLLAR))
    send(opened, salt=b"\x08" * 32)
    assert gasless.state(opened)["deposited"] == 120 * DOLLAR


def test_a_refused_top_up_is_not_used_up(gasless, send, client, opened):
    with reverts("ERC20InsufficientAllowance", gasless.channels, 0, 10 * DOLLAR):
        send(opened)
    send(opened, permit=gasless.permit(client, 10 * DOLLAR))
    assert gasless.state(opened)["deposited"] == 110 * DOLLAR


def test_refuses_without_the_payers_signature(gasless, send, client, opened):
    with reverts("InvalidSignature", client.address):
        send(opened, payer_key=fresh_key(), permit=gasless.permit(client, 10 * DOLLAR))


@pytest.mark.parametrize(
    "change", [{"amount": 11 * DOLLAR}, {"salt": b"\x01" * 32}, {"deadline": 2**39}], ids=str
)
def test_refuses_what_was_not_signed(gasless, send, client, opened, change):
    signature = gasless.sign(client, "TopUp", gasless.top_up(opened))
    with reverts("InvalidSignature", client.address):
        send(opened, payer_sig=signature, **change)


def test_refuses_another_channel(gasless, send, client, opened):
    signature = gasless.sign(client, "TopUp", gasless.top_up(opened))
    with reverts("InvalidSignature", client.address):
        send(fresh_key(), payer_sig=signature)


def test_refuses_signature_of_an_opening(gasless, send, client, opened):
    signature = gasless.sign(client, "Opening", gasless.opening(opened, amount=10 * DOLLAR))
    with reverts("InvalidSignature", client.address):
        send(opened, payer_sig=signature)


def test_refuses_signature_of_another_contract(gasless, send, client, opened):
    foreign = gasless.domain.with_(contract="0x" + "22" * 20)
    with reverts("InvalidSignature", client.address):
        send(opened, payer_sig=foreign.sign(client, "TopUp", gasless.top_up(opened)))


def test_refuses_after_deadline(send, opened):
    deadline = chain.time() + 100
    next_block_at(deadline + 1)
    with reverts("DeadlinePassed", deadline, deadline + 1):
        send(opened, deadline=deadline)


def test_refuses_unknown_channel(send):
    with reverts("ChannelNotOpen", NONE):
        send(fresh_key())


def test_refuses_while_closing(ledger, send, opened):
    ledger.start_close(opened)
    with reverts("ChannelNotOpen", CLOSING):
        send(opened)


def test_a_wallet_pays(gasless, send, wallet, opened):
    send(opened, payer=wallet.address)
    assert gasless.token.balanceOf(wallet) == 990 * DOLLAR
    with reverts("InvalidSignature", wallet):
        send(opened, payer=wallet.address, payer_key=fresh_key())
