"""What is on the chain against what this package was made from."""

import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from waypost.chain import artifacts, proxy
from waypost.chain.connection import Connection
from waypost.chain.deploy import execute, plan
from waypost.chain.manifest import Manifest
from waypost.chain.parameters import parameters
from waypost.chain.presets import LOCAL, MAINNET, Preset
from waypost.chain.token import DEV_DOLLAR, Token
from waypost.chain.transactions import Sender
from waypost.chain.verification import Examination, examine, write_bundle
from waypost.errors import DeploymentMismatch, WrongChain
from waypost.protocol.rln import DEPTH

ROOT = Path(__file__).parents[3]
COMPILER = ROOT / "scripts" / "solc" / "solc-v0.8.37"


def with_entry(manifest: Manifest, name: str, **changes: object) -> Manifest:
    entry = replace(manifest.contracts[name], **changes)  # type: ignore[arg-type]
    return replace(manifest, contracts={**manifest.contracts, name: entry})


async def test_a_deployment_of_ours_holds(connection: Connection, manifest: Manifest) -> None:
    examined = await examine(connection, manifest)
    found = examined.contracts
    assert examined.holds
    examined.require()
    assert [each.name for each in found] == ["DevDollar", "Channels", "NodeRegistry", "RlnMembership"]
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
        examined = await examine(connection, changed)
        (found,) = [each for each in examined.contracts if each.name == "Channels"]
        assert not examined.holds
        assert not found.holds
        assert words in found.sentence
    assert channels != token


async def test_a_manifest_without_init_code_hashes_still_holds(
    connection: Connection, manifest: Manifest
) -> None:
    for name in manifest.contracts:
        manifest = with_entry(manifest, name, init_code_hash=None)
    assert (await examine(connection, manifest)).holds


async def test_manifests_that_make_no_sense(connection: Connection, manifest: Manifest) -> None:
    with pytest.raises(WrongChain):
        await examine(connection, replace(manifest, chain_id=5))
    with pytest.raises(DeploymentMismatch, match="deployment proxy is"):
        await examine(connection, replace(manifest, proxy=manifest.token))
    with pytest.raises(DeploymentMismatch, match="unknown contract"):
        await examine(connection, replace(manifest, contracts={"Another": manifest.contracts["Channels"]}))
    with pytest.raises(DeploymentMismatch, match="does not take"):
        await examine(connection, with_entry(manifest, "Channels", constructor_arguments=("x", 2)))


# ---- Parameters ----


def wrong(found: Examination) -> list[str]:
    return [each.name for each in found.parameters if each.holds is False]


async def test_parameters_are_shown_with_their_units(connection: Connection, manifest: Manifest) -> None:
    found = await examine(connection, manifest)
    assert found.lines()[4:] == [
        "✓ preset                local, bundled with this version",
        f"✓ token                 {manifest.token}, DUSD with 6 decimals",
        "✓ token_decimals        6",
        "✓ min_stake             10000000 base units (10 DUSD)",
        "✓ unbonding             5 s",
        "✓ min_close_delay       2 s",
        "✓ max_close_delay       3600 s (60 min)",
        f"✓ member_token          {manifest.token}",
        "✓ member_depth          20 levels",
        "✓ member_period         60 s",
        "✓ member_window         600 s (10 min)",
        "✓ member_stake_per_rate 10000 base units (0.01 DUSD)",
        "✓ member_fee_per_rate   1000 base units (0.001 DUSD)",
        "✓ confirmations         0 blocks",
    ]
    report = {entry["name"]: entry for entry in json.loads(json.dumps(found.to_json()))["parameters"]}
    assert report["max_close_delay"] == {
        "name": "max_close_delay", "value": 3600, "unit": "s", "words": "3600 s (60 min)",
        "expected": 3600, "holds": True,
    }  # fmt: skip
    assert (report["min_stake"]["value"], report["min_stake"]["unit"]) == ("10000000", "base units")


async def test_a_deployment_that_only_claims_a_preset(connection: Connection, sender: Sender) -> None:
    """Its code, arguments and addresses are all in order; the arguments are not the preset's."""
    forged = replace(LOCAL, min_close_delay=1, min_stake=1, unbonding=1, confirmations=0)
    found = await examine(connection, await made(connection, sender, forged))
    assert all(each.holds for each in found.contracts)
    assert not found.holds
    assert wrong(found) == ["min_stake", "unbonding", "min_close_delay"]
    assert "✗ min_close_delay       1 s; 2 is expected" in found.lines()
    with pytest.raises(DeploymentMismatch, match=r"min_close_delay 1 s; 2 is expected"):
        found.require()
    assert (await examine(connection, await made(connection, sender, forged), forged)).holds


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"member_window": 129_600}, "member_window 129600 s (36 h); 600 is expected"),
        ({"member_window": 60}, "member_window 60 s; 600 is expected"),
        ({"member_period": 1}, "member_period 1 s; 60 is expected"),
        (
            {"member_stake_per_rate": 1},
            "member_stake_per_rate 1 base units (0.000001 DUSD); 10000 is expected",
        ),
        ({"member_fee_per_rate": 0}, "member_fee_per_rate 0 base units (0 DUSD); 1000 is expected"),
    ],
)
async def test_members_terms_that_only_claim_a_preset(
    connection: Connection, sender: Sender, change: dict[str, int], words: str
) -> None:
    forged = replace(LOCAL, **change)  # type: ignore[arg-type]
    manifest = await made(connection, sender, forged)
    found = await examine(connection, manifest)
    assert all(each.holds for each in found.contracts)
    assert wrong(found) == [*change]
    with pytest.raises(DeploymentMismatch, match=re.escape(words)):
        found.require()
    assert (await examine(connection, manifest, forged)).holds


