"""RlnMembership.registerFor and registerWithAuthorization: the payer signs, anybody submits."""

import pytest
from brownie import accounts, chain

from anvil import next_block_at
from channel_ledger import DOLLAR, MAX_UINT, NO_PERMIT, as_tuple, fresh_key, token_domain
from errors import reverts
from members import FEE, RATE, STAKE, Members, fresh_secret, record_of

COST = STAKE + FEE


@pytest.fixture
def commitment(members):
    return members.commitment(fresh_secret())


@pytest.fixture
def submit(gasless, client, stranger):
    """Registers by signature, as the client unless told otherwise."""

    def submit(action, signer=client, permit=NO_PERMIT, payer_sig=None):
        signature = payer_sig or gasless.sign(signer, "Registration", action)
        return gasless.contract.registerFor(as_tuple(action), signature.packed, permit, {"from": stranger})

    return submit


@pytest.fixture
def authorize(gasless, client, stranger):
    """Registers by an authorization, which may be of something else than what is asked for."""

    def authorize(action, authorization=None):
        authorization = authorization or gasless.authorization(client, "Registration", action, COST)
        return gasless.contract.registerWithAuthorization(as_tuple(action), authorization, {"from": stranger})

    return authorize


# By permit or allowance


def test_registers_with_a_permit(gasless, submit, client, commitment):
    tx = submit(gasless.registration(commitment), permit=gasless.permit(client, COST))
    record = record_of(tx, gasless.contract)
    assert (record[0], record[1]) == (commitment, client.address)
    assert gasless.token.balanceOf(client.address) == 1_000 * DOLLAR - COST
    assert gasless.contract.total() == gasless.token.balanceOf(gasless.contract) == COST


def test_survives_a_permit_that_somebody_used_first(gasless, submit, client, commitment, stranger):
    permit = gasless.permit(client, COST)
    gasless.token.permit(client.address, gasless.contract, *permit, {"from": stranger})
    submit(gasless.registration(commitment), permit=permit)
    assert gasless.contract.total() == COST


def test_a_permit_alone_moves_nothing(gasless, submit, client, commitment):
    with reverts("InvalidSignature", client.address):
        submit(gasless.registration(commitment), fresh_key(), gasless.permit(client, COST))


@pytest.mark.parametrize(
    "change",
    [{"idCommitment": 1}, {"rate": 1}, {"homeNode": "0x" + "11" * 20}, {"periods": 1}, {"deadline": 2**39}],
    ids=lambda change: next(iter(change)),
)
def test_refuses_what_was_not_signed(gasless, submit, client, commitment, change):
    action = gasless.registration(commitment)
    signature = gasless.sign(client, "Registration", action)
    with reverts("InvalidSignature", client.address):
        submit(action | change, payer_sig=signature)


@pytest.mark.parametrize(
    "elsewhere",
    [{"chain_id": 1}, {"contract": "0x" + "22" * 20}, {"name": "Waypost Channels"}, {"version": "2"}],
    ids=lambda change: next(iter(change)),
)
def test_refuses_signatures_of_other_domains(gasless, submit, client, commitment, elsewhere):  # S1
    action = gasless.registration(commitment)
    signature = gasless.domain.with_(**elsewhere).sign(client, "Registration", action)
    with reverts("InvalidSignature", client.address):
        submit(action, payer_sig=signature)


def test_registers_once(gasless, submit, client, commitment):
    action = gasless.registration(commitment)
    submit(action, permit=gasless.permit(client, MAX_UINT))
    with reverts("AlreadyRegistered", commitment):
        submit(action)


def test_refuses_after_the_deadline(gasless, submit, authorize, commitment):
    deadline = chain.time() + 100
    action = gasless.registration(commitment, deadline=deadline)
    for send in (submit, authorize):
        next_block_at(deadline + 1 + (send is authorize))
        with reverts("DeadlinePassed", deadline, deadline + 1 + (send is authorize)):
            send(action)


def test_registers_for_a_contract_wallet(gasless, submit, client, commitment, stranger, Wallet):
    wallet = Wallet.deploy(client.address, {"from": stranger})
    gasless.token.mint(wallet, COST, {"from": stranger})
    owner = accounts.add(client.key)
    approval = gasless.token.approve.encode_input(gasless.contract, COST)
    wallet.execute(gasless.token, approval, {"from": owner})
    action = gasless.registration(commitment, payer=wallet.address)
    assert record_of(submit(action), gasless.contract)[1] == wallet


# By authorization


def test_registers_without_eth_or_allowance(gasless, authorize, client, commitment):
    action = gasless.registration(commitment)
    record = record_of(authorize(action), gasless.contract)
    assert (record[0], record[1], record[4]) == (commitment, client.address, RATE)
    assert gasless.token.balanceOf(client.address) == 1_000 * DOLLAR - COST
    nonce = gasless.contract.hashRegistration(as_tuple(action))
    assert bytes(nonce) == gasless.domain.struct_hash("Registration", action)
    assert gasless.token.authorizationState(client.address, nonce)


@pytest.mark.parametrize(
    "change",
    [{"idCommitment": 1}, {"homeNode": "0x" + "11" * 20}, {"deadline": 2**39}],
    ids=lambda change: next(iter(change)),
)
def test_refuses_to_pay_for_another_registration(gasless, authorize, client, commitment, change):
    action = gasless.registration(commitment)
    authorization = gasless.authorization(client, "Registration", action, COST)
    with reverts("ERC3009InvalidSignature"):
        authorize(action | change, authorization)


def test_refuses_another_amount(gasless, authorize, client, commitment):
    action = gasless.registration(commitment)
    for value in (COST - 1, COST + 1):
        with reverts("ERC3009InvalidSignature"):
            authorize(action, gasless.authorization(client, "Registration", action, value))


def test_a_thief_who_copies_the_commitment_moves_no_money_of_the_client(
    gasless, authorize, client, commitment, stranger
):
    """It registers it first: the client's authorization is not used, and the client cancels it."""
    gasless.token.mint(stranger, COST, {"from": stranger})
    gasless.token.approve(gasless.contract, COST, {"from": stranger})
    gasless.contract.register(commitment, 1, stranger, 1, {"from": stranger})
    action = gasless.registration(commitment)
    with reverts("AlreadyRegistered", commitment):
        authorize(action)
    assert gasless.token.balanceOf(client.address) == 1_000 * DOLLAR
    nonce = gasless.domain.struct_hash("Registration", action)
    message = {"authorizer": client.address, "nonce": nonce}
    cancel = token_domain(gasless.token).sign(client, "CancelAuthorization", message)
    gasless.token.cancelAuthorization(client.address, nonce, *cancel.vrs, {"from": stranger})


def test_refuses_a_token_that_only_pretends(other, client, stranger, PretendingToken):
    base = other(PretendingToken)
    members = Members(base.contract, base.token, client.address, base.home)
    action = members.registration(1)
    authorization = (0, 2**40, 27, b"\x01" * 32, b"\x01" * 32)
    with reverts("ShortTransfer", 0, COST):
        members.contract.registerWithAuthorization(as_tuple(action), authorization, {"from": stranger})
