"""What an operator does after the first day: looks after the node's health, and gives it another key."""

import os
import stat
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.services.cli.conftest import PASSWORD, Run

from waypost.cli.node import rotation
from waypost.node import keys, locks, settings
from waypost.protocol.signatures import address_of

GIVEN = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"  # development account 1


@pytest.fixture
def node(
    chain: str, deployed: dict[str, Any], waypost: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """The folder of a registered and staked node that does not run."""
    assert keys.prepare_next.__kwdefaults__ is not None
    monkeypatch.setitem(keys.prepare_next.__kwdefaults__, "scrypt_n", 2)
    before = rpc(chain, "evm_snapshot")
    for words in (
        ("node", "init", "--dev-account", "1", "--port", "1"),
        ("token", "mint", "100", "--dev-account", "0", "--to", GIVEN),
        ("node", "register", "--yes"),
        ("node", "fund", "1", "--yes"),
    ):
        done = waypost(*words)
        assert done.code == 0, done.err
    yield home / "node"
    assert rpc(chain, "evm_revert", before) is True


def rpc(url: str, method: str, *params: Any) -> Any:
    asked = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    return httpx.post(url, json=asked).json()["result"]


def verdicts(waypost: Run) -> dict[str, str]:
    result = waypost("node", "doctor", "--json")
    found = {finding["check"]: finding["verdict"] for finding in result.json["findings"]}
    assert result.json["healthy"] == (result.code == 0) == ("failed" not in found.values())
    return found


def node_key(folder: Path, role: str = "node") -> str:
    key = settings.read_key(folder, role, PASSWORD)
    assert key is not None
    return address_of(key)


@pytest.mark.usefixtures("deployed")
@pytest.mark.parametrize(
    ("words", "warned"),
    [
        (("--endpoint", "https://node.example", "--tls-cert", "c", "--tls-key", "k"), True),
        (("--endpoint", "https://node.example", "--trusted-proxy"), False),
        (
            ("--endpoint", "https://node.example", "--host", "0.0.0.0", "--tls-cert", "c", "--tls-key", "k"),
            False,
        ),
        (("--endpoint", "http://127.0.0.1:8400"), False),
    ],
)
def test_a_public_node_that_nobody_reaches_is_warned_of(
    waypost: Run, words: tuple[str, ...], warned: bool
) -> None:
    made = waypost("node", "init", *words)
    assert made.code == 0
    assert ("Warning: the node would listen on 127.0.0.1 alone" in made.err) is warned


def test_a_healthy_node_that_does_not_run(node: Path, waypost: Run) -> None:
    found = verdicts(waypost)
    assert found.pop("endpoint") == "warning"
    assert set(found.values()) == {"ok"}
    shown = waypost("node", "doctor")
    assert shown.code == 0
    assert "→ Run `waypost node run`." in shown.out


def test_the_doctor_names_what_is_wrong(node: Path, waypost: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    keystore = node / "keys" / "node.keystore.json"
    keystore.chmod(0o644)
    assert verdicts(waypost)["files"] == "failed"
    keystore.chmod(0o600)
    content = keystore.read_text()
    keystore.write_text("{}")
    assert "→ Restore it from a backup" in waypost("node", "doctor").out
    keystore.write_text(content)
    token = node / "admin.token"
    token.rename(node / "lost")
    assert verdicts(waypost)["files"] == "warning"
    assert "→ Start the node again: it makes another." in waypost("node", "doctor").out
    (node / "lost").rename(token)
    with monkeypatch.context() as patch:
        patch.setenv("WAYPOST_PASSWORD", "another")
        assert verdicts(waypost)["keys"] == "failed"
    config = settings.read_config(node)
    for change, check, verdict in (
        ({"endpoint": "https://elsewhere.example"}, "registration", "failed"),
        ({"storage_quota_bytes": 2**60}, "disk", "warning"),
        ({"channels": config.registry}, "contracts", "failed"),
        ({"token": config.operator}, "contracts", "failed"),
        ({"rpc_url": "http://127.0.0.1:1"}, "rpc", "failed"),
        ({"chain_id": 5}, "rpc", "failed"),
        ({"payee": config.registry}, "keys", "warning"),
    ):
        settings.save(node, config.model_copy(update=change))
        assert verdicts(waypost)[check] == verdict, change
    settings.save(node, config)
    (node / "node.json").write_text("{}")
    assert waypost("node", "doctor").error == "invalid_config"


def test_the_doctor_warns_of_gas_that_the_operators_key_pays(node: Path, waypost: Run) -> None:
    (node / "keys" / "gas.keystore.json").unlink()
    assert verdicts(waypost)["keys"] == "warning"
    shown = waypost("node", "doctor")
    assert f"the operator's key, which owns the stake, pays gas from {GIVEN}" in shown.out
    assert waypost("node", "fund", "1", "--yes").error == "invalid_config"


def test_the_token_is_not_for_whoever_took_the_port(node: Path, waypost: Run) -> None:
    asked: list[str | None] = []

    class Thief(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.headers["Authorization"])

    with HTTPServer(("127.0.0.1", 0), Thief) as server:
        threading.Thread(target=server.serve_forever).start()
        config = settings.read_config(node)
        settings.save(node, config.model_copy(update={"admin_port": server.server_port}))
        with locks.held(node, locks.BOOKS):  # as a command does that opened the books itself
            assert waypost("node", "status").error == "data_in_use"
        found = waypost("node", "status", "--json")
        with locks.held(node, locks.LISTENER):  # as if the port were the node's: the test would see a token
            assert waypost("node", "status").error == "node_refused"
        server.shutdown()
    assert found.json["running"] is False
    token = settings.read_admin_token(node).get_secret_value()
    assert asked == [f"Bearer {token}"]  # once, from the command that took it for the node


def test_a_key_is_rotated(node: Path, waypost: Run) -> None:
    old = node_key(node)
    assert waypost("node", "rotate-key", "--dry-run", "--json").json["nodeKey"] == old
    assert waypost("node", "rotate-key").error == "confirmation_needed"
    assert not (node / "keys" / "next.keystore.json").exists()
    result = waypost("node", "rotate-key", "--yes", "--json")
    assert result.code == 0, result.err
    new = node_key(node)
    assert (result.json["previous"], result.json["nodeKey"]) == (old, new)
    assert new != old
    assert node_key(node, f"retired-{old}") == old
    assert stat.S_IMODE(os.stat(result.json["kept"]).st_mode) == 0o600
    assert not (node / "keys" / "next.keystore.json").exists()
    assert verdicts(waypost)["registration"] == "ok"


class Killed(Exception):
    """The process ends here."""


@pytest.mark.parametrize("moment", ["before it is sent", "after it is mined", "before the key is replaced"])
def test_an_interrupted_rotation_goes_on(
    node: Path, waypost: Run, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    old = node_key(node)

    def die(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        match moment:
            case "before it is sent":
                patch.setattr(rotation, "Sender", die)
            case "after it is mined":
                patch.setattr(keys, "promote_next", die)
            case _:
                patch.setattr(os, "replace", _but_not_the_node_key(die))
        assert waypost("node", "rotate-key", "--yes").error == "unexpected"
    following = node_key(node, "next")
    assert node_key(node) == old
    result = waypost("node", "rotate-key", "--yes", "--json").json
    assert (result["nodeKey"], result["previous"]) == (following, old)
    assert node_key(node) == following
    assert node_key(node, f"retired-{old}") == old
    assert verdicts(waypost)["registration"] == "ok"


def _but_not_the_node_key(die: Any) -> Any:
    replace = os.replace

    def careful(source: Any, target: Any) -> None:
        if Path(target).name == "node.keystore.json":
            die()
        replace(source, target)

    return careful


def test_a_lost_key_is_replaced(node: Path, waypost: Run) -> None:
    """Or one from a backup that is older than the last rotation: the operator's key is what counts."""
    keystore = node / "keys" / "node.keystore.json"
    old = keystore.read_bytes()
    assert waypost("node", "rotate-key", "--yes").code == 0
    keystore.write_bytes(old)
    assert verdicts(waypost)["registration"] == "failed"
    assert waypost("node", "rotate-key", "--yes").code == 0
    assert verdicts(waypost)["registration"] == "ok"
    keystore.unlink()
    result = waypost("node", "rotate-key", "--yes", "--json")
    assert (result.json["previous"], result.json["kept"]) == (None, None)
    assert verdicts(waypost)["registration"] == "ok"


def test_a_lost_configuration_costs_no_key(node: Path, waypost: Run) -> None:
    before = {path: path.read_bytes() for path in (node / "keys").iterdir()}
    assert {path.name for path in before} >= {"operator.keystore.json", "gas.keystore.json"}
    (node / "node.json").unlink()
    for words in (("init", "--dev-account", "1"), ("status",)):
        told = waypost("node", *words)
        assert told.error == "invalid_config"
        assert "restore that from a backup" in told.err
    assert {path: path.read_bytes() for path in (node / "keys").iterdir()} == before


def test_nobody_elses_key_is_rotated(node: Path, waypost: Run) -> None:
    folder = node / "keys"
    (folder / "operator.keystore.json").write_bytes((folder / "node.keystore.json").read_bytes())
    assert waypost("node", "rotate-key", "--yes").error == "invalid_config"
    assert not (folder / "next.keystore.json").exists()


def test_a_node_moves_to_another_folder(node: Path, waypost: Run, tmp_path: Path) -> None:
    made = waypost("node", "backup", str(tmp_path / "copy"), "--json")
    assert made.code == 0, made.err
    assert waypost("node", "restore", str(tmp_path / "copy")).error == "invalid_config"
    moved = waypost("node", "restore", str(tmp_path / "copy"), "--data-dir", str(tmp_path / "new"), "--json")
    assert moved.json["operator"] == GIVEN
    assert waypost("node", "doctor", "--data-dir", str(tmp_path / "new")).code == 0


SLASHER = "0x1111111111111111111111111111111111111111"


def test_stake_is_provisioned_thawed_and_withdrawn(node: Path, waypost: Run, chain: str) -> None:
    def provisions(*words: str) -> list[tuple[str | None, str, str]]:
        done = waypost("node", *words, "--json")
        assert done.code == 0, done.err
        return [(one["slasher"], one["amount"], one["thawing"]) for one in done.json["provisions"]]

    assert provisions("stake", "30", "--yes") == [(None, "40000000", "0")]
    assert waypost("node", "provision", SLASHER, "15").error == "confirmation_needed"
    assert provisions("provision", SLASHER, "15", "--dry-run") == [(None, "40000000", "0")]
    assert provisions("provision", SLASHER, "15", "--yes")[1] == (SLASHER, "15000000", "0")
    assert waypost("node", "provision", SLASHER, "26", "--dry-run").error == "transaction_reverted"
    assert provisions("thaw", "5", "--slasher", SLASHER, "--yes")[1] == (SLASHER, "10000000", "5000000")
    assert waypost("node", "withdraw", "--slasher", SLASHER, "--yes").error == "transaction_reverted"
    rpc(chain, "evm_increaseTime", 60)
    rpc(chain, "evm_mine")
    assert provisions("withdraw", "--slasher", SLASHER, "--yes")[1] == (SLASHER, "10000000", "0")
    assert provisions("thaw", "4", "--slasher", SLASHER, "--yes")[1] == (SLASHER, "6000000", "4000000")
    assert waypost("node", "cancel-thaw", "--slasher", SLASHER).error == "confirmation_needed"
    assert provisions("cancel-thaw", "--slasher", SLASHER, "--dry-run")[1] == (SLASHER, "6000000", "4000000")
    assert provisions("cancel-thaw", "--slasher", SLASHER, "--yes")[1] == (SLASHER, "10000000", "0")
    assert waypost("node", "cancel-thaw", "--yes").error == "transaction_reverted"
    for amount in ("-1", "a", "1.0000001"):
        assert waypost("node", "stake", "--yes", "--", amount).error == "amount_out_of_range"


def test_thawing_more_is_warned_of(node: Path, waypost: Run) -> None:
    assert "would wait as long again" not in waypost("node", "thaw", "1", "--yes").err
    for more in ("--dry-run", "--yes"):
        told = waypost("node", "thaw", "2", more)
        assert told.code == 0
        assert "1 DUSD, which can be withdrawn from" in told.err
        assert "would wait as long again: withdraw them first" in told.err


def test_who_leaves_gets_at_once_what_has_thawed(node: Path, waypost: Run, chain: str) -> None:
    assert waypost("node", "thaw", "4", "--yes").code == 0
    assert "4 DUSD that are thawing beside it then wait" in waypost("node", "exit", "--dry-run").out
    rpc(chain, "evm_increaseTime", 60)
    rpc(chain, "evm_mine")
    shown = waypost("node", "exit", "--dry-run").out
    assert "4 DUSD have thawed and can be withdrawn." in shown
    assert "6 DUSD are staked: to be thawed." in shown
    left = waypost("node", "exit", "--yes", "--json")
    assert left.code == 0, left.err
    assert (left.json["next"], left.json["thawing"]) == ("wait", "6000000")
    assert waypost("token", "balance", GIVEN, "--json").json["balance"] == "94000000"


def test_status_says_what_to_do_next(node: Path, waypost: Run, chain: str) -> None:
    def status() -> dict[str, Any]:
        done = waypost("node", "status", "--json")
        assert done.code == 0, done.err
        found: dict[str, Any] = done.json
        return found

    found = status()
    assert (found["stake"]["listed"], found["stake"]["minimum"]) == (True, "10000000")
    assert [action["code"] for action in found["next"]] == ["run"]
    assert (found["closing"], found["claimWaitingSince"], found["chain"]) == ([], None, {"reachable": True})
    assert found["disk"]["quota"] == settings.read_config(node).storage_quota_bytes
    assert found["gas"]["claimsAffordable"] * int(found["gas"]["claimCost"]) <= int(found["gasBalance"])
    assert waypost("node", "thaw", "1", "--yes").code == 0
    found = status()
    assert [action["code"] for action in found["next"]] == ["run", "stake", "wait_for_thaw"]
    assert not found["stake"]["listed"]
    assert found["next"][1] == {
        "code": "stake",
        "sentence": "1 DUSD of stake are missing: the node is not listed.",
        "command": "waypost node stake 1",
    }
    rpc(chain, "evm_increaseTime", 60)
    rpc(chain, "evm_mine")
    config = settings.read_config(node)
    settings.save(node, config.model_copy(update={"endpoint": "https://elsewhere.example"}))
    assert [action["code"] for action in status()["next"]] == ["run", "update", "stake", "withdraw"]
    shown = waypost("node", "status").out
    assert "next         1 DUSD have thawed.  (waypost node withdraw)" in shown
    assert "stake        9 DUSD assigned to nobody, 1 DUSD thawing" in shown
    assert waypost("node", "thaw", "9", "--yes").code == 0
    # Who leaves is not told to stake what left.
    assert [action["code"] for action in status()["next"]] == ["run", "leave", "wait_for_thaw"]
