"""RlnMembership.collect: what streams to a home node, and the fifth that is burned."""

import pytest
from brownie import accounts, chain
from brownie.exceptions import VirtualMachineError

from anvil import in_one_block, next_block_at
from errors import REENTRANT_CALL, reverts
from members import FEE, PERIOD, PERIODS, STAKE, Members, gross, split
from operators import BURNED


def collect_at(members, time, *records, sender=None):
    next_block_at(time)
    return members.contract.collect(members.home, list(records), {"from": sender or members.home})


def test_pays_four_fifths_and_burns_one(members, record, home, stranger):
    time = record[5] + PERIOD + 12_345
    tx = collect_at(members, time, record, sender=stranger)  # anybody may call
    paid, burned = split(gross(record, time))
    assert dict(tx.events["Collected"]) == {
        "homeNode": home,
        "paid": paid,
        "burned": burned,
        "idCommitments": (record[0],),
    }
    assert tx.return_value == members.token.balanceOf(home) == paid
    assert members.token.balanceOf(BURNED) == burned
    assert members.contract.total() == members.token.balanceOf(members.contract)
    assert members.contract.total() == STAKE + FEE - paid - burned  # R1
    assert members.member(record)["collectedAt"] == time


def test_the_sum_does_not_depend_on_how_often(members, record, home):  # R5
    """Each part is the difference of totals that depend on the time alone."""
    collected = 0
    for seconds in (1, 7, 1_000, 1_001, 99_999, PERIOD - 1, PERIOD, 2 * PERIOD + 77, 3 * PERIOD + 3):
        collect_at(members, record[5] + seconds, record)
        collected, _ = split(gross(record, record[5] + seconds))
        assert members.token.balanceOf(home) == collected
    assert collected > 0


def test_streams_what_was_paid_for_and_no_more(members, record, home):  # R5
    end = record[5] + PERIODS * PERIOD
    collect_at(members, end - 1, record)
    assert members.token.balanceOf(home) < FEE * 4 // 5
    collect_at(members, end + 99, record)
    assert members.token.balanceOf(home) == FEE * 4 // 5
    assert members.token.balanceOf(BURNED) == FEE // 5
    assert members.member(record)["collectedAt"] == end
    tx = collect_at(members, end + PERIOD, record)
    assert tx.events["Collected"]["paid"] == tx.events["Collected"]["burned"] == 0
    assert members.contract.total() == STAKE


def test_at_the_end_of_each_period_it_is_exact(members, record, home):  # R5
    for number in range(1, PERIODS + 1):
        collect_at(members, record[5] + number * PERIOD, record)
        assert members.token.balanceOf(home) == FEE * number // PERIODS * 4 // 5


