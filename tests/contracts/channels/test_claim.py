"""Channels.claim: pays for every good receipt of a batch and skips every other."""

import random

import pytest
from brownie import chain
from brownie.exceptions import VirtualMachineError

from channel_ledger import CLOSED, DELAY, DOLLAR, NO_RECEIPT, as_tuple, fresh_key
from errors import reverts

TRANSACTION_GAS = 2**24  # what one transaction may use (EIP-7825)
REVERT, RETURN_FALSE, RETURN_BOMB, BURN_GAS, FALSE_IF_STARVED = range(1, 6)


@pytest.fixture
def opened(ledger):
    return ledger.open()


@pytest.fixture
def refusing(with_token, RefusingToken):
    """A ledger whose token refuses the payee in a chosen way."""

    def build(refusal):
        ledger = with_token(RefusingToken)
        ledger.token.refuse(ledger.payee, refusal, {"from": ledger.payer})
        return ledger

    return build


def entries(tx):
    """The Claimed event's entries as {signer: amount}."""
    words = [int(str(word), 16) for word in tx.events["Claimed"]["entries"]]
    return {f"0x{word >> 96:040x}": word & (2**96 - 1) for word in words}


def paid(ledger):
    return ledger.token.balanceOf(ledger.payee)


# What is paid -----------------------------------------------------------------------------------------------


def test_pays_the_payee(ledger, opened):
    tx = ledger.claim(ledger.receipt(opened, 30 * DOLLAR))
    assert tx.return_value == paid(ledger) == ledger.state(opened)["claimed"] == 30 * DOLLAR
    event = tx.events["Claimed"]
    assert (event["payee"], event["token"], event["total"]) == (ledger.payee, ledger.token, 30 * DOLLAR)
    assert entries(tx) == {opened.address.lower(): 30 * DOLLAR}


def test_anybody_may_claim_and_only_the_payee_is_paid(ledger, opened, stranger):
    ledger.claim(ledger.receipt(opened, DOLLAR), **{"from": stranger})
    assert paid(ledger) == DOLLAR
    assert ledger.token.balanceOf(stranger) == 0


def test_a_later_receipt_pays_the_difference(ledger, opened):
    ledger.claim(ledger.receipt(opened, 30 * DOLLAR))
    assert ledger.claim(ledger.receipt(opened, 45 * DOLLAR)).return_value == 15 * DOLLAR
    assert paid(ledger) == 45 * DOLLAR


@pytest.mark.parametrize("cumulative", [100 * DOLLAR + 1, 2**96, 2**128 - 1])
def test_pays_no_more_than_the_deposit(ledger, opened, cumulative):
    assert ledger.claim(ledger.receipt(opened, cumulative)).return_value == 100 * DOLLAR
    assert ledger.state(opened)["claimed"] == 100 * DOLLAR


def test_pays_for_many_channels_in_one_transfer(ledger):
    signers = [ledger.open() for _ in range(3)]
    tx = ledger.claim(*(ledger.receipt(signer, (i + 1) * DOLLAR) for i, signer in enumerate(signers)))
    assert [event["value"] for event in tx.events["Transfer"]] == [6 * DOLLAR]
    assert entries(tx) == {signer.address.lower(): (i + 1) * DOLLAR for i, signer in enumerate(signers)}


def test_one_channel_twice_in_a_batch_pays_the_highest_once(ledger, opened):
    low, high = ledger.receipt(opened, 10 * DOLLAR), ledger.receipt(opened, 25 * DOLLAR)
    assert ledger.claim(high, low, high).return_value == 25 * DOLLAR
    assert paid(ledger) == 25 * DOLLAR


def test_two_rising_receipts_of_one_channel_pay_both_steps(ledger, opened):
    tx = ledger.claim(ledger.receipt(opened, 10 * DOLLAR), ledger.receipt(opened, 25 * DOLLAR))
    amounts = [int(str(word), 16) & (2**96 - 1) for word in tx.events["Claimed"]["entries"]]
    assert amounts == [10 * DOLLAR, 15 * DOLLAR]
    assert paid(ledger) == 25 * DOLLAR


def test_pays_while_closing(ledger, opened):
    ledger.start_close(opened)
    assert ledger.claim(ledger.receipt(opened, DOLLAR)).return_value == DOLLAR


def test_pays_after_the_delay_until_somebody_finishes(ledger, opened):
    ledger.start_close(opened)
    ledger.claim(ledger.receipt(opened, DOLLAR))
    before = ledger.token.balanceOf(ledger.payer)
    chain.sleep(2 * DELAY)
    assert ledger.claim(ledger.receipt(opened, 3 * DOLLAR)).return_value == 2 * DOLLAR
    ledger.finish_close(opened, wait=0)
    assert ledger.token.balanceOf(ledger.payer) == before + 97 * DOLLAR


# What is skipped --------------------------------------------------------------------------------------------


