"""Members without ether over HTTP, and the operator's side of them."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from eth_typing import URI
from tests.services.node.api.served import ADMIN_TOKEN, Served, node_settings, refused, served
from tests.services.node.home_node import Person
from tests.services.node.membership import RATE, Registry, deploy_membership
from tests.services.node.world import Deployed, World

from waypost.protocol.poseidon import R


@pytest.fixture
async def registry(world: World) -> Registry:
    return await deploy_membership(world, period=2, window=4)


@pytest.fixture
async def home(deployed: Deployed, tmp_path: Path, registry: Registry) -> AsyncIterator[Served]:
    rln = {
        "contract": registry.contract.address,
        "start_block": registry.start,
        "root_seconds": 1,
        "epoch_seconds": 1,
    }
    settings = node_settings(deployed, tmp_path / "home", rln=rln, clock_tolerance_seconds=0)
    async with served(settings) as node:
        await answered(node, "GET", "/v1/rln")
        yield node


@pytest.fixture
async def anna(home: Served, registry: Registry) -> Person:
    found = Person(registry, home.settings.payee)
    await registry.world.mint(found.address, 10**6)
    return found


def registering(anna: Person, **terms: Any) -> dict[str, Any]:
    """The body of POST /v1/rln/registrations."""
    registration = anna.registration(**terms)
    return {"registration": registration.to_json(), "authorization": anna.pay(registration)}


def extending(anna: Person, **terms: Any) -> dict[str, Any]:
    """The body of POST /v1/rln/extensions."""
    extension = anna.extension(**terms)
    return {"extension": extension.to_json(), "authorization": anna.pay(extension)}


def leaving(anna: Person, **terms: Any) -> dict[str, Any]:
    """The body of POST /v1/rln/exits."""
    exit_ = anna.exit(**terms)
    signature = exit_.sign(anna.registry.contract.domain(), anna.key)
    return {"exit": exit_.to_json(), "signature": signature.to_hex()}


async def answered(node: Served, method: str, path: str, body: Any = None, **wanted: Any) -> dict[str, Any]:
    """The answer once it has these values; meanwhile only waiting is allowed."""
    for _ in range(1500):
        answer = await node.http.request(method, path, json=body)
        found: dict[str, Any] = answer.json()
        if answer.status_code in (200, 201) and wanted.items() <= found.items():
            return found
        assert answer.status_code in (200, 201, 202, 429, 503), answer.text
        await asyncio.sleep(0.02)
    raise AssertionError("it did not happen in time")


async def test_a_membership_from_its_beginning_to_its_end(home: Served, anna: Person) -> None:
    world = anna.registry.world
    body = registering(anna, periods=1_000)
    registered = await answered(home, "POST", "/v1/rln/registrations", body, state="registered")
    again = await home.http.post("/v1/rln/registrations", json=body)
    assert (again.status_code, again.json()) == (201, registered)
    shown = (await home.http.get(f"/v1/rln/members/{anna.commitment}")).json()
    assert (shown["index"], shown["rate"]) == (registered["index"], RATE)

    more = extending(anna, periods=2)
    extended = await answered(home, "POST", "/v1/rln/extensions", more, state="extended")
    assert (await home.http.post("/v1/rln/extensions", json=more)).json() == extended
    record = await home.node.rln.members.record(anna.commitment)  # type: ignore[union-attr]
    assert extended["paidUntil"] == record.start + 2 * 1_002

    gone = leaving(anna)
    left = await answered(home, "POST", "/v1/rln/exits", gone, state="exited")
    assert left["withdrawableAt"] > 0
    withdrawn = await answered(home, "POST", "/v1/rln/exits", gone, state="withdrawn")
    assert withdrawn["withdrawableAt"] is None
    assert withdrawn["transaction"] != left["transaction"]
    assert await anna.registry.contract.total() == 0
    assert await world.connection.balance(anna.address) == 0


async def test_what_is_malformed_or_refused(home: Served, anna: Person) -> None:
    good = registering(anna)
    terms, payment = good["registration"], good["authorization"]
    route = "/v1/rln/registrations"
    cases: list[tuple[Any, int, str]] = [
        ({}, 400, "invalid_request"),
        ([], 400, "invalid_request"),
        ({**good, "authorization": None}, 400, "invalid_request"),
        ({**good, "authorization": {**payment, "v": "27"}}, 400, "invalid_request"),
        ({**good, "authorization": {**payment, "s": "0x" + "00" * 31}}, 400, "invalid_request"),
        ({**good, "registration": {**terms, "idCommitment": anna.commitment}}, 400, "invalid_request"),
        ({**good, "registration": {**terms, "idCommitment": "0x1"}}, 400, "invalid_request"),
        ({**good, "registration": {**terms, "idCommitment": "9" * 78}}, 400, "amount_out_of_range"),
        ({**good, "registration": {**terms, "rate": 2**16}}, 400, "invalid_request"),
        ({**good, "registration": {**terms, "rate": -1}}, 400, "invalid_request"),
        ({**good, "registration": {**terms, "rate": 8.0}}, 400, "invalid_request"),
        ({**good, "registration": {**terms, "periods": 2**32}}, 400, "invalid_request"),
        ({**good, "registration": {**terms, "payer": "0x12"}}, 400, "invalid_address"),
        ({**good, "registration": {**terms, "deadline": 2**40}}, 400, "invalid_request"),
        ({**good, "registration": {**terms, "periods": 3}}, 400, "invalid_authorization"),
        ({**good, "registration": {**terms, "homeNode": anna.address}}, 422, "membership_refused"),
        ({**good, "registration": {**terms, "idCommitment": str(R)}}, 422, "membership_refused"),
    ]
    for body, status, code in cases:
        refused(await home.http.post(route, json=body), status, code)
    for path, body in (("extensions", extending(anna)), ("exits", leaving(anna))):
        refused(await home.http.post(f"/v1/rln/{path}", json=body), 404, "member_unknown")
        refused(await home.http.post(f"/v1/rln/{path}", json={}), 400, "invalid_request")
    refused(await home.http.get(route), 405, "method_not_allowed")
    rows = await home.node.db.read(
        lambda connection: connection.execute("SELECT count(*) AS n FROM transactions").fetchone()
    )
    assert rows["n"] == 0


async def test_a_node_without_rln_registers_nobody(api: Served, anna: Person) -> None:
    for path, body in (("registrations", registering(anna)), ("exits", leaving(anna))):
        refused(await api.http.post(f"/v1/rln/{path}", json=body), 404, "rln_unavailable")
    async with api.admin() as admin:
        refused(await admin.get("/rln/members"), 404, "rln_unavailable")
        assert (await admin.get("/status")).json()["rln"] is None


async def test_without_a_chain_nothing_is_sent(home: Served, anna: Person) -> None:
    body = registering(anna)
    home.node.sync._connection.web3.provider.endpoint_uri = URI("http://127.0.0.1:9")
    refused(await home.http.post("/v1/rln/registrations", json=body), 503, "node_not_ready")


async def test_the_node_names_its_membership_contract(home: Served, api: Served) -> None:
    contracts = (await home.http.get("/v1/node")).json()["contracts"]
    assert home.settings.rln is not None
    assert contracts["membership"] == home.settings.rln.contract
    assert "membership" not in (await api.http.get("/v1/node")).json()["contracts"]


ADMIN_ROUTES = (("GET", "/rln/members"), ("POST", "/rln/collect"), ("POST", "/rln/expire"))


async def test_the_operators_routes_are_the_operators(home: Served) -> None:
    for method, path in ADMIN_ROUTES:
        async with home.admin(None) as stranger:
            refused(await stranger.request(method, path), 401, "admin_token_invalid")
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
        refused(await home.http.request(method, path, headers=headers), 404, "route_unknown")


async def test_the_operator_collects(home: Served, anna: Person, registry: Registry) -> None:
    payee = home.settings.payee
    await registry.register(61, rate=50, home=payee, periods=10**6)
    late = await registry.register(62, rate=50, home=payee)
    await registry.register(63)
    await answered(home, "GET", "/v1/rln", leaves=3)
    async with home.admin() as admin:
        status = (await admin.get("/status")).json()["rln"]
        assert (status["members"], status["mine"], status["fault"]) == (3, 2, None)
        found = await _until_late(admin, registry)
        assert [member["rate"] for member in found["members"]] == [50, 50]
        assert [member["late"] for member in found["members"]] == [False, True]
        assert found["payee"] == payee
        assert found["gas"] > 0
        sent = (await admin.post("/rln/collect")).json()["transactions"]
        assert [each["state"] for each in sent] == ["mined"]
        done = (await admin.get("/rln/members")).json()
        earned = await registry.world.token.balance_of(payee)
        assert int(done["collected"]) == earned >= int(found["collectable"])
        expired = (await admin.post("/rln/expire")).json()["transactions"]
        assert [each["state"] for each in expired] == ["mined"]
        state = await registry.contract.member(late.id_commitment)
        assert state is not None
        assert state.expired


async def _until_late(admin: httpx.AsyncClient, registry: Registry) -> dict[str, Any]:
    """The members once one of them is late, also by the chain's clock."""
    for _ in range(1500):
        found: dict[str, Any] = (await admin.get("/rln/members")).json()
        if any(member["late"] for member in found["members"]):
            await registry.world.mine()
            return found
        await asyncio.sleep(0.02)
    raise AssertionError("it did not happen in time")