async def test_members_of_another_token_or_tree(
    connection: Connection, sender: Sender, manifest: Manifest
) -> None:
    """Our contract in both cases, whose address the proxy derived; only that it is not this network's."""
    token, _, *terms = manifest.contracts["RlnMembership"].constructor_arguments
    other = (await made(connection, sender, LOCAL, b"\1" * 32)).token
    for name, words, arguments in (
        ("member_token", f"member_token {other}; {token} is expected", (other, DEPTH, *terms)),
        ("member_depth", f"member_depth 10 levels; {DEPTH} is expected", (token, 10, *terms)),
    ):
        init_code = artifacts.load("RlnMembership").init_code(arguments)
        await sender.send(proxy.create(init_code, manifest.salt, "RlnMembership"))
        address = proxy.address_of(init_code, manifest.salt)
        changes = {"address": address, "init_code_hash": None, "constructor_arguments": arguments}
        found = await examine(connection, with_entry(manifest, "RlnMembership", **changes))
        assert all(each.holds for each in found.contracts)
        assert wrong(found) == [name]
        with pytest.raises(DeploymentMismatch, match=re.escape(words)):
            found.require()


async def test_a_manifest_of_before_there_were_members(connection: Connection, manifest: Manifest) -> None:
    contracts = {name: entry for name, entry in manifest.contracts.items() if name != "RlnMembership"}
    found = await examine(connection, replace(manifest, contracts=contracts))
    assert found.holds
    found.require()
    assert not any("member" in line for line in found.lines())


async def made(connection: Connection, sender: Sender, preset: Preset, salt: bytes = bytes(32)) -> Manifest:
    return await execute(await plan(connection, preset, salt=salt), sender)


async def test_what_no_preset_says_is_for_people_to_judge(connection: Connection, manifest: Manifest) -> None:
    own = replace(manifest, preset="mine\x1b[2J")
    found = await examine(connection, own)
    assert (found.holds, wrong(found)) == (False, ["preset"])
    assert "is not a bundled preset: judge the values below yourself" in found.lines()[4]
    assert found.lines()[4].isprintable()
    assert "? min_close_delay       2 s" in found.lines()
    assert "? member_window         600 s (10 min)" in found.lines()
    assert (await examine(connection, own, LOCAL)).holds
    assert wrong(await examine(connection, own, MAINNET)) == [
        "min_stake", "unbonding", "min_close_delay", "max_close_delay", "member_period", "member_window",
        "member_stake_per_rate", "member_fee_per_rate", "confirmations",
    ]  # fmt: skip


async def test_parameters_that_the_addresses_do_not_prove(
    connection: Connection, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert wrong(await examine(connection, replace(manifest, confirmations=1))) == ["confirmations"]
    assert wrong(await examine(connection, replace(manifest, token=manifest.channels))) == [
        "token", "member_token",
    ]  # fmt: skip
    nowhere = ("0x" + "11" * 20, *manifest.contracts["NodeRegistry"].constructor_arguments[1:])
    for token in (nowhere[0], manifest.channels):
        changed = with_entry(manifest, "NodeRegistry", constructor_arguments=(token, *nowhere[1:]))
        found = await examine(connection, changed)
        assert wrong(found) == ["token"]
        assert f"{token}, where there is no token; {manifest.token} is expected" in found.lines()[5]
    assert wrong_on(replace(manifest, chain_id=1)) == ["preset"]

    async def eighteen(_: Token) -> int:
        return 18

    monkeypatch.setattr(Token, "decimals", eighteen)
    assert wrong(await examine(connection, manifest)) == ["token_decimals"]


def wrong_on(manifest: Manifest) -> list[str]:
    found = parameters(manifest, DEV_DOLLAR, None)
    return [each.name for each in found if each.holds is False]


@pytest.mark.parametrize("name", artifacts.CONTRACTS)
async def test_a_bundle_compiles_to_the_deployed_code(
    connection: Connection, manifest: Manifest, tmp_path: Path, name: str
) -> None:
    found = await examine(connection, manifest)
    files = write_bundle(found, tmp_path)
    assert len(files) == 3 * len(found.contracts) + 1
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