def skipped(ledger, opened, *receipts):
    """These are worth nothing, and spoil nothing: a good receipt between them is paid."""
    tx = ledger.claim(*receipts)
    assert tx.return_value == tx.events["Claimed"]["total"] == 0
    assert not tx.events["Claimed"]["entries"]
    assert "Transfer" not in tx.events
    tx = ledger.claim(*receipts, ledger.receipt(opened, 50 * DOLLAR), *receipts)
    assert tx.return_value == 50 * DOLLAR
    assert entries(tx) == {opened.address.lower(): 50 * DOLLAR}


def test_skips_nothing(ledger, opened):
    skipped(ledger, opened)


@pytest.mark.parametrize("cumulative", [0, 5 * DOLLAR, 10 * DOLLAR])
def test_skips_stale(ledger, opened, cumulative):
    other = ledger.open()
    ledger.claim(ledger.receipt(other, 10 * DOLLAR))
    skipped(ledger, opened, ledger.receipt(other, cumulative))
    assert ledger.state(other)["claimed"] == 10 * DOLLAR


def test_skips_unknown_signer(ledger, opened):
    skipped(ledger, opened, ledger.receipt(fresh_key(), DOLLAR))


def test_skips_closed_channel(ledger, opened):
    other = ledger.open()
    ledger.start_close(other)
    ledger.finish_close(other)
    assert ledger.status(other) == CLOSED
    skipped(ledger, opened, ledger.receipt(other, 10 * DOLLAR))


@pytest.mark.parametrize(
    "change",
    [{"payee": "0x" + "11" * 20}, {"token": "0x" + "22" * 20}, {"cumulative": 99 * DOLLAR}],
    ids=lambda change: next(iter(change)),
)
def test_skips_receipt_for_something_else(ledger, opened, change):
    skipped(ledger, opened, ledger.receipt(opened, DOLLAR, **change))


@pytest.mark.parametrize(
    "other", [{"chain_id": 1}, {"contract": "0x" + "22" * 20}, {"name": "Waypost"}, {"version": "2"}], ids=str
)
def test_skips_receipt_of_another_domain(ledger, opened, other):
    message = {"payee": ledger.payee, "token": ledger.token.address, "cumulative": DOLLAR}
    foreign = ledger.domain.with_(**other).sign(opened, "Receipt", message)
    skipped(ledger, opened, (DOLLAR, *foreign.compact))


def test_skips_signature_of_another_action(ledger, opened):
    close = {
        "payee": ledger.payee,
        "token": ledger.token.address,
        "signer": opened.address,
        "finalCumulative": DOLLAR,
        "deadline": 2**39,
    }
    skipped(ledger, opened, (DOLLAR, *ledger.sign(opened, "Close", close).compact))


@pytest.mark.parametrize(
    "signature",
    [(0, 0), (1, 0), (0, 1), (2**256 - 1, 1), (1, 2**256 - 1), (2**256 - 1, 2**256 - 1)],
    ids=["zero", "no s", "no r", "r too large", "s too large", "ones"],
)
def test_skips_malformed_signature(ledger, opened, signature):
    """Also right behind a good one, for more than that: it must not pass for the same signer's."""
    skipped(ledger, opened, (99 * DOLLAR, *(word.to_bytes(32, "big") for word in signature)))


def test_skips_other_parity(ledger, opened):
    cumulative, r, vs = ledger.receipt(opened, DOLLAR)
    skipped(ledger, opened, (cumulative, r, bytes([vs[0] ^ 0x80]) + vs[1:]))


def test_skips_total_that_is_no_uint128(ledger, opened):
    """As raw calldata, which no ABI encoder makes."""
    spoilt = ledger.channels.claim.encode_input(
        ledger.payee, ledger.token, [ledger.receipt(opened, DOLLAR), ledger.receipt(opened, 2 * DOLLAR)]
    )
    word = 2 + 8 + 64 * 4  # 0x, selector, payee, token, offset and length
    spoilt = spoilt[:word] + "f" + spoilt[word + 1 :]
    ledger.payer.transfer(ledger.channels, data=spoilt)
    assert paid(ledger) == 2 * DOLLAR


def test_skips_nobodys_channel(ledger, opened):
    """A signature that recovers to nobody must not find a channel of nobody's."""
    assert ledger.channels.channel(ledger.payee, ledger.token, "0x" + "00" * 20)["status"] == 0
    skipped(ledger, opened, NO_RECEIPT)


# Limits -----------------------------------------------------------------------------------------------------


def test_refuses_larger_batch(ledger, opened):
    receipt = ledger.receipt(opened, DOLLAR)
    with reverts("BatchTooLarge", 1001, 1000):
        ledger.claim(*[receipt] * 1001)


