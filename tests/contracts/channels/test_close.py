"""Channels.close: the payee ends a channel at once, but takes no more than the signer signed."""

import pytest
from brownie import chain
from brownie.exceptions import VirtualMachineError

from anvil import next_block_at
from channel_ledger import (
    CLOSED,
    CLOSING,
    DOLLAR,
    FAR,
    NO_RECEIPT,
    NONE,
    OPEN,
    Ledger,
    as_tuple,
    fresh_key,
)
from errors import reverts
from signing import key

REVERT, BURN_GAS, FALSE_IF_STARVED = 1, 4, 5


@pytest.fixture(scope="module")
def merchant():
    """The payee's key."""
    return key("merchant")


@pytest.fixture
def shop(ledger, merchant):
    """Channels whose payee signs instead of sending transactions."""
    return Ledger(ledger.channels, ledger.token, ledger.payer, merchant.address)


@pytest.fixture
def opened(shop):
    """A channel of 100 dollars, of which the payee claimed 20."""
    signer = shop.open()
    shop.claim(shop.receipt(signer, 20 * DOLLAR))
    return signer


@pytest.fixture
def close(merchant, stranger):
    """Submits the payee's consent; the sender is a stranger unless told."""

    def close(
        shop, channel, final, receipt=NO_RECEIPT, /, by=merchant, signature=None, deadline=FAR, **transaction
    ):
        action = consent(shop, channel, final, deadline)
        packed = (signature or shop.sign(by, "Close", action)).packed
        return shop.channels.close(as_tuple(action), packed, receipt, {"from": stranger} | transaction)

    return close


def consent(shop, channel, final, deadline=FAR):
    return {
        "payee": shop.payee,
        "token": shop.token.address,
        "signer": channel.address,
        "finalCumulative": final,
        "deadline": deadline,
    }


def balances(shop):
    return shop.token.balanceOf(shop.payee), shop.token.balanceOf(shop.payer)


# What is paid -----------------------------------------------------------------------------------------------


def test_pays_the_rest_and_refunds(shop, opened, close):
    payee, payer = balances(shop)
    tx = close(shop, opened, 50 * DOLLAR, shop.receipt(opened, 50 * DOLLAR))
    assert balances(shop) == (payee + 30 * DOLLAR, payer + 50 * DOLLAR)
    assert shop.token.balanceOf(shop.channels) == 0
    state = shop.state(opened)
    assert (state["status"], state["claimed"], state["deposited"]) == (CLOSED, 50 * DOLLAR, 100 * DOLLAR)
    assert dict(tx.events["Closed"]) == {
        "payee": shop.payee,
        "token": shop.token,
        "signer": opened.address,
        "claimed": 50 * DOLLAR,
        "refund": 50 * DOLLAR,
    }


def test_ends_a_closing_channel_before_its_time(shop, opened, close):
    shop.start_close(opened)
    assert shop.status(opened) == CLOSING
    close(shop, opened, 20 * DOLLAR)
    assert shop.status(opened) == CLOSED


@pytest.mark.parametrize("final", [0, 19 * DOLLAR, 20 * DOLLAR])
def test_needs_no_receipt_for_what_was_claimed(shop, opened, close, final):
    """And takes nothing back from the payee."""
    payee, payer = balances(shop)
    close(shop, opened, final)
    assert balances(shop) == (payee, payer + 80 * DOLLAR)
    assert shop.state(opened)["claimed"] == 20 * DOLLAR


def test_the_payee_may_give_up_what_it_earned(shop, opened, close):
    payee, payer = balances(shop)
    close(shop, opened, 40 * DOLLAR, shop.receipt(opened, 60 * DOLLAR))
    assert balances(shop) == (payee + 20 * DOLLAR, payer + 60 * DOLLAR)


def test_pays_up_to_the_deposit(shop, opened, close):
    payee, payer = balances(shop)
    close(shop, opened, 100 * DOLLAR, shop.receipt(opened, 2**128 - 1))
    assert balances(shop) == (payee + 80 * DOLLAR, payer)


