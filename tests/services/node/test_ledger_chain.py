"""What the ledger takes from the chain: deposits, claims, closings and reorgs."""

import pytest
from tests.services.node import books
from tests.services.node.books import Blocks, Clock, account_of, address, costs, open_ledger, signed

from waypost.errors import (
    ChannelClosed,
    ChannelClosing,
    ChannelNotFinal,
    ChannelUnknown,
    PaymentRequired,
    ReceiptExceedsDeposit,
)
from waypost.node.accounts import Status
from waypost.node.backends.sqlite import Database
from waypost.node.ledger import Charge, Ledger

ALICE, BOB = address("alice"), address("bob")


async def test_deposits_count_when_they_are_deep_enough(db: Database, clock: Clock) -> None:
    ledger = open_ledger(db, clock, confirmations=3)
    blocks = Blocks(db, ledger)
    await blocks.mine(books.opened("alice", 100), count=3)
    with pytest.raises(ChannelNotFinal):
        await ledger.accept(ALICE, signed("alice", 10))
    await blocks.mine()
    await ledger.accept(ALICE, signed("alice", 100))
    await blocks.mine(books.topped_up("alice", 50), count=3)
    with pytest.raises(ReceiptExceedsDeposit):
        await ledger.accept(ALICE, signed("alice", 101))
    await blocks.mine()
    assert (await ledger.accept(ALICE, signed("alice", 150))).deposited == 150
    await blocks.undo(1)
    assert (await account_of(ledger, "alice")).deposited == 100  # too shallow again


async def test_an_opening_is_paid_for_before_its_deposit_counts(db: Database, clock: Clock) -> None:
    ledger = open_ledger(db, clock, confirmations=3)
    blocks = Blocks(db, ledger)
    await blocks.mine(books.opened("alice", 100))
    await db.write(lambda c: ledger.credit(c, ALICE, signed("alice", 40), 30))
    await db.write(lambda c: ledger.credit(c, ALICE, signed("alice", 20), 5))
    account = await account_of(ledger, "alice")
    assert (account.paid, account.spent, account.balance, account.lost) == (40, 35, -35, 0)
    assert account.receipt == signed("alice", 40)
    await blocks.mine(count=3)
    account = await account_of(ledger, "alice")
    assert (account.balance, account.lost) == (5, 0)
    await blocks.undo(4)
    assert (await account_of(ledger, "alice")).lost == 35  # the opening is gone
    with pytest.raises(ChannelUnknown):
        await db.write(lambda c: ledger.credit(c, BOB, signed("bob", 1), 1))


async def test_claims_count_at_once_and_are_final_later(db: Database, clock: Clock) -> None:
    ledger = open_ledger(db, clock, confirmations=2)
    blocks = Blocks(db, ledger)
    await blocks.mine(books.opened("alice", 100), books.opened("bob", 100), count=3)
    await ledger.accept(ALICE, signed("alice", 80))
    await ledger.charge(Charge(BOB, costs(60), receipt=signed("bob", 70)))
    assert [a.signer for a in await ledger.claimable()] == [ALICE, BOB]  # the larger first
    await blocks.mine(books.claimed(("alice", 50), ("bob", 70), ("alice", 30)))
    totals = await ledger.totals()
    assert (totals.claimable, totals.confirming, totals.claimed, totals.earned) == (0, 150, 0, 150)
    await blocks.mine(count=2)
    totals = await ledger.totals()
    assert (totals.confirming, totals.claimed, totals.paid, totals.spent) == (0, 150, 150, 60)
    await blocks.undo(3)
    assert (await ledger.totals()).claimable == 150
    await blocks.mine(books.claimed(("alice", 80)))
    assert [a.signer for a in await ledger.claimable()] == [BOB]


async def test_a_claim_may_come_back_before_its_deposit_is_deep_again(db: Database, clock: Clock) -> None:
    ledger = open_ledger(db, clock, confirmations=2)
    blocks = Blocks(db, ledger)
    await blocks.mine(books.opened("alice", 100), count=3)
    await blocks.mine(books.topped_up("alice", 50), count=3)
    await ledger.accept(ALICE, signed("alice", 150))
    await blocks.undo(1)
    await blocks.mine(books.claimed(("alice", 150)))
    await blocks.undo(2)
    await blocks.mine(books.claimed(("alice", 150)))  # sooner than the first time
    account = await account_of(ledger, "alice")
    assert (account.deposited, account.covered, account.claimable, account.earned) == (100, 100, 0, 150)
    assert await ledger.claimable() == []


