"""POST and WS /v1/relay on real sockets: who is given what, what it costs, and who is cut off."""

import asyncio
import base64
import contextlib
import json
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.services.node.api.served import PRICES, TOPIC, message, node_settings, refused
from tests.services.node.relaying import Listening, OpenGate, Subscription, listening
from tests.services.node.world import Deployed, World
from websockets.exceptions import ConnectionClosed, InvalidStatus

from waypost.node import server, subscriptions
from waypost.node.api import subscriber
from waypost.node.settings import NodeSettings, RelaySettings
from waypost.protocol.eip712 import node_domain
from waypost.protocol.messages import MAX_PAYLOAD
from waypost.protocol.payments import PaymentRequired
from waypost.protocol.poseidon import R
from waypost.protocol.relay import Greeting

OTHER = "/waypost/1/other/raw"
FREE = PRICES.model_copy(update={"relay_per_kib": 0, "store_per_kib_hour": 0})


def proof(**changes: Any) -> dict[str, Any]:
    """A proof that only an open gate takes."""
    nullifier = str(int.from_bytes(os.urandom(31)))
    made = {"epoch": 1, "root": "1", "nullifier": nullifier, "y": "3", "proof": "0x" + "11" * 128}
    return {**made, **changes}


def published(text: str = "hello", **changes: Any) -> dict[str, Any]:
    """A body for POST /v1/relay that no other call returns."""
    body = message(text, **changes)
    del body["retention"]
    return body


def as_delivered(body: dict[str, Any]) -> dict[str, Any]:
    """The message of a body as subscribers get it."""
    return {name: body[name] for name in ("topic", "payload", "timestamp", "rateProof") if name in body}


@pytest.fixture
def settings(deployed: Deployed, tmp_path: Path) -> NodeSettings:
    return node_settings(deployed, tmp_path, prices=FREE)


@pytest.fixture
async def node(settings: NodeSettings) -> AsyncIterator[Listening]:
    async with listening(settings) as node:
        yield node


@pytest.fixture
async def open_node(node: Listening) -> Listening:
    """One that takes every proof."""
    node.node.relay._gate = OpenGate()
    return node


async def publish(node: Listening, body: dict[str, Any], status: int = 201, **options: Any) -> dict[str, Any]:
    answer = await node.http.post("/v1/relay", json=body, **options)
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


# ---- Publishing ----


async def test_each_subscriber_of_the_topic_gets_each_message_once_in_order(node: Listening) -> None:
    async with (
        node.subscribed([TOPIC]) as one,
        node.subscribed([OTHER, TOPIC]) as two,
        node.subscribed([OTHER]) as third,
    ):
        bodies = [published(str(i)) for i in range(5)]
        for body in bodies:
            await publish(node, body)
        last = published("last", topic=OTHER)
        await publish(node, last)
        assert await one.messages(5) == [as_delivered(body) for body in bodies]
        assert await two.messages(6) == [as_delivered(body) for body in (*bodies, last)]
        assert await third.messages(1) == [as_delivered(last)]


async def test_what_is_relayed_is_counted_by_its_origin(open_node: Listening) -> None:
    node = open_node
    for body in (published("paid"), published("proved", rateProof=proof())):
        await publish(node, body)
        await publish(node, body, 200)
    async with node.admin() as admin:
        metrics = (await admin.get("/metrics")).text
    assert 'waypost_relayed_total{origin="paid"} 1.0' in metrics
    assert 'waypost_relayed_total{origin="member"} 1.0' in metrics


async def test_a_duplicate_is_said_and_not_given_again(node: Listening) -> None:
    async with node.subscribed([TOPIC]) as there:
        body, other = published(), published("other")
        first = await publish(node, body)
        again = await publish(node, body, 200)
        await publish(node, other)
        assert (first["duplicate"], again["duplicate"]) == (False, True)
        assert (again["id"], again["accepted"]) == (first["id"], first["accepted"])
        assert await there.messages(2) == [as_delivered(body), as_delivered(other)]


async def test_a_stored_message_is_relayed_and_extending_it_is_not(node: Listening) -> None:
    async with node.subscribed([TOPIC]) as there:
        body, other = message(), published("other")
        for retention in (3600, 7200):
            answer = await node.http.post("/v1/messages", json={**body, "retention": retention})
            assert answer.status_code == 201, answer.text
        await publish(node, other)
        assert await there.messages(2) == [as_delivered(body), as_delivered(other)]


