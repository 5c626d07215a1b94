"""The ledger's rules one by one; test_ledger_machine.py tries them in every order."""

import asyncio
import sqlite3
from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.services.node import books
from tests.services.node.books import Blocks, Clock, account_of, address, costs, open_ledger, signed

from waypost.errors import (
    ChannelClosed,
    ChannelUnknown,
    CloseDelayTooShort,
    IdempotencyConflict,
    InvalidReceipt,
    PaymentRequired,
    QuotaExceeded,
    ReceiptExceedsDeposit,
    ReceiptForAnotherNode,
    ReceiptTooSmall,
    StaleReceipt,
)
from waypost.node.answers import KEPT, Idempotency
from waypost.node.backends.sqlite import Database
from waypost.node.ledger import Charge, Ledger
from waypost.protocol.signatures import Signature

ALICE, BOB = address("alice"), address("bob")


def writes(name: str, amount: int) -> Callable[[sqlite3.Connection], tuple[int, dict[str, str]]]:
    """An effect that leaves a mark."""

    def effect(connection: sqlite3.Connection) -> tuple[int, dict[str, str]]:
        connection.execute("INSERT INTO meta VALUES (?, 'done')", (name,))
        return amount, {"name": name}

    return effect


async def marks(db: Database) -> set[str]:
    def read(connection: sqlite3.Connection) -> set[str]:
        return {row["key"] for row in connection.execute("SELECT key FROM meta WHERE value = 'done'")}

    return await db.read(read)


# ---- Receipts ----


async def test_receipts_raise_the_balance_up_to_the_deposit(ledger: Ledger, blocks: Blocks) -> None:
    await blocks.mine(books.opened("alice", 2**96 - 1))
    account = await ledger.accept(ALICE, signed("alice", 2**70))
    assert (account.paid, account.balance, account.spent) == (2**70, 2**70, 0)
    account = await ledger.accept(ALICE, signed("alice", 2**96 - 1))
    assert account.balance == account.claimable == 2**96 - 1
    assert account == await ledger.account(ALICE)
    assert account.receipt == signed("alice", 2**96 - 1)


async def test_a_receipt_that_arrives_late_changes_nothing(ledger: Ledger, blocks: Blocks) -> None:
    await blocks.mine(books.opened("alice", 100))
    newest = await ledger.accept(ALICE, signed("alice", 60))
    assert await ledger.accept(ALICE, signed("alice", 40)) == newest
    assert await ledger.accept(ALICE, signed("alice", 60)) == newest


async def test_receipts_that_do_not_hold_are_refused(ledger: Ledger, blocks: Blocks) -> None:
    await blocks.mine(books.opened("alice", 100))
    nonsense = replace(signed("alice", 10), signature=Signature(b"\xff" * 32, b"\xff" * 32))
    tampered = replace(signed("alice", 10), receipt=signed("alice", 11).receipt)
    for receipt in (signed("bob", 10), nonsense, tampered):
        with pytest.raises(InvalidReceipt):
            await ledger.accept(ALICE, receipt)
    for elsewhere in (signed("alice", 10, payee=BOB), signed("alice", 10, token=BOB)):
        with pytest.raises(ReceiptForAnotherNode):
            await ledger.accept(ALICE, elsewhere)
    with pytest.raises(ReceiptExceedsDeposit) as refused:
        await ledger.accept(ALICE, signed("alice", 101))
    assert refused.value.details == {"given": "101", "maximum": "100"}
    assert (await account_of(ledger, "alice")).paid == 0


async def test_an_unknown_signer_is_refused_before_any_recovery(ledger: Ledger) -> None:
    broken = replace(signed("alice", 10), signature=Signature(bytes(32), bytes(32)))
    with pytest.raises(ChannelUnknown):
        await ledger.accept(ALICE, broken)  # recovery would have said invalid_receipt
    with pytest.raises(ChannelUnknown):
        await ledger.charge(Charge(ALICE, costs(1), receipt=broken))


