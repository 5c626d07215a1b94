"""The ledger against a plain model, in orders that nobody would think of: receipts good and bad, charges,
retries, cancelled callers, deposits, claims, closings, reorgs, restarts."""

import asyncio
import contextlib
import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Awaitable
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.services.node import books
from tests.services.node.books import Blocks, Clock, address, open_database, open_ledger, signed
from tests.services.node.ledger_model import CONFIRMATIONS, MIN_RECEIPT, Model, Request, Shown

from waypost.errors import QuotaExceeded, WaypostError
from waypost.node.answers import KEPT, Idempotency
from waypost.node.ledger import Charge, Charged

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


async def together(*requests: Awaitable[Any]) -> list[Any]:
    """Answers and errors of requests that are sent at once."""
    return list(await asyncio.gather(*requests, return_exceptions=True))


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
        shown = self.shown(name, more, by, False)
        request = Request(name, cost, session, shown, fails, key, body, f"mark {self.count}")
        if manner == "cancelled" and key:
            answers = self.run(self.cancelled_then_again(request))
        else:
            times = 3 if manner == "thrice" and key else 1
            answers = self.run(together(*(self.send(request) for _ in range(times))))
        for answer in sorted(answers, key=lambda answer: getattr(answer, "replayed", True)):
            self.check_answer(answer, request)

    async def send(self, request: Request) -> Charged[str]:
        def effect(connection: sqlite3.Connection) -> tuple[int, str]:
            connection.execute("INSERT INTO meta VALUES (?, 'mark')", (request.mark,))
            if request.fails:
                raise QuotaExceeded
            return request.cost, request.mark

        return await self.ledger.charge(
            Charge(
                address(request.name),
                effect,
                request.shown.sign() if request.shown else None,
                request.session,
                Idempotency(request.key, request.body.encode()) if request.key else None,
            )
        )

    async def cancelled_then_again(self, request: Request) -> list[Any]:
        """The caller of the first goes away; what the second gets must fit either outcome."""
        first = asyncio.create_task(self.send(request))
        await asyncio.sleep(0)
        first.cancel()
        with contextlib.suppress(asyncio.CancelledError, WaypostError):
            await first
        (answer,) = await together(self.send(request))
        if isinstance(answer, Charged) and answer.replayed and answer.result == request.mark:
            return [replace(answer, replayed=False), answer]  # the lost answer, and its repetition
        return [answer]

    def check_answer(self, answer: Charged[str] | BaseException, request: Request) -> None:
        model, now, name = self.model, self.clock.now, request.name
        faults, earlier = model.judge(request, now)
        if isinstance(answer, BaseException):
            assert isinstance(answer, WaypostError), answer
            assert answer.code in faults
            return
        assert not faults
        assert answer.replayed == (earlier is not None)
        if earlier:
            assert (answer.charged, answer.result) == (earlier.cost, earlier.mark)
        else:
            assert (answer.charged, answer.result) == (request.cost, request.mark)
            model.charge(request, now)
            if request.cost:
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