async def test_publishing_without_a_proof_has_its_price(deployed: Deployed, tmp_path: Path) -> None:
    async with listening(node_settings(deployed, tmp_path)) as node:
        customer, body = await node.customer(), published("x" * 3000)
        refused(await node.http.post("/v1/relay", json=body), 402, "payment_required")
        size = len(TOPIC) + 3000 + 8
        price = -(-size * PRICES.relay_per_kib // 1024)
        paid = await publish(node, body, headers=customer.pay(price))
        assert (paid["charged"], paid["spent"], paid["size"]) == (str(price), str(price), size)
        again = await publish(node, body, 200, headers=await node.session(customer))
        assert (again["charged"], again["duplicate"]) == ("0", True)


async def test_a_proved_message_is_free(deployed: Deployed, tmp_path: Path) -> None:
    async with listening(node_settings(deployed, tmp_path)) as node:
        node.node.relay._gate = OpenGate()
        assert (await publish(node, published(rateProof=proof())))["charged"] == "0"


async def test_who_breaks_its_rate_is_refused_and_no_subscriber_sees_it(open_node: Listening) -> None:
    node = open_node
    async with node.subscribed([TOPIC]) as there:
        one, other, last = (published(str(i), rateProof=proof(nullifier="7")) for i in range(3))
        last = published("last")
        await publish(node, one)
        for _ in range(2):
            refused(await node.http.post("/v1/relay", json=other), 429, "rate_exceeded")
        await publish(node, last)
        assert await there.messages(2) == [as_delivered(one), as_delivered(last)]


async def test_a_clock_may_be_a_minute_behind_and_the_proof_take_a_while(open_node: Listening) -> None:
    made = published("late", timestamp=str(time.time_ns() - 90 * 10**9))
    async with open_node.subscribed([TOPIC]) as there:
        await publish(open_node, made)
        assert await there.messages(1) == [as_delivered(made)]


async def test_storing_with_a_proof_relays_it_with_the_proof(open_node: Listening) -> None:
    node, proved = open_node, proof()
    async with node.subscribed([TOPIC]) as there:
        body = message(rateProof=proved)
        assert (await node.http.post("/v1/messages", json=body)).status_code == 201
        (given,) = await there.messages(1)
        assert given["rateProof"] == proved


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"topic": "no topic"}, 400, "invalid_topic"),
        ({"topic": "/" + "x" * 5000}, 400, "invalid_request"),
        ({"timestamp": str((int(time.time()) - 1000) * 10**9)}, 400, "clock_skew"),
        ({"timestamp": str((int(time.time()) + 1000) * 10**9)}, 400, "clock_skew"),
        ({"payload": base64.b64encode(bytes(MAX_PAYLOAD + 1)).decode()}, 413, "message_too_large"),
        ({"payload": base64.b64encode(bytes(200_000)).decode()}, 413, "body_too_large"),
        ({"rateProof": proof(root=str(R))}, 400, "invalid_field_element"),
        ({"rateProof": proof(y="-1")}, 400, "invalid_request"),
        ({"rateProof": proof(proof="0x" + "11" * 127)}, 400, "invalid_request"),
        ({"rateProof": proof(epoch=2**60)}, 400, "invalid_request"),
        ({"rateProof": proof(epoch=True)}, 400, "invalid_request"),
        ({"rateProof": "none"}, 400, "invalid_request"),
    ],
    ids=[
        "topic",
        "giant_topic",
        "old",
        "future",
        "large_payload",
        "large_body",
        "root",
        "negative",
        "short_proof",
        "far_epoch",
        "boolean_epoch",
        "no_object",
    ],
)
async def test_bad_messages_are_refused(
    open_node: Listening, changes: dict[str, Any], status: int, code: str
) -> None:
    refused(await open_node.http.post("/v1/relay", json=published(**changes)), status, code)


async def test_a_node_without_rln_says_so(node: Listening) -> None:
    refused(await node.http.post("/v1/relay", json=published(rateProof=proof())), 404, "rln_unavailable")


