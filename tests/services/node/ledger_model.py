"""A plain model of the ledger: dictionaries and a list of blocks, read anew for every question."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from tests.services.node import books
from tests.services.node.books import address, signed

from waypost.node.accounts import Status
from waypost.node.answers import KEPT
from waypost.protocol.receipts import SignedReceipt

CONFIRMATIONS = 2
MIN_RECEIPT = 10


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

    def sign(self) -> SignedReceipt:
        payee = address("another payee") if self.elsewhere else books.PAYEE
        return signed(self.by, self.total, payee)


@dataclass(frozen=True)
class Request:
    """One paid request: what it costs if it succeeds, and all that it shows."""

    name: str
    cost: int
    session: bool
    shown: Shown | None
    fails: bool
    key: str | None
    body: str
    mark: str


@dataclass(frozen=True)
class Earlier:
    """The answer that a key stands for."""

    body: str
    cost: int
    mark: str
    at: int


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
    answers: dict[tuple[str, str], Earlier] = field(default_factory=dict)
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

    def judge(self, request: Request, now: int) -> tuple[set[str], Earlier | None]:
        """Every reason to refuse the request, and the answer it repeats."""
        name, shown, faults = request.name, request.shown, set[str]()
        if name not in self.seen:
            return {"channel_unknown"}, None
        fresh = shown is not None and shown.total > self.paid[name]
        if shown and (fresh or not request.session):
            faults |= shown.faults(name)
        earlier = None
        if request.key and (request.session or shown):
            earlier = self.answers.get((name, request.key))
        if earlier and now - earlier.at < KEPT:
            if earlier.body != request.body:
                faults.add("idempotency_conflict")
            return faults, earlier
        faults |= self.unusable(name, now)
        paid = self.paid[name]
        if shown and fresh:
            faults |= self.bad_raise(name, shown.total)
            paid = shown.total
        balance = min(paid, self.channel(name).deposited) - self.spent[name]
        if not (request.session or fresh) or 0 < request.cost > balance:
            faults.add("stale_receipt" if shown and not fresh else "payment_required")
        if request.fails:
            faults.add("quota_exceeded")
        return faults, None

    def charge(self, request: Request, now: int) -> None:
        """The request succeeded, for the first time."""
        name = request.name
        if request.shown:
            self.paid[name] = max(self.paid[name], request.shown.total)
        self.spent[name] += request.cost
        self.marks[request.mark] = (name, request.cost)
        if request.key:
            earlier = Earlier(request.body, request.cost, request.mark, now)
            self.answers[name, request.key] = earlier
