"""Paying for a request: by session, inline with a receipt, or not, and every receipt that does not count."""

import asyncio
import base64
import json
from typing import Any

import httpx
import pytest
from tests.services.node.api.served import DEPOSIT, ENDPOINT, Customer, Served, message, price_of, refused
from tests.services.node.world import new_key

from waypost.protocol.payments import PaymentPayload
from waypost.protocol.signatures import address_of


def decoded(header: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(base64.b64decode(header, validate=True))
    return value


async def test_402_has_the_fields_of_the_x402_v2_specification(api: Served) -> None:
    body = message()
    answer = await api.http.post("/v1/messages", json=body)
    problem = refused(answer, 402, "payment_required")
    required = decoded(answer.headers["PAYMENT-REQUIRED"])
    assert required["x402Version"] == 2
    assert required["error"] == problem["detail"]
    assert required["resource"]["url"] == ENDPOINT + "/v1/messages"
    (way,) = required["accepts"]
    assert way == {
        "scheme": "waypost-channel",
        "network": f"eip155:{api.settings.chain_id}",
        "amount": str(price_of(body)),
        "asset": api.settings.token,
        "payTo": api.settings.payee,
        "maxTimeoutSeconds": 600,
        "extra": {
            "channels": api.settings.channels,
            "closeDelay": 2,
            "minDeposit": "1000000",
            "minReceipt": "10",
            "balance": "0",
            "priceId": api.node.prices.current().price_id,
        },
    }


async def test_a_receipt_in_the_request_pays_for_it(api: Served) -> None:
    customer, body = await api.customer(), message()
    price = price_of(body)
    answer = await api.http.post("/v1/messages", json=body, headers=customer.pay(price + 7))
    assert answer.status_code == 201, answer.text
    assert {name: answer.json()[name] for name in ("charged", "paid", "spent")} == {
        "charged": str(price),
        "paid": str(price + 7),
        "spent": str(price),
    }
    assert decoded(answer.headers["PAYMENT-RESPONSE"]) == {
        "success": True,
        "transaction": "",
        "network": f"eip155:{api.settings.chain_id}",
        "payer": customer.signer,
    }
    account = await api.node.ledger.account(customer.signer)
    assert account is not None
    assert (account.paid, account.spent) == (price + 7, price)


async def test_a_session_spends_what_was_paid_before(api: Served) -> None:
    customer, first, second = await api.customer(), message("a"), message("b" * 3000)
    session = await api.session(customer)
    prices = price_of(first), price_of(second)
    raised = await api.http.post("/v1/receipts", json=customer.raised(sum(prices)))
    assert raised.json() == {
        "charged": "0",
        "paid": str(sum(prices)),
        "spent": "0",
        "balance": str(sum(prices)),
    }
    for body, price in zip((first, second), prices, strict=True):
        answer = await api.http.post("/v1/messages", json=body, headers=session)
        assert (answer.status_code, answer.json()["charged"]) == (201, str(price))
        assert "PAYMENT-RESPONSE" not in answer.headers
    answer = await api.http.post("/v1/messages", json=message(), headers=session)
    problem = refused(answer, 402, "payment_required")
    assert (problem["amount"], problem["balance"]) == (str(price_of(message())), "0")


async def test_402_says_what_is_left_on_the_channel(api: Served) -> None:
    customer = await api.customer()
    session = await api.session(customer)
    await api.http.post("/v1/receipts", json=customer.raised(11))
    answer = await api.http.post("/v1/messages", json=message("x" * 100), headers=session)
    refused(answer, 402, "payment_required")
    (way,) = decoded(answer.headers["PAYMENT-REQUIRED"])["accepts"]
    assert way["extra"]["balance"] == "11"


async def test_many_requests_at_once_on_one_channel(api: Served) -> None:
    """Late receipts are ignored while a session authorises the requests; each request is charged once."""
    customer, bodies = await api.customer(), [message(str(number)) for number in range(40)]
    session, price = await api.session(customer), price_of(message("10"))
    requests = [(body, customer.pay(price) | session) for body in bodies]
    requests.reverse()
    sent = [api.http.post("/v1/messages", json=body, headers=headers) for body, headers in requests]
    answers = await asyncio.gather(*sent)
    assert [answer.status_code for answer in answers] == [201] * 40
    account = await api.node.ledger.account(customer.signer)
    assert account is not None
    assert (account.paid, account.spent) == (40 * price, sum(map(price_of, bodies)))


# ---- What does not count ----


async def refusals(api: Served, customer: Customer) -> dict[str, tuple[dict[str, str], int, str]]:
    """Headers that pay for nothing, and the answer to each. The customer has paid and spent 1000 before."""
    stranger = Customer(api.settings)
    other = address_of(new_key("other node"))
    price = 10**6
    customer.total = 1000
    forged = {"signature": stranger.receipt(1000 + price)}
    another = {"signature": customer.receipt(1000 + price, payee=other)}
    cases: dict[str, tuple[dict[str, str], int, str]] = {
        "unknown channel": (stranger.pay(price), 404, "channel_unknown"),
        "forged signature": (customer.pay(price, **forged), 402, "invalid_receipt"),
        "another node's payee": (
            customer.pay(0, amount=price, pay_to=other),
            402,
            "receipt_for_another_node",
        ),
        "signed for another node": (
            customer.pay(0, cumulative=1000 + price, **another),
            402,
            "invalid_receipt",
        ),
        "another token": (customer.pay(0, amount=price, asset=other), 402, "receipt_for_another_node"),
        "another chain": (customer.pay(0, amount=price, chain_id=1), 402, "receipt_for_another_node"),
    }
    customer.total = 1000
    cases |= {
        "stale": (customer.pay(0, amount=price), 402, "stale_receipt"),
        "above the deposit": (
            customer.pay(0, amount=price, cumulative=DEPOSIT + 1),
            402,
            "receipt_exceeds_deposit",
        ),
        "above every deposit": (
            customer.pay(0, amount=price, cumulative=2**128 - 1),
            402,
            "receipt_exceeds_deposit",
        ),
        "a raise too small": (customer.pay(0, amount=price, cumulative=1009), 402, "receipt_too_small"),
        "less than the price": (customer.pay(0, amount=price, cumulative=1010), 402, "payment_required"),
        "accepted less than the price": (customer.pay(price, amount=1), 402, "payment_required"),
        "unknown session": ({"Authorization": "Bearer nothing"}, 401, "session_invalid"),
        "no bearer": ({"Authorization": "Basic Zm9vOmJhcg=="}, 401, "session_invalid"),
        "not base64": ({PaymentPayload.header: "%%%"}, 400, "invalid_payment"),
        "not JSON": ({PaymentPayload.header: base64.b64encode(b"{").decode()}, 400, "invalid_payment"),
        "empty": ({PaymentPayload.header: ""}, 400, "invalid_payment"),
        "deep": ({PaymentPayload.header: base64.b64encode(b"[" * 6000).decode()}, 400, "invalid_payment"),
        "version 1": (altered(customer.pay(price), x402Version=1), 400, "invalid_payment"),
        "no payload": (altered(customer.pay(price), payload=None), 400, "invalid_payment"),
    }
    return cases


def altered(headers: dict[str, str], **changes: Any) -> dict[str, str]:
    value = {**decoded(headers[PaymentPayload.header]), **changes}
    return {PaymentPayload.header: base64.b64encode(json.dumps(value).encode()).decode()}


async def test_no_bad_payment_is_served_charged_or_kept(api: Served) -> None:
    customer = await api.customer()
    await api.http.post("/v1/receipts", json=customer.raised(1000))
    session = await api.session(customer)
    spent = message("x" * 560)
    answer = await api.http.post("/v1/messages", json=message("x" * 997), headers=session)
    assert answer.json()["spent"] == "1000", (answer.text, price_of(spent))
    before = await api.books()
    for name, (headers, status, code) in (await refusals(api, customer)).items():
        answer = await api.http.post("/v1/messages", json=message("x" * 900), headers=headers)
        assert (name, answer.status_code, answer.json()["code"]) == (name, status, code)
        refused(answer, status, code)
        if status == 402:
            assert decoded(answer.headers["PAYMENT-REQUIRED"])["accepts"][0]["payTo"] == api.settings.payee
        if status == 402 and PaymentPayload.header in headers:
            response = decoded(answer.headers["PAYMENT-RESPONSE"])
            assert (response["success"], response["errorReason"]) == (False, code)
        if status == 401:
            assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert await api.books() == before, name


async def test_a_session_and_a_payment_of_different_channels_are_refused(api: Served) -> None:
    one, two = await api.open(2)
    headers = two.pay(10**5) | await api.session(one)
    before = await api.books()
    refused(await api.http.post("/v1/messages", json=message(), headers=headers), 400, "invalid_payment")
    assert await api.books() == before


async def test_inline_receipts_of_a_closing_channel_are_refused(api: Served) -> None:
    customer = await api.customer()
    session = await api.session(customer)
    await api.http.post("/v1/receipts", json=customer.raised(10_000))
    await api.start_close(customer)
    customer.total = 10_000
    before = await api.books()
    answer = await api.http.post("/v1/messages", json=message(), headers=customer.pay(5_000))
    refused(answer, 409, "channel_closing")
    assert await api.books() == before
    answer = await api.http.post("/v1/messages", json=message(), headers=session)
    assert answer.status_code == 201, "what was paid before can still be spent"


# ---- Idempotency and prices ----


async def test_a_repeated_request_gets_the_first_answer_and_is_charged_once(api: Served) -> None:
    customer, body = await api.customer(), message()
    session = await api.session(customer)
    await api.http.post("/v1/receipts", json=customer.raised(100_000))
    headers = session | {"Idempotency-Key": "one"}
    first = await api.http.post("/v1/messages", json=body, headers=headers)
    await api.http.post("/v1/messages", json=message("between"), headers=session)
    again = await api.http.post("/v1/messages", json=body, headers=headers)
    for name in ("id", "size", "accepted", "expires", "charged"):
        assert first.json()[name] == again.json()[name]
    assert again.json()["spent"] == str(price_of(body) + price_of(message("between"))), (
        "the books are today's"
    )
    other = await api.http.post("/v1/messages", json=message("other"), headers=headers)
    refused(other, 409, "idempotency_conflict")


async def test_an_inline_payment_is_repeated_safely_too(api: Served) -> None:
    customer, body = await api.customer(), message()
    headers = customer.pay(price_of(body)) | {"Idempotency-Key": "!~"}
    first = await api.http.post("/v1/messages", json=body, headers=headers)
    again = await api.http.post("/v1/messages", json=body, headers=headers)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()


@pytest.mark.parametrize("key", ["", "with space", "x" * 256, "tab\t", "\xe4"])
async def test_malformed_idempotency_keys_are_refused(api: Served, key: str) -> None:
    headers = httpx.Headers({"Idempotency-Key": key}, encoding="latin-1")
    answer = await api.http.post("/v1/messages", json=message(), headers=headers)
    refused(answer, 400, "invalid_request")


async def test_storing_again_costs_the_added_time_only(api: Served) -> None:
    customer, body = await api.customer(), message()
    session = await api.session(customer)
    await api.http.post("/v1/receipts", json=customer.raised(100_000))
    first = await api.http.post("/v1/messages", json=body, headers=session)
    longer = await api.http.post("/v1/messages", json={**body, "retention": 7200}, headers=session)
    added = longer.json()["expires"] - first.json()["expires"]
    assert longer.json()["id"] == first.json()["id"]
    assert int(longer.json()["charged"]) == price_of({**body, "retention": added})