# ---- Subscribing ----


async def test_a_cursor_resumes_where_it_was(node: Listening) -> None:
    bodies = [published(str(i)) for i in range(150)]  # more than a batch
    async with node.subscribed([TOPIC]) as there:
        for body in bodies[:10]:
            await publish(node, body)
        await there.messages(10)
        cursor = there.frames[-1]["cursor"]
    for body in bodies[10:]:
        await publish(node, body)
    async with node.subscribed([TOPIC], cursor=cursor) as there:
        given = [frame["message"] for frame in there.frames if frame["type"] == "message"]
        assert given == [as_delivered(body) for body in bodies[10:]]
        last = published("live")
        await publish(node, last)
        assert await there.messages(1) == [as_delivered(last)]


async def test_a_cursor_survives_the_node(settings: NodeSettings) -> None:
    async with listening(settings) as node, node.subscribed([TOPIC]) as there:
        await publish(node, published("one"))
        cursor = (await there.next("message"))["cursor"]
        await publish(node, missed := published("two"))
    async with listening(settings) as node, node.subscribed([TOPIC], cursor=cursor) as there:
        assert [f["message"] for f in there.frames if "message" in f] == [as_delivered(missed)]


async def test_what_was_forgotten_is_said(deployed: Deployed, tmp_path: Path) -> None:
    small = RelaySettings(quota_bytes=1024 * 1024)
    async with listening(node_settings(deployed, tmp_path, prices=FREE, relay=small)) as node:
        async with node.subscribed([TOPIC]) as there:
            await publish(node, published("one"))
            cursor = (await there.next("message"))["cursor"]
        big = "x" * 100_000
        for i in range(12):
            await publish(node, published(f"{i}{big}"))
        async with node.subscribed([TOPIC], cursor=cursor) as there:
            kinds = [frame["type"] for frame in there.frames]
            assert (kinds[0], kinds[-1]) == ("pruned", "live")
            assert 0 < kinds.count("message") < 12
        held = await node.node.db.read(lambda c: c.execute("SELECT sum(size) FROM relayed").fetchone()[0])
        assert held <= 1024 * 1024


@pytest.mark.parametrize(
    ("frame", "code", "close"),
    [
        ("{", "invalid_request", 4400),
        ("[]", "invalid_request", 4400),
        ("{}", "invalid_request", 4400),
        ('{"topics": []}', "invalid_request", 4400),
        ('{"topics": ["x"]}', "invalid_topic", 4400),
        (json.dumps({"topics": [TOPIC] * 65}), "invalid_request", 4400),
        (json.dumps({"topics": [TOPIC], "cursor": "x"}), "invalid_cursor", 4400),
        (json.dumps({"topics": [TOPIC], "cursor": "x" * 100}), "invalid_request", 4400),
        ('{"greeting": {"operator": "0x"}}', "invalid_address", 4400),
        (b"\x00\x01", "invalid_request", 4400),
    ],
    ids=lambda value: str(value)[:30],
)
async def test_bad_first_frames(node: Listening, frame: str | bytes, code: str, close: int) -> None:
    async with node.socket() as there:
        await there.socket.send(frame)
        last, closed = await there.closed()
        assert (last["code"], closed) == (code, close)
        assert last["detail"]


async def test_a_mailbox_cursor_is_no_relay_cursor(node: Listening) -> None:
    await node.http.post("/v1/messages", json=message())
    listed = (await node.http.post("/v1/mailbox", json={"topics": [TOPIC]})).json()
    async with node.socket() as there:
        await there.send({"topics": [TOPIC], "cursor": listed["cursor"]})
        assert (await there.closed())[0]["code"] == "invalid_cursor"


async def test_the_first_frame_must_come(node: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscriber, "FRAME_SECONDS", 0.05)
    async with node.socket() as there:
        last, closed = await there.closed()
        assert (last["code"], closed) == ("request_timeout", 4408)


async def test_frames_that_nobody_asked_for(node: Listening) -> None:
    async with node.subscribed([TOPIC]) as there:
        for _ in range(2):  # one waits until a frame is asked for, and is that then
            await there.send({"topics": [TOPIC]})
        last, closed = await there.closed()
        assert (last["code"], closed) == ("invalid_request", 4400)


