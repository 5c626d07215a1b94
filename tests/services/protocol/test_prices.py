"""Prices are exact integers: rounded up once, never free, never dearer in parts than allowed."""

from dataclasses import replace
from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.services.protocol.strategies import addresses, prices

from waypost.errors import AmountOutOfRange, InvalidAddress, InvalidPriceList
from waypost.protocol.prices import PriceList
from waypost.protocol.signatures import checksum

LIST = PriceList(checksum(b"\x03" * 20), 1_800_000_000, 3, 2, 50_000, 1_000, 1_000_000, 4)
lists = st.builds(
    PriceList, addresses, st.integers(0, 2**53 - 1), prices, prices, prices, prices, prices, prices
)
sizes = st.integers(0, 2**40)
spans = st.integers(0, 2**32)


@given(lists, sizes, spans)
def test_costs_are_exact(listed: PriceList, size: int, seconds: int) -> None:
    kib, hours = Fraction(size, 1024), Fraction(seconds, 3600)
    assert listed.store_cost(size, seconds) == ceil(kib * hours * listed.store_per_kib_hour)
    assert listed.fetch_cost(size) == ceil(kib * listed.fetch_per_kib)
    assert listed.relay_cost(size) == ceil(kib * listed.relay_per_kib)


@given(lists, sizes, sizes, spans, spans)
def test_more_never_costs_less(listed: PriceList, size: int, more: int, seconds: int, longer: int) -> None:
    cost = listed.store_cost(size, seconds)
    assert listed.store_cost(size + more, seconds) >= cost
    assert listed.store_cost(size, seconds + longer) >= cost
    assert listed.fetch_cost(size + more) >= listed.fetch_cost(size)


@given(lists, sizes, sizes, spans, spans)
def test_splitting_never_saves(listed: PriceList, a: int, b: int, first: int, then: int) -> None:
    whole = listed.store_cost(a + b, first)
    assert whole <= listed.store_cost(a, first) + listed.store_cost(b, first) <= whole + 1
    extended = listed.store_cost(a, first) + listed.store_cost(a, then)
    assert listed.store_cost(a, first + then) <= extended <= listed.store_cost(a, first + then) + 1
    assert listed.fetch_cost(a + b) <= listed.fetch_cost(a) + listed.fetch_cost(b)


def test_the_smallest_request_is_not_free() -> None:
    assert LIST.store_cost(1, 1) == LIST.fetch_cost(1) == 1
    assert LIST.store_cost(0, 3600) == LIST.fetch_cost(0) == 0
    assert LIST.store_cost(1024, 3600) == 3
    free = replace(LIST, store_per_kib_hour=0, fetch_per_kib=0)
    assert free.store_cost(2**40, 2**32) == free.fetch_cost(2**40) == 0


@given(lists)
def test_lists_survive_json(listed: PriceList) -> None:
    assert PriceList.from_json(listed.to_json()) == listed


@given(lists, lists)
def test_the_id_names_the_prices(one: PriceList, other: PriceList) -> None:
    assert (one.price_id == other.price_id) == (replace(one, valid_until=other.valid_until) == other)
    assert replace(one, valid_until=0).price_id == one.price_id


@pytest.mark.parametrize(
    "changed",
    [
        replace(LIST, token=checksum(b"\x04" * 20)),
        replace(LIST, store_per_kib_hour=1),
        replace(LIST, fetch_per_kib=1),
        replace(LIST, opening=1),
        replace(LIST, min_receipt=1),
        replace(LIST, min_deposit=1),
    ],
)
def test_every_price_is_in_the_id(changed: PriceList) -> None:
    assert changed.price_id != LIST.price_id


@pytest.mark.parametrize("price", [-1, 2**96])
def test_prices_out_of_range(price: int) -> None:
    with pytest.raises(AmountOutOfRange) as caught:
        replace(LIST, fetch_per_kib=price)
    assert caught.value.details["field"] == "fetchPerKib"


def test_the_token_is_an_address() -> None:
    with pytest.raises(InvalidAddress):
        replace(LIST, token="0x1")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"priceId": "0x" + "00" * 32}, InvalidPriceList),
        ({"priceId": None}, InvalidPriceList),
        ({"opening": "50001"}, InvalidPriceList),
        ({"opening": 50_000}, InvalidPriceList),
        ({"opening": "5e4"}, InvalidPriceList),
        ({"opening": str(2**96)}, AmountOutOfRange),
        ({"validUntil": 2**53}, InvalidPriceList),
        ({"token": "0x1"}, InvalidAddress),
    ],
)
def test_malformed_json(change: dict[str, object], error: type[Exception]) -> None:
    with pytest.raises(error):
        PriceList.from_json(LIST.to_json() | change)
