"""Channels.withdrawCredit and withdrawCreditFor: money that a token would not deliver."""

import pytest
from brownie import ZERO_ADDRESS, accounts, chain

from anvil import next_block_at
from channel_ledger import DOLLAR, FAR, Ledger, fresh_key
from errors import reverts
from signing import key

REVERT, NOT_REFUSED = 1, 0


@pytest.fixture(scope="module")
def owner():
    """Whose money it is, and its key."""
    return key("denied payee")


@pytest.fixture
def shop(with_token, RefusingToken, owner):
    """The owner has 30 dollars of credit, because the token refuses it."""
    base = with_token(RefusingToken)
    shop = Ledger(base.channels, base.token, base.payer, owner.address)
    signer = shop.open()
    shop.token.refuse(owner.address, REVERT, {"from": shop.payer})
    shop.claim(shop.receipt(signer, 30 * DOLLAR))
    assert shop.channels.credit(owner.address, shop.token) == 30 * DOLLAR
    return shop


@pytest.fixture
def action(shop, owner, payee):
    """Withdraws to the payee's account."""
    return withdrawal(shop, owner.address, payee)


def withdrawal(shop, owner, to):
    return {"owner": owner, "token": shop.token.address, "to": str(to), "salt": b"\x05" * 32, "deadline": FAR}


@pytest.fixture
def send(shop, owner, action, stranger):
    """A stranger submits; `changes` are to what the owner signs and sends."""

    def send(by=owner, domain=shop.domain, signature=None, **changes):
        changed = action | changes
        signature = signature or domain.sign(by, "WithdrawCredit", changed)
        return shop.channels.withdrawCreditFor(*changed.values(), signature.packed, {"from": stranger})

    return send


# By the owner -----------------------------------------------------------------------------------------------


def test_sends_all_of_it(shop, owner, stranger):
    tx = shop.channels.withdrawCredit(shop.token, stranger, {"from": accounts.add(owner.key)})
    assert shop.token.balanceOf(stranger) == 30 * DOLLAR
    assert shop.channels.credit(owner.address, shop.token) == 0
    assert dict(tx.events["CreditWithdrawn"]) == {
        "owner": owner.address,
        "token": shop.token,
        "to": stranger,
        "amount": 30 * DOLLAR,
    }


def test_sends_it_once(shop, owner, stranger):
    account = accounts.add(owner.key)
    shop.channels.withdrawCredit(shop.token, stranger, {"from": account})
    with reverts("NothingToWithdraw", owner.address, shop.token):
        shop.channels.withdrawCredit(shop.token, stranger, {"from": account})


def test_refuses_those_who_have_none(shop, stranger):
    with reverts("NothingToWithdraw", stranger, shop.token):
        shop.channels.withdrawCredit(shop.token, stranger, {"from": stranger})


def test_a_credit_is_in_one_token(shop, dollar, owner, stranger):
    with reverts("NothingToWithdraw", owner.address, dollar):
        shop.channels.withdrawCredit(dollar, stranger, {"from": accounts.add(owner.key)})


def test_keeps_the_credit_if_refused_again(shop, owner):
    with reverts("Denied", owner.address):
        shop.channels.withdrawCredit(shop.token, owner.address, {"from": accounts.add(owner.key)})
    assert shop.channels.credit(owner.address, shop.token) == 30 * DOLLAR


def test_refuses_to_lose_it(shop, owner):
    for nowhere in (ZERO_ADDRESS, shop.token.address, shop.channels.address):
        with reverts("InvalidReceiver", nowhere):
            shop.channels.withdrawCredit(shop.token, nowhere, {"from": accounts.add(owner.key)})


def test_works_once_the_refusal_is_over(shop, owner):
    shop.token.refuse(owner.address, NOT_REFUSED, {"from": shop.payer})
    shop.channels.withdrawCredit(shop.token, owner.address, {"from": accounts.add(owner.key)})
    assert shop.token.balanceOf(owner.address) == 30 * DOLLAR


# By signature -----------------------------------------------------------------------------------------------


def test_anybody_submits_the_owners_signature(shop, send, owner, payee, stranger):
    send()
    assert shop.token.balanceOf(payee) == 30 * DOLLAR
    assert shop.token.balanceOf(stranger) == shop.channels.credit(owner.address, shop.token) == 0


def test_refuses_others(send, owner):
    with reverts("InvalidSignature", owner.address):
        send(by=fresh_key())


def test_refuses_another_receiver(shop, send, owner, action, stranger):
    signature = shop.sign(owner, "WithdrawCredit", action)
    with reverts("InvalidSignature", owner.address):
        send(signature=signature, to=str(stranger))


@pytest.mark.parametrize("other", [{"chain_id": 1}, {"contract": "0x" + "22" * 20}], ids=str)
def test_refuses_signature_of_another_domain(shop, send, owner, other):
    with reverts("InvalidSignature", owner.address):
        send(domain=shop.domain.with_(**other))


def test_refuses_the_same_signature_for_a_later_credit(shop, send, action, payee):
    send()
    shop.claim(shop.receipt(shop.open(), 10 * DOLLAR))
    with reverts("AlreadyUsed", shop.domain.digest("WithdrawCredit", action)):
        send()
    send(salt=b"\x06" * 32)
    assert shop.token.balanceOf(payee) == 40 * DOLLAR


def test_refuses_after_deadline(send):
    deadline = chain.time() + 100
    next_block_at(deadline + 1)
    with reverts("DeadlinePassed", deadline, deadline + 1):
        send(deadline=deadline)


def test_a_wallet_signs(with_token, RefusingToken, wallet, client, payee, stranger):
    base = with_token(RefusingToken)
    shop = Ledger(base.channels, base.token, base.payer, wallet.address)
    signer = shop.open()
    shop.token.refuse(wallet, REVERT, {"from": shop.payer})
    shop.claim(shop.receipt(signer, DOLLAR))
    action = withdrawal(shop, wallet.address, payee)
    signature = shop.sign(client, "WithdrawCredit", action)
    shop.channels.withdrawCreditFor(*action.values(), signature.packed, {"from": stranger})
    assert shop.token.balanceOf(payee) == DOLLAR