async def test_a_frame_that_is_too_large_ends_the_connection(node: Listening) -> None:
    async with node.socket() as there:
        await there.socket.send("x" * 100_000)
        with pytest.raises(ConnectionClosed):
            await there.socket.recv()
        assert there.socket.close_code == 1009


async def test_there_are_so_many_places(deployed: Deployed, tmp_path: Path) -> None:
    few = RelaySettings(max_subscribers=3, max_subscriptions_per_address=2)
    async with listening(node_settings(deployed, tmp_path, prices=FREE, relay=few)) as node:
        async with node.subscribed([TOPIC]), node.subscribed([TOPIC]), node.socket() as third:
            await third.send({"topics": [TOPIC]})
            assert (await third.closed())[1] == 4429
        async with node.subscribed([TOPIC]):  # places are given back
            pass
        node.node.relay.subscriptions._capacity = 0
        async with node.socket() as none:
            await none.send({"topics": [TOPIC]})
            assert (await none.closed())[1] == 4503


async def test_who_says_nothing_makes_room(node: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscriptions, "WAITING", 2)
    async with node.socket() as first, node.socket(), node.socket() as third:
        assert (await first.closed())[1] == 4408
        await third.send({"topics": [TOPIC]})
        assert (await third.next())["type"] == "live"


async def test_a_handshake_counts_as_a_request(deployed: Deployed, tmp_path: Path) -> None:
    rate = {"requests_per_second": 0.001, "burst": 2}
    settings = node_settings(deployed, tmp_path, prices=FREE, rate=rate)
    async with listening(settings) as node, node.subscribed([TOPIC]), node.subscribed([TOPIC]):
        with pytest.raises(InvalidStatus) as refusal:
            await node.socket().__aenter__()
        assert refusal.value.response.status_code == 429


async def test_who_does_not_read_is_cut_off(node: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscriber, "SEND_SECONDS", 0.2)
    async with node.subscribed([TOPIC]) as quick, node.socket(max_queue=1, ping_interval=None) as slow:
        await slow.send({"topics": [TOPIC]})
        await slow.next("live")
        slow.socket.transport.pause_reading()
        for i in range(120):
            await publish(node, published(f"{i}" + "x" * 90_000))
            await quick.messages(1)  # the others are not held up
        async with asyncio.timeout(30):
            while len(node.node.relay.subscriptions) > 1:  # noqa: ASYNC110  # two tasks meet
                await asyncio.sleep(0.01)
        slow.socket.transport.abort()


async def test_a_half_open_connection_ends(settings: NodeSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "PING_SECONDS", 0.1)
    async with listening(settings) as node, node.socket(ping_interval=None) as there:
        await there.send({"topics": [TOPIC]})
        await there.next("live")
        there.socket.transport.pause_reading()  # as if the cable were cut
        async with asyncio.timeout(30):
            while len(node.node.relay.subscriptions):  # noqa: ASYNC110  # two tasks meet
                await asyncio.sleep(0.01)
        there.socket.transport.abort()


async def test_the_node_stops_while_somebody_listens(settings: NodeSettings) -> None:
    async with listening(settings) as node:
        left = node.subscribed([TOPIC])
        there = await left.__aenter__()
    async with asyncio.timeout(30):
        await there.socket.wait_closed()
    await left.__aexit__(None, None, None)


# ---- Paying for delivery ----


