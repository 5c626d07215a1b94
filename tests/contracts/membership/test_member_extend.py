"""RlnMembership.extend and its signed forms: more periods, paid by anybody."""

import pytest
from brownie import chain

from anvil import next_block_at
from channel_ledger import DOLLAR, MAX_UINT, NO_PERMIT, as_tuple, fresh_key
from errors import REENTRANT_CALL, reverts
from members import ENDED, FEE, FEE_PER_RATE, PERIOD, PERIODS, RATE, STAKE, fresh_secret

TWO = 2 * FEE_PER_RATE * RATE


def test_adds_to_what_is_paid_for(members, record, payer):
    tx = members.contract.extend(record, 2, {"from": payer})
    until = record[5] + (PERIODS + 2) * PERIOD
    assert dict(tx.events["Extended"]) == {
        "idCommitment": record[0],
        "payer": payer,
        "periods": 2,
        "paidUntil": until,
    }
    assert members.contract.paidUntil(record) == until
    assert members.member(record)["added"] == 2
    assert members.contract.total() == members.token.balanceOf(members.contract) == STAKE + FEE + TWO  # R1


def test_anybody_may_pay(members, record, stranger):
    members.token.mint(stranger, TWO, {"from": stranger})
    members.token.approve(members.contract, TWO, {"from": stranger})
    members.contract.extend(record, 2, {"from": stranger})
    assert members.token.balanceOf(stranger) == 0


def test_adds_up(members, record, payer):
    for _ in range(3):
        members.contract.extend(record, 1, {"from": payer})
    assert members.contract.paidUntil(record) == record[5] + (PERIODS + 3) * PERIOD


def test_the_record_stays_what_it_was(members, record, payer):
    """So nobody can make another's call fail by extending first."""
    before = members.member(record)["recordHash"]
    members.contract.extend(record, 1, {"from": payer})
    assert members.member(record)["recordHash"] == before


