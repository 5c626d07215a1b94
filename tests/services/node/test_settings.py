"""node.json, keystores and the admin token: what is written is read again, what is unusable is named."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from waypost.errors import InvalidConfig, WrongPassword
from waypost.node.settings import (
    NodeConfig,
    NodeSettings,
    initialise,
    load,
    read_admin_token,
    read_config,
    read_key,
    save,
    settings,
)
from waypost.protocol.signatures import address_of

ADDRESS = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"  # from EIP-55
KEYS = {"operator": b"\x01" * 32, "node": b"\x02" * 32}
LIGHT = 2  # the keystores' work factor, since these keys hold nothing
PRIVATE: dict[str, Any] = {
    "data_dir": Path("unused"),
    "node_key": KEYS["node"],
    "gas_key": KEYS["operator"],
    "admin_token": "sixteen letters!",
}


def config(**changes: Any) -> NodeConfig:
    values: dict[str, Any] = {
        "rpc_url": "https://rpc.example/api-key-in-here",
        "chain_id": 1,
        "channels": ADDRESS,
        "registry": ADDRESS,
        "token": ADDRESS,
        "operator": address_of(KEYS["operator"]),
        "payee": address_of(KEYS["operator"]),
        "endpoint": "https://node.example",
    }
    return NodeConfig.model_validate({**values, **changes})


def test_a_node_is_made_and_loaded(tmp_path: Path) -> None:
    folder = tmp_path / "node"
    initialise(folder, config(poll_seconds=1.5), KEYS, "open sesame", scrypt_n=LIGHT)
    loaded = load(folder, "open sesame")
    assert loaded.data_dir == folder
    assert loaded.node_key.get_secret_value() == KEYS["node"]
    assert loaded.gas_key.get_secret_value() == KEYS["operator"], "the operator pays for gas"
    assert loaded.payee_key is not None
    assert loaded.payee_key.get_secret_value() == KEYS["operator"], "the operator is the payee"
    assert loaded.admin_token == read_admin_token(folder)
    assert NodeConfig.model_validate(loaded.model_dump(include=set(NodeConfig.model_fields))) == read_config(
        folder
    )
    assert read_config(folder) == config(poll_seconds=1.5)
    document = json.loads((folder / "node.json").read_text())
    assert document["pollSeconds"] == 1.5
    for path in folder.rglob("*"):
        if path.is_file():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_gas_and_payee_may_have_keys_of_their_own(tmp_path: Path) -> None:
    gas, payee = b"\x03" * 32, b"\x04" * 32
    keys = {**KEYS, "gas": gas, "payee": payee}
    initialise(tmp_path / "node", config(payee=address_of(payee)), keys, "pw", scrypt_n=LIGHT)
    loaded = load(tmp_path / "node", {"operator": "not needed", "node": "pw", "gas": "pw", "payee": "pw"})
    assert loaded.gas_key.get_secret_value() == gas
    assert loaded.payee_key is not None
    assert loaded.payee_key.get_secret_value() == payee


def test_a_payee_that_the_node_has_no_key_of(tmp_path: Path) -> None:
    initialise(tmp_path / "node", config(payee=ADDRESS), KEYS, "pw", scrypt_n=LIGHT)
    assert load(tmp_path / "node", "pw").payee_key is None


def test_no_node_is_overwritten(tmp_path: Path) -> None:
    initialise(tmp_path, config(), KEYS, "pw", scrypt_n=LIGHT)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(InvalidConfig, match="already holds a node"):
        initialise(tmp_path, config(chain_id=5), dict.fromkeys(KEYS, b"\x05" * 32), "pw", scrypt_n=LIGHT)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_saved_configuration_replaces_the_old_one(tmp_path: Path) -> None:
    initialise(tmp_path, config(), KEYS, "pw", scrypt_n=LIGHT)
    save(tmp_path, load(tmp_path, "pw").model_copy(update={"port": 9999}))
    assert read_config(tmp_path) == config(port=9999)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    text = (tmp_path / "node.json").read_text()
    assert "Key" not in text.replace("tlsKey", ""), "keys stay in their keystores"


def test_wrong_passwords(tmp_path: Path) -> None:
    initialise(tmp_path, config(), KEYS, "pw", scrypt_n=LIGHT)
    for password in ("", "PW", "pw "):
        with pytest.raises(WrongPassword, match=r"node\.keystore\.json"):
            load(tmp_path, password)


@pytest.mark.parametrize("field", ["ciphertext", "mac", "salt"])
def test_a_damaged_keystore_is_not_called_a_wrong_password(tmp_path: Path, field: str) -> None:
    initialise(tmp_path, config(), KEYS, "pw", scrypt_n=LIGHT)
    path = tmp_path / "keys" / "node.keystore.json"
    document = json.loads(path.read_text())
    crypto = document["crypto"]
    holder = crypto["kdfparams"] if field == "salt" else crypto
    holder[field] = "zz" + holder[field][2:]
    path.write_text(json.dumps(document))
    with pytest.raises(InvalidConfig, match="is damaged, or no keystore"):
        read_key(tmp_path, "node", "pw")


def test_an_unreadable_keystore_is_named(tmp_path: Path) -> None:
    initialise(tmp_path, config(), KEYS, "pw", scrypt_n=LIGHT)
    path = tmp_path / "keys" / "node.keystore.json"
    path.unlink()
    path.mkdir()
    with pytest.raises(InvalidConfig, match="cannot be read"):
        read_key(tmp_path, "node", "pw")


def test_a_lost_token_is_not_the_end(tmp_path: Path) -> None:
    initialise(tmp_path, config(), KEYS, "pw", scrypt_n=LIGHT)
    (tmp_path / "admin.token").unlink()
    with pytest.raises(InvalidConfig, match="makes another"):
        read_admin_token(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"crypto": {}}', '{"version": 3, "crypto": 1}', "\x00"]
)
def test_broken_keystores_are_named(tmp_path: Path, text: str) -> None:
    initialise(tmp_path, config(), KEYS, "pw", scrypt_n=LIGHT)
    path = tmp_path / "keys" / "node.keystore.json"
    path.write_text(text)
    with pytest.raises(InvalidConfig, match=r"node\.keystore\.json"):
        read_key(tmp_path, "node", "pw")


def test_folders_without_a_node(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(InvalidConfig, match="holds no node"):
            load(folder, "pw")
    (tmp_path / "node.json").mkdir()
    with pytest.raises(InvalidConfig, match="cannot be read"):
        read_config(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"chainId": "one"}', "\x00", "[" * 100_000])
def test_broken_configurations_are_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "node.json").write_text(text)
    with pytest.raises(InvalidConfig, match=r"node\.json"):
        read_config(tmp_path)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"operator": ADDRESS.swapcase()}, "operator"),
        ({"operator": "0x12"}, "operator"),
        ({"rpc_url": "ftp://x"}, "rpcUrl"),
        ({"endpoint": "http://node.example"}, "endpoint"),
        ({"endpoint": "node.example"}, "endpoint"),
        ({"chain_id": 0}, "chainId"),
        ({"port": 65_536}, "port"),
        ({"port": -1}, "port"),
        ({"prices": {"storePerKibHour": -1}}, "prices.storePerKibHour"),
        ({"prices": {"storePerKibHour": 2**96}}, "prices.storePerKibHour"),
        ({"claim": {"maxBatch": 1001}}, "claim.maxBatch"),
        ({"retention_min": 7200, "retention_max": 3600}, "retentionMin"),
        ({"retention_max": 31 * 86_400}, "retentionMax"),
        ({"poll_seconds": 0}, "pollSeconds"),
        ({"poll_seconds": float("nan")}, "pollSeconds"),
        ({"unknown_setting": 1}, "unknown_setting"),
        ({"tls_cert": "cert.pem"}, "tlsKey"),
        ({"host": "0.0.0.0"}, "plain HTTP"),
        ({"host": "::"}, "plain HTTP"),
        ({"host": "node.example"}, "plain HTTP"),
        ({"admin_host": "0.0.0.0", "trusted_proxy": True}, "admin listener"),
    ],
)
def test_unusable_settings_are_named(tmp_path: Path, change: dict[str, Any], sentence: str) -> None:
    document = json.loads(config().model_dump_json(by_alias=True))
    camel = NodeConfig.model_config["alias_generator"]
    assert callable(camel)
    changed = {
        camel(name) if name in NodeConfig.model_fields else name: value for name, value in change.items()
    }
    (tmp_path / "node.json").write_text(json.dumps({**document, **changed}))
    with pytest.raises(InvalidConfig) as caught:
        read_config(tmp_path)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"host": "0.0.0.0", "trusted_proxy": True},
        {"host": "0.0.0.0", "tls_cert": "c", "tls_key": "k"},
        {"host": "localhost"},
        {"host": "::1"},
        {"host": "127.8.8.8"},
        {"endpoint": "http://127.0.0.1:8400"},
    ],
)
def test_usable_settings(change: dict[str, Any]) -> None:
    config(**change)


def test_nothing_secret_shows() -> None:
    secret = settings(config(), **PRIVATE)
    for text in (repr(secret), str(secret), f"{secret}"):
        assert "api-key" not in text
        assert "sixteen" not in text
        assert repr(KEYS["node"])[2:-1] not in text
    with pytest.raises(InvalidConfig) as caught:
        settings(config(), **{**PRIVATE, "node_key": b"a short secret"})
    assert "a short secret" not in str(caught.value)


def test_defaults_suit_a_public_network() -> None:
    node: NodeSettings = settings(config(), **PRIVATE)
    assert node.min_close_delay >= 36 * 3600
    assert node.confirmations >= 12
    assert (node.host, node.admin_host) == ("127.0.0.1", "127.0.0.1")


def test_rln_is_optional_and_its_settings_are_checked(tmp_path: Path) -> None:
    assert config().rln is None
    folder = tmp_path / "node"
    initialise(folder, config(rln={"contract": ADDRESS, "startBlock": 7}), KEYS, "x", scrypt_n=LIGHT)
    kept = read_config(folder).rln
    assert kept is not None
    assert (kept.contract, kept.start_block, kept.network) == (ADDRESS, 7, "waypost")
    assert (kept.epoch_seconds, kept.root_seconds) == (600, 1800)
    for wrong in (
        {},
        {"contract": "0x"},
        {"contract": ADDRESS, "startBlock": -1},
        {"contract": ADDRESS, "network": "Two Words"},
        {"contract": ADDRESS, "epochSeconds": 0},
        {"contract": ADDRESS, "rootSeconds": 0},
        {"contract": ADDRESS, "rootsSeconds": 5},
    ):
        with pytest.raises(ValueError, match="rln"):
            config(rln=wrong)