async def test_small_raises_are_refused_unless_they_complete_the_deposit(db: Database, clock: Clock) -> None:
    ledger = open_ledger(db, clock, min_receipt=30)
    blocks = Blocks(db, ledger)
    await blocks.mine(books.opened("alice", 100), books.opened("bob", 29))
    with pytest.raises(ReceiptTooSmall) as refused:
        await ledger.accept(ALICE, signed("alice", 29))
    assert refused.value.details == {"given": "29", "minimum": "30"}
    for _ in range(2):  # repeating one is no raise at all
        await ledger.accept(ALICE, signed("alice", 90))
    with pytest.raises(ReceiptTooSmall):
        await ledger.accept(ALICE, signed("alice", 99))
    assert (await ledger.accept(ALICE, signed("alice", 100))).balance == 100
    with pytest.raises(ReceiptTooSmall):  # complete, but claiming it costs more than it brings
        await ledger.accept(BOB, signed("bob", 29))


async def test_channels_that_close_too_fast_cannot_pay(db: Database, clock: Clock) -> None:
    ledger = open_ledger(db, clock, min_close_delay=3600)
    await Blocks(db, ledger).mine(books.opened("alice", 100, close_delay=3599))
    with pytest.raises(CloseDelayTooShort) as refused:
        await ledger.accept(ALICE, signed("alice", 10))
    assert refused.value.details == {"given": 3599, "minimum": 3600}


# ---- Charges ----


async def test_one_receipt_pays_for_many_requests(ledger: Ledger, blocks: Blocks) -> None:
    await blocks.mine(books.opened("alice", 100))
    first = await ledger.charge(Charge(ALICE, costs(30, "first"), receipt=signed("alice", 70)))
    assert (first.result, first.charged, first.paid, first.spent) == ("first", 30, 70, 30)
    second = await ledger.charge(Charge(ALICE, costs(40), session=True))
    assert (second.charged, second.paid, second.spent) == (40, 70, 70)
    with pytest.raises(PaymentRequired) as refused:
        await ledger.charge(Charge(ALICE, costs(1), session=True))
    assert refused.value.details == {"amount": "1", "balance": "0", "cumulative": "71", "paid": "70"}
    free = await ledger.charge(Charge(ALICE, costs(0), session=True))
    assert free.spent == 70


async def test_a_request_that_fails_charges_nothing_and_leaves_nothing(
    db: Database, ledger: Ledger, blocks: Blocks
) -> None:
    await blocks.mine(books.opened("alice", 100))

    def broken(connection: sqlite3.Connection) -> tuple[int, None]:
        writes("broken", 1)(connection)
        raise QuotaExceeded

    key = Idempotency("key", b"body")
    with pytest.raises(QuotaExceeded):
        await ledger.charge(Charge(ALICE, broken, receipt=signed("alice", 50), idempotency=key))
    too_dear = Charge(ALICE, writes("unpaid", 51), receipt=signed("alice", 50), idempotency=key)
    with pytest.raises(PaymentRequired):
        await ledger.charge(too_dear)
    assert await marks(db) == set()
    assert (await account_of(ledger, "alice")).paid == 0
    done = await ledger.charge(
        Charge(ALICE, writes("paid", 50), receipt=signed("alice", 50), idempotency=key)
    )
    assert not done.replayed  # the failures are no answers
    assert await marks(db) == {"paid"}


async def test_an_effect_cannot_pay_the_client(ledger: Ledger, blocks: Blocks) -> None:
    await blocks.mine(books.opened("alice", 100))
    with pytest.raises(ValueError, match="cost -1"):
        await ledger.charge(Charge(ALICE, costs(-1), session=True))


async def test_authority_is_a_session_or_a_fresh_receipt(ledger: Ledger, blocks: Blocks) -> None:
    await blocks.mine(books.opened("alice", 100))
    await ledger.accept(ALICE, signed("alice", 50))
    with pytest.raises(PaymentRequired):
        await ledger.charge(Charge(ALICE, costs(1)))
    with pytest.raises(StaleReceipt):  # public once claimed, so it proves nothing
        await ledger.charge(Charge(ALICE, costs(1), receipt=signed("alice", 50)))
    done = await ledger.charge(Charge(ALICE, costs(50), receipt=signed("alice", 40), session=True))
    assert done.spent == 50
    with pytest.raises(StaleReceipt) as refused:
        await ledger.charge(Charge(ALICE, costs(1), receipt=signed("alice", 40), session=True))
    assert refused.value.details["cumulative"] == "51"


