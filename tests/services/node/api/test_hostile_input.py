"""Everything that strangers can send to every route: one clear refusal, nothing charged, nothing written."""

import gzip
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.services.node.api.served import Customer, Served, message, refused

JSON = {"Content-Type": "application/json"}
WRONG: list[Any] = [
    None,
    True,
    -1,
    0.5,
    2**256,
    "",
    "0x",
    "x" * 10_000,
    "\ud800",
    "\x00",
    [],
    [[]],
    {},
    {"a": 1},
]
HOSTILE_JSON = [
    b"",
    b"{",
    b"null",
    b"[]",
    b'"text"',
    b"\xff\xfe{}",
    b"\xef\xbb\xbf{}",
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b"9" * 5_000,
    b'{"topic": "\xc3("}',
    b"\x00" * 100,
]
CREDENTIALS = ["Bearer", "Bearer ", "Bearer \xe4", "Bearer " + "x" * 5000, "Token abc", "\xff"]


async def valid_bodies(api: Served, customer: Customer) -> dict[str, dict[str, Any]]:
    """A body for every POST route that it would accept."""
    return {
        "/v1/channels": await api.opening_request(Customer(api.settings), fee=100_000),
        "/v1/sessions": customer.session_request(),
        "/v1/receipts": customer.raised(1_000_000),
        "/v1/messages": message(),
        "/v1/mailbox": {"topics": ["/a/1/b/c"], "limit": 1},
        "/v1/mailbox/fetch": {"ids": ["0x" + "00" * 32]},
    }


def spoiled(value: Any) -> Iterator[tuple[str, Any]]:
    """The value with one part of it missing, or replaced by each of WRONG; names say which."""
    if not isinstance(value, dict):
        return
    for name in value:
        yield f"no {name}", {key: kept for key, kept in value.items() if key != name}
        for wrong in WRONG:
            yield f"{name} = {wrong!r:.20}", {**value, name: wrong}
        for place, inner in spoiled(value[name]):
            yield f"{name}: {place}", {**value, name: inner}


HARMLESS = {
    "/v1/mailbox": {"no limit"},
    "/v1/messages": {"no meta"},
}
"""Spoiled bodies that are still right."""


def as_json(value: Any) -> bytes:
    return json.dumps(value, allow_nan=True).encode()


async def test_bodies_with_one_wrong_part(api: Served) -> None:
    customer = await api.customer()
    session = await api.session(customer)
    bodies = await valid_bodies(api, customer)
    before = await api.books()
    tried = 0
    for path, body in bodies.items():
        for name, wrong in spoiled(body):
            headers = JSON | session | customer.pay(0, cumulative=1_000_000)
            answer = await api.http.post(path, content=as_json(wrong), headers=headers)
            if name in HARMLESS.get(path, ()):
                continue
            problem = answer.json()
            assert answer.status_code in (400, 402), (path, name, answer.text)  # 402: right, but not paid
            refused(answer, problem["status"], problem["code"])
            assert len(answer.content) < 2_000, (path, name)
            tried += 1
    assert tried > 400
    assert await api.books() == before


async def test_amounts_are_text(api: Served) -> None:
    """JSON numbers lose digits in many readers, so none is taken for an amount, even a right one."""
    customer = await api.customer()
    opening = await api.opening_request(Customer(api.settings), fee=100_000)
    terms, receipt = opening["opening"], opening["receipt"]
    raised, session = customer.raised(1_000), customer.session_request()
    before = await api.books()
    for path, body, field in (
        ("/v1/channels", {**opening, "opening": {**terms, "amount": int(terms["amount"])}}, "opening.amount"),
        ("/v1/channels", {**opening, "receipt": {**receipt, "cumulative": 100_000}}, "receipt.cumulative"),
        ("/v1/receipts", {**raised, "cumulative": 1_000}, "cumulative"),
        ("/v1/sessions", {**session, "nonce": int(session["nonce"])}, "nonce"),
    ):
        problem = refused(await api.http.post(path, json=body), 400, "invalid_request")
        assert problem["field"] == field
    assert await api.books() == before


async def test_bodies_that_are_no_json_object(api: Served) -> None:
    bodies = await valid_bodies(api, await api.customer())
    before = await api.books()
    for path in bodies:
        for content in HOSTILE_JSON:
            refused(await api.http.post(path, content=content, headers=JSON), 400, "invalid_request")
    assert await api.books() == before


@pytest.mark.parametrize(
    "number", ["NaN", "Infinity", "-Infinity", "1e400", "1e-400", "9" * 4_000, "-0", "1_000", "0x10"]
)
async def test_absurd_numbers(api: Served, number: str) -> None:
    before = await api.books()
    template = json.dumps(message(retention="RETENTION"))
    body = template.replace('"RETENTION"', number).encode()
    answer = await api.http.post("/v1/messages", content=body, headers=JSON)
    problem = answer.json()
    assert problem["code"] in ("invalid_request", "retention_out_of_range"), answer.text
    refused(answer, 400, problem["code"])
    assert await api.books() == before


