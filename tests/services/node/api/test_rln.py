"""The tree of members over HTTP: what a member proves with, and every way to ask for something else."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.services.node.api.served import Served, node_settings, refused, served
from tests.services.node.membership import RATE, ROOT_SECONDS, WINDOW, Registry, deploy_membership
from tests.services.node.world import Deployed, World

from waypost.errors import InvalidConfig
from waypost.node.settings import NodeSettings, RateSettings
from waypost.protocol.merkle import check_path
from waypost.protocol.poseidon import R
from waypost.protocol.rln import DEPTH, application, hash_to_field, identity_commitment


@pytest.fixture
async def registry(world: World) -> Registry:
    return await deploy_membership(world)


def rln_settings(deployed: Deployed, folder: Path, registry: Registry, **changes: Any) -> NodeSettings:
    rln = {"contract": registry.contract.address, "start_block": registry.start, **changes}
    return node_settings(deployed, folder, rln=rln)


@pytest.fixture
async def limited(deployed: Deployed, tmp_path: Path, registry: Registry) -> AsyncIterator[Served]:
    async with served(rln_settings(deployed, tmp_path, registry)) as api:
        yield api


async def level(api: Served, leaves: int, **also: int) -> dict[str, Any]:
    """The tree once it has so many leaves, and what else is asked."""
    wanted = {"leaves": leaves, **also}
    for _ in range(1000):
        answer = await api.http.get("/v1/rln")
        found: dict[str, Any] = answer.json()
        if answer.status_code == 200 and wanted.items() <= found.items():
            return found
        await asyncio.sleep(0.02)
    raise AssertionError("it did not happen in time")


async def test_a_member_gets_its_path_and_checks_it(limited: Served, registry: Registry) -> None:
    records = [await registry.register(secret) for secret in range(1, 4)]
    tree = await level(limited, 3)
    answer = await limited.http.get(f"/v1/rln/members/{records[1].id_commitment}")
    assert answer.status_code == 200
    found = answer.json()
    assert (found["index"], found["rate"], len(found["path"])) == (1, RATE, DEPTH)
    assert found["root"] == tree["root"] == str(registry.root)
    path = tuple(map(int, found["path"]))
    check_path(int(found["idCommitment"]), found["rate"], found["index"], path, int(found["root"]))
    block = await registry.world.connection.block(found["block"])
    assert block is not None
    assert found["blockHash"] == "0x" + block.hash.hex()


async def test_the_tree_describes_itself(limited: Served, registry: Registry) -> None:
    records = [await registry.register(secret) for secret in range(1, 3)]
    await level(limited, 2)
    await registry.exit(records[0])
    tree = await level(limited, 2, members=1)
    identifier = application(limited.settings.chain_id, registry.contract.address, "waypost")
    assert tree["contract"] == registry.contract.address
    assert tree["rlnIdentifier"] == str(hash_to_field(identifier))
    assert (tree["depth"], tree["epochSeconds"], tree["rootSeconds"]) == (DEPTH, 600, ROOT_SECONDS)
    assert tree["roots"][0]["root"] == tree["root"] == str(registry.root)
    assert tree["roots"][0]["acceptedUntil"] is None
    assert all(each["acceptedUntil"] > 0 for each in tree["roots"][1:])
    gone = await limited.http.get(f"/v1/rln/members/{records[0].id_commitment}")
    assert refused(gone, 410, "member_removed")["status"] == 410


HOSTILE = [
    "0",
    "00",
    "01",
    "-1",
    "+1",
    "1.0",
    "1e3",
    "0x1",
    "٣",
    "%00",
    "1%00",
    "1%0A",
    "%20" + "1",
    "null",
    str(R),
    str(R + 1),
    str(2**256),
    "9" * 77,
    "9" * 78,
    "9" * 5000,
    "' OR 1=1 --",
    "%F0%28",
]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: text[:12])
async def test_what_is_no_commitment_is_refused(limited: Served, text: str) -> None:
    answer = await limited.http.get(f"/v1/rln/members/{text}")
    assert answer.status_code == 400
    assert answer.json()["code"] in ("invalid_request", "invalid_field_element")
    assert len(answer.content) < 1000


async def test_other_routes_are_refused(limited: Served) -> None:
    await level(limited, 0)
    refused(await limited.http.get(f"/v1/rln/members/{identity_commitment(1)}"), 404, "member_unknown")
    refused(await limited.http.get(f"/v1/rln/members/{R - 1}"), 404, "member_unknown")
    refused(await limited.http.get("/v1/rln/members/"), 404, "route_unknown")
    refused(await limited.http.get("/v1/rln/members/1/2"), 404, "route_unknown")
    refused(await limited.http.post("/v1/rln"), 405, "method_not_allowed")


async def test_a_node_without_rln_says_so_and_works_as_before(api: Served) -> None:
    refused(await api.http.get("/v1/rln"), 404, "rln_unavailable")
    refused(await api.http.get("/v1/rln/members/1"), 404, "rln_unavailable")
    assert (await api.http.get("/v1/node")).status_code == 200
    assert api.node.rln is None


async def test_the_routes_are_free_within_a_rate(
    deployed: Deployed, tmp_path: Path, registry: Registry
) -> None:
    settings = rln_settings(deployed, tmp_path, registry)
    slow = settings.model_copy(update={"rate": RateSettings(requests_per_second=0.001, burst=3)})
    async with served(slow) as api:
        answers = [await api.http.get("/v1/rln/members/1") for _ in range(4)]
        refused(answers[-1], 429, "rate_limited")


async def test_another_contract_begins_anew(deployed: Deployed, tmp_path: Path, registry: Registry) -> None:
    await registry.register(1)
    settings = rln_settings(deployed, tmp_path, registry)
    async with served(settings) as api:
        first = await level(api, 1)
    async with served(settings) as api:
        assert (await level(api, 1))["root"] == first["root"]
    other = await deploy_membership(registry.world)
    await other.register(2)
    await other.register(3)
    moved = rln_settings(deployed, tmp_path, other).rln
    async with served(settings.model_copy(update={"rln": moved})) as api:
        assert (await level(api, 2))["root"] == str(other.root)
    async with served(settings.model_copy(update={"rln": None})) as api:
        refused(await api.http.get("/v1/rln"), 404, "rln_unavailable")
    async with served(settings) as api:  # a node that had no RLN before reads all of its past
        assert (await level(api, 1))["root"] == first["root"]


async def test_roots_must_expire_long_before_stake_is_paid_back(
    deployed: Deployed, tmp_path: Path, registry: Registry
) -> None:
    settings = rln_settings(deployed, tmp_path, registry, root_seconds=WINDOW // 2 + 1)
    with pytest.raises(InvalidConfig, match="rootSeconds"):
        async with served(settings):
            pass
