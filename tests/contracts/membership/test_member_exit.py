"""RlnMembership.exit, exitFor and expire: a member leaves the tree, and can still be slashed."""

import pytest
from brownie import chain

from anvil import in_one_block, next_block_at
from channel_ledger import as_tuple, fresh_key
from errors import REENTRANT_CALL, reverts
from members import FEE, PERIOD, PERIODS, STAKE, WINDOW, fresh_secret, record_of

# Exit


def test_leaves_the_tree(members, record, payer):  # R4
    tx = members.exit(record)
    assert dict(tx.events["Exited"]) == {
        "idCommitment": record[0],
        "index": record[3],
        "withdrawableAt": record[5] + PERIOD,
    }
    assert members.member(record)["leftAt"] == tx.timestamp
    assert members.contract.withdrawableAt(record) == record[5] + PERIOD
    assert members.contract.total() == STAKE + FEE  # nothing has moved yet


@pytest.mark.parametrize(
    ("elapsed", "begun"),
    [(1, 1), (PERIOD - 1, 1), (PERIOD, 1), (PERIOD + 1, 2), (3 * PERIOD, 3), (PERIODS * PERIOD, PERIODS)],
)
def test_the_period_that_has_begun_is_the_home_nodes(members, record, elapsed, begun):
    next_block_at(record[5] + elapsed)
    members.exit(record)
    at = max(record[5] + elapsed + WINDOW, record[5] + begun * PERIOD)
    assert members.contract.withdrawableAt(record) == at


def test_in_the_block_of_its_registration_a_period_has_begun(members, payer, home):
    """Nobody is a member of an epoch for nothing."""
    id_commitment = members.commitment(fresh_secret())
    chain.mine(1)
    record = (id_commitment, str(payer), str(home), 0, 1, chain.time() + 100, 2)
    first, second = in_one_block(
        record[5],
        (payer, members.contract, members.contract.register.encode_input(id_commitment, 1, home, 2)),
        (payer, members.contract, members.contract.exit.encode_input(record)),
    )
    assert first["status"] == second["status"] == 1
    assert members.contract.withdrawableAt(record) == record[5] + PERIOD


def test_after_what_was_paid_for_it_may_still_exit(members, record):
    next_block_at(record[5] + PERIODS * PERIOD + 99)
    members.exit(record)
    assert members.contract.withdrawableAt(record) == record[5] + PERIODS * PERIOD + 99 + WINDOW
    with reverts("AlreadyLeft", record[0], record[5] + PERIODS * PERIOD + 99):
        members.contract.expire(record, {"from": members.payer})


def test_only_the_owner_ends_it(members, record, payer, stranger, home):
    for somebody in (stranger, home):
        with reverts("NotOwner", somebody, payer):
            members.exit(record, somebody)
    impostor = (record[0], str(stranger), *record[2:])
    with reverts("WrongRecord", record[0]):
        members.exit(impostor, stranger)


def test_exits_once(members, record):
    tx = members.exit(record)
    with reverts("AlreadyLeft", record[0], tx.timestamp):
        members.exit(record)


def test_who_was_slashed_has_no_exit(members, secret, record, slasher):
    members.slash(secret, record, slasher, slasher)
    with reverts("WrongRecord", record[0]):
        members.exit(record)


def test_who_is_in_the_tree_has_nothing_to_withdraw(members, record):
    with reverts("NotLeft", record[0]):
        members.contract.withdrawableAt(record)


# Exit by signature


@pytest.fixture
def signed(gasless, client, stranger):
    """A member of the client's, and its exit by signature."""
    action = gasless.registration(gasless.commitment(fresh_secret()))
    authorization = gasless.authorization(client, "Registration", action, STAKE + FEE)
    tx = gasless.contract.registerWithAuthorization(as_tuple(action), authorization, {"from": stranger})
    record = record_of(tx, gasless.contract)

    def send(deadline=2**39, signer=client, domain=gasless.domain, **changes):
        message = {"idCommitment": record[0], "deadline": deadline}
        signature = domain.sign(signer, "Exit", message | changes).packed
        return gasless.contract.exitFor(record, deadline, signature, {"from": stranger})

    send.record = record
    return send


def test_exits_by_signature(gasless, signed):
    tx = signed()
    assert tx.events["Exited"]["idCommitment"] == signed.record[0]
    with reverts("AlreadyLeft", signed.record[0], tx.timestamp):
        signed()


def test_refuses_who_did_not_sign(gasless, signed, client):
    wrong = ({"signer": fresh_key()}, {"idCommitment": 1}, {"domain": gasless.domain.with_(chain_id=1)})
    for change in (*wrong, {"domain": gasless.domain.with_(contract="0x" + "22" * 20)}):  # S1
        with reverts("InvalidSignature", client.address):
            signed(**change)


def test_refuses_after_the_deadline(signed):
    deadline = chain.time() + 100
    next_block_at(deadline + 1)
    with reverts("DeadlinePassed", deadline, deadline + 1):
        signed(deadline)


# Expire


def expire_at(members, time, record, caller):
    next_block_at(time)
    return members.contract.expire(record, {"from": caller})


def test_pays_a_tenth_to_whoever_removes_it(members, record, stranger):
    end = record[5] + PERIODS * PERIOD
    tx = expire_at(members, end, record, stranger)
    assert dict(tx.events["Expired"]) == {
        "idCommitment": record[0],
        "caller": stranger,
        "index": record[3],
        "reward": STAKE // 10,
        "withdrawableAt": end + WINDOW,
    }
    assert members.token.balanceOf(stranger) == STAKE // 10
    assert members.contract.total() == members.token.balanceOf(members.contract)
    assert members.contract.total() == STAKE + FEE - STAKE // 10  # R1
    member = members.member(record)
    assert (member["leftAt"], member["expired"]) == (end, True)


def test_is_too_early_while_it_is_paid_for(members, record, payer, stranger):
    end = record[5] + PERIODS * PERIOD
    with reverts("TooEarly", end - 1, end):
        expire_at(members, end - 1, record, stranger)
    members.contract.extend(record, 1, {"from": payer})
    with reverts("TooEarly", end + PERIOD - 1, end + PERIOD):
        expire_at(members, end + PERIOD - 1, record, stranger)
    expire_at(members, end + PERIOD, record, stranger)


def test_expires_once(members, record, stranger):
    end = record[5] + PERIODS * PERIOD
    expire_at(members, end, record, stranger)
    with reverts("AlreadyLeft", record[0], end):
        members.contract.expire(record, {"from": stranger})
    with reverts("WrongRecord", 1):
        members.contract.expire((1, *record[1:]), {"from": stranger})


def test_who_exited_owes_no_reward(members, record, stranger):
    tx = members.exit(record)
    with reverts("AlreadyLeft", record[0], tx.timestamp):
        expire_at(members, record[5] + PERIODS * PERIOD, record, stranger)


def test_a_caller_who_cannot_be_paid_is_credited(other, payer, stranger, RefusingToken):
    members = other(RefusingToken)
    record = members.register()
    members.token.refuse(stranger, 1, {"from": payer})
    expire_at(members, record[5] + PERIODS * PERIOD, record, stranger)
    assert members.contract.credit(stranger, members.token) == STAKE // 10


def test_token_cannot_reenter(other, payer, stranger, ReentrantToken):
    members = other(ReentrantToken)
    record = members.register()
    members.token.arm(members.contract, members.contract.expire.encode_input(record), {"from": payer})
    expire_at(members, record[5] + PERIODS * PERIOD, record, stranger)
    assert members.token.answer() == REENTRANT_CALL
    assert members.token.balanceOf(stranger) == STAKE // 10
