"""Bounds on strangers: rates by address, bodies while they stream, and memory whatever they do."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message, Receive, Scope, Send
from tests.services.node.api.served import Served, message, node_settings, price_of, refused, served
from tests.services.node.world import Deployed

from waypost.errors import WaypostError
from waypost.node.limits import RequestBody, TokenBuckets, remote_address
from waypost.node.settings import NodeSettings, RateSettings

# ---- Token buckets ----


@given(
    burst=st.integers(1, 20),
    rate=st.integers(1, 50),
    steps=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), max_size=60),
)
def test_an_address_never_gets_more_than_burst_plus_rate(
    burst: int, rate: int, steps: list[tuple[int, int]]
) -> None:
    now = 0.0
    buckets = TokenBuckets(rate, burst, 100, lambda: now)
    served = 0
    for requests, seconds in steps:
        for _ in range(requests):
            if not buckets.wait("a"):
                buckets.take("a")
                served += 1
        now += seconds
        assert served <= burst + rate * now
    now += burst / rate + 1
    assert buckets.wait("a") == 0, "who waits is served again"


def test_requests_in_flight_leave_a_bounded_debt() -> None:
    now = 0.0
    buckets = TokenBuckets(1, 10, 100, lambda: now)
    for _ in range(1_000):
        buckets.take("a")
    assert buckets.wait("a") == 11
    now = 11.0
    assert buckets.wait("a") == 0


@given(st.lists(st.integers(0, 1_000), max_size=200))
def test_memory_is_bounded_and_strangers_do_not_share(keys: list[int]) -> None:
    buckets = TokenBuckets(1, 1, 10, lambda: 0.0)
    for key in keys:
        buckets.take(str(key))
        assert len(buckets) <= 10
        assert buckets.wait(str(key)) > 0
    assert buckets.wait("somebody else") == 0


# ---- Addresses ----


def scope(client: tuple[str, int] | None, *forwarded: str) -> Scope:
    headers = [(b"x-forwarded-for", value.encode("latin-1")) for value in forwarded]
    return {"type": "http", "client": client, "headers": headers}


@pytest.mark.parametrize(
    ("client", "forwarded", "trusted", "address"),
    [
        (("192.0.2.1", 1), (), False, "192.0.2.1"),
        (("192.0.2.1", 1), ("198.51.100.1",), False, "192.0.2.1"),
        (("192.0.2.1", 1), ("198.51.100.1",), True, "198.51.100.1"),
        (("192.0.2.1", 1), ("203.0.113.9, 198.51.100.1",), True, "198.51.100.1"),
        (("192.0.2.1", 1), ("203.0.113.9", "198.51.100.1"), True, "198.51.100.1"),
        (("192.0.2.1", 1), (), True, "192.0.2.1"),
        (("2001:db8:1:2:3:4:5:6", 1), (), False, "2001:db8:1:2::/64"),
        (("::ffff:192.0.2.1", 1), (), False, "192.0.2.1"),
        (("192.0.2.1", 1), ("x" * 100,), True, "x" * 64),
        (None, (), False, "unknown"),
    ],
)
def test_who_is_asking(
    client: tuple[str, int] | None, forwarded: Sequence[str], trusted: bool, address: str
) -> None:
    assert remote_address(scope(client, *forwarded), trusted_proxy=trusted) == address


# ---- Rates ----


@pytest.fixture
def slow(deployed: Deployed, tmp_path: Any) -> NodeSettings:
    return node_settings(deployed, tmp_path, rate=RateSettings(requests_per_second=0.001, burst=5))


async def test_unpaid_requests_are_limited_and_paid_ones_are_not(slow: NodeSettings) -> None:
    async with served(slow) as api:
        customer = await api.customer()
        for _ in range(12):
            body = message()
            answer = await api.http.post("/v1/messages", json=body, headers=customer.pay(price_of(body)))
            assert answer.status_code == 201
        for _ in range(5):
            assert (await api.http.get("/v1/node")).status_code == 200
        answer = await api.http.get("/v1/node")
        problem = refused(answer, 429, "rate_limited")
        assert int(answer.headers["Retry-After"]) == problem["retryAfter"] > 900
        before = await api.books()
        answer = await api.http.post("/v1/messages", json=message(), headers=customer.pay(10_000))
        refused(answer, 429, "rate_limited")
        assert await api.books() == before


async def test_refused_payments_count_as_unpaid(slow: NodeSettings) -> None:
    async with served(slow) as api:
        for _ in range(5):
            refused(await api.http.post("/v1/messages", json=message()), 402, "payment_required")
        refused(await api.http.post("/v1/messages", json=message()), 429, "rate_limited")


# ---- Bodies ----


async def read(*messages: Message, limit: int = 10, seconds: float = 5.0) -> tuple[list[bytes], list[str]]:
    """What the application gets of a streamed body, and the codes that are answered instead."""
    bodies: list[bytes] = []
    codes: list[str] = []
    pending = list(messages)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        got = await receive()
        assert not got["more_body"]
        bodies.append(got["body"])

    async def receive() -> Message:
        if not pending:
            await asyncio.Event().wait()
        return pending.pop(0)

    async def respond(error: WaypostError, scope: Scope, receive: Receive, send: Send) -> None:
        codes.append(error.code)

    async def send(message: Message) -> None:
        raise AssertionError("nothing is sent here")

    scope = {"type": "http", "method": "POST", "headers": [(b"content-type", b"application/json")]}
    await RequestBody(app, respond, limit, seconds)(scope, receive, send)
    return bodies, codes


def chunk(body: bytes, *, more: bool) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


async def test_a_body_is_refused_as_soon_as_it_is_too_large() -> None:
    assert await read(chunk(b"12345", more=True), chunk(b"67890", more=False)) == ([b"1234567890"], [])
    assert await read(chunk(b"12345", more=True), chunk(b"678901", more=True)) == ([], ["body_too_large"])


async def test_a_client_that_goes_away_never_reaches_the_application() -> None:
    assert await read(chunk(b"123", more=True), {"type": "http.disconnect"}) == ([], [])


async def test_a_body_that_does_not_arrive_is_given_up() -> None:
    assert await read(chunk(b"123", more=True), seconds=0) == ([], ["request_timeout"])


# ---- CORS ----


async def test_any_web_page_may_use_the_api(api: Served) -> None:
    ours = ("payment-signature", "idempotency-key", "waypost-price-id", "authorization", "content-type")
    asked = {
        "Origin": "https://app.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": ",".join(ours),
    }
    answer = await api.http.options("/v1/messages", headers=asked)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]
    origin = {"Origin": "https://app.example"}
    for answer in (
        await api.http.post("/v1/messages", json=message(), headers=origin),
        await api.http.post("/v1/messages", content=b" " * 300_000, headers=origin),
    ):
        assert answer.headers["Access-Control-Allow-Origin"] == "*", "errors must be readable too"
        exposed = answer.headers["Access-Control-Expose-Headers"]
        assert {"PAYMENT-REQUIRED", "PAYMENT-RESPONSE", "Retry-After"} <= set(exposed.split(", "))
