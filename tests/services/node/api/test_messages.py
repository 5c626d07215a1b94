"""Storing, listing and fetching messages over HTTP."""

import base64
from typing import Any

import pytest
from tests.services.node.api.served import (
    PRICES,
    TOPIC,
    Clock,
    Served,
    message,
    price_of,
    refused,
    served,
)
from tests.services.node.world import Deployed

from waypost.node.settings import NodeSettings
from waypost.protocol.messages import Message


async def test_a_message_is_stored_listed_and_fetched(api: Served) -> None:
    customer, body = await api.customer(), message("payload", meta="bWV0YQ==")
    session = await api.session(customer)
    await api.http.post("/v1/receipts", json=customer.raised(100_000))
    stored = (await api.http.post("/v1/messages", json=body, headers=session)).json()
    same = Message(TOPIC, b"payload", int(body["timestamp"]), b"meta")
    assert stored["id"] == "0x" + same.id.hex()
    assert (stored["size"], stored["expires"] - stored["accepted"]) == (same.size, 3600)

    listed = (await api.http.post("/v1/mailbox", json={"topics": [TOPIC]})).json()
    entry = {"id": stored["id"], "topic": TOPIC, "size": same.size, "timestamp": body["timestamp"]}
    assert listed["messages"] == [{**entry, "expires": stored["expires"]}]
    rest = {"topics": [TOPIC], "cursor": listed["cursor"]}
    assert (await api.http.post("/v1/mailbox", json=rest)).json()["messages"] == []

    unknown = "0x" + "ab" * 32
    fetched = await api.http.post("/v1/mailbox/fetch", json={"ids": [stored["id"], unknown]}, headers=session)
    delivered = {
        "id": stored["id"],
        "expires": stored["expires"],
        **{k: body[k] for k in body if k != "retention"},
    }
    assert fetched.json()["messages"] == [delivered]
    assert fetched.json()["missing"] == [{"id": unknown, "code": "message_unknown"}]
    assert fetched.json()["charged"] == str(-(-same.size * PRICES.fetch_per_kib // 1024))

    page = await api.http.post("/v1/mailbox/fetch", json={"topics": [TOPIC], "limit": 1}, headers=session)
    assert (page.json()["messages"], page.json()["cursor"]) == ([delivered], listed["cursor"])
    nothing = await api.http.post("/v1/mailbox/fetch", json=rest)
    assert nothing.json() == {
        "messages": [],
        "missing": [],
        "cursor": listed["cursor"],
        "charged": "0",
        "paid": "0",
        "spent": "0",
    }, "an empty page costs nothing, so nobody has to pay"


async def test_a_repeated_fetch_is_charged_once(api: Served) -> None:
    customer = await api.customer()
    session = await api.session(customer)
    await api.http.post("/v1/receipts", json=customer.raised(100_000))
    stored = (await api.http.post("/v1/messages", json=message(), headers=session)).json()
    headers = session | {"Idempotency-Key": "again"}
    first, again = [
        (await api.http.post("/v1/mailbox/fetch", json={"ids": [stored["id"]]}, headers=headers)).json()
        for _ in range(2)
    ]
    assert int(first["charged"]) > 0
    assert first == again


async def test_expired_is_told_from_unknown(settings: NodeSettings) -> None:
    clock = Clock()
    async with served(settings, clock) as api:
        customer = await api.customer()
        headers = customer.pay(price_of(message()))
        stored = (await api.http.post("/v1/messages", json=message(), headers=headers)).json()["id"]
        clock.shift = 3601
        await api.caught_up()
        unknown = "0x" + "00" * 32
        before = await api.books()
        for ids, status, code in (
            ([unknown], 404, "message_unknown"),
            ([stored], 410, "message_expired"),
            ([unknown, stored], 410, "message_expired"),
        ):
            answer = await api.http.post("/v1/mailbox/fetch", json={"ids": ids}, headers=customer.pay(10_000))
            refused(answer, status, code)
        assert await api.books() == before


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"retention": 3599}, 400, "retention_out_of_range"),
        ({"retention": 2592001}, 400, "retention_out_of_range"),
        ({"timestamp": "0"}, 400, "clock_skew"),
        ({"timestamp": 2**63 - 1}, 400, "clock_skew"),
        ({"topic": "not a topic"}, 400, "invalid_topic"),
        ({"topic": "/a/1/b/\u202ec"}, 400, "invalid_topic"),
        ({"meta": base64.b64encode(bytes(65)).decode()}, 400, "invalid_message"),
        ({"payload": base64.b64encode(bytes(150 * 1024 + 1)).decode()}, 413, "message_too_large"),
        ({"payload": "A" * 300_000}, 413, "body_too_large"),
    ],
)
async def test_messages_that_are_not_kept(
    api: Served, change: dict[str, Any], status: int, code: str
) -> None:
    customer = await api.customer()
    before = await api.books()
    headers = customer.pay(2_000_000)
    refused(await api.http.post("/v1/messages", json=message(**change), headers=headers), status, code)
    assert await api.books() == before


async def test_full_quotas_are_named(deployed: Deployed, settings: NodeSettings) -> None:
    tight = settings.model_copy(update={"channel_quota_bytes": 1000, "storage_quota_bytes": 1500})
    async with served(tight) as api:
        one, two = await api.open(2)
        assert (
            await api.http.post("/v1/messages", json=message("x" * 900), headers=one.pay(10_000))
        ).status_code == 201
        before = await api.books()
        answer = await api.http.post("/v1/messages", json=message("x" * 900), headers=one.pay(10_000))
        refused(answer, 403, "quota_exceeded")
        answer = await api.http.post("/v1/messages", json=message("x" * 900), headers=two.pay(10_000))
        refused(answer, 507, "storage_full")
        assert await api.books() == before


async def test_a_node_without_prices_serves_everybody(settings: NodeSettings) -> None:
    free = PRICES.model_copy(update={"store_per_kib_hour": 0, "fetch_per_kib": 0})
    async with served(settings.model_copy(update={"prices": free})) as api:
        stored = await api.http.post("/v1/messages", json=message())
        assert stored.status_code == 201, stored.text
        fetched = await api.http.post("/v1/mailbox/fetch", json={"ids": [stored.json()["id"]]})
        assert (fetched.status_code, fetched.json()["charged"]) == (200, "0")
        customer = await api.customer()
        paid = await api.http.post("/v1/messages", json=message(), headers=customer.pay(50))
        assert (paid.json()["charged"], paid.json()["paid"]) == ("0", "50")
