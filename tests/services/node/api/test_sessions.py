"""Sessions, and receipts sent ahead of the requests that spend them."""

import time

import pytest
from tests.services.node.api.served import (
    Clock,
    Customer,
    Served,
    refused,
    served,
)

from waypost.node.settings import NodeSettings


async def test_sessions_that_are_not_opened(api: Served) -> None:
    customer, stranger = await api.customer(), Customer(api.settings)
    good = customer.session_request()
    now = int(time.time())
    cases = [
        (stranger.session_request(), 404, "channel_unknown"),
        ({**good, "token": api.settings.channels}, 404, "channel_unknown"),
        ({**good, "signature": stranger.session_request()["signature"]}, 400, "invalid_signature"),
        (customer.session_request(expires=now - 1), 401, "session_expired"),
        (customer.session_request(expires=now + 4000), 401, "session_invalid"),
    ]
    before = await api.books()
    for body, status, code in cases:
        refused(await api.http.post("/v1/sessions", json=body), status, code)
    assert await api.books() == before
    assert (await api.http.post("/v1/sessions", json=good)).status_code == 201
    refused(await api.http.post("/v1/sessions", json=good), 401, "session_invalid")


async def test_a_session_ends(settings: NodeSettings) -> None:
    clock = Clock()
    async with served(settings, clock) as api:
        customer = await api.customer()
        session = await api.session(customer)
        assert (await api.http.get(customer.path, headers=session)).status_code == 200
        clock.shift = 601
        refused(await api.http.get(customer.path, headers=session), 401, "session_expired")


async def test_a_lower_receipt_changes_nothing_and_is_no_error(api: Served) -> None:
    customer = await api.customer()
    for cumulative in (500, 400, 500):
        answer = await api.http.post("/v1/receipts", json=customer.raised(cumulative))
        assert (answer.status_code, answer.json()["paid"]) == (200, "500")


@pytest.mark.parametrize(
    ("cumulative", "code"),
    [(10**7, "receipt_exceeds_deposit"), (2**128 - 1, "receipt_exceeds_deposit"), (9, "receipt_too_small")],
)
async def test_receipts_out_of_bounds(api: Served, cumulative: int, code: str) -> None:
    customer = await api.customer()
    before = await api.books()
    refused(await api.http.post("/v1/receipts", json=customer.raised(cumulative)), 402, code)
    assert await api.books() == before


async def test_a_receipt_that_somebody_else_signed(api: Served) -> None:
    one, two = await api.open(2)
    before = await api.books()
    forged = {**one.raised(500), "signature": two.receipt(500).to_hex()}
    refused(await api.http.post("/v1/receipts", json=forged), 402, "invalid_receipt")
    elsewhere = {**one.raised(500), "token": api.settings.channels}
    refused(await api.http.post("/v1/receipts", json=elsewhere), 402, "receipt_for_another_node")
    assert await api.books() == before
