"""The client's own accounts of one channel: what was signed, what was spent, what is under way.
Pure arithmetic. Whatever a node says is held against it, and nothing is signed for a node that disagrees."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import PlainSerializer

from waypost.errors import DepositExhausted, NodeDisagrees, SpendingLimitExceeded

Amount = Annotated[int, PlainSerializer(str, when_used="json")]
"""Base units of the token; a decimal string in JSON."""

MAX_UNANSWERED = 1
"""How often a node may charge for a request that it never answered: networks do lose answers."""


@dataclass(frozen=True, slots=True)
class Reservation:
    """Leave to send one request. `attach`: the total whose receipt goes along, None if none is due."""

    cost: int
    attach: int | None
    paid_before: int
    spent_before: int


@dataclass(slots=True)
class Books:
    """Amounts of one channel in base units.

    B1: `signed` only grows, and never passes `limit` or `deposited`. B2: `spent + reserved <= signed`
    whenever a request is under way, so a node that cheats gains at most the price of the requests under way
    (raised to its minimum receipt).
    """

    deposited: Amount
    limit: Amount
    signed: Amount = 0
    paid: Amount = 0
    """The highest total that the node has acknowledged."""
    spent: Amount = 0
    """What answered requests cost, plus what was absorbed of unanswered ones."""
    reserved: Amount = 0
    """The prices of the requests under way."""
    interrupted: Amount = 0
    """The prices of requests that this side broke off: the node may have charged them in good faith."""
    unanswered: Amount = 0
    """The prices of requests that the node left without an answer."""
    strikes: int = 0
    """How often the node turned out to have charged for an unanswered request."""
    stopped: str = ""
    """Why nothing more is signed; empty while all is well."""

    @property
    def cap(self) -> int:
        """The highest total that may be signed."""
        return min(self.limit, self.deposited)

    @property
    def available(self) -> int:
        """What further requests may cost together."""
        return max(0, self.cap - self.spent - self.reserved)

    def reserve(self, cost: int, min_receipt: int = 0) -> Reservation:
        """Set the price of one request aside and raise `signed` as far as needed, by at least `min_receipt`.

        Raises NodeDisagrees after a stop, SpendingLimitExceeded, DepositExhausted; then nothing changed.
        """
        self.require_trust()
        needed = self.spent + self.reserved + cost
        if needed > self.signed:
            self.signed = self._raised(needed, min_receipt)
        attach = self.signed if self.signed > self.paid else None
        reservation = Reservation(cost, attach, self.paid, self.spent)
        self.reserved += cost
        return reservation

    def require_trust(self) -> None:
        """Raises NodeDisagrees after a stop."""
        if self.stopped:
            raise NodeDisagrees(f"Nothing more is signed for this node: {self.stopped}")

    def settle(self, reservation: Reservation, *, charged: int, paid: int, spent: int) -> None:
        """Book an answer if it can be true; else stop, keep the price set aside, raise NodeDisagrees."""
        others = self.reserved - reservation.cost + self.interrupted + self.unanswered
        lowest_paid = max(reservation.paid_before, reservation.attach or 0)
        self._demand("charged", charged, 0, reservation.cost)
        self._demand("paid", paid, lowest_paid, self.signed)
        self._demand("spent", spent, reservation.spent_before + charged, self.spent + charged + others)
        self.reserved -= reservation.cost
        self.spent += charged
        self.paid = max(self.paid, paid)
        if self.reserved == 0:
            self._absorb(spent - self.spent)

    def release(self, reservation: Reservation) -> None:
        """The node refused the request, so it charged nothing; if it did, the next answer shows it."""
        self.reserved -= reservation.cost

    def interrupt(self, reservation: Reservation) -> None:
        """This side broke the request off."""
        self.reserved -= reservation.cost
        self.interrupted += reservation.cost

    def doubt(self, reservation: Reservation) -> None:
        """No answer came, however often the request was repeated."""
        self.reserved -= reservation.cost
        self.unanswered += reservation.cost

    @property
    def doubtful(self) -> bool:
        """Whether the node must be asked for its accounts before anything is signed."""
        return bool(self.interrupted or self.unanswered)

    def restart(self) -> None:
        """After loading: what was under way when the process ended was broken off."""
        self.interrupted += self.reserved
        self.reserved = 0

    def reconcile(self, *, paid: int, spent: int) -> None:
        """Take over the node's accounts, asked for while nothing was under way, if they can be true.

        Raises NodeDisagrees and stops otherwise.
        """
        self._demand("paid", paid, self.paid, self.signed)
        self._demand("spent", spent, self.spent, self.spent + self.interrupted + self.unanswered)
        self.paid = paid
        self._absorb(spent - self.spent)
        self.interrupted = self.unanswered = 0

    def observe_claim(self, claimed: int) -> None:
        """Stop and raise NodeDisagrees if the chain paid out more than is known to be signed."""
        if claimed > self.signed:
            raise self.stop(
                f"the chain paid out {claimed}, but only {self.signed} is known to be signed: "
                "the node withheld a receipt when the channel was recovered.",
                claimed=str(claimed),
                signed=str(self.signed),
            )

    def stop(self, reason: str, **details: str) -> NodeDisagrees:
        """Sign nothing more on this channel, for the first reason given; the error to raise."""
        self.stopped = self.stopped or reason
        return NodeDisagrees(f"Nothing more is signed for this node: {reason}", **details)

    def _raised(self, needed: int, min_receipt: int) -> int:
        total = max(needed, self.signed + min_receipt)
        if total > self.deposited >= needed:
            total = self.deposited  # nodes take a smaller raise when it uses the deposit up
        if total > self.deposited:
            raise DepositExhausted(
                f"This needs a total of {needed}, but the channel holds {self.deposited}.",
                needed=str(needed),
                deposited=str(self.deposited),
            )
        if total > self.limit:
            raise SpendingLimitExceeded(
                f"This needs a signed total of {total}; the channel's spending limit is {self.limit}.",
                needed=str(total),
                limit=str(self.limit),
            )
        return total

    def _absorb(self, difference: int) -> None:
        if difference <= 0:
            return
        own = min(difference, self.interrupted)
        self.interrupted -= own
        self.spent += difference
        if difference > own:
            self.unanswered -= difference - own
            self.strikes += 1
        if self.strikes > MAX_UNANSWERED:
            raise self.stop(f"it charged for requests that it never answered, {self.strikes} times.")

    def _demand(self, name: str, given: int, lowest: int, highest: int) -> None:
        if not lowest <= given <= highest:
            raise self.stop(
                f"it says {name} {given}; by our books it is between {lowest} and {highest}.",
                field=name,
                given=str(given),
                lowest=str(lowest),
                highest=str(highest),
            )
