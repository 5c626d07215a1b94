"""The tree of members over HTTP: what a member proves with, and every way to ask for something else."""

import asyncio
import dataclasses
import hashlib
import sqlite3
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.services.node.api.served import TOPIC, Served, node_settings, refused, served
from tests.services.node.limiting import prover
from tests.services.node.membership import RATE, ROOT_SECONDS, WINDOW, Registry, deploy_membership
from tests.services.node.money_node import until
from tests.services.node.world import Deployed, World, new_key

from waypost.errors import DevelopmentKey, FileUnusable, InvalidConfig, InvalidKey, KeyUnknown
from waypost.node.rate_gate import RateGate, Verdict
from waypost.node.rln import _open_verifier
from waypost.node.settings import NodeSettings, RateSettings
from waypost.protocol.merkle import check_path
from waypost.protocol.messages import Message
from waypost.protocol.poseidon import R
from waypost.protocol.relay import Envelope, RateProof, signal_of
from waypost.protocol.rln import (
    DEPTH,
    Membership,
    application,
    external_nullifier,
    hash_to_field,
    identity_commitment,
)
from waypost.zk import curve, keys
from waypost.zk.development import DEVELOPMENT_VERIFYING_KEY


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
    identifier = application(limited.settings.chain_id, registry.contract.address, "waypost", 600)
    assert tree["contract"] == registry.contract.address
    assert tree["rlnIdentifier"] == str(hash_to_field(identifier))
    assert (tree["depth"], tree["epochSeconds"], tree["rootSeconds"]) == (DEPTH, 600, ROOT_SECONDS)
    assert tree["verifyingKey"] == "0x" + keys.development_key().digest
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
    most = (WINDOW - 600 - 120) // 3
    settings = rln_settings(deployed, tmp_path, registry, root_seconds=most + 1)
    with pytest.raises(InvalidConfig, match="rootSeconds") as refusal:
        async with served(settings):
            pass
    assert refusal.value.details["maximum"] == most
    async with served(rln_settings(deployed, tmp_path / "another", registry, root_seconds=most)):
        pass


# ---- The verifying key ----


async def test_a_development_chain_needs_no_key(limited: Served) -> None:
    assert limited.node.rln is not None
    assert limited.node.rln.key == DEVELOPMENT_VERIFYING_KEY


@pytest.mark.parametrize("force", [False, True])
async def test_other_chains_need_a_key_by_name(
    deployed: Deployed, tmp_path: Path, registry: Registry, force: bool
) -> None:
    settings = rln_settings(deployed, tmp_path, registry, force_development_key=force)
    public = settings.model_copy(update={"chain_id": 1})
    assert public.rln is not None
    if force:
        assert _open_verifier(public, public.rln).key.digest == DEVELOPMENT_VERIFYING_KEY
        return
    with pytest.raises(InvalidConfig, match=keys.CEREMONY_VERIFYING_KEY):
        _open_verifier(public, public.rln)


async def test_a_key_is_taken_from_its_folder(deployed: Deployed, tmp_path: Path, registry: Registry) -> None:
    text = keys.development_key().to_json().encode() + b" "
    name = hashlib.sha256(text).hexdigest()
    settings = rln_settings(deployed, tmp_path, registry, verifying_key=name)
    folder = settings.data_dir / "rln-keys"
    with pytest.raises(FileUnusable):
        async with served(settings):
            pass
    folder.mkdir(parents=True)
    with pytest.raises(KeyUnknown):
        async with served(settings):
            pass
    (folder / "any.json").write_bytes(text)
    async with served(settings) as api:
        assert api.node.rln is not None
        assert api.node.rln.key == DEVELOPMENT_VERIFYING_KEY
    assert settings.rln is not None
    with pytest.raises(DevelopmentKey):
        _open_verifier(settings.model_copy(update={"chain_id": 1}), settings.rln)


async def test_a_key_of_another_circuit_is_refused(
    deployed: Deployed, tmp_path: Path, registry: Registry
) -> None:
    key = keys.development_key()
    text = dataclasses.replace(key, ic=key.ic[:-1]).to_json().encode()
    settings = rln_settings(deployed, tmp_path, registry, verifying_key=hashlib.sha256(text).hexdigest())
    folder = settings.data_dir / "rln-keys"
    folder.mkdir(parents=True)
    (folder / "short.json").write_bytes(text)
    with pytest.raises(InvalidKey, match="4 public signals"):
        async with served(settings):
            pass


async def test_a_platform_without_the_native_library_says_so(
    deployed: Deployed, tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(curve, "native", lambda: None)
    settings = rln_settings(deployed, tmp_path, registry)
    assert settings.rln is not None
    with capture_logs() as logs:
        assert _open_verifier(settings, settings.rln).library == "py_ecc"
    assert [(log["log_level"], log["library"]) for log in logs] == [("warning", "py_ecc")]


# ---- What the operator sees ----


async def test_status_and_metrics_tell_of_proofs_and_slashes(limited: Served, registry: Registry) -> None:
    """A spammer, from two messages to its stake: nothing here is told to the node but messages."""
    secret = int.from_bytes(new_key("secret")) % R
    record = await registry.register(secret)
    await level(limited, 1)
    rln = limited.node.rln
    assert rln is not None
    path = await rln.members.path(record.id_commitment)
    member = Membership(secret, RATE, path.index, path.siblings)
    epoch = limited.node.clock() // rln.settings.epoch_seconds
    verdicts = []
    for text in (b"one", b"two"):
        sent = Message(TOPIC, text, epoch * 10**9)
        external = external_nullifier(epoch, rln.identifier)
        proof, told = prover().prove(member, 0, signal_of(sent), external)
        envelope = Envelope(sent, RateProof(epoch, told.root, told.nullifier, told.y, proof.data))
        await rln.gate.check(envelope, "192.0.2.1")
        verdicts.append(await limited.node.db.write(partial(_record, rln.gate, envelope)))
    assert verdicts == [Verdict.NEW, Verdict.CONFLICT]

    async with limited.admin() as admin:

        async def won() -> bool:
            await registry.world.mine()
            shown = (await admin.get("/status")).json()["rln"]
            return bool(shown["won"] == 1)

        await until(won)
        shown = (await admin.get("/status")).json()["rln"]
        metrics = (await admin.get("/metrics")).text
    assert (shown["verified"], shown["invalid"]) == (2, 0)
    assert (shown["exposed"], shown["committed"], shown["lost"]) == (1, 1, 0)
    assert shown["reward"] == str(10 * RATE // 5)
    assert shown["verifyingKey"] == DEVELOPMENT_VERIFYING_KEY
    assert 'waypost_exposed_members{sum="won"} 1.0' in metrics
    assert 'waypost_proofs{sum="verified"} 2.0' in metrics
    assert 'waypost_proofs{sum="batches"} 2.0' in metrics


def _record(gate: RateGate, envelope: Envelope, connection: sqlite3.Connection) -> Verdict:
    return gate.record(connection, envelope)


async def test_a_node_without_rln_shows_none(api: Served) -> None:
    async with api.admin() as admin:
        assert (await admin.get("/status")).json()["rln"] is None
