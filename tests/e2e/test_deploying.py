"""The commands of docs/deploying.md, on anvil set up like a public testnet: its chain id, a base fee, a block
every second, and a deployer whom only a key file knows."""

import json
import shutil
from pathlib import Path
from typing import Any

import httpx
from eth_account import Account
from tests.e2e.documents import ROOT, blocks, replace, run
from tests.fire.anvil import anvil

CHAIN_ID = 11155111
PASSWORD = "example"
SALT = "0x" + "5a" * 32


def test_a_deployers_day(tmp_path: Path) -> None:
    wallet = tmp_path / "wallet.json"
    account = Account.create()
    wallet.write_text(json.dumps(Account.encrypt(account.key, PASSWORD, kdf="scrypt", iterations=2)))
    by_brownie = {
        "WAYPOST_PRESET": "testnet",
        "WAYPOST_SALT": SALT,
        "WAYPOST_MAX_FEE_GWEI": "40",
        "WAYPOST_PRIORITY_FEE_GWEI": "0.25",
        "WAYPOST_MANIFEST": str(tmp_path / "brownie.json"),
    }
    script = replace(
        "\n".join(blocks("docs/deploying.md")),
        ("export WAYPOST_RPC_URL=https://rpc.example\n", ""),
        ("scripts/brownie.sh", str(project(tmp_path / "project") / "scripts" / "brownie.sh")),
        # What the guide deploys is there by then: with another salt Brownie has to deploy as well.
        ("WAYPOST_PRESET=testnet ", " ".join(f"{name}={value}" for name, value in by_brownie.items()) + " "),
    )
    with anvil("--chain-id", str(CHAIN_ID), "--block-time", "1", "--accounts", "0") as url:
        rpc(url, "anvil_setBalance", account.address, hex(10**18))
        environment = {
            "WAYPOST_RPC_URL": url,
            "WALLET": str(wallet),
            "WAYPOST_MANIFEST": str(tmp_path / "manifest.json"),
        }
        output = run(script, tmp_path, environment)
        made = {name: json.loads((tmp_path / f"{name}.json").read_text()) for name in ("manifest", "brownie")}
        sent = {name: transactions(url, manifest) for name, manifest in made.items()}
        nonces = rpc(url, "eth_getTransactionCount", account.address, "latest")
        verify = f"waypost verify --manifest {tmp_path / 'brownie.json'}"
        assert run(verify, tmp_path, environment).count("are the artifact's") == 4
    for manifest in made.values():
        assert (manifest["chainId"], manifest["preset"], manifest["confirmations"]) == (
            CHAIN_ID,
            "testnet",
            3,
        )
        assert manifest["deployer"] == account.address
    assert made["brownie"]["salt"] == SALT != made["manifest"]["salt"]
    assert "is there already" not in output
    assert int(nonces, 16) == len(sent["manifest"]) + len(sent["brownie"]) == 8
    for each in sent["brownie"]:
        assert each["from"] == account.address.lower()
        assert int(each["maxPriorityFeePerGas"], 16) == 10**9 // 4
        assert int(each["maxFeePerGas"], 16) <= 40 * 10**9
    assert not list(tmp_path.rglob("*.pending"))
    assert output.count("confirmations are missing") >= 2
    assert output.count("pays, and has 1 ETH: enough") == 2  # the dry run and the plan
    report = json.loads((tmp_path / "verification" / "report.json").read_text())
    assert report["holds"] is True
    for name in made["manifest"]["contracts"]:
        assert (tmp_path / "verification" / name / "standard-input.json").exists()


def rpc(url: str, method: str, *params: Any) -> Any:
    """The result of a JSON-RPC method."""
    answer = httpx.post(url, json={"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).json()
    assert "error" not in answer, answer
    return answer["result"]


def transactions(url: str, manifest: Any) -> list[Any]:
    """Those that created the manifest's contracts, each in the block that it names."""
    found = []
    for entry in manifest["contracts"].values():
        transaction = rpc(url, "eth_getTransactionByHash", entry["transaction"])
        assert int(transaction["blockNumber"], 16) == entry["block"]
        assert rpc(url, "eth_getCode", entry["address"], hex(entry["block"])) != "0x"
        assert rpc(url, "eth_getCode", entry["address"], hex(entry["block"] - 1)) == "0x"
        found.append(transaction)
    return found


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