async def test_delivery_is_paid_batch_by_batch(deployed: Deployed, tmp_path: Path) -> None:
    async with listening(node_settings(deployed, tmp_path)) as node:
        customer = await node.customer()
        session = (await node.session(customer))["Authorization"].removeprefix("Bearer ")
        await publish(node, body := published("x" * 2000), headers=customer.pay(10**5))
        spent = -(-(len(TOPIC) + 2000 + 8) * PRICES.relay_per_kib // 1024)
        async with node.subscribed([TOPIC], session=session) as there:
            node.node.relay._gate = OpenGate()
            await publish(node, body := published("y" * 2000, rateProof=proof()))
            asked = await there.next("payment_required")
            assert int(asked["amount"]) == spent
            required = PaymentRequired.from_header(asked["required"])
            assert required.accepts[0].amount == spent
            await there.send({"accept": asked["amount"]})  # there is a balance
            assert await there.messages(1) == [as_delivered(body)]
            account = await there.next("account")
            assert (account["charged"], account["spent"]) == (str(spent), str(2 * spent))


async def test_delivery_takes_a_receipt(deployed: Deployed, tmp_path: Path) -> None:
    async with listening(node_settings(deployed, tmp_path)) as node:
        node.node.relay._gate = OpenGate()
        customer = await node.customer()
        session = (await node.session(customer))["Authorization"].removeprefix("Bearer ")
        async with node.subscribed([TOPIC], session=session) as there:
            await publish(node, published(rateProof=proof()))
            amount = int((await there.next("payment_required"))["amount"])
            header = customer.pay(amount)["PAYMENT-SIGNATURE"]
            await there.send({"accept": str(amount), "payment": header})
            await there.messages(1)
            account = await there.next("account")
            assert account["charged"] == account["paid"] == account["spent"] == str(amount)


@pytest.mark.parametrize(
    "answer", [{"accept": "0"}, {"accept": "99999"}, None], ids=["less", "unpaid", "none"]
)
async def test_who_does_not_pay_is_given_nothing(
    deployed: Deployed, tmp_path: Path, answer: dict[str, str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with listening(node_settings(deployed, tmp_path)) as node:
        node.node.relay._gate = OpenGate()
        customer = await node.customer()
        session = (await node.session(customer))["Authorization"].removeprefix("Bearer ")
        async with node.subscribed([TOPIC], session=session) as there:
            if answer is None:
                monkeypatch.setattr(subscriber, "FRAME_SECONDS", 0.05)
            await publish(node, published(rateProof=proof()))
            await there.next("payment_required")
            if answer is not None:
                await there.send(answer)
            last, closed = await there.closed()
            assert (last["code"], closed) == ("payment_required", 4402)
            assert all(frame["type"] != "message" for frame in there.frames)


async def test_delivery_at_a_price_needs_a_session(deployed: Deployed, tmp_path: Path) -> None:
    async with listening(node_settings(deployed, tmp_path)) as node, node.socket() as there:
        await there.send({"topics": [TOPIC]})
        assert (await there.closed())[1] == 4401


async def test_places_at_a_price_are_counted_by_who_pays(
    deployed: Deployed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriptions, "CONNECTIONS_OF_A_PAYER", 2)
    few = RelaySettings(max_subscribers=3, max_subscriptions_per_address=1)
    settings = node_settings(deployed, tmp_path, relay=few, trusted_proxy=True)
    async with listening(settings) as node, contextlib.AsyncExitStack() as stack:
        one, other = [
            (await node.session(customer))["Authorization"].removeprefix("Bearer ")
            for customer in await node.open(2)
        ]

        async def subscribe(number: int, session: str) -> Subscription:
            come_from = {"X-Forwarded-For": f"192.0.2.{number}"}
            there = await stack.enter_async_context(node.socket(additional_headers=come_from))
            await there.send({"topics": [TOPIC], "session": session})
            return there

        for number in (1, 2):
            await (await subscribe(number, one)).next("live")
        assert (await (await subscribe(3, one)).closed())[1] == 4429
        await (await subscribe(1, other)).next("live")  # from an address that somebody else is at
        assert (await (await subscribe(4, "unknown")).closed())[1] == 4401  # before it is told how full it is
        assert (await (await subscribe(4, other)).closed())[1] == 4503


# ---- Other nodes ----


async def test_a_stranger_cannot_greet(node: Listening, world: World, settings: NodeSettings) -> None:
    domain, key = node_domain(settings.chain_id, settings.registry), os.urandom(32)
    now = int(time.time())
    for peer, expires, code in (
        (settings.operator, now + 60, "session_invalid"),
        (world.token.address, now + 60, "session_invalid"),
        (settings.operator, now - 1, "session_expired"),
        (settings.operator, now + 4000, "session_invalid"),
    ):
        greeting = Greeting(settings.operator, peer, expires)
        signature = greeting.sign(domain, key).to_hex()
        async with node.socket() as there:
            await there.send({"greeting": {**greeting.to_json(), "signature": signature}})
            last, closed = await there.closed()
            assert (last["code"], closed) == (code, 4401)
