"""The operator's listener: nothing without the token, and figures that agree with the books."""

import pytest
from tests.services.node.api.served import ADMIN_TOKEN, Served, message, price_of, refused


@pytest.mark.parametrize("token", [None, "", "x", ADMIN_TOKEN + "x", ADMIN_TOKEN[:-1], "\xe9"])
async def test_nothing_without_the_token(api: Served, token: str | None) -> None:
    async with api.admin(token) as admin:
        for method, path in (("GET", "/metrics"), ("GET", "/status"), ("POST", "/claim")):
            answer = await admin.request(method, path)
            refused(answer, 401, "admin_token_invalid")
            assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_the_public_listener_has_no_admin_routes(api: Served) -> None:
    headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    for path in ("/metrics", "/status", "/claim"):
        refused(await api.http.get(path, headers=headers), 404, "route_unknown")


async def test_status_and_claim(api: Served) -> None:
    customer, body = await api.customer(), message("x" * 4000)
    await api.http.post("/v1/messages", json=body, headers=customer.pay(50_000))
    async with api.admin() as admin:
        status = (await admin.get("/status")).json()
        assert status["totals"]["spent"] == str(price_of(body))
        assert (status["totals"]["claimable"], status["totals"]["claimed"]) == ("50000", "0")
        assert (status["ready"], status["faults"], status["claims"]) == (True, [], [])
        assert status["storedBytes"] > 4000

        claimed = (await admin.post("/claim")).json()["transactions"]
        status = (await admin.get("/status")).json()
        assert [claim["transaction"] for claim in status["claims"]] == claimed
        assert len(claimed) == 1
        assert (status["totals"]["claimable"], status["totals"]["claimed"]) == ("0", "50000")
    state = await api.channels.channel(api.settings.payee, api.settings.token, customer.signer)
    assert state.claimed == 50_000


async def test_metrics_count_requests_by_route_and_money(api: Served) -> None:
    customer, body = await api.customer(), message()
    await api.http.post("/v1/messages", json=body, headers=customer.pay(price_of(body)))
    await api.http.post("/v1/messages", json=body)
    await api.http.get("/v1/some-secret-path")
    await api.http.request("WEIRD", "/v1/messages")
    await api.http.get(customer.path)
    async with api.admin() as admin:
        answer = await admin.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain")
    lines = answer.text.splitlines()
    assert 'waypost_requests_total{method="POST",route="/v1/messages",status="201"} 1.0' in lines
    assert 'waypost_requests_total{method="POST",route="/v1/messages",status="402"} 1.0' in lines
    assert f'waypost_charged_base_units_total{{route="/v1/messages"}} {float(price_of(body))}' in lines
    assert f'waypost_channel_base_units{{sum="spent"}} {float(price_of(body))}' in lines
    assert "waypost_ready 1.0" in lines
    for secret in ("secret-path", "WEIRD", customer.signer):
        assert secret not in answer.text