def test_who_is_late_pays_for_the_time_in_between(members, record, payer, home, stranger):
    next_block_at(members.contract.paidUntil(record) + PERIOD // 2)
    members.contract.extend(record, 1, {"from": payer})
    assert members.contract.paidUntil(record) == record[5] + (PERIODS + 1) * PERIOD
    next_block_at(record[5] + (PERIODS + 1) * PERIOD)
    members.contract.collect(home, [record], {"from": stranger})
    assert members.token.balanceOf(home) == (PERIODS + 1) * FEE_PER_RATE * RATE * 4 // 5


def test_refuses_no_period(members, record, payer):
    with reverts("PeriodsOutOfRange", 0, 1, 2**32 - 1 - PERIODS):
        members.contract.extend(record, 0, {"from": payer})


def test_fills_to_the_most_periods(members, record, payer):
    room = 2**32 - 1 - PERIODS
    with reverts("PeriodsOutOfRange", room + 1, 1, room):
        members.contract.extend(record, room + 1, {"from": payer})
    members.contract.extend(record, room - 1, {"from": payer})
    with reverts("PeriodsOutOfRange", 2, 1, 1):
        members.contract.extend(record, 2, {"from": payer})
    members.contract.extend(record, 1, {"from": payer})
    assert members.contract.paidUntil(record) == record[5] + (2**32 - 1) * PERIOD
    with reverts("PeriodsOutOfRange", 1, 1, 0):
        members.contract.extend(record, 1, {"from": payer})


def test_refuses_what_does_not_fit(other, payer, DevDollar):
    members = other(DevDollar, (20, 3600, 3600, 1, 2**90))
    members.token.mint(payer, 2**97, {"from": payer})
    record = members.register(rate=1, periods=1)
    with reverts("AmountOutOfRange", 2**96, 2**96 - 1):
        members.contract.extend(record, 64, {"from": payer})


def test_refuses_who_is_no_member(members, record, payer):
    stranger = (1, *record[1:])
    with reverts("WrongRecord", 1):
        members.contract.extend(stranger, 1, {"from": payer})


@pytest.mark.parametrize("field", range(1, 7))
def test_refuses_another_record(members, record, payer, field):
    changed = list(record)
    changed[field] = str(payer) if field == 2 else members.home if field == 1 else record[field] + 1
    with reverts("WrongRecord", record[0]):
        members.contract.extend(changed, 1, {"from": payer})


def test_refuses_who_has_left(members, record, payer):
    tx = members.exit(record)
    with reverts("AlreadyLeft", record[0], tx.timestamp):
        members.contract.extend(record, 1, {"from": payer})


def test_refuses_who_was_slashed(members, secret, record, payer, slasher):
    members.slash(secret, record, slasher, slasher)
    assert bytes(members.member(record)["recordHash"]) == ENDED
    with reverts("WrongRecord", record[0]):
        members.contract.extend(record, 1, {"from": payer})


def test_token_cannot_reenter(other, payer, ReentrantToken):
    members = other(ReentrantToken)
    record = members.register()
    members.token.arm(members.contract, members.contract.extend.encode_input(record, 1), {"from": payer})
    members.contract.extend(record, 1, {"from": payer})
    assert members.token.called()
    assert members.token.answer() == REENTRANT_CALL
    assert members.member(record)["added"] == 1


# By signature


@pytest.fixture
def extend_for(gasless, client, stranger):
    def extend_for(action, record, signer=client, permit=NO_PERMIT):
        signature = gasless.sign(signer, "Extension", action).packed
        return gasless.contract.extendFor(as_tuple(action), record, signature, permit, {"from": stranger})

    return extend_for


@pytest.fixture
def authorize(gasless, client, stranger):
    def authorize(action, record, signed=None):
        authorization = gasless.authorization(client, "Extension", signed or action, TWO)
        return gasless.contract.extendWithAuthorization(
            as_tuple(action), record, authorization, {"from": stranger}
        )

    return authorize


def test_extends_with_a_permit(gasless, record, extend_for, client):
    extend_for(gasless.extension(record), record, permit=gasless.permit(client, TWO))
    assert gasless.member(record)["added"] == 2
    assert gasless.token.balanceOf(client.address) == 1_000 * DOLLAR - TWO


def test_extends_by_authorization(gasless, record, authorize, client):
    action = gasless.extension(record)
    tx = authorize(action, record)
    assert tx.events["Extended"]["payer"] == client.address
    assert bytes(gasless.contract.hashExtension(as_tuple(action))) == gasless.domain.struct_hash(
        "Extension", action
    )
    assert gasless.token.balanceOf(client.address) == 1_000 * DOLLAR - TWO


def test_a_permit_alone_moves_nothing(gasless, record, extend_for, client):
    with reverts("InvalidSignature", client.address):
        extend_for(gasless.extension(record), record, fresh_key(), gasless.permit(client, TWO))


def test_a_signature_extends_once_in_either_form(gasless, record, extend_for, authorize, client):
    first, second = gasless.extension(record), gasless.extension(record, salt=b"\x08" * 32)
    extend_for(first, record, permit=gasless.permit(client, MAX_UINT))
    authorize(second, record)
    for send, action in ((extend_for, first), (extend_for, second), (authorize, first), (authorize, second)):
        with reverts("AlreadyUsed", gasless.domain.digest("Extension", action)):
            send(action, record)
    assert gasless.member(record)["added"] == 4


def test_refuses_to_extend_another_member(gasless, members, record, extend_for, authorize, client):
    another = members.register(fresh_secret())
    action = gasless.extension(record)
    for send in (extend_for, authorize):
        with reverts("WrongRecord", another[0]):
            send(action, another)


@pytest.mark.parametrize(
    "change", [{"periods": 3}, {"salt": b"\x01" * 32}], ids=lambda change: next(iter(change))
)
def test_refuses_to_pay_for_another_extension(gasless, record, authorize, change):
    action = gasless.extension(record)
    with reverts("ERC3009InvalidSignature"):
        authorize(action | change, record, signed=action)


def test_refuses_after_the_deadline(gasless, record, extend_for, authorize):
    deadline = chain.time() + 100
    action = gasless.extension(record, deadline=deadline)
    for late, send in ((1, extend_for), (2, authorize)):
        next_block_at(deadline + late)
        with reverts("DeadlinePassed", deadline, deadline + late):
            send(action, record)


@pytest.mark.parametrize(
    "elsewhere",
    [{"chain_id": 1}, {"contract": "0x" + "22" * 20}, {"name": "Waypost Channels"}],
    ids=lambda change: next(iter(change)),
)
def test_refuses_signatures_of_other_domains(gasless, record, client, stranger, elsewhere):  # S1
    action = gasless.extension(record)
    signature = gasless.domain.with_(**elsewhere).sign(client, "Extension", action).packed
    with reverts("InvalidSignature", client.address):
        gasless.contract.extendFor(as_tuple(action), record, signature, NO_PERMIT, {"from": stranger})