def test_the_payee_calls_without_signing(ledger, payee):
    signer = ledger.open()
    action = (ledger.payee, ledger.token, signer.address, 30 * DOLLAR, FAR)
    ledger.channels.close(action, b"", ledger.receipt(signer, 30 * DOLLAR), {"from": payee})
    assert ledger.state(signer)["claimed"] == ledger.token.balanceOf(payee) == 30 * DOLLAR


def test_a_wallet_is_payee(ledger, wallet, client, close):
    shop = Ledger(ledger.channels, ledger.token, ledger.payer, wallet.address)
    signer = shop.open()
    with reverts("InvalidSignature", wallet):
        close(shop, signer, 0, by=fresh_key())
    close(shop, signer, 0, by=client)
    assert shop.status(signer) == CLOSED


# Theft ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("final", [20 * DOLLAR + 1, 100 * DOLLAR, 2**128 - 1])
def test_the_payee_cannot_invent_a_total(shop, opened, close, final):
    with reverts("InvalidSignature", opened.address):
        close(shop, opened, final)


def test_the_payee_cannot_exceed_the_receipt(shop, opened, close):
    with reverts("AmountOutOfRange", 50 * DOLLAR + 1, 50 * DOLLAR):
        close(shop, opened, 50 * DOLLAR + 1, shop.receipt(opened, 50 * DOLLAR))


def test_the_payee_cannot_exceed_the_deposit(shop, opened, close):
    with reverts("AmountOutOfRange", 100 * DOLLAR + 1, 100 * DOLLAR):
        close(shop, opened, 100 * DOLLAR + 1, shop.receipt(opened, 200 * DOLLAR))


def test_the_payee_cannot_use_a_stale_receipt(shop, opened, close):
    with reverts("AmountOutOfRange", 30 * DOLLAR, 10 * DOLLAR):
        close(shop, opened, 30 * DOLLAR, shop.receipt(opened, 10 * DOLLAR))


def test_the_payee_cannot_sign_receipts(shop, opened, close, merchant):
    with reverts("InvalidSignature", opened.address):
        close(shop, opened, 50 * DOLLAR, shop.receipt(merchant, 50 * DOLLAR))


def test_the_payee_cannot_use_another_channels_receipt(shop, opened, close):
    richer = shop.open(amount=200 * DOLLAR)
    with reverts("InvalidSignature", opened.address):
        close(shop, opened, 50 * DOLLAR, shop.receipt(richer, 50 * DOLLAR))


@pytest.mark.parametrize("change", [{"payee": "0x" + "11" * 20}, {"token": "0x" + "22" * 20}], ids=str)
def test_the_payee_cannot_use_a_receipt_for_others(shop, opened, close, change):
    with reverts("InvalidSignature", opened.address):
        close(shop, opened, 50 * DOLLAR, shop.receipt(opened, 50 * DOLLAR, **change))


def test_the_payee_cannot_use_a_changed_receipt(shop, opened, close):
    _, r, vs = shop.receipt(opened, 50 * DOLLAR)
    with reverts("InvalidSignature", opened.address):
        close(shop, opened, 60 * DOLLAR, (60 * DOLLAR, r, vs))


def test_nobody_closes_without_the_payee(shop, opened, close, payer):  # C5
    """Not the payer, whose refund it would be, nor the channel's signer."""
    for thief, sender in ((fresh_key(), payer), (opened, payer)):
        with reverts("InvalidSignature", shop.payee):
            close(shop, opened, 0, by=thief, **{"from": sender})
    assert shop.status(opened) == OPEN


def test_nobody_lowers_the_final_total(shop, opened, close, merchant):
    signature = shop.sign(merchant, "Close", consent(shop, opened, 50 * DOLLAR))
    with reverts("InvalidSignature", shop.payee):
        close(shop, opened, 20 * DOLLAR, signature=signature)


