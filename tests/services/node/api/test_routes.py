"""What each route does when all is well, and the refusals that are its own."""

import base64
import time
from typing import Any

import pytest
from eth_utils.address import to_normalized_address
from tests.services.node.api.served import (
    PRICES,
    TOPIC,
    Clock,
    Customer,
    Served,
    message,
    price_of,
    refused,
    served,
)
from tests.services.node.world import Deployed

from waypost.chain.channels import ChannelStatus
from waypost.chain.embedded import FUNDED_KEYS
from waypost.chain.transactions import Sender
from waypost.node.settings import NodeSettings
from waypost.protocol.eip712 import channels_domain, node_domain
from waypost.protocol.messages import Message
from waypost.protocol.nodes import NodeDescriptor
from waypost.protocol.openings import Close
from waypost.protocol.receipts import SignedReceipt
from waypost.protocol.signatures import Signature, address_of

# ---- Node ----


async def test_the_node_describes_itself_under_its_key(api: Served) -> None:
    answer = await api.http.get("/v1/node")
    domain = node_domain(api.settings.chain_id, api.settings.registry)
    described = NodeDescriptor.verify(answer.json(), domain)
    assert described.node_key == address_of(api.settings.node_key.get_secret_value())
    assert (described.operator, described.payee) == (api.settings.operator, api.settings.payee)
    assert described.prices.store_per_kib_hour == PRICES.store_per_kib_hour
    assert described.limits.max_payload == 150 * 1024
    assert answer.headers["Cache-Control"] == "public, max-age=60"


async def test_the_description_is_signed_again_before_its_prices_run_out(settings: NodeSettings) -> None:
    clock = Clock()
    async with served(settings, clock) as api:
        first = (await api.http.get("/v1/node")).json()
        assert (await api.http.get("/v1/node")).json() == first
        clock.shift = 301
        later = (await api.http.get("/v1/node")).json()
    assert later["issued"] >= first["issued"] + 301
    assert later["prices"]["priceId"] == first["prices"]["priceId"]
    assert later["prices"]["validUntil"] == later["issued"] + 600
    NodeDescriptor.verify(later, node_domain(settings.chain_id, settings.registry))


