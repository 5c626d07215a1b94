"""RlnMembership.register: a commitment, its stake and its fee."""

import pytest
from brownie import ZERO_ADDRESS, chain

from channel_ledger import DOLLAR
from errors import REENTRANT_CALL, reverts
from members import (
    FEE,
    FIELD,
    PERIOD,
    PERIODS,
    RATE,
    STAKE,
    fresh_secret,
    record_hash,
    record_of,
)

MOST = 2**96 - 1


def test_takes_stake_and_fee(members, payer, home, stranger):
    commitment, before = members.commitment(fresh_secret()), members.token.balanceOf(payer)
    tx = members.contract.register(commitment, RATE, home, PERIODS, {"from": payer})
    assert dict(tx.events["Registered"]) == {
        "idCommitment": commitment,
        "owner": payer,
        "homeNode": home,
        "index": 0,
        "rate": RATE,
        "start": tx.timestamp,
        "periods": PERIODS,
    }
    assert members.contract.cost(RATE, PERIODS) == (STAKE, FEE)
    assert members.token.balanceOf(payer) == before - STAKE - FEE
    assert members.token.balanceOf(members.contract) == members.contract.total() == STAKE + FEE  # R1


def test_keeps_the_hash_of_the_record(members):
    record = members.register()
    assert members.member(record) == {
        "recordHash": "0x" + record_hash(record).hex(),
        "added": 0,
        "collectedAt": 0,
        "leftAt": 0,
        "expired": False,
    }
    assert bytes(members.contract.hashRecord(record)) == record_hash(record)
    assert members.contract.paidUntil(record) == record[5] + PERIODS * PERIOD


def test_gives_each_member_the_next_leaf(members):  # R2
    assert [members.register()[3] for _ in range(3)] == [0, 1, 2]
    assert members.contract.leaves() == 3


def test_costs_what_the_rate_says(members):
    for rate in (1, 2, 65_535):
        before = members.contract.total()
        members.register(rate=rate)
        assert members.contract.total() - before == rate * (STAKE + FEE) // RATE


@pytest.mark.parametrize("commitment", [0, FIELD, 2**256 - 1])
def test_refuses_what_is_no_commitment(members, payer, home, commitment):
    with reverts("InvalidCommitment", commitment):
        members.contract.register(commitment, RATE, home, PERIODS, {"from": payer})


@pytest.mark.parametrize("commitment", [1, FIELD - 1])
def test_takes_every_other_field_element(members, payer, home, commitment):
    """Whether anybody knows a secret of it cannot be told."""
    tx = members.contract.register(commitment, RATE, home, PERIODS, {"from": payer})
    assert record_of(tx, members.contract)[0] == commitment


def test_a_commitment_registers_once(members, record, payer, stranger, home):
    for rate in (RATE, 1):
        with reverts("AlreadyRegistered", record[0]):
            members.contract.register(record[0], rate, home, PERIODS, {"from": payer})


def test_registers_for_the_holder_of_the_secret(members, stranger, payer):
    """Anybody may pay for a commitment: the commitment alone is the member, who pays is the owner."""
    record = members.register(fresh_secret())
    assert record[1] == payer
    with reverts("NotOwner", stranger, payer):
        members.exit(record, stranger)


def test_whoever_occupies_a_commitment_gives_its_stake_to_the_secrets_holder(
    members, secret, payer, home, stranger, slasher
):
    """A thief saw it in the mempool and registered it first, at the lowest price."""
    members.token.mint(stranger, 2 * DOLLAR, {"from": stranger})
    members.token.approve(members.contract, 2 * DOLLAR, {"from": stranger})
    stolen = members.register(secret, payer=stranger, home=stranger, rate=1, periods=1)
    with reverts("AlreadyRegistered", stolen[0]):
        members.contract.register(stolen[0], RATE, home, PERIODS, {"from": payer})
    members.exit(stolen, stranger)
    members.slash(secret, stolen, slasher, slasher)
    assert members.token.balanceOf(slasher) == DOLLAR // 5
    assert members.token.balanceOf(stranger) <= DOLLAR  # what it had over, and its own fee
    assert members.register(fresh_secret())[3] == stolen[3] + 1


def test_refuses_a_rate_of_zero(members, payer, home):
    with reverts("ZeroRate"):
        members.contract.register(1, 0, home, PERIODS, {"from": payer})


def test_refuses_no_period(members, payer, home):
    with reverts("PeriodsOutOfRange", 0, 1, 2**32 - 1):
        members.contract.register(1, RATE, home, 0, {"from": payer})