def test_a_thousand_good_receipts_fit_a_transaction(ledger):
    signers = [fresh_key() for _ in range(1000)]
    for start in range(0, 1000, 200):
        group = signers[start : start + 200]
        openings = [ledger.opening(signer, amount=DOLLAR) for signer in group]
        signatures = [
            ledger.sign(key, "Opening", one).compact for key, one in zip(group, openings, strict=True)
        ]
        ledger.channels.openMany([as_tuple(one) for one in openings], signatures, {"from": ledger.payer})
    tx = ledger.claim(*(ledger.receipt(signer, DOLLAR) for signer in signers), gas_limit=TRANSACTION_GAS)
    assert paid(ledger) == 1000 * DOLLAR
    assert len(tx.events["Claimed"]["entries"]) == 1000


def test_a_thousand_mixed_receipts_pay_for_the_good_ones(ledger):
    """Duplicates, stale, unknown, foreign and malformed entries, in any order: the highest receipts win."""
    rng = random.Random(1000)
    signers = [ledger.open() for _ in range(20)]
    stranger = fresh_key()
    good = [ledger.receipt(signer, rng.randrange(1, 101) * DOLLAR) for signer in signers * 5]
    highest = {s: max(good[i][0] for i in range(n, 100, 20)) for n, s in enumerate(signers)}
    junk = [
        NO_RECEIPT,
        ledger.receipt(stranger, DOLLAR),
        ledger.receipt(signers[0], 0),
        ledger.receipt(signers[1], 100 * DOLLAR, payee="0x" + "11" * 20),
        (100 * DOLLAR, b"\xff" * 32, b"\xff" * 32),
    ]
    batch = good + [rng.choice(junk) for _ in range(900)]
    rng.shuffle(batch)
    ledger.claim(*batch, gas_limit=TRANSACTION_GAS)
    assert {signer: ledger.state(signer)["claimed"] for signer in signers} == highest
    assert paid(ledger) == sum(highest.values())


# Tokens that misbehave --------------------------------------------------------------------------------------


@pytest.mark.parametrize("refusal", [REVERT, RETURN_FALSE, RETURN_BOMB, BURN_GAS])
def test_a_refused_payment_becomes_a_credit(refusing, refusal):
    ledger = refusing(refusal)
    opened = ledger.open()
    tx = ledger.claim(ledger.receipt(opened, 30 * DOLLAR), gas_limit=TRANSACTION_GAS)
    assert ledger.channels.credit(ledger.payee, ledger.token) == 30 * DOLLAR
    assert dict(tx.events["Credited"]) == {
        "owner": ledger.payee,
        "token": ledger.token,
        "amount": 30 * DOLLAR,
    }
    assert paid(ledger) == 0
    assert ledger.state(opened)["claimed"] == 30 * DOLLAR


def test_credits_add_up(refusing):
    ledger = refusing(REVERT)
    opened = ledger.open()
    ledger.claim(ledger.receipt(opened, 30 * DOLLAR))
    ledger.claim(ledger.receipt(opened, 70 * DOLLAR))
    assert ledger.channels.credit(ledger.payee, ledger.token) == 70 * DOLLAR


def test_a_starved_payment_is_undone(refusing):
    """Whoever sends little gas cannot turn the payee's money into a credit."""
    ledger = refusing(FALSE_IF_STARVED)
    receipt = ledger.receipt(ledger.open(), 30 * DOLLAR)
    with pytest.raises(VirtualMachineError, match=r"InsufficientGas: \d+, 500000"):
        ledger.claim(receipt, gas_limit=400_000)
    assert ledger.channels.credit(ledger.payee, ledger.token) == 0
    ledger.claim(receipt, gas_limit=700_000)
    assert paid(ledger) == 30 * DOLLAR


@pytest.mark.parametrize("gas_limit", range(36_000, 76_000, 4_000))
def test_any_gas_pays_or_undoes(ledger, opened, gas_limit):
    receipt = ledger.receipt(opened, 30 * DOLLAR)
    try:
        ledger.claim(receipt, gas_limit=gas_limit)
    except VirtualMachineError:
        assert paid(ledger) == ledger.state(opened)["claimed"] == 0
    else:
        assert paid(ledger) == ledger.state(opened)["claimed"] == 30 * DOLLAR
    assert ledger.channels.credit(ledger.payee, ledger.token) == 0


def test_pays_in_a_token_that_returns_nothing(with_token, SilentToken):
    ledger = with_token(SilentToken)
    ledger.claim(ledger.receipt(ledger.open(), 30 * DOLLAR))
    assert paid(ledger) == 30 * DOLLAR


def test_tokens_do_not_mix(ledger, with_token, DevDollar, opened):
    """A receipt in a token that anybody can make pays nothing in another."""
    worthless = with_token(DevDollar)
    worthless.open(opened)
    receipt = worthless.receipt(opened, 100 * DOLLAR)
    skipped(ledger, opened, receipt)
    worthless.claim(receipt)
    assert paid(worthless) == 100 * DOLLAR
    assert paid(ledger) == 50 * DOLLAR
