"""WS /v1/relay on real sockets: who is given what, what it costs, and who is cut off."""

import asyncio
import contextlib
import json
import os
import time
from pathlib import Path

import pytest
from tests.services.node.api.served import PRICES, TOPIC, message, node_settings
from tests.services.node.relaying import (
    FREE,
    Listening,
    OpenGate,
    Subscription,
    as_delivered,
    listening,
    proof,
    publish,
    published,
)
from tests.services.node.world import Deployed, World
from websockets.exceptions import ConnectionClosed, InvalidStatus

from waypost.node import server, subscriptions
from waypost.node.api import subscriber
from waypost.node.settings import NodeSettings, RelaySettings
from waypost.protocol.eip712 import node_domain
from waypost.protocol.payments import PaymentRequired
from waypost.protocol.relay import Greeting


@pytest.fixture
def settings(deployed: Deployed, tmp_path: Path) -> NodeSettings:
    return node_settings(deployed, tmp_path, prices=FREE)


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


async def test_text_that_is_no_utf8(node: Listening, caplog: pytest.LogCaptureFixture) -> None:
    async with node.socket() as there:
        await there.socket.send(b"\xff", text=True)
        last, closed = await there.closed()
        assert (last["code"], closed) == ("invalid_request", 4400)
    assert not [record for record in caplog.records if record.exc_info]


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
