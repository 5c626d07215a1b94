"""The client's books against an honest node behind a bad network, and against every lie a node can tell."""

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule

from waypost.client.books import Books, Reservation
from waypost.errors import DepositExhausted, NodeDisagrees, SpendingLimitExceeded

DEPOSIT, LIMIT, MIN_RECEIPT = 10_000, 9_000, 50


def books(**changes: Any) -> Books:
    return Books(**{"deposited": DEPOSIT, "limit": LIMIT, **changes})


def test_a_request_is_paid_exactly() -> None:
    ours = books()
    reservation = ours.reserve(100)
    assert (ours.signed, ours.reserved, reservation.attach) == (100, 100, 100)
    ours.settle(reservation, charged=100, paid=100, spent=100)
    assert (ours.signed, ours.paid, ours.spent, ours.reserved) == (100, 100, 100, 0)


def test_the_minimum_receipt_pays_for_later_requests() -> None:
    ours = books()
    first = ours.reserve(1, min_receipt=50)
    second = ours.reserve(49, min_receipt=50)
    assert (first.attach, second.attach, ours.signed) == (50, 50, 50)
    ours.settle(second, charged=49, paid=50, spent=50)
    ours.settle(first, charged=1, paid=50, spent=1)  # answered first, arrived last
    assert ours.reserve(1, min_receipt=50).attach == 100


def test_what_the_node_has_acknowledged_is_not_sent_again() -> None:
    ours = books()
    ours.settle(ours.reserve(10, min_receipt=50), charged=10, paid=50, spent=10)
    assert ours.reserve(40, min_receipt=50).attach is None


def test_a_refused_request_leaves_the_total_for_the_next() -> None:
    ours = books()
    ours.release(ours.reserve(100))
    assert ours.reserve(100).attach == 100
    assert ours.signed == 100


def test_the_last_raise_may_be_small() -> None:
    ours = books(limit=DEPOSIT, signed=DEPOSIT - 10, paid=DEPOSIT - 10, spent=DEPOSIT - 10)
    assert ours.reserve(10, min_receipt=50).attach == DEPOSIT


def test_nothing_is_signed_above_the_deposit() -> None:
    ours = books(limit=2 * DEPOSIT)
    with pytest.raises(DepositExhausted) as raised:
        ours.reserve(DEPOSIT + 1)
    assert raised.value.details == {"needed": str(DEPOSIT + 1), "deposited": str(DEPOSIT)}
    assert ours == books(limit=2 * DEPOSIT)


@pytest.mark.parametrize(("cost", "min_receipt"), [(LIMIT + 1, 0), (1, LIMIT + 1)])
def test_nothing_is_signed_above_the_limit(cost: int, min_receipt: int) -> None:
    ours = books()
    with pytest.raises(SpendingLimitExceeded):
        ours.reserve(cost, min_receipt)
    assert ours == books()


def test_the_limit_counts_what_is_under_way() -> None:
    ours = books()
    ours.reserve(LIMIT - 10)
    assert ours.available == 10
    with pytest.raises(SpendingLimitExceeded):
        ours.reserve(11)
    assert ours.reserve(10).attach == LIMIT


@pytest.mark.parametrize(
    ("charged", "paid", "spent"),
    [
        (101, 300, 301),  # above the price
        (100, 301, 300),  # paid more than was signed
        (100, 299, 300),  # took the receipt and forgot it
        (100, 300, 301),  # spent more than all requests cost
        (100, 300, 299),  # forgot an earlier charge
        (0, 300, 300),  # says that nothing was charged, and charges
        (-1, 300, 200),
    ],
)
def test_a_lie_ends_all_signing(charged: int, paid: int, spent: int) -> None:
    ours = books(signed=200, paid=200, spent=200)
    reservation = ours.reserve(100)
    with pytest.raises(NodeDisagrees):
        ours.settle(reservation, charged=charged, paid=paid, spent=spent)
    with pytest.raises(NodeDisagrees, match="Nothing more is signed"):
        ours.reserve(1)
    assert ours.signed == 300


def test_a_node_may_charge_less() -> None:
    ours = books()
    ours.settle(ours.reserve(100), charged=1, paid=100, spent=1)
    assert ours.available == LIMIT - 1


def test_requests_that_this_side_broke_off_may_have_been_charged() -> None:
    ours = books()
    for _ in range(3):
        ours.interrupt(ours.reserve(100))
        assert ours.doubtful
        ours.reconcile(paid=ours.signed, spent=ours.spent + 100)
        assert not ours.doubtful
    assert (ours.spent, ours.strikes) == (300, 0)


