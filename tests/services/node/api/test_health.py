"""Health and readiness, with the chain and without it."""

import time

from tests.services.node.api.served import (
    Clock,
    Customer,
    Served,
    message,
    refused,
    served,
)

from waypost.node.settings import NodeSettings


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
        await api.lose_chain()
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