def test_refuses_to_strand_the_fee(members, payer):
    for nowhere in (ZERO_ADDRESS, members.token, members.contract):
        with reverts("InvalidReceiver", nowhere):
            members.contract.register(1, RATE, nowhere, PERIODS, {"from": payer})


def test_refuses_what_does_not_fit(other, payer, home, DevDollar):
    members = other(DevDollar, (20, 3600, 3600, 1, 2**96 - 1))
    given = 2**96 - 1 + 1
    with reverts("AmountOutOfRange", given, MOST):
        members.contract.register(1, 1, home, 1, {"from": payer})


def test_takes_the_largest_amount(other, payer, home, DevDollar):
    members = other(DevDollar, (20, 3600, 3600, 1, 2**96 - 2))
    members.token.mint(payer, 2**97, {"from": payer})
    members.contract.register(1, 1, home, 1, {"from": payer})
    assert members.contract.total() == MOST


def test_refuses_without_allowance(members, payer, home):
    members.token.approve(members.contract, 0, {"from": payer})
    with reverts("ERC20InsufficientAllowance", members.contract, 0, STAKE + FEE):
        members.register()
    assert members.contract.total() == members.contract.leaves() == 0


def test_is_free_of_a_fee_where_there_is_none(other, DevDollar):
    members = other(DevDollar, (20, 3600, 3600, 5, 0))
    members.register()
    assert members.contract.total() == 5 * RATE


# Leaves


def test_leaves_are_used_again_when_there_are_no_others(other, payer, DevDollar):  # R2
    members = other(DevDollar, (1, 60, 60, 1, 1))
    first, second = members.register(), members.register()
    for record in (first, second):
        with reverts("TreeFull", 2):
            members.register()
        members.exit(record)
    with reverts("TreeFull", 2):
        members.register()  # their proofs may still be accepted
    chain.sleep(60)
    for record in (first, second):
        members.contract.withdraw(record, {"from": payer})
    assert [members.register()[3] for _ in range(2)] == [1, 0]
    with reverts("TreeFull", 2):
        members.register()


# Tokens


def test_refuses_fee_on_transfer(other, FeeToken):
    members, amount = other(FeeToken), STAKE + FEE
    with reverts("ShortTransfer", amount - amount // 100, amount):
        members.register()


def test_token_cannot_reenter(other, home, payer, ReentrantToken):
    members = other(ReentrantToken)
    call = members.contract.register.encode_input(1, 1, home, 1)
    members.token.arm(members.contract, call, {"from": payer})
    members.register()
    assert members.token.called()
    assert members.token.answer() == REENTRANT_CALL
    assert members.contract.total() == members.token.balanceOf(members.contract) == STAKE + FEE


def test_registers_with_a_token_that_returns_nothing(other, SilentToken):
    members = other(SilentToken)
    members.register()
    assert members.token.balanceOf(members.contract) == STAKE + FEE


def test_refuses_a_token_that_returns_false(other, payer, RefusingToken):
    members = other(RefusingToken)
    members.token.refuse(members.contract, 2, {"from": payer})
    with reverts("SafeERC20FailedOperation", members.token):
        members.register()


# Construction


def test_refuses_parameters_that_are_not_safe(RlnMembership, dollar, deployer):
    year = 365 * 86400
    for bad, given, least, most in (
        ((0, 1, 1, 1, 0), 0, 1, 31),
        ((32, 1, 1, 1, 0), 32, 1, 31),
        ((20, 0, 1, 1, 0), 0, 1, year),
        ((20, year + 1, 1, 1, 0), year + 1, 1, year),
        ((20, 1, 0, 1, 0), 0, 1, year),
        ((20, 1, year + 1, 1, 0), year + 1, 1, year),
        ((20, 1, 1, 0, 0), 0, 1, 2**96 - 1),
    ):
        with reverts("ParameterOutOfRange", given, least, most):
            RlnMembership.deploy(dollar, *bad, {"from": deployer})
    with reverts("InvalidToken", deployer):
        RlnMembership.deploy(deployer, 20, 1, 1, 1, 0, {"from": deployer})


def test_says_what_it_was_made_with(membership, dollar):
    contract = membership
    assert (contract.token(), contract.depth(), contract.period()) == (dollar, 20, PERIOD)
    assert (contract.window(), contract.stakePerRate(), contract.feePerRate()) == (2 * 86400, DOLLAR, 7)
    assert contract.leaves() == contract.total() == 0
