"""The commands of docs/deploying.md, on anvil set up like a public testnet: its chain id, a base fee, a block
every two seconds, and a deployer whom only a key file knows."""

import json
import shutil
from pathlib import Path

import httpx
from eth_account import Account
from tests.e2e.documents import ROOT, blocks, replace, run
from tests.fire.anvil import anvil

CHAIN_ID = 11155111
PASSWORD = "example"


def test_a_deployers_day(tmp_path: Path) -> None:
    wallet = tmp_path / "wallet.json"
    account = Account.create()
    wallet.write_text(json.dumps(Account.encrypt(account.key, PASSWORD, kdf="scrypt", iterations=2)))
    script = replace(
        "\n".join(blocks("docs/deploying.md")),
        ("export WAYPOST_RPC_URL=https://rpc.example\n", ""),
        ("scripts/brownie.sh", str(project(tmp_path / "project") / "scripts" / "brownie.sh")),
    )
    with anvil("--chain-id", str(CHAIN_ID), "--block-time", "2", "--accounts", "0") as url:
        funded = {"jsonrpc": "2.0", "id": 1, "method": "anvil_setBalance"}
        httpx.post(url, json=funded | {"params": [account.address, hex(10**18)]}).raise_for_status()
        environment = {
            "WAYPOST_RPC_URL": url,
            "WALLET": str(wallet),
            "WAYPOST_MANIFEST": str(tmp_path / "manifest.json"),
        }
        output = run(script, tmp_path, environment)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert (manifest["chainId"], manifest["preset"], manifest["confirmations"]) == (CHAIN_ID, "testnet", 3)
    assert manifest["deployer"] == account.address
    assert output.count("is there already") == len(manifest["contracts"])  # what Brownie found
    assert "1 of 3 confirmations are missing" in output
    report = json.loads((tmp_path / "verification" / "report.json").read_text())
    assert report["holds"] is True
    for name in manifest["contracts"]:
        assert (tmp_path / "verification" / name / "standard-input.json").exists()


def project(place: Path) -> Path:
    """What the Brownie script needs of this project, where no folder has a dot: Brownie imports by path."""
    place.mkdir()
    for name in ("scripts", "services"):
        shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "brownie-config.yaml", place)
    (place / "contracts").mkdir()
    for name in (".venv-brownie", "node_modules"):
        (place / name).symlink_to(ROOT / name)
    return place
