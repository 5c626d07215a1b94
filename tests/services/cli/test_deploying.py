"""`waypost deploy` before anything is sent: fees that make no sense, and whether the money suffices."""

import json
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from tests.services.cli.conftest import Run

from waypost.chain.embedded import FUNDED_KEYS
from waypost.client.account import Account as Person
from waypost.node import settings
from waypost.protocol.signatures import address_of

SALT = "0x" + "03" * 32


@pytest.mark.parametrize(
    "words",
    [
        ("--max-fee-gwei", "1", "--priority-fee-gwei", "1.000000001"),
        ("--max-fee-gwei", "nan"),
        ("--max-fee-gwei", "inf"),
        ("--max-fee-gwei", "-1"),
        ("--max-fee-gwei", "1e3"),
        ("--max-fee-gwei", ""),
        ("--priority-fee-gwei", "0.0000000001"),
        ("--priority-fee-gwei", "."),
        ("--priority-fee-gwei", "9999999999"),
    ],
)
def test_fees_that_make_no_sense(chain: str, waypost: Run, words: tuple[str, ...]) -> None:
    result = waypost("deploy", "--dev-account", "0", "--yes", *words)
    assert (result.code, result.error) == (1, "invalid_config")
    assert len(result.err.splitlines()) == 1


def test_fees_to_the_wei(chain: str, waypost: Run) -> None:
    words = ("--max-fee-gwei", "1.000000001", "--priority-fee-gwei", "1.000000001")
    seen = waypost("deploy", "--salt", SALT, "--dry-run", "--json", *words).json
    assert (seen["gasPriceWei"], seen["priorityFeeWei"]) == ("1000000001", "1000000001")


def test_a_dry_run_says_whether_the_money_suffices(chain: str, waypost: Run, tmp_path: Path) -> None:
    rich = waypost("deploy", "--salt", SALT, "--dev-account", "2", "--dry-run", "--json").json
    assert rich["deployer"] == address_of(FUNDED_KEYS[2])
    assert (rich["sufficient"], rich["dryRun"]) == (True, True)
    assert int(rich["balanceWei"]) >= int(rich["costWei"]) > 0

    poor = Account.create()
    wallet = tmp_path / "wallet.json"
    wallet.write_text(json.dumps(Account.encrypt(poor.key, "another password", kdf="scrypt", iterations=2)))
    words = ("deploy", "--salt", SALT, "--keystore", str(wallet))
    seen = waypost(*words, "--dry-run", "--json").json  # without the key file's password
    assert (seen["deployer"], seen["balanceWei"], seen["sufficient"]) == (poor.address, "0", False)
    assert "pays, and has 0 ETH: " in waypost(*words, "--dry-run").out
    assert " ETH too little" in waypost(*words, "--dry-run").out

    nobody = waypost("deploy", "--salt", SALT, "--dry-run")
    assert "--keystore or --dev-account to see" in nobody.out
    assert "balanceWei" not in waypost("deploy", "--salt", SALT, "--dry-run", "--json").json


