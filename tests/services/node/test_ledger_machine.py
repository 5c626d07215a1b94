"""The ledger against a plain model, in orders that nobody would think of: receipts good and bad, charges,
retries, cancelled callers, deposits, claims, closings, reorgs, restarts."""

import asyncio
import contextlib
import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Awaitable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.services.node import books
from tests.services.node.books import Blocks, Clock, address, open_database, open_ledger, signed

from waypost.errors import QuotaExceeded, WaypostError
from waypost.node.accounts import Status
from waypost.node.answers import KEPT, Idempotency
from waypost.node.ledger import Charge, Charged

CONFIRMATIONS = 2
MIN_RECEIPT = 10
NAMES = ("alice", "bob", "carol")


def mostly(usual: Any, *rare: Any) -> st.SearchStrategy[Any]:
    """One of the rare values every now and then."""
    return st.sampled_from((usual,) * 9 + rare)


# Most of what is tried should succeed: a refused request changes nothing and teaches little.
rarely = mostly(False, True)
names = mostly("alice", "bob", "carol")
amounts = st.integers(50, 1000) | st.integers(2**64, 2**95)
more_paid = st.integers(MIN_RECEIPT, 60) | st.integers(-20, 150) | st.just(2**80)
costs = st.integers(0, 30) | st.integers(0, 60) | mostly(1, 2**70)
keys = st.none() | st.sampled_from(("k1", "k2", "k3"))
manners = st.sampled_from(("once", "once", "thrice", "cancelled"))


@dataclass
class Channel:
    """A channel as the model sees it on the chain."""

    total: int = 0
    deposited: int = 0
    claimed: int = 0
    claimed_final: int = 0
    status: Status = Status.OPENING
    mined: str = ""
    closes_at: int = 0


@dataclass
class Model:
    """Everything in dictionaries; nothing is ever undone, the chain is read anew each time."""

    blocks: list[tuple[str, str, int]] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    paid: Counter[str] = field(default_factory=Counter)
    spent: Counter[str] = field(default_factory=Counter)
    answers: dict[tuple[str, str], tuple[str, int, str, int]] = field(default_factory=dict)
    marks: dict[str, tuple[str, int]] = field(default_factory=dict)

    def channel(self, name: str) -> Channel:
        channel = Channel()
        for depth, (kind, owner, value) in zip(range(len(self.blocks) - 1, -1, -1), self.blocks, strict=True):
            if owner != name:
                continue
            final = depth >= CONFIRMATIONS
            channel.mined = kind if kind in ("opened", "closing", "closed") else channel.mined
            if kind in ("opened", "topped_up"):
                channel.total += value
                channel.deposited += value * final
            if kind == "opened" and final:
                channel.status = Status.OPEN
            if kind == "claimed":
                channel.claimed += value
                channel.claimed_final += value * final
            if kind == "closing":
                channel.status, channel.closes_at = Status.CLOSING, value
            if kind == "closed":
                channel.status, channel.claimed = Status.CLOSED, value
                channel.claimed_final = value if final else channel.claimed_final
        return channel

    def unusable(self, name: str, now: int) -> set[str]:
        channel = self.channel(name)
        return {
            Status.OPENING: {"channel_not_final"},
            Status.OPEN: set(),
            Status.CLOSING: {"channel_closing"} if now >= channel.closes_at else set(),
            Status.CLOSED: {"channel_closed"},
        }[channel.status]

    def bad_raise(self, name: str, total: int) -> set[str]:
        channel, faults = self.channel(name), set()
        if channel.status is Status.CLOSING:
            faults.add("channel_closing")
        if total > channel.deposited:
            faults.add("receipt_exceeds_deposit")
        last = total == channel.deposited and total >= MIN_RECEIPT
        if total - self.paid[name] < MIN_RECEIPT and not last:
            faults.add("receipt_too_small")
        return faults


@dataclass(frozen=True)
class Shown:
    """A receipt in a request: whose total, signed by whom, for whom."""

    total: int
    by: str
    elsewhere: bool

    def faults(self, name: str) -> set[str]:
        if self.elsewhere:
            return {"receipt_for_another_node"}
        return set() if self.by == name else {"invalid_receipt"}

    def sign(self) -> Any:
        payee = address("another payee") if self.elsewhere else books.PAYEE
        return signed(self.by, self.total, payee)


async def together(*requests: Awaitable[Any]) -> list[Any]:
    """Answers and errors of requests that are sent at once."""
    return await asyncio.gather(*requests, return_exceptions=True)


