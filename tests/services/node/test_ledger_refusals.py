"""What the ledger says when it refuses: programs read the details, people the sentence."""

import sqlite3
from collections.abc import Awaitable

import pytest
from tests.services.node import books
from tests.services.node.books import PAYEE, TOKEN, Blocks, Clock, address, open_ledger, signed

from waypost.errors import WaypostError
from waypost.node.answers import KEPT, Idempotency
from waypost.node.backends.sqlite import Database
from waypost.node.ledger import Charge, Ledger

ALICE, BOB = address("alice"), address("bob")


def free(_: sqlite3.Connection) -> tuple[int, None]:
    return 0, None


def costly(_: sqlite3.Connection) -> tuple[int, None]:
    return 70, None


async def refusal(attempt: Awaitable[object]) -> tuple[str, str, dict[str, object]]:
    with pytest.raises(WaypostError) as refused:
        await attempt
    return refused.value.code, str(refused.value), dict(refused.value.details)


async def test_every_refusal_names_its_figures(db: Database, clock: Clock) -> None:
    ledger = open_ledger(db, clock, min_receipt=30, min_close_delay=60)
    blocks = Blocks(db, ledger)
    assert await refusal(ledger.accept(BOB, signed("bob", 1))) == (
        "channel_unknown",
        f"The node knows no channel of {BOB}.",
        {"signer": BOB},
    )
    await blocks.mine(books.opened("alice", 100), books.opened("bob", 100, close_delay=59))
    assert await refusal(ledger.accept(ALICE, signed("alice", 50, payee=BOB))) == (
        "receipt_for_another_node",
        f"The receipt pays {BOB} in {TOKEN}; this node is paid at {PAYEE} in {TOKEN}.",
        {"payee": BOB, "token": TOKEN},
    )
    assert await refusal(ledger.accept(BOB, signed("bob", 50))) == (
        "close_delay_too_short",
        "The channel can close within 59 s; the node needs 60 s to claim.",
        {"given": 59, "minimum": 60},
    )
    assert await refusal(ledger.accept(ALICE, signed("alice", 101))) == (
        "receipt_exceeds_deposit",
        "The receipt's total is 101, the deposit 100.",
        {"given": "101", "maximum": "100"},
    )
    assert await refusal(ledger.accept(ALICE, signed("alice", 29))) == (
        "receipt_too_small",
        "The receipt raises the total by 29; at least 30 is asked.",
        {"given": "29", "minimum": "30"},
    )
    assert await refusal(ledger.charge(Charge(ALICE, costly))) == (
        "payment_required",
        "Neither a session nor a receipt came with the request.",
        {"paid": "0"},
    )
    assert await refusal(ledger.charge(Charge(ALICE, costly, receipt=signed("alice", 40)))) == (
        "payment_required",
        "This costs 70, the balance is 40; a receipt of 70 in total would pay for it.",
        {"paid": "40", "amount": "70", "balance": "40", "cumulative": "70"},
    )
    await ledger.accept(ALICE, signed("alice", 40))
    assert await refusal(ledger.charge(Charge(ALICE, costly, receipt=signed("alice", 35)))) == (
        "stale_receipt",
        "The receipt's total is 35, but 40 was already paid.",
        {"paid": "40", "given": "35"},
    )
    assert (await ledger.accept(ALICE, signed("alice", 70))).paid == 70  # the smallest raise that is taken


@pytest.mark.parametrize("code", ["channel_not_final", "channel_closing", "channel_closed"])
async def test_a_channel_that_is_no_use_is_named(db: Database, clock: Clock, code: str) -> None:
    ledger = open_ledger(db, clock, confirmations=3)
    blocks = Blocks(db, ledger)
    await blocks.mine(books.opened("alice", 100))
    if code != "channel_not_final":
        await blocks.mine(count=3)
        end = (
            books.close_started("alice", clock.now) if code == "channel_closing" else books.closed("alice", 0)
        )
        await blocks.mine(end)
    for attempt in (
        ledger.accept(ALICE, signed("alice", 50)),
        ledger.charge(Charge(ALICE, free, session=True)),
    ):
        found, _, details = await refusal(attempt)
        assert (found, details) == (code, {"signer": ALICE})


async def test_a_receipt_while_the_channel_closes_is_refused_by_name(
    ledger: Ledger, blocks: Blocks, clock: Clock
) -> None:
    await blocks.mine(books.opened("alice", 100), books.close_started("alice", clock.now + 60))
    code, _, details = await refusal(ledger.accept(ALICE, signed("alice", 50)))
    assert (code, details) == ("channel_closing", {"signer": ALICE})


async def test_the_shortest_close_delay_is_accepted(db: Database, clock: Clock) -> None:
    ledger = open_ledger(db, clock, min_close_delay=60)
    await Blocks(db, ledger).mine(books.opened("alice", 100, close_delay=60))
    assert (await ledger.accept(ALICE, signed("alice", 50))).paid == 50


async def test_what_costs_nothing_is_done_on_an_overdrawn_channel(ledger: Ledger, blocks: Blocks) -> None:
    """A reorg took the deposit away after it was spent."""
    await blocks.mine(books.opened("alice", 40))
    await blocks.mine(books.topped_up("alice", 60))
    await ledger.charge(Charge(ALICE, costly, receipt=signed("alice", 100)))
    await blocks.undo(1)
    account = await ledger.account(ALICE)
    assert account is not None
    assert account.balance == -30
    assert (await ledger.charge(Charge(ALICE, free, session=True))).charged == 0


async def test_old_answers_are_forgotten(ledger: Ledger, blocks: Blocks, db: Database, clock: Clock) -> None:
    def count(connection: sqlite3.Connection) -> int:
        return int(connection.execute("SELECT count(*) AS n FROM answers").fetchone()["n"])

    await blocks.mine(books.opened("alice", 100))
    await ledger.charge(Charge(ALICE, free, session=True, idempotency=Idempotency("key", b"\1" * 32)))
    clock.now += KEPT - 1
    await ledger.prune()
    assert await db.read(count) == 1
    clock.now += 1
    await ledger.prune()
    assert await db.read(count) == 0
