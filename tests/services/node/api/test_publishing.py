"""POST /v1/relay on a real listener: what is taken, what it costs, and who is given it."""

import base64
import time
from pathlib import Path
from typing import Any

import pytest
from tests.services.node.api.served import PRICES, TOPIC, message, node_settings, refused
from tests.services.node.relaying import (
    FREE,
    Listening,
    OpenGate,
    as_delivered,
    listening,
    proof,
    publish,
    published,
)
from tests.services.node.world import Deployed

from waypost.node.settings import NodeSettings
from waypost.protocol.messages import MAX_PAYLOAD
from waypost.protocol.poseidon import R

OTHER = "/waypost/1/other/raw"


@pytest.fixture
def settings(deployed: Deployed, tmp_path: Path) -> NodeSettings:
    return node_settings(deployed, tmp_path, prices=FREE)


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