def test_consent_is_for_one_channel(shop, opened, close, merchant):
    other = shop.open()
    with reverts("InvalidSignature", shop.payee):
        close(shop, opened, 0, signature=shop.sign(merchant, "Close", consent(shop, other, 0)))


@pytest.mark.parametrize("other", [{"chain_id": 1}, {"contract": "0x" + "22" * 20}], ids=str)
def test_refuses_consent_of_another_domain(shop, opened, close, merchant, other):
    foreign = shop.domain.with_(**other)
    with reverts("InvalidSignature", shop.payee):
        close(shop, opened, 0, signature=foreign.sign(merchant, "Close", consent(shop, opened, 0)))


# State and time ---------------------------------------------------------------------------------------------


def test_refuses_unknown_channel(shop, close):
    with reverts("ChannelNotOpen", NONE):
        close(shop, fresh_key(), 0)


def test_refuses_twice(shop, opened, close):
    close(shop, opened, 20 * DOLLAR)
    with reverts("ChannelNotOpen", CLOSED):
        close(shop, opened, 20 * DOLLAR)


def test_refuses_after_deadline(shop, opened, close):
    deadline = chain.time() + 100
    next_block_at(deadline + 1)
    with reverts("DeadlinePassed", deadline, deadline + 1):
        close(shop, opened, 0, deadline=deadline)


def test_the_deadline_binds_the_payee_too(ledger, payee):
    signer = ledger.open()
    deadline = chain.time() + 100
    next_block_at(deadline + 1)
    with reverts("DeadlinePassed", deadline, deadline + 1):
        ledger.channels.close(
            (ledger.payee, ledger.token, signer.address, 0, deadline), b"", NO_RECEIPT, {"from": payee}
        )


# Tokens that misbehave --------------------------------------------------------------------------------------


@pytest.fixture
def refusing(with_token, RefusingToken, merchant):
    """An open channel in a token that can be told to refuse."""
    base = with_token(RefusingToken)
    shop = Ledger(base.channels, base.token, base.payer, merchant.address)
    return shop, shop.open()


@pytest.mark.parametrize("refusal", [REVERT, BURN_GAS])
def test_a_denied_payer_cannot_block_the_payee(refusing, close, refusal):
    shop, signer = refusing
    shop.token.refuse(shop.payer, refusal, {"from": shop.payer})
    close(shop, signer, 30 * DOLLAR, shop.receipt(signer, 30 * DOLLAR))
    assert shop.token.balanceOf(shop.payee) == 30 * DOLLAR
    assert shop.channels.credit(shop.payer, shop.token) == 70 * DOLLAR


@pytest.mark.parametrize("refusal", [REVERT, BURN_GAS])
def test_a_denied_payee_cannot_block_the_payer(refusing, close, refusal):
    shop, signer = refusing
    before = shop.token.balanceOf(shop.payer)
    shop.token.refuse(shop.payee, refusal, {"from": shop.payer})
    close(shop, signer, 30 * DOLLAR, shop.receipt(signer, 30 * DOLLAR))
    assert shop.token.balanceOf(shop.payer) == before + 70 * DOLLAR
    assert shop.channels.credit(shop.payee, shop.token) == 30 * DOLLAR


@pytest.mark.parametrize("victim", ["payer", "payee"])
def test_a_starved_payment_is_undone(refusing, close, victim):
    shop, signer = refusing
    shop.token.refuse(getattr(shop, victim), FALSE_IF_STARVED, {"from": shop.payer})
    receipt = shop.receipt(signer, 30 * DOLLAR)
    with pytest.raises(VirtualMachineError, match=r"InsufficientGas: \d+, 500000"):
        close(shop, signer, 30 * DOLLAR, receipt, gas_limit=400_000)
    assert shop.status(signer) == OPEN
    close(shop, signer, 30 * DOLLAR, receipt, gas_limit=900_000)
    assert shop.channels.credit(getattr(shop, victim), shop.token) == 0