async def test_replaced_prices_are_honoured_for_ten_minutes_and_over_restarts(
    deployed: Deployed, settings: NodeSettings
) -> None:
    clock, body = Clock(), message("x" * 3000)
    async with served(settings, clock) as api:
        old = (await api.http.get("/v1/node")).json()["prices"]["priceId"]
        customer = await api.customer()
    dearer = settings.model_copy(update={"prices": PRICES.model_copy(update={"store_per_kib_hour": 2000})})
    async with served(dearer, clock) as api:
        new = (await api.http.get("/v1/node")).json()["prices"]["priceId"]
        session = await api.session(customer)
        await api.http.post("/v1/receipts", json=customer.raised(1_000_000))
        charged = []
        for price_id in (old, new):
            headers = session | {"Waypost-Price-Id": price_id}
            answer = await api.http.post("/v1/messages", json=message("x" * 3000), headers=headers)
            charged.append(int(answer.json()["charged"]))
        assert charged == [price_of(body), -(-2000 * (3000 + len(TOPIC) + 8) // 1024)]
    clock.shift = 590
    async with served(dearer, clock) as api:  # a restart neither ends nor extends the promise
        headers = await api.session(customer) | {"Waypost-Price-Id": old}
        body = message("x", timestamp=str((int(time.time()) + clock.shift) * 10**9))
        assert (await api.http.post("/v1/messages", json=body, headers=headers)).status_code == 201
        clock.shift = 620
        problem = refused(
            await api.http.post("/v1/messages", json=body, headers=headers), 409, "price_expired"
        )
        assert problem["priceId"] == new
        refused(
            await api.http.post("/v1/messages", json=body, headers={"Waypost-Price-Id": "0x" + "0" * 64}),
            409,
            "price_expired",
        )


# ---- Channels ----


async def test_opening_a_channel_without_ether(api: Served) -> None:
    customer = Customer(api.settings)
    request = await api.opening_request(customer, fee=100_000)
    answer = await api.http.post("/v1/channels", json=request)
    assert answer.status_code == 201, answer.text
    opened = answer.json()
    assert (opened["charged"], opened["paid"], opened["spent"]) == ("100000",) * 3
    assert opened["channel"]["signer"] == customer.signer
    state = await api.channels.channel(api.settings.payee, api.settings.token, customer.signer)
    assert (state.status, state.deposited) == (ChannelStatus.OPEN, int(opened["channel"]["deposited"]))
    repeated = await api.http.post("/v1/channels", json=request)
    assert (repeated.status_code, repeated.json()["transaction"]) == (201, opened["transaction"])


async def test_openings_that_the_node_does_not_send(api: Served) -> None:
    customer = Customer(api.settings)
    good = await api.opening_request(customer, fee=100_000)
    stranger = Customer(api.settings)
    before = await api.books()
    cases: list[tuple[dict[str, Any], int, str]] = [
        (
            {"receipt": {"cumulative": "99999", "signature": customer.receipt(99_999).to_hex()}},
            402,
            "receipt_too_small",
        ),
        (
            {"receipt": {"cumulative": "100000", "signature": stranger.receipt(100_000).to_hex()}},
            402,
            "invalid_receipt",
        ),
        ({"signerSignature": "0x" + "11" * 64}, 400, "invalid_signature"),
        ({"opening": {**good["opening"], "payee": stranger.signer}}, 422, "opening_refused"),
        ({"opening": {**good["opening"], "amount": "6000000"}}, 400, "invalid_signature"),
        ({"authorization": {**good["authorization"], "v": 0}}, 422, "opening_refused"),
    ]
    for change, status, code in cases:
        refused(await api.http.post("/v1/channels", json={**good, **change}), status, code)
    assert await api.books() == before
    assert (await api.http.post("/v1/channels", json=good)).status_code == 201


async def test_a_channel_shows_its_books_to_its_own_session_only(api: Served) -> None:
    one, two = await api.open(2)
    session = await api.session(one)
    await api.http.post("/v1/receipts", json=one.raised(500))
    shown = (await api.http.get(one.path, headers=session)).json()
    assert shown["receipt"] == {"cumulative": "500", "signature": one.receipt(500).to_hex()}
    assert (shown["paid"], shown["spent"], shown["balance"], shown["status"]) == ("500", "0", "500", "open")
    lower = to_normalized_address(one.path.split("/")[-1])
    assert (await api.http.get(one.path.replace(one.signer, lower), headers=session)).json() == shown
    refused(await api.http.get(one.path), 401, "session_invalid")
    refused(await api.http.get(two.path, headers=session), 404, "channel_unknown")
    refused(await api.http.get(one.path[:-1] + "z", headers=session), 400, "invalid_address")


async def test_the_consent_to_close_closes_the_channel_on_chain(api: Served) -> None:
    customer = await api.customer()
    session = await api.session(customer)
    await api.http.post("/v1/receipts", json=customer.raised(90_000))
    await api.http.post("/v1/messages", json=message("x" * 5000), headers=session)
    consent = (await api.http.post(customer.path + "/close", headers=session)).json()
    assert consent["close"]["finalCumulative"] == str(price_of(message("x" * 5000)))
    refused(await api.http.post("/v1/messages", json=message(), headers=session), 409, "channel_closing")
    settings = api.settings
    close = Close(
        settings.payee,
        settings.token,
        customer.signer,
        int(consent["close"]["finalCumulative"]),
        consent["close"]["deadline"],
    )
    signature = Signature.from_hex(consent["signature"])
    assert close.recover(channels_domain(settings.chain_id, settings.channels), signature) == settings.payee
    receipt = SignedReceipt.from_json(consent["receipt"], settings.payee, settings.token)
    sender = Sender(api.connection, FUNDED_KEYS[6])
    await sender.send(api.channels.close(close, signature, receipt))
    state = await api.channels.channel(settings.payee, settings.token, customer.signer)
    assert (state.status, state.claimed) == (ChannelStatus.CLOSED, close.final_cumulative)


# ---- Sessions and receipts ----


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


# ---- Messages ----


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


# ---- Health ----


async def test_health(api: Served) -> None:
    assert (await api.http.get("/healthz")).json() == {"status": "ok"}
    assert (await api.http.get("/readyz")).json() == {"status": "ready", "head": api.node.sync.head}


async def test_a_node_that_lost_its_chain_says_so_and_serves_what_needs_none(settings: NodeSettings) -> None:
    clock = Clock()
    async with served(settings, clock) as api:
        customer = await api.customer()
        session = await api.session(customer, expires=int(time.time()) + 3600)
        await api.http.post("/v1/receipts", json=customer.raised(100_000))
        opening = await api.opening_request(Customer(settings), fee=100_000)
        api.lose_chain()
        clock.shift = settings.max_head_age_seconds + 2
        before = await api.books()
        for method, path, body, headers in (
            ("GET", "/readyz", None, {}),
            ("POST", "/v1/receipts", customer.raised(200_000), {}),
            ("POST", "/v1/channels", opening, {}),
            ("POST", customer.path + "/close", None, session),
            ("POST", "/v1/messages", message(), customer.pay(10_000)),
        ):
            answer = await api.http.request(method, path, json=body, headers=headers)
            refused(answer, 503, "node_not_ready")
            assert answer.headers["Retry-After"] == "5"
        assert await api.books() == before
        now = str((int(time.time()) + clock.shift) * 10**9)
        served_anyway = await api.http.post("/v1/messages", json=message(timestamp=now), headers=session)
        assert served_anyway.status_code == 201, "what is paid can be spent"
        assert (await api.http.get("/healthz")).status_code == 200