async def test_concurrent_requests_never_overspend(db: Database, ledger: Ledger, blocks: Blocks) -> None:
    await blocks.mine(books.opened("alice", 100))
    await ledger.accept(ALICE, signed("alice", 100))
    requests = [Charge(ALICE, writes(f"mark {n}", 7), session=True) for n in range(40)]
    answers = await asyncio.gather(*map(ledger.charge, requests), return_exceptions=True)
    paid = [answer for answer in answers if not isinstance(answer, BaseException)]
    assert len(paid) == 100 // 7 == len(await marks(db))
    assert sorted(answer.spent for answer in paid) == [7 * n for n in range(1, 15)]
    assert all(isinstance(a, PaymentRequired) for a in answers if isinstance(a, BaseException))


# ---- Idempotency ----


async def test_the_same_key_and_body_are_charged_once(db: Database, ledger: Ledger, blocks: Blocks) -> None:
    await blocks.mine(books.opened("alice", 100))
    await ledger.accept(ALICE, signed("alice", 100))
    request = Charge(ALICE, writes("once", 10), session=True, idempotency=Idempotency("key", b"body"))
    answers = await asyncio.gather(*(ledger.charge(request) for _ in range(5)))
    assert [answer.replayed for answer in answers].count(False) == 1
    assert {(a.charged, a.spent, a.result["name"]) for a in answers} == {(10, 10, "once")}
    other_body = replace(request, idempotency=Idempotency("key", b"other"))
    with pytest.raises(IdempotencyConflict):
        await ledger.charge(other_body)
    other_key = replace(request, effect=writes("twice", 5), idempotency=Idempotency("other", b"body"))
    assert (await ledger.charge(other_key)).spent == 15


async def test_keys_belong_to_a_channel(ledger: Ledger, blocks: Blocks) -> None:
    await blocks.mine(books.opened("alice", 100), books.opened("bob", 100))
    for signer in ("alice", "bob"):
        charge = Charge(
            address(signer),
            costs(10, signer),
            receipt=signed(signer, 10),
            idempotency=Idempotency("key", b"body"),
        )
        assert (await ledger.charge(charge)).result == signer


async def test_a_retry_without_session_shows_its_receipt_again(ledger: Ledger, blocks: Blocks) -> None:
    await blocks.mine(books.opened("alice", 100))
    request = Charge(
        ALICE, costs(10, "stored"), receipt=signed("alice", 10), idempotency=Idempotency("key", b"body")
    )
    await ledger.charge(request)
    await ledger.accept(ALICE, signed("alice", 30))
    retry = await ledger.charge(request)
    assert (retry.replayed, retry.result, retry.charged) == (True, "stored", 10)
    assert (retry.paid, retry.spent) == (30, 10)
    with pytest.raises(PaymentRequired):
        await ledger.charge(replace(request, receipt=None))
    with pytest.raises(InvalidReceipt):
        await ledger.charge(replace(request, receipt=signed("bob", 10)))


async def test_a_retry_is_answered_whatever_became_of_the_channel(ledger: Ledger, blocks: Blocks) -> None:
    await blocks.mine(books.opened("alice", 100))
    request = Charge(
        ALICE, costs(10, "stored"), receipt=signed("alice", 10), idempotency=Idempotency("key", b"body")
    )
    await ledger.charge(request)
    await blocks.mine(books.closed("alice", 10))
    assert (await ledger.charge(request)).replayed
    with pytest.raises(ChannelClosed):
        await ledger.charge(Charge(ALICE, costs(0), session=True))


async def test_answers_are_kept_for_a_day(ledger: Ledger, blocks: Blocks, clock: Clock) -> None:
    await blocks.mine(books.opened("alice", 100))
    await ledger.accept(ALICE, signed("alice", 100))
    request = Charge(ALICE, costs(10), session=True, idempotency=Idempotency("key", b"body"))
    await ledger.charge(request)
    clock.now += KEPT - 1
    await ledger.prune()
    assert (await ledger.charge(request)).replayed
    clock.now += 1
    assert not (await ledger.charge(request)).replayed  # also before anybody pruned
    clock.now += KEPT
    await ledger.prune()
    assert (await ledger.charge(request)).spent == 30
