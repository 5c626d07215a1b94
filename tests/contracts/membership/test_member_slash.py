"""RlnMembership.commitSlash and slash: whoever knows a secret burns the stake behind it."""

import json
from pathlib import Path

import pytest
from brownie import ZERO_ADDRESS, chain

from anvil import mine, next_block_at
from errors import REENTRANT_CALL, reverts
from members import (
    FEE,
    FIELD,
    PERIOD,
    PERIODS,
    SALT,
    STAKE,
    WINDOW,
    fresh_secret,
    gross,
    slash_hash,
    split,
)
from operators import BURNED

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "commitments.json").read_text())["commitments"]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["secret"][:10])
def test_hashes_as_the_circuit_does(members, vector):
    assert members.commitment(int(vector["secret"], 16)) == int(vector["idCommitment"], 16)


def test_burns_four_fifths(members, secret, record, slasher, home, stranger):
    members.commit(secret, slasher, slasher)
    next_block_at(record[5] + PERIOD + 777)
    chain.mine(1)
    time = record[5] + PERIOD + 12_345
    next_block_at(time)
    tx = members.contract.slash(secret, slasher, SALT, record, {"from": stranger})  # anybody may call
    paid, burned = split(gross(record, time))
    forfeit = STAKE * 4 // 5 + FEE - paid - burned
    assert dict(tx.events["Slashed"]) == {
        "idCommitment": record[0],
        "receiver": slasher,
        "index": record[3],
        "secret": secret,
        "reward": STAKE // 5,
        "burned": forfeit,
    }
    assert dict(tx.events["Collected"]) == {
        "homeNode": home,
        "paid": paid,
        "burned": burned,
        "idCommitments": (record[0],),
    }
    assert members.token.balanceOf(slasher) == STAKE // 5
    assert members.token.balanceOf(home) == paid
    assert members.token.balanceOf(BURNED) == forfeit + burned
    assert members.contract.total() == members.token.balanceOf(members.contract) == 0  # R1
    assert members.is_ended(record)


def test_slashing_oneself_loses_four_fifths(members, secret, record, payer):  # S2
    before = members.token.balanceOf(payer)
    members.slash(secret, record, payer, payer)
    assert members.token.balanceOf(payer) == before + STAKE // 5


def test_expiring_oneself_first_saves_nothing(members, secret, record, payer):  # S2
    before = members.token.balanceOf(payer)
    next_block_at(record[5] + PERIODS * PERIOD)
    members.contract.expire(record, {"from": payer})
    members.slash(secret, record, payer, payer)
    assert members.token.balanceOf(payer) == before + STAKE // 5
    assert members.token.balanceOf(BURNED) == STAKE * 4 // 5 + FEE // 5


def test_a_secret_slashes_once(members, secret, record, slasher, stranger):  # R3
    """Two saw the two shares; the second one finds nothing."""
    members.commit(secret, stranger, stranger)
    members.slash(secret, record, slasher, slasher)
    with reverts("WrongRecord", record[0]):
        members.contract.slash(secret, stranger, SALT, record, {"from": stranger})
    with reverts("AlreadyRegistered", record[0]):
        members.register(secret)


def test_its_leaf_is_not_used_again(other, payer, slasher, DevDollar):  # R2
    members = other(DevDollar, (1, 60, 60, 10, 1))
    record, _ = members.register(5), members.register()
    members.slash(5, record, slasher, slasher)
    chain.sleep(1_000)
    with reverts("TreeFull", 2):
        members.register()


# When


def test_reaches_who_has_left(members, secret, record, payer, slasher):
    """Spam, then exit, does not help: the window is longer than proofs against old roots are accepted."""
    members.exit(record)
    next_block_at(record[5] + PERIOD + WINDOW)  # until it is withdrawn, however late
    members.slash(secret, record, slasher, slasher)
    assert members.token.balanceOf(slasher) == STAKE // 5
    assert members.token.balanceOf(BURNED) == STAKE * 4 // 5 + FEE - FEE // PERIODS * 4 // 5
    with reverts("WrongRecord", record[0]):
        members.contract.withdraw(record, {"from": payer})