async def test_a_closing_channel_takes_no_receipts_but_spends_what_was_paid(
    ledger: Ledger, blocks: Blocks, clock: Clock
) -> None:
    await blocks.mine(books.opened("alice", 100), books.opened("bob", 100))
    await ledger.accept(ALICE, signed("alice", 60))
    await ledger.accept(BOB, signed("bob", 99))
    await blocks.mine(books.close_started("alice", clock.now + 10))
    with pytest.raises(ChannelClosing):
        await ledger.accept(ALICE, signed("alice", 61))
    assert (await ledger.charge(Charge(ALICE, costs(20), session=True))).spent == 20
    assert (await ledger.totals()).at_risk == 60
    assert [a.signer for a in await ledger.claimable()] == [ALICE, BOB]  # before it is too late
    clock.now += 10
    with pytest.raises(ChannelClosing):
        await ledger.charge(Charge(ALICE, costs(1), session=True))
    await blocks.mine(books.closed("alice", 15))
    account = await account_of(ledger, "alice")
    assert (account.status, account.claimable, account.earned, account.lost) == (Status.CLOSED, 0, 15, 5)
    with pytest.raises(ChannelClosed):
        await ledger.accept(ALICE, signed("alice", 61))
    await blocks.undo(2)
    assert (await ledger.accept(ALICE, signed("alice", 61))).balance == 41


async def test_a_reorg_keeps_what_was_paid_and_spent(ledger: Ledger, blocks: Blocks) -> None:
    await blocks.mine(books.opened("alice", 100))
    await blocks.mine(books.topped_up("alice", 100))
    await ledger.charge(Charge(ALICE, costs(150), receipt=signed("alice", 160)))
    await blocks.undo(1)
    account = await account_of(ledger, "alice")
    assert (account.paid, account.spent, account.balance, account.lost) == (160, 150, -50, 50)
    with pytest.raises(PaymentRequired):
        await ledger.charge(Charge(ALICE, costs(1), session=True))
    await blocks.undo(1)
    with pytest.raises(ChannelNotFinal):
        await ledger.charge(Charge(ALICE, costs(1), session=True))
    await blocks.mine(books.opened("alice", 200))
    account = await account_of(ledger, "alice")
    assert (account.balance, account.claimable, account.lost) == (10, 160, 0)
    assert account.receipt == signed("alice", 160)


async def test_a_block_that_is_applied_twice_counts_once(ledger: Ledger, blocks: Blocks) -> None:
    await blocks.mine(books.opened("alice", 100))
    event = books._event(blocks.head, 0, *books.opened("alice", 100))
    await blocks.apply(blocks.head, [event])
    assert (await account_of(ledger, "alice")).deposited == 100


async def test_channels_of_others_are_ignored(ledger: Ledger, blocks: Blocks) -> None:
    await blocks.mine(books.opened("alice", 100, payee=BOB), books.opened("bob", 100, token=ALICE))
    assert await ledger.account(ALICE) is None
    assert await ledger.account(BOB) is None


async def test_a_frozen_channel_waits_for_its_end(ledger: Ledger, blocks: Blocks, clock: Clock) -> None:
    await blocks.mine(books.opened("alice", 100))
    await ledger.charge(Charge(ALICE, costs(10), receipt=signed("alice", 50)))
    frozen = await ledger.freeze(ALICE, clock.now + 60)
    assert (frozen.spent, frozen.paid) == (10, 50)
    await ledger.freeze(ALICE, clock.now + 30)  # an earlier consent does not shorten it
    clock.now += 59
    with pytest.raises(ChannelClosing):
        await ledger.charge(Charge(ALICE, costs(1), session=True))
    with pytest.raises(ChannelClosing):
        await ledger.accept(ALICE, signed("alice", 60))
    clock.now += 1
    assert (await ledger.charge(Charge(ALICE, costs(1), session=True))).spent == 11
    with pytest.raises(ChannelUnknown):
        await ledger.freeze(BOB, clock.now)