class LedgerMachine(RuleBasedStateMachine):
    """Rules of the chain mine one block each; rules of clients send one request."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.loop = asyncio.new_event_loop()
        self.clock, self.model, self.count = Clock(), Model(), 0

    @initialize()
    def start(self) -> None:
        self.open()
        self.blocks = Blocks(self.db, self.ledger)
        self.open_or_top_up("alice", 500)
        for _ in range(CONFIRMATIONS):
            self.mine_nothing()

    def open(self) -> None:
        self.db = open_database(self.folder)
        options = {"confirmations": CONFIRMATIONS, "min_receipt": MIN_RECEIPT}
        self.ledger = open_ledger(self.db, self.clock, **options)

    def run(self, awaitable: Any) -> Any:
        return self.loop.run_until_complete(awaitable)

    def teardown(self) -> None:
        self.run(self.db.close())
        self.run(self.loop.shutdown_default_executor())
        self.loop.close()
        shutil.rmtree(self.folder)

    @rule()
    def restart(self) -> None:
        self.run(self.db.close())
        self.open()
        self.blocks.db, self.blocks.ledger = self.db, self.ledger

    @rule(seconds=mostly(1, 30, 3600, KEPT))
    def wait(self, seconds: int) -> None:
        self.clock.now += seconds

    # ---- The chain ----

    def mine(self, kind: str, name: str, value: int, *events: Any) -> None:
        self.run(self.blocks.mine(*events))
        self.model.blocks.append((kind, name, value))

    @rule()
    def mine_nothing(self) -> None:
        self.mine("", "", 0)

    @rule(name=names, amount=amounts)
    def open_or_top_up(self, name: str, amount: int) -> None:
        mined = self.model.channel(name).mined
        if mined == "":
            self.model.seen.add(name)
            self.mine("opened", name, amount, books.opened(name, amount))
        elif mined == "opened":
            self.mine("topped_up", name, amount, books.topped_up(name, amount))

    @rule(name=names)
    def claim(self, name: str) -> None:
        channel = self.model.channel(name)
        value = min(self.model.paid[name], channel.total) - channel.claimed
        if channel.mined in ("opened", "closing") and value > 0:
            self.mine("claimed", name, value, books.claimed((name, value - 1), (name, 1)))

    @rule(name=st.sampled_from(NAMES), seconds=st.integers(1, 100), serious=rarely)
    def start_closing(self, name: str, seconds: int, serious: bool) -> None:
        if serious and self.model.channel(name).mined == "opened":
            closes_at = self.clock.now + seconds
            self.mine("closing", name, closes_at, books.close_started(name, closes_at))

    @rule(name=st.sampled_from(NAMES), share=st.fractions(0, 1), serious=rarely)
    def close(self, name: str, share: Any, serious: bool) -> None:
        channel = self.model.channel(name)
        if serious and channel.mined in ("opened", "closing"):
            more = max(0, min(self.model.paid[name], channel.total) - channel.claimed)
            total = channel.claimed + int(more * share)
            self.mine("closed", name, total, books.closed(name, total))

    @precondition(lambda self: self.model.blocks)
    @rule(depth=mostly(1, 2, 3, 5, 9))
    def reorg(self, depth: int) -> None:
        depth = min(depth, len(self.model.blocks))
        self.run(self.blocks.undo(depth))
        del self.model.blocks[-depth:]

    # ---- Clients ----

    def shown(self, name: str, more: int | None, by: str | None, elsewhere: bool) -> Shown | None:
        if more is None:
            return None
        return Shown(max(0, min(self.model.paid[name] + more, 2**128 - 1)), by or name, elsewhere)

    @rule(name=names, more=more_paid, by=mostly(None, "bob"), elsewhere=rarely)
    def accept(self, name: str, more: int, by: str | None, elsewhere: bool) -> None:
        model, shown = self.model, self.shown(name, more, by, elsewhere)
        assert shown is not None
        faults = {"channel_unknown"}
        if name in model.seen:
            faults = model.unusable(name, self.clock.now)
            if shown.total > model.paid[name]:
                faults |= shown.faults(name) | model.bad_raise(name, shown.total)
        (answer,) = self.run(together(self.ledger.accept(address(name), shown.sign())))
        if isinstance(answer, BaseException):
            assert isinstance(answer, WaypostError), answer
            assert answer.code in faults
            return
        assert not faults
        model.paid[name] = max(model.paid[name], shown.total)

    @rule(name=names, cost=costs, key=keys, manner=manners)
    def charge_with_session(self, name: str, cost: int, key: str | None, manner: str) -> None:
        self.charge(name, cost, True, None, None, False, key, "b1", manner)

    @rule(name=names, cost=costs, more=more_paid, key=keys, manner=manners)
    def charge_inline(self, name: str, cost: int, more: int, key: str | None, manner: str) -> None:
        self.charge(name, cost, False, more, None, False, key, "b1", manner)

    @rule(
        name=names,
        cost=costs,
        session=mostly(True, False, False, False),
        more=st.none() | more_paid,
        by=mostly(None, "bob"),
        fails=rarely,
        key=keys,
        body=mostly("b1", "b2"),
        manner=manners,
    )
    def charge(
        self,
        name: str,
        cost: int,
        session: bool,
        more: int | None,
        by: str | None,
        fails: bool,
        key: str | None,
        body: str,
        manner: str,
    ) -> None:
        self.count += 1
        mark = f"mark {self.count}"

        def effect(connection: sqlite3.Connection) -> tuple[int, str]:
            connection.execute("INSERT INTO meta VALUES (?, 'mark')", (mark,))
            if fails:
                raise QuotaExceeded
            return cost, mark

        shown = self.shown(name, more, by, False)
        request = Charge(
            address(name),
            effect,
            shown.sign() if shown else None,
            session,
            Idempotency(key, body.encode()) if key else None,
        )
        if manner == "thrice" and key:
            answers = self.run(together(*(self.ledger.charge(request) for _ in range(3))))
        elif manner == "cancelled" and key:
            answers = self.run(self.cancelled_then_again(request))
        else:
            answers = self.run(together(self.ledger.charge(request)))
        for answer in sorted(answers, key=lambda answer: getattr(answer, "replayed", True)):
            self.check_answer(answer, name, cost, session, shown, fails, key, body, mark)

    async def cancelled_then_again(self, request: Charge[str]) -> list[Any]:
        """The caller of the first goes away; what the second gets must fit either outcome."""
        first = asyncio.create_task(self.ledger.charge(request))
        await asyncio.sleep(0)
        first.cancel()
        with contextlib.suppress(asyncio.CancelledError, WaypostError):
            await first
        answers = await self.gather(request, 1)
        # The model takes the lost answer for a first one.
        if (
            isinstance(answers[0], Charged)
            and answers[0].replayed
            and answers[0].result not in self.model.marks
        ):
            lost = answers[0]
            return [Charged(lost.result, lost.charged, lost.paid, lost.spent), lost]
        return answers

    def check_answer(
        self,
        answer: Charged[str] | BaseException,
        name: str,
        cost: int,
        session: bool,
        shown: Shown | None,
        fails: bool,
        key: str | None,
        body: str,
        mark: str,
    ) -> None:
        model, now = self.model, self.clock.now
        fresh = shown is not None and shown.total > model.paid[name]
        faults: set[str] = set()
        earlier = None
        if name not in model.seen:
            faults = {"channel_unknown"}
        else:
            if shown and (fresh or not session):
                faults |= shown.faults(name)
            if key and (session or shown):
                earlier = model.answers.get((name, key))
                if earlier and earlier[3] <= now - KEPT:
                    earlier = None
            if earlier and earlier[0] != body:
                faults.add("idempotency_conflict")
            if not earlier:
                faults |= model.unusable(name, now)
                paid = model.paid[name]
                if fresh and shown:
                    faults |= model.bad_raise(name, shown.total)
                    paid = shown.total
                balance = min(paid, model.channel(name).deposited) - model.spent[name]
                if not (session or fresh) or (cost > balance and cost > 0):
                    faults.add("stale_receipt" if shown and not fresh else "payment_required")
                if fails:
                    faults.add("quota_exceeded")
        if isinstance(answer, BaseException):
            assert isinstance(answer, WaypostError), answer
            assert answer.code in faults
            return
        assert not faults
        assert answer.replayed == (earlier is not None)
        if earlier:
            assert (answer.charged, answer.result) == earlier[1:3]
        else:
            assert (answer.charged, answer.result) == (cost, mark)
            if fresh and shown:
                model.paid[name] = shown.total
            model.spent[name] += cost
            model.marks[mark] = (name, cost)
            if key:
                model.answers[name, key] = (body, cost, mark, now)
            if cost:
                assert model.spent[name] <= min(model.paid[name], model.channel(name).deposited)
        assert (answer.paid, answer.spent) == (model.paid[name], model.spent[name])

    # ---- Always ----

    @invariant()
    def books_agree(self) -> None:
        model = self.model
        for name in model.seen:
            account, channel = self.run(self.ledger.account(address(name))), model.channel(name)
            assert account is not None
            assert (account.paid, account.spent) == (model.paid[name], model.spent[name])
            assert (account.deposited, account.claimed) == (channel.deposited, channel.claimed)
            assert (account.claimed_final, account.status) == (channel.claimed_final, channel.status)
            if account.paid:
                assert account.receipt == signed(name, account.paid)  # what a claim needs

    @invariant()
    def every_charge_has_its_effect(self) -> None:
        query = "SELECT key FROM meta WHERE value = 'mark'"
        marks = self.run(self.db.read(lambda c: {row["key"] for row in c.execute(query)}))
        assert marks == self.model.marks.keys()
        charged: Counter[str] = Counter()
        for name, cost in self.model.marks.values():
            charged[name] += cost
        assert all(charged[name] == self.model.spent[name] for name in NAMES)

    @invariant()
    def totals_add_up(self) -> None:
        totals = self.run(self.ledger.totals())
        assert totals.earned == totals.claimed + totals.confirming + totals.claimable
        assert totals.spent == self.model.spent.total()
        assert 0 <= totals.at_risk <= totals.claimable


LedgerMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestLedger = LedgerMachine.TestCase