def test_what_was_under_way_at_a_crash_counts_as_broken_off() -> None:
    ours = books()
    ours.reserve(100)
    ours.restart()
    assert (ours.reserved, ours.interrupted) == (0, 100)


def test_charging_without_answering_works_once() -> None:
    ours = books()
    ours.doubt(ours.reserve(100))
    ours.reconcile(paid=100, spent=100)
    ours.doubt(ours.reserve(100))
    with pytest.raises(NodeDisagrees, match="never answered"):
        ours.reconcile(paid=200, spent=200)
    with pytest.raises(NodeDisagrees):
        ours.reserve(1)


def test_a_request_that_was_never_charged_is_no_strike() -> None:
    ours = books()
    for _ in range(5):
        ours.doubt(ours.reserve(100))
        ours.reconcile(paid=0, spent=0)
    assert (ours.strikes, ours.signed) == (0, 100)


@pytest.mark.parametrize(("paid", "spent"), [(99, 100), (301, 100), (200, 99), (200, 201)])
def test_accounts_that_cannot_be_true_are_not_taken_over(paid: int, spent: int) -> None:
    ours = books(signed=300, paid=100, spent=100)
    ours.interrupted = 100
    with pytest.raises(NodeDisagrees):
        ours.reconcile(paid=paid, spent=spent)


def test_a_claim_above_what_was_signed_shows_a_withheld_receipt() -> None:
    ours = books(signed=40, paid=40, spent=40)
    ours.observe_claim(40)
    with pytest.raises(NodeDisagrees, match="withheld"):
        ours.observe_claim(41)
    with pytest.raises(NodeDisagrees):
        ours.reserve(1)


@dataclass
class Request:
    reservation: Reservation
    cost: int
    answer: tuple[int, int, int] | None = None


class HonestNode(RuleBasedStateMachine):
    """A node that keeps the rules, a network that loses and reorders, a client that crashes: nobody is ever
    accused, and the client never owes more than it signed."""

    waiting = Bundle("waiting")
    answered = Bundle("answered")

    def __init__(self) -> None:
        super().__init__()
        self.ours = books()
        self.paid = self.spent = self.owed = 0
        self.last_signed = 0

    @precondition(lambda self: not self.ours.doubtful)
    @rule(target=waiting, cost=st.integers(0, 400))
    def ask(self, cost: int) -> Request:
        try:
            return Request(self.ours.reserve(cost, MIN_RECEIPT), cost)
        except SpendingLimitExceeded:
            assert self.ours.spent + self.ours.reserved + cost > LIMIT - MIN_RECEIPT
            return Request(Reservation(0, None, 0, 0), 0, (0, 0, 0))

    @rule(target=answered, request=consumes(waiting), discount=st.integers(0, 3))
    def serve(self, request: Request, discount: int) -> Request:
        if request.answer is None:
            self.paid = max(self.paid, request.reservation.attach or 0)
            charged = max(0, request.cost - discount)
            assert self.spent + charged <= self.paid, "an honest request is always covered"
            self.spent += charged
            request.answer = charged, self.paid, self.spent
        return request

    @rule(request=consumes(answered))
    def hear(self, request: Request) -> None:
        assert request.answer is not None
        charged, paid, spent = request.answer
        if request.reservation.cost or request.reservation.attach is not None:
            self.ours.settle(request.reservation, charged=charged, paid=paid, spent=spent)

    @rule(request=consumes(waiting))
    def refuse(self, request: Request) -> None:
        if request.answer is None:
            self.ours.release(request.reservation)

    @rule(request=consumes(answered))
    def hang_up(self, request: Request) -> None:
        if request.reservation.cost:
            self.ours.interrupt(request.reservation)

    @precondition(lambda self: self.ours.doubtful and not self.ours.reserved)
    @rule()
    def reconcile(self) -> None:
        self.ours.reconcile(paid=self.paid, spent=self.spent)
        assert self.ours.spent == self.spent

    @invariant()
    def nobody_is_accused(self) -> None:
        assert not self.ours.stopped

    @invariant()
    def b1_the_total_only_grows_within_limits(self) -> None:
        assert self.last_signed <= self.ours.signed <= LIMIT
        self.last_signed = self.ours.signed

    @invariant()
    def b2_requests_under_way_are_covered(self) -> None:
        assert self.ours.spent + self.ours.reserved <= self.ours.signed
        assert self.spent <= self.ours.signed


HonestNode.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestHonestNode = HonestNode.TestCase
