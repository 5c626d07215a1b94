"""When a claim is worth its gas. Amounts in token base units; one ETH is worth 3,000 tokens of 6 decimals."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.services.node.books import PAYEE, PAYER, TOKEN, address

from waypost.node.accounts import ChannelAccount, Status
from waypost.node.claim_plan import (
    BATCH_GAS,
    ENTRY_GAS,
    PATIENCE,
    Market,
    is_urgent,
    plan,
    worthwhile,
)
from waypost.node.settings import ClaimSettings

NOW = 1_800_000_000
TOKEN_PER_ETHER = 3_000_000_000
MARKET = Market(gas_price=10**9, token_per_ether=TOKEN_PER_ETHER)
ENTRY = MARKET.cost(ENTRY_GAS)
SETTINGS = ClaimSettings(min_value=0, max_age_seconds=86_400, close_margin_seconds=0, max_batch=10)


def account(
    name: str,
    claimable: int,
    *,
    status: Status = Status.OPEN,
    closes_at: int = 0,
    frozen_until: int = 0,
) -> ChannelAccount:
    return ChannelAccount(
        payee=PAYEE,
        token=TOKEN,
        signer=address(name),
        payer=PAYER,
        deposited=10**12,
        claimed=1_000,
        claimed_final=1_000,
        paid=1_000 + claimable,
        spent=0,
        signature=bytes(64),
        status=status,
        closes_at=closes_at,
        close_delay=3600,
        opened_block=1,
        frozen_until=frozen_until,
    )


def test_costs_are_rounded_up() -> None:
    # 11,000 gas at 1 gwei are 1.1e13 wei, worth 33,000 base units.
    assert ENTRY == 33_000
    assert Market(1, 1).cost(1) == 1
    assert Market(10**9, 0).cost(10**6) == 0


@given(st.integers(0, 2**96), st.integers(21_000, 2**24), st.integers(1, 2**60))
def test_at_the_ceiling_a_claim_does_not_cost_more_than_it_pays(value: int, gas: int, rate: int) -> None:
    ceiling = Market(0, rate).ceiling(value, gas)
    assert ceiling is not None
    assert gas * ceiling * rate <= value * 10**18 < gas * (ceiling + 1) * rate


def test_gas_that_is_free_has_no_ceiling() -> None:
    assert Market(10**9, 0).ceiling(1, 100_000) is None


def test_a_receipt_must_pay_for_its_own_entry() -> None:
    accounts = [account("a", ENTRY), account("b", ENTRY + 1), account("c", 5 * ENTRY)]
    assert [a.signer for a in worthwhile(accounts, MARKET, NOW)] == [address("c"), address("b")]


def test_a_closing_channel_is_claimed_first_however_little_it_pays() -> None:
    late = account("late", 1, status=Status.CLOSING, closes_at=NOW + 100)
    soon = account("soon", 1, status=Status.CLOSING, closes_at=NOW + 50, frozen_until=NOW + 900)
    rich = account("rich", 10**9)
    more = account("more", 2, status=Status.CLOSING, closes_at=NOW + 100)
    assert worthwhile([rich, late, soon, more], MARKET, NOW) == [soon, more, late, rich]
    chosen = plan([soon, late, rich], Market(10**12, TOKEN_PER_ETHER), SETTINGS, age=0)
    assert chosen is not None
    assert chosen.urgent


def test_a_channel_with_a_consent_in_use_is_left_alone() -> None:
    frozen = account("a", 10**9, frozen_until=NOW + 1)
    assert worthwhile([frozen], MARKET, NOW) == []
    assert worthwhile([frozen], MARKET, NOW + 1) == [frozen]


def test_force_takes_dust_but_no_frozen_channel() -> None:
    dust, frozen = account("dust", 1), account("a", 10**9, frozen_until=NOW + 1)
    assert worthwhile([dust, frozen], MARKET, NOW, forced=True) == [dust]
    chosen = plan([dust], MARKET, SETTINGS, age=0, forced=True)
    assert chosen is not None
    assert not chosen.urgent


@pytest.mark.parametrize(("age", "times"), [(0, PATIENCE), (43_200, (PATIENCE + 1) / 2), (86_400, 1)])
def test_the_longer_it_waits_the_more_of_it_may_be_spent_on_gas(age: int, times: float) -> None:
    enough = int(MARKET.cost(BATCH_GAS + ENTRY_GAS) * times)
    assert plan([account("a", enough - 1)], MARKET, SETTINGS, age=age) is None
    assert plan([account("a", enough + 1)], MARKET, SETTINGS, age=age) is not None


def test_an_old_claim_that_does_not_pay_its_gas_goes_on_waiting() -> None:
    cost = MARKET.cost(BATCH_GAS + ENTRY_GAS)
    assert plan([account("a", cost)], MARKET, SETTINGS, age=10**9) is None


def test_the_least_value_stops_counting_with_age() -> None:
    picky = SETTINGS.model_copy(update={"min_value": 10**9})
    assert plan([account("a", 10**9 - 1)], MARKET, picky, age=86_399) is None
    assert plan([account("a", 10**9)], MARKET, picky, age=0) is not None
    assert plan([account("a", 10**8)], MARKET, picky, age=86_400) is not None


def test_nothing_to_claim_is_no_plan() -> None:
    assert plan([], MARKET, SETTINGS, age=10**9) is None
    assert plan([], MARKET, SETTINGS, age=0, forced=True) is None


def test_with_neither_age_nor_price_everything_is_claimed_at_once() -> None:
    eager = ClaimSettings(min_value=0, max_age_seconds=0, close_margin_seconds=0)
    assert plan([account("a", 1)], Market(10**9, 0), eager, age=0) is not None


@given(
    st.lists(st.tuples(st.integers(1, 10**9), st.booleans(), st.integers(1, 10**6)), max_size=30),
    st.integers(0, 10**11),
    st.integers(0, 10**6),
    st.booleans(),
)
def test_every_plan_is_within_its_limits_and_urgent_ones_never_wait(
    channels: list[tuple[int, bool, int]], gas_price: int, age: int, forced: bool
) -> None:
    accounts = [
        account(str(n), value, status=Status.CLOSING, closes_at=NOW + left)
        if closing
        else account(str(n), value)
        for n, (value, closing, left) in enumerate(channels)
    ]
    market = Market(gas_price, TOKEN_PER_ETHER)
    chosen = plan(worthwhile(accounts, market, NOW, forced=forced), market, SETTINGS, age=age, forced=forced)
    closing = [a for a in accounts if a.status is Status.CLOSING]
    assert chosen is not None or not closing
    if chosen is None:
        return
    assert 0 < len(chosen.accounts) <= SETTINGS.max_batch
    assert len(set(chosen.accounts)) == len(chosen.accounts)
    # Urgent ones come first, soonest first: whatever is cut off is less urgent, or worth less.
    assert [a for a in chosen.accounts if a in closing] == sorted(
        closing, key=lambda a: (a.closes_at, -a.claimable)
    )[: len(chosen.accounts)][: SETTINGS.max_batch]
    if not forced and not chosen.urgent:
        assert chosen.value > market.cost(BATCH_GAS + len(chosen.accounts) * ENTRY_GAS) or gas_price == 0


def test_a_closing_channel_with_nothing_to_claim_is_not_urgent() -> None:
    assert is_urgent(account("a", 1, status=Status.CLOSING, closes_at=NOW + 1))
    assert not is_urgent(account("a", 0, status=Status.CLOSING, closes_at=NOW + 1))
    assert not is_urgent(account("a", 1))


def test_patience_is_counted_in_whole_base_units() -> None:
    """A third of the way through, the least that pays is rounded down."""
    market = Market(gas_price=10**9, token_per_ether=10**9)
    settings = SETTINGS.model_copy(update={"max_age_seconds": 7})
    cost = market.cost(BATCH_GAS + ENTRY_GAS)
    enough = cost * (7 + (PATIENCE - 1) * 4) // 7
    assert cost * (7 + (PATIENCE - 1) * 4) % 7
    assert plan([account("a", enough)], market, settings, age=3) is not None
    assert plan([account("a", enough - 1)], market, settings, age=3) is None
