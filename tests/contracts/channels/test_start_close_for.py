"""Channels.startCloseFor: the payer signs, anybody submits."""

import pytest
from brownie import chain

from anvil import next_block_at
from channel_ledger import CLOSING, DOLLAR, FAR, NONE, as_tuple, fresh_key
from errors import reverts


@pytest.fixture
def opened(gasless, client, signer, stranger):
    """A channel of the client's, who sends no transactions."""
    opening = gasless.opening(signer)
    gasless.channels.openWithAuthorization(
        as_tuple(opening),
        gasless.sign(signer, "Opening", opening).compact,
        gasless.authorization(client, "Opening", opening),
        {"from": stranger},
    )
    return signer


@pytest.fixture
def send(gasless, client, stranger):
    def send(channel, /, payer_key=client, deadline=FAR, domain=gasless.domain, signed=None):
        named = {"payee": gasless.payee, "token": gasless.token.address, "signer": channel.address}
        action = named | {"deadline": deadline} | (signed or {})
        signature = domain.sign(payer_key, "StartClose", action).packed
        return gasless.channels.startCloseFor(*named.values(), deadline, signature, {"from": stranger})

    return send


def test_starts_the_delay(gasless, send, opened):
    tx = send(opened)
    assert gasless.status(opened) == CLOSING
    assert tx.events["CloseStarted"]["closesAt"] == gasless.state(opened)["closesAt"]


def test_refuses_strangers_and_the_channels_signer(send, client, opened):
    for other in (fresh_key(), opened):
        with reverts("InvalidSignature", client.address):
            send(opened, payer_key=other)


def test_refuses_signature_for_another_channel(gasless, send, client, opened):
    with reverts("InvalidSignature", client.address):
        send(opened, signed={"signer": fresh_key().address})


@pytest.mark.parametrize("other", [{"chain_id": 1}, {"contract": "0x" + "22" * 20}], ids=str)
def test_refuses_signature_of_another_domain(gasless, send, client, opened, other):
    with reverts("InvalidSignature", client.address):
        send(opened, domain=gasless.domain.with_(**other))


def test_refuses_unsigned_deadline(send, client, opened):
    with reverts("InvalidSignature", client.address):
        send(opened, signed={"deadline": FAR - 1})


def test_refuses_after_deadline(send, opened):
    deadline = chain.time() + 100
    next_block_at(deadline + 1)
    with reverts("DeadlinePassed", deadline, deadline + 1):
        send(opened, deadline=deadline)


def test_refuses_unknown_channel(send):
    with reverts("ChannelNotOpen", NONE):
        send(fresh_key())


def test_refuses_twice(send, opened):
    send(opened)
    with reverts("ChannelNotOpen", CLOSING):
        send(opened)


def test_a_wallet_signs(gasless, send, wallet, client, signer, stranger):
    opening = gasless.opening(signer, payer=wallet.address, amount=DOLLAR)
    gasless.channels.openFor(
        as_tuple(opening),
        gasless.sign(signer, "Opening", opening).compact,
        gasless.sign(client, "Opening", opening).packed,
        (0, 0, 0, 0, 0),
        {"from": stranger},
    )
    with reverts("InvalidSignature", wallet):
        send(signer, payer_key=fresh_key())
    send(signer)
    assert gasless.status(signer) == CLOSING