async def test_truncated_bodies(api: Served) -> None:
    customer = await api.customer()
    bodies = await valid_bodies(api, customer)
    before = await api.books()
    for path, body in bodies.items():
        whole = as_json(body)
        for end in range(1, len(whole), max(1, len(whole) // 20)):
            answer = await api.http.post(path, content=whole[:end], headers=JSON | customer.pay(0))
            refused(answer, 400, "invalid_request" if path != "/v1/messages" else answer.json()["code"])
    assert await api.books() == before


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "multipart/form-data; boundary=x"},
        {"Content-Type": "application/jsonp"},
        {"Content-Type": ""},
        {**JSON, "Content-Encoding": "gzip"},
        {**JSON, "Content-Encoding": "br"},
    ],
)
async def test_bodies_of_other_types(api: Served, headers: dict[str, str]) -> None:
    bodies = await valid_bodies(api, await api.customer())
    before = await api.books()
    for path, body in bodies.items():
        content = as_json(body)
        if headers.get("Content-Encoding") == "gzip":
            content = gzip.compress(content)
        refused(await api.http.post(path, content=content, headers=headers), 415, "unsupported_media_type")
    assert await api.books() == before


async def test_json_with_parameters_and_capitals_is_json(api: Served) -> None:
    headers = {"Content-Type": "Application/JSON; charset=utf-8", "Content-Encoding": "identity"}
    answer = await api.http.post("/v1/mailbox", content=b'{"topics": ["/a/1/b/c"]}', headers=headers)
    assert answer.status_code == 200, answer.text


async def test_oversized_bodies(api: Served) -> None:
    bodies = await valid_bodies(api, await api.customer())
    before = await api.books()
    for path, body in bodies.items():
        announced = as_json({**body, "padding": "x" * 300_000})
        refused(await api.http.post(path, content=announced, headers=JSON), 413, "body_too_large")

        async def endless() -> Any:
            for _ in range(1000):
                yield b" " * 65_536

        refused(await api.http.post(path, content=endless(), headers=JSON), 413, "body_too_large")
    assert await api.books() == before


@pytest.mark.parametrize("length", ["-1", "1e3", "0x10", "", "9" * 30, "1, 1"])
async def test_lengths_that_are_no_lengths(api: Served, length: str) -> None:
    headers = JSON | {"Content-Length": length}
    answer = await api.http.post("/v1/mailbox", content=b"{}", headers=headers)
    assert answer.status_code in (400, 413), answer.text
    refused(answer, answer.status_code, answer.json()["code"])


async def test_credentials_that_are_none(api: Served) -> None:
    customer = await api.customer()
    before = await api.books()
    for text in CREDENTIALS:
        headers = httpx.Headers({"Authorization": text}, encoding="latin-1")
        refused(await api.http.get(customer.path, headers=headers), 401, "session_invalid")
        answer = await api.http.post("/v1/messages", json=message(), headers=headers)
        refused(answer, 401, "session_invalid")
    assert await api.books() == before


async def test_paths_and_methods_that_are_none(api: Served) -> None:
    customer = await api.customer()
    session = await api.session(customer)
    for method in ("GET", "PUT", "DELETE", "PATCH", "HEAD", "TRACE", "BREW"):
        for path in ("/v1/messages", "/v1/mailbox", "/v1/channels", "/v1/receipts", "/v1/sessions"):
            answer = await api.http.request(method, path)
            assert answer.status_code == 405
            assert answer.headers["Allow"] == "POST"
    unknown = (
        "/",
        "/v1",
        "/v1/",
        "/v1/node/",
        "/v2/node",
        "/docs",
        "/metrics",
        "/status",
        "/claim",
        "/v1/%00",
    )
    for path in unknown:
        refused(await api.http.get(path), 404, "route_unknown")
    channel = customer.path.removeprefix("/v1/channels/")
    for bad in ("../" + channel, channel + "/extra", "%2e%2e/" + channel):
        answer = await api.http.get("/v1/channels/" + bad, headers=session)
        assert answer.status_code in (400, 404), bad
        refused(answer, answer.status_code, answer.json()["code"])
    for bad in ("0x", "0x" + "g" * 40, "\u0660" * 42, "0x" + "1" * 41, "null"):
        answer = await api.http.get(f"/v1/channels/{bad}/{bad}/{bad}", headers=session)
        refused(answer, 400, answer.json()["code"])


async def test_answers_never_repeat_what_was_sent(api: Served) -> None:
    """Problems go to logs and screens: they name fields, not values."""
    secret = "c2VjcmV0IHBheWxvYWQ="
    for body in (message(payload=secret + "!"), message(retention=secret), {"payload": secret}):
        answer = await api.http.post("/v1/messages", json=body)
        assert secret not in answer.text