def test_says_what_there_is_to_collect(members, record, home):
    collect_at(members, record[5] + PERIOD, record)
    next_block_at(record[5] + 2 * PERIOD)
    accounts[0].transfer(accounts[0], 0)
    assert members.contract.collectable(record) == (FEE // 5, FEE // 20)
    with reverts("WrongRecord", 1):
        members.contract.collectable((1, *record[1:]))


def test_a_batch_pays_once_and_skips_what_is_not_the_home_nodes(members, payer, home, slasher, stranger):
    mine = [members.register() for _ in range(3)]
    theirs = members.register(home=stranger)
    wrong = (*mine[0][:4], 65_535, *mine[0][5:])
    ended = members.register(5)
    members.slash(5, ended, slasher, slasher)
    before = members.token.balanceOf(home)
    time = mine[2][5] + PERIOD
    tx = collect_at(members, time, mine[0], wrong, theirs, mine[1], mine[0], ended, mine[2])
    expected = [split(gross(record, time)) for record in mine]
    assert tx.events["Collected"]["idCommitments"] == tuple(record[0] for record in mine)
    assert tx.return_value == sum(paid for paid, _ in expected)
    assert tx.events["Collected"]["burned"] == sum(burned for _, burned in expected)
    assert members.token.balanceOf(home) == before + tx.return_value
    assert len([event for event in tx.events["Transfer"] if event["to"] == home]) == 1
    assert members.token.balanceOf(stranger) == 0


def test_nothing_has_streamed_at_first(members, record, home):
    tx = collect_at(members, record[5] + 1, record)
    assert tx.return_value == 0
    assert members.member(record)["collectedAt"] == 0
    assert tx.events["Collected"]["idCommitments"] == ()
    assert "Transfer" not in tx.events


def test_goes_on_when_a_member_has_left(members, record, home):
    next_block_at(record[5] + PERIOD + 5)
    members.exit(record)
    collect_at(members, record[5] + 3 * PERIOD, record)
    assert members.token.balanceOf(home) == FEE * 2 // PERIODS * 4 // 5  # the period that had begun


def test_refuses_too_many(members, record):
    with reverts("BatchTooLarge", 501, 500):
        members.contract.collect(members.home, [record] * 501, {"from": members.home})


def test_the_largest_batch_fits_in_a_transaction(other, home, DevDollar):
    members = other(DevDollar, (20, 100, 100, 1, 100))
    start, register = chain.time() + 10, members.contract.register
    calls = [register.encode_input(commitment, 1, home, 9) for commitment in range(1, 501)]
    in_one_block(start, *((members.payer, members.contract, call) for call in calls))
    records = [(index + 1, str(members.payer), str(home), index, 1, start, 9) for index in range(500)]
    tx = collect_at(members, start + 100, *records)
    assert len(tx.events["Collected"]["idCommitments"]) == 500
    assert tx.gas_used < 2**24  # EIP-7825


# Tokens


@pytest.mark.parametrize("refusal", [1, 2, 3], ids=["revert", "false", "bomb"])
def test_a_home_node_that_cannot_be_paid_is_credited(other, home, payer, stranger, RefusingToken, refusal):
    members = other(RefusingToken)
    record = members.register()
    members.token.refuse(home, refusal, {"from": payer})
    collect_at(members, record[5] + PERIOD, record)
    paid = FEE // PERIODS * 4 // 5
    assert members.contract.credit(home, members.token) == paid
    assert members.token.balanceOf(members.contract) == members.contract.total() + paid
    members.contract.withdrawCredit(members.token, stranger, {"from": home})
    assert members.token.balanceOf(stranger) == paid


def test_what_cannot_be_burned_is_swept_later(other, home, payer, stranger, RefusingToken):
    members = other(RefusingToken)
    record = members.register()
    members.token.refuse(BURNED, 2, {"from": payer})
    collect_at(members, record[5] + PERIOD, record)
    assert members.token.balanceOf(home) == FEE // PERIODS * 4 // 5
    assert members.contract.credit(BURNED, members.token) == FEE // PERIODS // 5
    with reverts("SafeERC20FailedOperation", members.token):
        members.contract.sweep({"from": stranger})
    members.token.refuse(BURNED, 0, {"from": payer})
    members.contract.sweep({"from": stranger})
    assert members.token.balanceOf(BURNED) == FEE // PERIODS // 5
    with reverts("NothingToWithdraw", BURNED, members.token):
        members.contract.sweep({"from": stranger})


def test_starving_the_call_makes_no_credit(other, home, payer, RefusingToken):
    members = other(RefusingToken)
    record = members.register()
    members.token.refuse(home, 5, {"from": payer})
    next_block_at(record[5] + PERIOD)
    with pytest.raises(VirtualMachineError, match=r"InsufficientGas: \d+, 500000"):
        members.contract.collect(home, [record], {"from": home, "gas_limit": 300_000})


def test_token_cannot_reenter(other, home, payer, ReentrantToken):
    members = other(ReentrantToken)
    record = members.register()
    again = members.contract.collect.encode_input(home, [record])
    members.token.arm(members.contract, again, {"from": payer})
    collect_at(members, record[5] + PERIOD, record)
    assert members.token.answer() == REENTRANT_CALL
    assert members.token.balanceOf(home) == FEE // PERIODS * 4 // 5


def test_pays_in_a_token_that_returns_nothing(other, home, SilentToken):
    members: Members = other(SilentToken)
    record = members.register()
    collect_at(members, record[5] + PERIOD, record)
    assert members.token.balanceOf(home) == FEE // PERIODS * 4 // 5
