"""Channels.topUpWithAuthorization: ERC-3009 pays for a top-up."""

import pytest
from brownie import chain

from anvil import next_block_at
from channel_ledger import CLOSING, DOLLAR, NONE, as_tuple, fresh_key
from errors import reverts


@pytest.fixture
def opened(ledger):
    return ledger.open()


@pytest.fixture
def send(gasless, client, stranger):
    def send(signer, /, authorization=None, **changes):
        action = gasless.top_up(signer, **changes)
        return gasless.channels.topUpWithAuthorization(
            as_tuple(action),
            authorization or gasless.authorization(client, "TopUp", action),
            {"from": stranger},
        )

    return send


def test_adds_without_eth_or_allowance(gasless, send, client, opened):
    tx = send(opened)
    assert gasless.state(opened)["deposited"] == gasless.token.balanceOf(gasless.channels) == 110 * DOLLAR
    assert tx.events["ToppedUp"]["from"] == client.address


def test_the_nonce_is_the_top_ups_hash(gasless, opened):
    action = gasless.top_up(opened)
    assert bytes(gasless.channels.hashTopUp(as_tuple(action))) == gasless.domain.struct_hash("TopUp", action)


def test_refuses_twice(gasless, send, client, opened):
    send(opened)
    with reverts("AlreadyUsed", gasless.domain.digest("TopUp", gasless.top_up(opened))):
        send(opened)


def test_refuses_what_the_other_form_has_done(gasless, send, client, stranger, opened):
    """A payer may sign both forms, as a retry; the action is still one."""
    action = gasless.top_up(opened)
    gasless.channels.topUpFor(
        as_tuple(action),
        gasless.sign(client, "TopUp", action).packed,
        gasless.permit(client, 100 * DOLLAR),
        {"from": stranger},
    )
    with reverts("AlreadyUsed", gasless.domain.digest("TopUp", action)):
        send(opened)


@pytest.mark.parametrize(
    "change", [{"amount": 11 * DOLLAR}, {"salt": b"\x01" * 32}, {"deadline": 2**39}], ids=str
)
def test_refuses_to_pay_for_another_top_up(gasless, send, client, opened, change):
    authorization = gasless.authorization(client, "TopUp", gasless.top_up(opened))
    with reverts("ERC3009InvalidSignature"):
        send(opened, authorization=authorization, **change)


def test_refuses_to_pay_into_another_channel(ledger, gasless, send, client, opened):
    authorization = gasless.authorization(client, "TopUp", gasless.top_up(opened))
    with reverts("ERC3009InvalidSignature"):
        send(ledger.open(), authorization=authorization)


def test_refuses_an_openings_authorization(gasless, send, client, opened):
    """Equal amounts, equal channel, another action: the typehash tells them apart."""
    opening = gasless.opening(fresh_key(), amount=10 * DOLLAR)
    with reverts("ERC3009InvalidSignature"):
        send(opened, authorization=gasless.authorization(client, "Opening", opening))


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
