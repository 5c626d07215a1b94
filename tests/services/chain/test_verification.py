"""What is on the chain against what this package was made from."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from waypost.chain import artifacts, proxy
from waypost.chain.connection import Connection
from waypost.chain.manifest import Deployment, Manifest
from waypost.chain.transactions import Sender
from waypost.chain.verification import examine, write_bundle
from waypost.errors import DeploymentMismatch, WrongChain

ROOT = Path(__file__).parents[3]
COMPILER = ROOT / "scripts" / "solc" / "solc-v0.8.37"


def with_entry(manifest: Manifest, name: str, **changes: object) -> Manifest:
    entry = replace(manifest.contracts[name], **changes)  # type: ignore[arg-type]
    return replace(manifest, contracts={**manifest.contracts, name: entry})


async def test_a_deployment_of_ours_holds(connection: Connection, manifest: Manifest) -> None:
    found = await examine(connection, manifest)
    assert [each.name for each in found] == ["DevDollar", "Channels", "NodeRegistry"]
    assert all(each.holds for each in found)
    assert [each.init_code_hash for each in found if not each.arguments] == [artifacts.load("DevDollar").hash]
    assert [each.stated_hash for each in found] == [each.init_code_hash for each in found]


async def test_what_differs_is_said(connection: Connection, manifest: Manifest) -> None:
    token, channels = manifest.token, manifest.channels
    cases = (
        (with_entry(manifest, "Channels", address=token), "The code is not the artifact's."),
        (
            with_entry(manifest, "Channels", address="0x" + "11" * 20),
            "There is no contract at this address.",
        ),
        (
            with_entry(manifest, "Channels", constructor_arguments=(3, 3600)),
            "but these constructor arguments",
        ),
        (replace(manifest, salt=b"\1" * 32), "but these constructor arguments"),
        (with_entry(manifest, "Channels", init_code_hash=bytes(32)), "states another init code hash"),
    )
    for changed, words in cases:
        (found,) = [each for each in await examine(connection, changed) if each.name == "Channels"]
        assert not found.holds
        assert words in found.sentence
    assert channels != token


async def test_a_manifest_without_init_code_hashes_still_holds(
    connection: Connection, manifest: Manifest
) -> None:
    for name in manifest.contracts:
        manifest = with_entry(manifest, name, init_code_hash=None)
    assert all(each.holds for each in await examine(connection, manifest))


async def test_manifests_that_make_no_sense(connection: Connection, manifest: Manifest) -> None:
    with pytest.raises(WrongChain):
        await examine(connection, replace(manifest, chain_id=5))
    with pytest.raises(DeploymentMismatch, match="deployment proxy is"):
        await examine(connection, replace(manifest, proxy=manifest.token))
    with pytest.raises(DeploymentMismatch, match="unknown contract"):
        await examine(connection, replace(manifest, contracts={"Another": manifest.contracts["Channels"]}))
    with pytest.raises(DeploymentMismatch, match="does not take"):
        await examine(connection, with_entry(manifest, "Channels", constructor_arguments=("x", 2)))


async def with_membership(sender: Sender, manifest: Manifest) -> Manifest:
    """With the contract that no preset deploys yet."""
    artifact, arguments = artifacts.load("RlnMembership"), (manifest.token, 20, 100, 50, 10, 5)
    init_code = artifact.init_code(arguments)
    await sender.send(proxy.create(init_code, manifest.salt, artifact.name))
    address = proxy.address_of(init_code, manifest.salt)
    entry = Deployment(address, 0, None, artifact.hash, arguments)
    return replace(manifest, contracts={**manifest.contracts, artifact.name: entry})


@pytest.mark.parametrize("name", artifacts.CONTRACTS)
async def test_a_bundle_compiles_to_the_deployed_code(
    connection: Connection, sender: Sender, manifest: Manifest, tmp_path: Path, name: str
) -> None:
    if name not in manifest.contracts:
        manifest = await with_membership(sender, manifest)
    found = await examine(connection, manifest)
    files = write_bundle(found, manifest.chain_id, tmp_path)
    assert len(files) == 3 * len(found) + 1
    assert json.loads((tmp_path / "report.json").read_text())["holds"] is True
    about = json.loads((tmp_path / name / "about.json").read_text())
    done = subprocess.run(  # noqa: ASYNC221
        [COMPILER, "--standard-json"],
        input=(tmp_path / name / "standard-input.json").read_text(),
        cwd=tmp_path,  # away from the sources: all that is needed is in the file
        capture_output=True,
        text=True,
        check=True,
    )
    source, contract = about["contract"].split(":")
    compiled = json.loads(done.stdout)["contracts"][source][contract]["evm"]
    arguments = (tmp_path / name / "constructor-arguments.txt").read_text().strip()
    assert compiled["bytecode"]["object"] == artifacts.load(name).bytecode.hex()
    assert artifacts.load(name).deployed_bytecode.hex() == compiled["deployedBytecode"]["object"]
    deployed = manifest.contracts[name].constructor_arguments
    assert artifacts.load(name).init_code(deployed).hex() == compiled["bytecode"]["object"] + arguments
