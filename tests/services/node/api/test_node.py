"""The description that a node signs, and the prices that it promises."""

import time

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
from waypost.protocol.eip712 import node_domain
from waypost.protocol.nodes import NodeDescriptor
from waypost.protocol.signatures import address_of


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
