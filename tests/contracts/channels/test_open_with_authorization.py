"""Channels.openWithAuthorization: ERC-3009 pays, so the payer needs neither ETH nor an allowance."""

import pytest
from brownie import chain

from anvil import next_block_at
from channel_ledger import DOLLAR, FAR, NONE, OPEN, as_tuple, fresh_key, token_domain
from errors import reverts


@pytest.fixture
def send(gasless, client, stranger):
    def send(signer, /, authorization=None, signer_sig=None, **changes):
        opening = gasless.opening(signer, **changes)
        return gasless.channels.openWithAuthorization(
            as_tuple(opening),
            (signer_sig or gasless.sign(signer, "Opening", opening)).compact,
            authorization or gasless.authorization(client, "Opening", opening),
            {"from": stranger},
        )

    return send


def test_opens_without_eth_or_allowance(gasless, send, client, signer):
    tx = send(signer)
    assert tx.events["Opened"]["payer"] == gasless.state(signer)["payer"] == client.address
    assert gasless.state(signer)["deposited"] == gasless.token.balanceOf(gasless.channels) == 100 * DOLLAR
    assert gasless.token.balanceOf(client.address) == 900 * DOLLAR


def test_the_nonce_is_the_openings_hash(gasless, send, client, signer):
    opening = gasless.opening(signer)
    nonce = gasless.channels.hashOpening(as_tuple(opening))
    assert bytes(nonce) == gasless.domain.struct_hash("Opening", opening)
    send(signer)
    assert gasless.token.authorizationState(client.address, nonce)


@pytest.mark.parametrize(
    "change",
    [{"payee": "0x" + "11" * 20}, {"closeDelay": 60}, {"amount": 101 * DOLLAR}, {"salt": b"\x01" * 32}],
    ids=lambda change: next(iter(change)),
)
def test_refuses_to_pay_for_another_opening(gasless, send, client, signer, change):
    authorization = gasless.authorization(client, "Opening", gasless.opening(signer))
    with reverts("ERC3009InvalidSignature"):
        send(signer, authorization=authorization, **change)
    assert gasless.token.balanceOf(client.address) == 1_000 * DOLLAR


def test_refuses_anothers_signer(gasless, send, client, signer):
    """A thief cannot put its own key under the payer's deposit: the signer is in the nonce."""
    authorization = gasless.authorization(client, "Opening", gasless.opening(signer))
    with reverts("ERC3009InvalidSignature"):
        send(fresh_key(), authorization=authorization)


def test_refuses_anothers_money(gasless, send, payer, signer):
    thief = fresh_key()
    opening = gasless.opening(signer, payer=str(payer))
    with reverts("ERC3009InvalidSignature"):
        send(signer, authorization=gasless.authorization(thief, "Opening", opening), payer=str(payer))


def test_refuses_signer_who_did_not_sign(gasless, send, client, signer):
    with reverts("InvalidSignature", signer.address):
        send(signer, signer_sig=gasless.sign(client, "Opening", gasless.opening(signer)))


def test_refuses_twice(gasless, send, signer):
    send(signer)
    with reverts("AlreadyOpened", gasless.payee, gasless.token, signer.address):
        send(signer)


def test_refuses_cancelled_authorization(gasless, send, client, signer, stranger):
    nonce = gasless.domain.struct_hash("Opening", gasless.opening(signer))
    cancel = token_domain(gasless.token).sign(
        client, "CancelAuthorization", {"authorizer": client.address, "nonce": nonce}
    )
    gasless.token.cancelAuthorization(client.address, nonce, *cancel.vrs, {"from": stranger})
    with reverts("ERC3009UsedAuthorization", client.address, nonce):
        send(signer)


@pytest.mark.parametrize("window", [{"validAfter": FAR}, {"validBefore": 1}], ids=str)
def test_refuses_outside_of_the_authorizations_time(gasless, send, client, signer, window):
    authorization = gasless.authorization(client, "Opening", gasless.opening(signer), **window)
    with reverts("ERC3009InvalidAuthorizationTime", authorization[0], authorization[1]):
        send(signer, authorization=authorization)


def test_refuses_after_the_openings_deadline(send, signer):
    deadline = chain.time() + 100
    next_block_at(deadline + 1)
    with reverts("DeadlinePassed", deadline, deadline + 1):
        send(signer, deadline=deadline)


def test_the_authorization_is_of_no_use_elsewhere(gasless, client, signer, stranger):
    """Whoever sees it in the mempool can neither cash it nor send the money where it opens nothing."""
    opening = gasless.opening(signer)
    after, before, *vrs = gasless.authorization(client, "Opening", opening)
    nonce = gasless.domain.struct_hash("Opening", opening)
    arguments = (
        client.address,
        gasless.channels,
        opening["amount"],
        after,
        before,
        nonce,
        *vrs,
        {"from": stranger},
    )
    with reverts("ERC20InvalidReceiver", gasless.channels):
        gasless.token.receiveWithAuthorization(*arguments)
    with reverts("ERC3009InvalidSignature"):
        gasless.token.transferWithAuthorization(*arguments)


def test_refuses_token_that_only_pretends(
    gasless, send, with_token, signer, client, stranger, PretendingToken
):
    """It answers every call with success, as a wrapped coin's fallback does, and moves nothing."""
    token = with_token(PretendingToken).token
    with reverts("ShortTransfer", 0, 100 * DOLLAR):
        send(signer, token=token.address)
    assert gasless.channels.channel(gasless.payee, token, signer.address)["status"] == NONE


def test_refuses_fee_on_transfer(gasless, with_token, client, signer, stranger, FeeToken):
    ledger = with_token(FeeToken)
    ledger.token.mint(client.address, 100 * DOLLAR, {"from": stranger})
    opening = ledger.opening(signer, payer=client.address)
    with reverts("ShortTransfer", 99 * DOLLAR, 100 * DOLLAR):
        ledger.channels.openWithAuthorization(
            as_tuple(opening),
            ledger.sign(signer, "Opening", opening).compact,
            ledger.authorization(client, "Opening", opening),
            {"from": stranger},
        )


def test_opens_for_many_payees_with_one_signer(gasless, send, signer, stranger):
    send(signer)
    send(signer, payee=str(stranger))
    assert gasless.status(signer) == OPEN
    assert gasless.channels.channel(stranger, gasless.token, signer.address)["status"] == OPEN
