"""An operator whose node serves RLN's members: set up, looked after, and paid."""

import asyncio
import json
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from tests.services.cli.conftest import PASSWORD, Run
from tests.services.cli.test_operator import GIVEN, rpc

from waypost.chain.connection import connect
from waypost.chain.embedded import FUNDED_KEYS
from waypost.chain.membership import Membership
from waypost.chain.presets import LOCAL, MAINNET, TESTNET
from waypost.chain.token import Token
from waypost.chain.transactions import Sender
from waypost.cli.node.rln import timing
from waypost.errors import InvalidConfig
from waypost.node import settings
from waypost.node.settings import RlnSettings

KEY = Path(str(resources.files("waypost.zk") / "development_verification_key.json"))
RATE = 1_000


@pytest.fixture
def membership(chain: str, deployed: dict[str, Any]) -> Iterator[str]:
    """The RlnMembership contract of this home's manifest, without members."""
    before = rpc(chain, "evm_snapshot")
    yield deployed["contracts"]["RlnMembership"]["address"]
    assert rpc(chain, "evm_revert", before) is True


@pytest.fixture
def node(membership: str, waypost: Run, home: Path) -> Path:
    """The folder of a node that follows it, and does not run."""
    made = waypost("node", "init", "--dev-account", "1", "--port", "1", "--rln-verifying-key", str(KEY))
    assert made.code == 0, made.err
    funded = waypost("node", "fund", "1", "--yes")
    assert funded.code == 0, funded.err
    return home / "node"


def register(chain: str, membership: str, commitment: int, periods: int) -> None:
    """A member of the node's."""

    async def run() -> None:
        async with await connect(chain) as connection:
            sender, contract = Sender(connection, FUNDED_KEYS[2]), Membership(connection, membership)  # type: ignore[arg-type]
            token = Token(connection, await contract.token())
            await sender.send(token.mint(sender.address, 10**15))
            await sender.send(token.approve(contract.address, 10**15))
            await sender.send(contract.register(commitment, RATE, GIVEN, periods))  # type: ignore[arg-type]

    asyncio.run(run())


def balance(chain: str, deployed: dict[str, Any]) -> int:
    """The payee's tokens."""

    async def run() -> int:
        async with await connect(chain) as connection:
            return await Token(connection, deployed["token"]).balance_of(GIVEN)  # type: ignore[arg-type]

    return asyncio.run(run())


def test_init_fills_in_rln_by_the_manifest(node: Path, membership: str, chain: str) -> None:
    rln = settings.read_config(node).rln
    assert rln is not None
    assert rln.contract == membership
    assert 0 < rln.start_block <= int(rpc(chain, "eth_blockNumber"), 16)
    assert (rln.epoch_seconds, rln.root_seconds) == timing(LOCAL.member_window) == (60, 140)
    kept = node / "rln-keys" / f"{rln.verifying_key}.json"
    assert kept.read_bytes() == KEY.read_bytes()