def test_cannot_be_put_off_by_changing_the_member(members, secret, record, payer, home, slasher):
    """Whatever the spammer does between commit and reveal, the record is the same."""
    members.commit(secret, slasher, slasher)
    members.contract.extend(record, 1, {"from": payer})
    members.contract.collect(home, [record], {"from": payer})
    members.exit(record)
    members.contract.slash(secret, slasher, SALT, record, {"from": slasher})
    assert members.token.balanceOf(slasher) == STAKE // 5
    assert members.contract.total() == 0


def test_finds_nothing_after_a_withdrawal(members, secret, record, payer, slasher):
    members.exit(record)
    next_block_at(record[5] + PERIOD)
    members.contract.withdraw(record, {"from": payer})
    members.commit(secret, slasher, slasher)
    chain.mine(1)
    with reverts("WrongRecord", record[0]):
        members.contract.slash(secret, slasher, SALT, record, {"from": slasher})


@pytest.mark.parametrize(("wait", "works"), [(0, False), (1, True), (255, True), (256, False)])
def test_is_revealed_from_2_to_256_blocks_later(members, secret, record, slasher, wait, works):
    block = members.commit(secret, slasher, slasher).block_number
    mine(wait)
    if works:
        members.contract.slash(secret, slasher, SALT, record, {"from": slasher})
    else:
        with reverts("RevealOutOfRange", block + 1 + wait, block + 2, block + 256):
            members.contract.slash(secret, slasher, SALT, record, {"from": slasher})


# Commits


def test_commits(members, secret, slasher):
    tx = members.commit(secret, slasher, slasher)
    slash = slash_hash(secret, slasher)
    assert bytes(members.contract.hashSlash(secret, slasher, SALT)) == slash
    assert dict(tx.events["SlashCommitted"]) == {"slashHash": "0x" + slash.hex()}
    assert members.contract.committedAt(slash) == tx.block_number


def test_the_first_commit_stands(members, secret, record, slasher, stranger):
    """Who copies a commit, before or after, helps: the hash names the receiver."""
    block = members.commit(secret, slasher, stranger).block_number
    chain.mine(1)
    tx = members.commit(secret, slasher, slasher)
    assert "SlashCommitted" not in tx.events
    assert members.contract.committedAt(slash_hash(secret, slasher)) == block
    members.contract.slash(secret, slasher, SALT, record, {"from": slasher})
    assert members.token.balanceOf(slasher) == STAKE // 5
    assert members.contract.committedAt(slash_hash(secret, slasher)) == 0


def test_a_thief_cannot_copy_the_reveal(members, secret, record, slasher, stranger):
    """Who sees the secret in the mempool would have to have committed two blocks ago."""
    members.commit(secret, slasher, slasher)
    chain.mine(1)
    stolen = slash_hash(secret, stranger)
    with reverts("NotCommitted", stolen):
        members.contract.slash(secret, stranger, SALT, record, {"from": stranger})
    members.commit(secret, stranger, stranger)
    with reverts("RevealOutOfRange", chain.height + 1, chain.height + 2, chain.height + 256):
        members.contract.slash(secret, stranger, SALT, record, {"from": stranger})
    members.contract.slash(secret, slasher, SALT, record, {"from": slasher})


def test_a_commit_is_of_one_salt(members, secret, record, slasher):
    members.commit(secret, slasher, slasher)
    chain.mine(1)
    other = b"\x06" * 32
    with reverts("NotCommitted", slash_hash(secret, slasher, other)):
        members.contract.slash(secret, slasher, other, record, {"from": slasher})


# Secrets and records


def test_refuses_another_secret(members, record, slasher):
    wrong = fresh_secret()
    members.commit(wrong, slasher, slasher)
    chain.mine(1)
    with reverts("WrongSecret", members.commitment(wrong), record[0]):
        members.contract.slash(wrong, slasher, SALT, record, {"from": slasher})


def test_refuses_a_secret_that_is_no_field_element(members, slasher):
    """It would hash to the same commitment."""
    record = members.register(5)
    assert members.commitment(FIELD + 5) == record[0]
    members.commit(FIELD + 5, slasher, slasher)
    chain.mine(1)
    with reverts("InvalidSecret", FIELD + 5):
        members.contract.slash(FIELD + 5, slasher, SALT, record, {"from": slasher})


