"""RlnMembership.withdraw: stake and unused fee go back after the window, and what has streamed is settled."""

import pytest

from anvil import next_block_at
from errors import REENTRANT_CALL, reverts
from members import FEE, PERIOD, PERIODS, STAKE, WINDOW
from operators import BURNED


def withdraw_at(members, time, record, sender):
    next_block_at(time)
    return members.contract.withdraw(record, {"from": sender})


@pytest.fixture
def left(members, record):
    """The member left in its second period, of which the fee was not collected."""
    next_block_at(record[5] + PERIOD + PERIOD // 2)
    members.exit(record)
    return record[5] + 2 * PERIOD  # later than the window


def test_gives_back_stake_and_later_periods(members, record, left, payer, home, stranger):
    before = members.token.balanceOf(payer)
    tx = withdraw_at(members, left, record, stranger)  # anybody may call
    rest = STAKE + FEE // 2
    assert dict(tx.events["Withdrawn"]) == {
        "idCommitment": record[0],
        "owner": payer,
        "index": record[3],
        "amount": rest,
    }
    assert dict(tx.events["Collected"]) == {
        "homeNode": home,
        "paid": FEE // 2 * 4 // 5,
        "burned": FEE // 2 // 5,
        "idCommitments": (record[0],),
    }
    assert members.token.balanceOf(payer) == before + rest
    assert members.token.balanceOf(home) == FEE // 2 * 4 // 5
    assert members.token.balanceOf(BURNED) == FEE // 2 // 5
    assert members.contract.total() == members.token.balanceOf(members.contract) == 0  # R1
    assert members.is_ended(record)


def test_is_too_early_in_the_window(members, record, payer):
    next_block_at(record[5] + 2 * PERIOD - 10)
    members.exit(record)
    at = record[5] + 2 * PERIOD - 10 + WINDOW
    with reverts("TooEarly", at - 1, at):
        withdraw_at(members, at - 1, record, payer)
    withdraw_at(members, at, record, payer)


def test_is_too_early_in_the_period(members, record, left, payer):
    with reverts("TooEarly", left - 1, left):
        withdraw_at(members, left - 1, record, payer)


def test_settles_only_what_was_not_collected(members, record, left, payer, home, stranger):
    next_block_at(left - 5)
    members.contract.collect(home, [record], {"from": stranger})
    withdraw_at(members, left, record, payer)
    assert members.token.balanceOf(home) == FEE // 2 * 4 // 5  # R5
    assert members.token.balanceOf(BURNED) == FEE // 2 // 5
    assert members.contract.total() == 0


def test_has_nothing_to_settle_when_all_was_collected(members, record, left, payer, home):
    next_block_at(left)
    members.contract.collect(home, [record], {"from": payer})
    tx = members.contract.withdraw(record, {"from": payer})
    assert "Collected" not in tx.events
    assert len(tx.events["Transfer"]) == 1


def test_an_expired_member_gets_nine_tenths(members, record, payer, stranger):
    end = record[5] + PERIODS * PERIOD
    before = members.token.balanceOf(payer)
    next_block_at(end)
    members.contract.expire(record, {"from": stranger})
    with reverts("TooEarly", end + WINDOW - 1, end + WINDOW):
        withdraw_at(members, end + WINDOW - 1, record, stranger)
    withdraw_at(members, end + WINDOW, record, stranger)
    assert members.token.balanceOf(payer) - before == STAKE * 9 // 10
    assert members.contract.total() == 0


def test_extensions_come_back_too(members, record, payer):
    """Whoever paid for them: the money became the member's."""
    members.contract.extend(record, 3, {"from": payer})
    members.exit(record)
    tx = withdraw_at(members, record[5] + PERIOD, record, payer)
    assert tx.events["Withdrawn"]["amount"] == STAKE + FEE // PERIODS * (PERIODS + 3 - 1)
    assert members.contract.total() == 0


def test_refuses_who_has_not_left(members, record, payer):
    with reverts("NotLeft", record[0]):
        members.contract.withdraw(record, {"from": payer})
    with reverts("WrongRecord", 1):
        members.contract.withdraw((1, *record[1:]), {"from": payer})


def test_withdraws_once(members, record, left, payer, home):  # S3
    withdraw_at(members, left, record, payer)
    for again in (members.contract.withdraw, members.contract.expire, members.contract.exit):
        with reverts("WrongRecord", record[0]):
            again(record, {"from": payer})
    assert members.contract.collect(home, [record], {"from": payer}).return_value == 0
    with reverts("AlreadyRegistered", record[0]):
        members.contract.register(record[0], 1, home, 1, {"from": payer})


@pytest.mark.parametrize("refusal", [1, 2, 4], ids=["revert", "false", "gas"])
def test_nobody_who_cannot_be_paid_blocks_the_others(other, payer, home, stranger, RefusingToken, refusal):
    members = other(RefusingToken)
    record = members.register()
    members.exit(record)
    for somebody in (payer, home, BURNED):
        members.token.refuse(somebody, refusal if somebody == home else 1, {"from": payer})
    withdraw_at(members, record[5] + PERIOD, record, stranger)
    fee = FEE // PERIODS
    credits = [members.contract.credit(somebody, members.token) for somebody in (payer, home, BURNED)]
    assert credits == [STAKE + FEE - fee, fee * 4 // 5, fee // 5]
    assert members.token.balanceOf(members.contract) == sum(credits)


def test_token_cannot_reenter(other, payer, stranger, ReentrantToken):
    members = other(ReentrantToken)
    record = members.register()
    members.exit(record)
    members.token.arm(members.contract, members.contract.withdraw.encode_input(record), {"from": payer})
    withdraw_at(members, record[5] + PERIOD, record, stranger)
    assert members.token.answer() == REENTRANT_CALL
    assert members.token.balanceOf(members.contract) == 0