def test_epochs_and_roots_fit_the_window() -> None:
    assert timing(TESTNET.member_window) == timing(MAINNET.member_window) == (600, 1800)
    tolerance = 60
    for window in (*range(137, 7_000), 36 * 3600, 365 * 86_400):
        epoch, root = timing(window)
        rln = RlnSettings.model_validate({"contract": GIVEN, "epoch_seconds": epoch, "root_seconds": root})
        least = rln.least_window(tolerance)
        assert least <= window
        assert window - least < 3 or (epoch, root) == (min(600, window // 10), 1800)  # no shorter than needed
    for window in (1, 10, 60, 120, 133):
        with pytest.raises(InvalidConfig, match=f"for {window} s, which is too short .* --no-rln"):
            timing(window)


def test_rln_is_on_when_the_manifest_has_it(membership: str, waypost: Run, home: Path) -> None:
    for folder, words, follows in (
        ("usual", (), True),
        ("wanted", ("--rln",), True),
        ("without", ("--no-rln",), False),
    ):
        place = home / folder
        made = waypost("node", "init", "--dev-account", "1", "--data-dir", str(place), "--json", *words)
        assert made.code == 0, made.err
        assert (settings.read_config(place).rln is not None) is follows


def test_init_refuses_what_does_not_fit(
    membership: str, waypost: Run, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def init(*words: str) -> str:
        return waypost("node", "init", "--dev-account", "1", *words).error

    broken = tmp_path / "key.json"
    broken.write_text("{}")
    assert init("--rln-verifying-key", str(broken)) == "invalid_key"
    assert init("--rln-verifying-key", str(tmp_path / "missing.json")) == "file_unusable"
    assert init("--rln-verifying-key", str(tmp_path)) == "file_unusable"
    broken.write_bytes(b"{" * (1024 * 1024 + 1))
    assert init("--rln-verifying-key", str(broken)) == "file_unusable"
    assert init("--no-rln", "--rln-verifying-key", str(KEY)) == "invalid_config"
    path = home / "deployments" / "31337.json"
    manifest = json.loads(path.read_text())
    del manifest["contracts"]["RlnMembership"]
    path.write_text(json.dumps(manifest))
    assert init("--rln") == "invalid_config"
    assert init("--rln-verifying-key", str(KEY)) == "invalid_config"
    assert not (home / "node" / "node.json").exists()


def test_fees_are_collected(
    node: Path, membership: str, waypost: Run, chain: str, deployed: dict[str, Any]
) -> None:
    register(chain, membership, 7, 10**6)
    register(chain, membership, 8, 1)
    rpc(chain, "evm_increaseTime", LOCAL.member_period + 10)
    rpc(chain, "evm_mine")
    before = balance(chain, deployed)
    looked = waypost("node", "collect", "--expire", "--dry-run", "--json")
    assert looked.code == 0, looked.err
    found = looked.json
    assert found["dryRun"] is True
    assert found["transactions"] == []
    assert [(member["late"], member["status"]) for member in found["members"]] == [
        (False, "member"),
        (True, "member"),
    ]
    assert int(found["collectable"]) > 0
    rounded = int(found["burned"]) * 4 - int(found["collectable"])
    assert 0 <= rounded <= 4 * len(found["members"])
    assert found["gas"] > 0
    assert waypost("node", "collect").error == "confirmation_needed"
    assert balance(chain, deployed) == before

    done = waypost("node", "collect", "--yes", "--json").json
    assert [each["state"] for each in done["transactions"]] == ["mined"]
    assert balance(chain, deployed) - before == int(done["collected"]) >= int(found["collectable"])
    expired = waypost("node", "collect", "--expire", "--yes", "--json").json
    assert {member["status"] for member in expired["members"]} == {"member", "expired"}
    shown = waypost("node", "collect", "--dry-run")
    assert shown.code == 0
    assert "collectable  " in shown.out
    assert "members      2 pay" in shown.out


def test_status_shows_members(node: Path, membership: str, waypost: Run, chain: str) -> None:
    register(chain, membership, 9, 10**6)
    waypost("node", "collect", "--dry-run")  # reads the members
    found = waypost("node", "status", "--json").json["rln"]
    assert found["contract"] == membership
    assert (found["members"], found["mine"], found["fault"]) == (1, 1, None)
    assert "1 of 1 pay this node" in waypost("node", "status").out


def test_the_doctor_examines_rln(node: Path, membership: str, waypost: Run, chain: str) -> None:
    def verdicts() -> dict[str, str]:
        found = waypost("node", "doctor", "--json").json["findings"]
        return {one["check"]: one["verdict"] for one in found if one["check"].startswith("rln")}

    assert verdicts() == {"rln key": "ok", "rln contract": "ok", "rln members": "ok"}
    waypost("node", "collect", "--dry-run")
    rpc(chain, "evm_increaseTime", 1_000)
    rpc(chain, "evm_mine")
    assert verdicts()["rln members"] == "warning"
    config = settings.read_config(node)
    assert config.rln is not None
    for change, check, verdict in (
        ({"contract": config.channels}, "rln contract", "failed"),
        ({"root_seconds": 161}, "rln contract", "failed"),
        ({"verifying_key": "00" * 32}, "rln key", "failed"),
        ({"verifying_key": None}, "rln key", "ok"),  # a chain for development
    ):
        rln = config.rln.model_copy(update=change)
        settings.save(node, config.model_copy(update={"rln": rln}))
        assert verdicts()[check] == verdict, change
    settings.save(node, config.model_copy(update={"token": config.channels}))
    assert verdicts()["rln contract"] == "warning"
    settings.save(node, config.model_copy(update={"rpc_url": "http://127.0.0.1:1"}))
    assert verdicts()["rln contract"] == "skipped"
    settings.save(node, config.model_copy(update={"rln": None}))
    assert verdicts() == {}
    assert waypost("node", "collect", "--dry-run").error == "invalid_config"


def test_a_backup_has_the_verifying_key(node: Path, waypost: Run, tmp_path: Path) -> None:
    assert waypost("node", "backup", str(tmp_path / "copy")).code == 0
    moved = waypost("node", "restore", str(tmp_path / "copy"), "--data-dir", str(tmp_path / "new"))
    assert moved.code == 0, moved.err
    names = [path.name for path in (tmp_path / "new" / "rln-keys").iterdir()]
    assert names == [path.name for path in (node / "rln-keys").iterdir()]
    assert settings.read_key(tmp_path / "new", "operator", PASSWORD)


def test_collecting_without_a_node(waypost: Run) -> None:
    assert waypost("node", "collect", "--yes").error == "invalid_config"
