"""DevDollar: a test token with what a stablecoin offers."""

import pytest
from brownie import chain

from anvil import next_block_at
from channel_ledger import DOLLAR, FAR, fresh_key, token_domain
from errors import reverts

NONCE = b"\x01" * 32


@pytest.fixture
def holder(dollar, stranger):
    """A key with 100 dollars and no ETH."""
    holder = fresh_key()
    dollar.mint(holder.address, 100 * DOLLAR, {"from": stranger})
    return holder


@pytest.fixture
def authorize(dollar, holder, payee):
    """The holder's authorization to move 40 dollars to the payee, as arguments of the token's functions."""

    def authorize(primary, by=holder, **changes):
        message = {
            "from": holder.address,
            "to": str(payee),
            "value": 40 * DOLLAR,
            "validAfter": 0,
            "validBefore": FAR,
            "nonce": NONCE,
        } | changes
        return *message.values(), *token_domain(dollar).sign(by, primary, message).vrs

    return authorize


def test_is_a_dollar_of_six_decimals(dollar):
    assert (dollar.name(), dollar.symbol(), dollar.decimals()) == ("Dev Dollar", "DUSD", 6)
    assert bytes(dollar.DOMAIN_SEPARATOR()) == token_domain(dollar).separator


def test_anybody_mints(dollar, stranger, payee):
    supply = dollar.totalSupply()
    dollar.mint(payee, 7, {"from": stranger})
    assert (dollar.balanceOf(payee), dollar.totalSupply()) == (7, supply + 7)


# ERC-2612 ---------------------------------------------------------------------------------------------------


def permit(dollar, holder, spender, deadline=FAR, by=None, nonce=0):
    message = {
        "owner": holder.address,
        "spender": str(spender),
        "value": 5 * DOLLAR,
        "nonce": nonce,
        "deadline": deadline,
    }
    signature = token_domain(dollar).sign(by or holder, "Permit", message)
    return holder.address, spender, 5 * DOLLAR, deadline, *signature.vrs


def test_permit_sets_the_allowance(dollar, holder, payee, stranger):
    dollar.permit(*permit(dollar, holder, payee), {"from": stranger})
    assert dollar.allowance(holder.address, payee) == 5 * DOLLAR
    assert dollar.nonces(holder.address) == 1


def test_permit_refuses_others(dollar, holder, payee, stranger):
    thief = fresh_key()
    with reverts("ERC2612InvalidSigner", thief.address, holder.address):
        dollar.permit(*permit(dollar, holder, payee, by=thief), {"from": stranger})


def test_permit_refuses_after_deadline(dollar, holder, payee, stranger):
    deadline = chain.time() + 100
    next_block_at(deadline + 1)
    with reverts("ERC2612ExpiredSignature", deadline):
        dollar.permit(*permit(dollar, holder, payee, deadline), {"from": stranger})


# ERC-3009 ---------------------------------------------------------------------------------------------------


def test_transfer_by_authorization(dollar, holder, authorize, payee, stranger):
    tx = dollar.transferWithAuthorization(*authorize("TransferWithAuthorization"), {"from": stranger})
    assert (dollar.balanceOf(payee), dollar.balanceOf(holder.address)) == (40 * DOLLAR, 60 * DOLLAR)
    assert dollar.authorizationState(holder.address, NONCE)
    assert tx.events["AuthorizationUsed"]["authorizer"] == holder.address


def test_receive_by_authorization(dollar, authorize, payee):
    dollar.receiveWithAuthorization(*authorize("ReceiveWithAuthorization"), {"from": payee})
    assert dollar.balanceOf(payee) == 40 * DOLLAR


def test_only_the_receiver_receives(dollar, authorize, payee, stranger):
    with reverts("ERC20InvalidReceiver", payee):
        dollar.receiveWithAuthorization(*authorize("ReceiveWithAuthorization"), {"from": stranger})


def test_an_authorization_is_used_once(dollar, holder, authorize, stranger):
    dollar.transferWithAuthorization(*authorize("TransferWithAuthorization"), {"from": stranger})
    with reverts("ERC3009UsedAuthorization", holder.address, NONCE):
        dollar.transferWithAuthorization(*authorize("TransferWithAuthorization"), {"from": stranger})


def test_refuses_others(dollar, authorize, stranger):
    with reverts("ERC3009InvalidSignature"):
        dollar.transferWithAuthorization(
            *authorize("TransferWithAuthorization", by=fresh_key()), {"from": stranger}
        )


@pytest.mark.parametrize("window", [{"validAfter": FAR}, {"validBefore": 1}], ids=str)
def test_refuses_outside_of_its_time(dollar, authorize, stranger, window):
    arguments = authorize("TransferWithAuthorization", **window)
    with reverts("ERC3009InvalidAuthorizationTime", *arguments[3:5]):
        dollar.transferWithAuthorization(*arguments, {"from": stranger})


def test_a_cancelled_authorization_is_used_up(dollar, holder, authorize, stranger):
    cancel = {"authorizer": holder.address, "nonce": NONCE}
    vrs = token_domain(dollar).sign(holder, "CancelAuthorization", cancel).vrs
    dollar.cancelAuthorization(holder.address, NONCE, *vrs, {"from": stranger})
    with reverts("ERC3009UsedAuthorization", holder.address, NONCE):
        dollar.transferWithAuthorization(*authorize("TransferWithAuthorization"), {"from": stranger})