def test_a_dry_run_with_other_key_files(
    chain: str, waypost: Run, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An account names its payer; a key file may name nobody, and then it is opened."""
    assert waypost("account", "new").code == 0
    path = home / "account.keystore.json"
    words = ("deploy", "--salt", SALT, "--dry-run", "--json", "--keystore")
    assert waypost(*words, str(path)).json["deployer"] == Person.load(path, "correct horse").payer

    anonymous = Account.create()
    content: Any = Account.encrypt(anonymous.key, "correct horse", kdf="scrypt", iterations=2)
    del content["address"]
    wallet = tmp_path / "wallet.json"
    wallet.write_text(json.dumps(content))
    assert waypost(*words, str(wallet)).json["deployer"] == anonymous.address
    monkeypatch.delenv("WAYPOST_PASSWORD")
    assert waypost("deploy", "--dry-run", "--keystore", str(wallet)).error == "keystore_locked"


def test_too_little_money_is_refused_before_anything_is_sent(
    chain: str, waypost: Run, home: Path, tmp_path: Path
) -> None:
    wallet = tmp_path / "wallet.json"
    poor = Account.create()
    wallet.write_text(json.dumps(Account.encrypt(poor.key, "correct horse", kdf="scrypt", iterations=2)))
    words = ("deploy", "--salt", SALT, "--keystore", str(wallet), "--yes", "--json")
    result = waypost(*words)
    error = json.loads(result.err.splitlines()[-1])["error"]
    needed = waypost(*words[:-2], "--dry-run", "--json").json["costWei"]
    assert (result.code, error["code"]) == (1, "insufficient_funds")
    assert error["details"] == {"account": poor.address, "balance": "0", "needed": needed}
    assert " gas at " in result.err  # the plan was shown
    assert not (home / "deployments").exists()


# ---- What was deployed, for those who rely on it ----

QUICK = """
public = false
brings_token = true
token_decimals = 6
confirmations = 0
chain_id = 31337
[channels]
min_close_delay = 1
max_close_delay = 3600
[registry]
min_stake = 10_000_000
unbonding = 5
"""
MEMBERS = """
[membership]
period = 60
window = 1_200
stake_per_rate = 10_000
fee_per_rate = 0
"""


@pytest.fixture
def quick(chain: str, waypost: Run, home: Path, tmp_path: Path) -> Path:
    """A network file with a close delay of one second, and members without fees, deployed as this home's
    manifest."""
    path = tmp_path / "quick.toml"
    path.write_text(QUICK + MEMBERS)
    done = waypost("deploy", "--network-file", str(path), "--dev-account", "0", "--yes")
    assert done.code == 0, done.err
    return path


def test_a_network_file_of_before_there_were_members(chain: str, waypost: Run, tmp_path: Path) -> None:
    path = tmp_path / "quick.toml"
    path.write_text(QUICK)
    refused = waypost("deploy", "--network-file", str(path), "--dry-run")
    assert refused.error == "invalid_config"
    assert "In quick, membership must be a table, [membership]." in refused.err


def test_a_dry_run_shows_members_terms(chain: str, waypost: Run) -> None:
    words = ("deploy", "--salt", SALT, "--dry-run")
    found = waypost(*words, "--json").json
    assert {name: value for name, value in found.items() if name.startswith("member")} == {
        "memberPeriodSeconds": 60,
        "memberWindowSeconds": 600,
        "memberStakePerRate": "10000",
        "memberFeePerRate": "1000",
    }
    assert found["steps"][-1]["name"] == "RlnMembership"
    shown = waypost(*words).out
    assert "Members stake 0.01 DUSD and pay 0.001 DUSD in 60 s for each message of an epoch" in shown


def test_a_manifest_of_before_there_were_members(deployed: dict[str, Any], waypost: Run, home: Path) -> None:
    path = home / "deployments" / "31337.json"
    content = json.loads(path.read_text())
    del content["contracts"]["RlnMembership"]
    path.write_text(json.dumps(content))
    assert waypost("verify").code == 0
    assert waypost("node", "init", "--dev-account", "1").code == 0
    assert settings.read_config(home / "node").rln is None
    assert waypost(
        "node", "init", "--dev-account", "1", "--rln", "--data-dir", str(home / "other")
    ).error == ("invalid_config")
    again = waypost("deploy", "--dev-account", "0", "--yes", "--json")  # adds what the manifest lacks
    assert again.json["contracts"].keys() == deployed["contracts"].keys()


def test_verifying_shows_and_compares_the_parameters(
    deployed: dict[str, Any], waypost: Run, tmp_path: Path
) -> None:
    found = waypost("verify")
    assert found.code == 0
    assert "✓ max_close_delay       3600 s (60 min)" in found.out
    assert "✓ min_stake             10000000 base units (10 DUSD)" in found.out
    assert "✓ member_window         600 s (10 min)" in found.out
    seen = waypost("verify", "--json", "--bundle", str(tmp_path / "bundle"))
    report = json.loads((tmp_path / "bundle" / "report.json").read_text())
    assert seen.json == {**report, "files": seen.json["files"]}
    assert {entry["name"]: entry["holds"] for entry in report["parameters"]} == dict.fromkeys(
        ("preset", "token", "token_decimals", "min_stake", "unbonding", "min_close_delay", "max_close_delay",
         "member_token", "member_depth", "member_period", "member_window", "member_stake_per_rate",
         "member_fee_per_rate", "confirmations"), True
    )  # fmt: skip


def test_a_network_of_ones_own_needs_its_file(quick: Path, waypost: Run, home: Path, tmp_path: Path) -> None:
    alone = waypost("verify")
    assert alone.code == 1
    assert "'quick' is not a bundled preset: judge" in alone.out
    assert "? min_close_delay       1 s" in alone.out
    assert "? member_fee_per_rate   0 base units (0 DUSD)" in alone.out
    assert waypost("verify", "--network-file", str(quick)).code == 0

    refused = waypost("node", "init", "--dev-account", "1")
    assert refused.error == "deployment_mismatch"
    assert "'quick' is not a bundled preset" in refused.err
    assert "--network-file" in refused.err
    assert not (home / "node").exists()
    assert waypost("node", "init", "--dev-account", "1", "--network-file", str(quick)).code == 0


def test_a_node_is_not_set_up_on_a_forged_deployment(quick: Path, waypost: Run, home: Path) -> None:
    path = home / "deployments" / "31337.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "preset": "local"}))
    assert "✗ min_close_delay       1 s; 2 is expected" in waypost("verify").out
    assert "✗ member_window         1200 s (20 min); 600 is expected" in waypost("verify").out
    assert waypost("verify", "--json").json["holds"] is False
    refused = waypost("node", "init", "--dev-account", "1")
    assert refused.error == "deployment_mismatch"
    assert "min_close_delay 1 s; 2 is expected" in refused.err
    assert "member_window 1200 s (20 min); 600 is expected" in refused.err
    content["contracts"]["Channels"]["constructorArguments"] = []
    path.write_text(json.dumps(content))
    refused = waypost("node", "init", "--dev-account", "1")
    assert refused.error == "invalid_config"
    assert f"{path} is malformed: In contract 'Channels': Field constructorArguments" in refused.err
    assert not (home / "node").exists()