@pytest.mark.parametrize("field", range(1, 7))
def test_refuses_another_record(members, secret, record, slasher, field):
    changed = list(record)
    changed[field] = str(slasher) if field < 3 else record[field] + 1
    members.commit(secret, slasher, slasher)
    chain.mine(1)
    with reverts("WrongRecord", record[0]):
        members.contract.slash(secret, slasher, SALT, changed, {"from": slasher})


def test_refuses_to_strand_the_reward(members, secret, record, slasher):
    for nowhere in (ZERO_ADDRESS, members.token, members.contract):
        members.commit(secret, nowhere, slasher)
        chain.mine(1)
        with reverts("InvalidReceiver", nowhere):
            members.contract.slash(secret, nowhere, SALT, record, {"from": slasher})


@pytest.mark.parametrize("stake_per_rate", [1, 4, 5, 9, 10, 11, 19])
def test_rounds_for_the_fire(other, payer, slasher, stranger, DevDollar, stake_per_rate):  # S2
    members = other(DevDollar, (20, 60, 60, stake_per_rate, 0))
    for expires in (False, True):
        secret = fresh_secret()
        record = members.register(secret, rate=1, periods=1)
        before = [members.token.balanceOf(who) for who in (slasher, stranger, BURNED)]
        if expires:
            next_block_at(record[5] + 60)
            members.contract.expire(record, {"from": stranger})
        members.slash(secret, record, slasher, slasher)
        after = [members.token.balanceOf(who) for who in (slasher, stranger, BURNED)]
        reward, finder, burned = (new - old for new, old in zip(after, before, strict=True))
        assert (reward + finder, burned) == (stake_per_rate // 5, stake_per_rate - stake_per_rate // 5)
        assert members.contract.total() == 0


# Tokens


@pytest.mark.parametrize("refusal", [1, 2, 4], ids=["revert", "false", "gas"])
def test_nobody_who_cannot_be_paid_stops_it(other, payer, home, slasher, RefusingToken, refusal):
    members, secret = other(RefusingToken), fresh_secret()
    record = members.register(secret)
    for somebody in (slasher, home, BURNED):
        members.token.refuse(somebody, refusal if somebody == home else 1, {"from": payer})
    next_block_at(record[5] + PERIOD)
    members.commit(secret, slasher, slasher)
    chain.mine(1)
    next_block_at(record[5] + PERIOD + 100)
    members.contract.slash(secret, slasher, SALT, record, {"from": slasher})
    paid, _ = split(gross(record, record[5] + PERIOD + 100))
    credits = [members.contract.credit(somebody, members.token) for somebody in (slasher, home, BURNED)]
    assert credits == [STAKE // 5, paid, STAKE * 4 // 5 + FEE - paid]
    assert members.token.balanceOf(members.contract) == sum(credits)


def test_token_cannot_reenter(other, payer, slasher, ReentrantToken):
    members, secret = other(ReentrantToken), fresh_secret()
    record = members.register(secret)
    calls = (
        members.contract.register.encode_input(1, 1, slasher, 1),
        members.contract.extend.encode_input(record, 1),
        members.contract.collect.encode_input(slasher, [record]),
        members.contract.exit.encode_input(record),
        members.contract.withdraw.encode_input(record),
        members.contract.expire.encode_input(record),
        members.contract.commitSlash.encode_input(SALT),
        members.contract.slash.encode_input(secret, slasher, SALT, record),
        members.contract.sweep.encode_input(),
        members.contract.withdrawCredit.encode_input(members.token, slasher),
    )
    members.commit(secret, slasher, slasher)
    chain.mine(1)
    for call in calls:
        chain.snapshot()
        members.token.arm(members.contract, call, {"from": payer})
        members.contract.slash(secret, slasher, SALT, record, {"from": slasher})
        assert members.token.called()
        assert members.token.answer() == REENTRANT_CALL
        chain.revert()


def test_these_are_all_functions_that_change_state(membership):
    """Each of them is guarded; the signed forms share their bodies with the others."""
    functions = [entry for entry in membership.abi if entry["type"] == "function"]
    changing = {f["name"] for f in functions if f["stateMutability"] not in ("view", "pure")}
    signed = {"registerFor", "registerWithAuthorization", "extendFor", "extendWithAuthorization", "exitFor"}
    plain = {"register", "extend", "collect", "exit", "expire", "withdraw", "commitSlash", "slash", "sweep"}
    assert changing == signed | plain | {"withdrawCredit", "withdrawCreditFor"}
