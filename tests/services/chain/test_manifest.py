"""The manifest's file: written at once or not at all, and read with suspicion."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from waypost.chain import proxy
from waypost.chain.embedded import FUNDED_KEYS
from waypost.chain.manifest import Deployment, Manifest
from waypost.errors import InvalidConfig
from waypost.protocol.signatures import address_of

DEPLOYER, TOKEN, CHANNELS, REGISTRY = map(address_of, FUNDED_KEYS[:4])
MANIFEST = Manifest(
    chain_id=31337,
    preset="local",
    deployer=DEPLOYER,
    token=TOKEN,
    contracts={
        "DevDollar": Deployment(TOKEN, 7, b"\1" * 32, b"\2" * 32, ()),
        "Channels": Deployment(CHANNELS, 5, None, b"\3" * 32, (2, 3600)),
        "NodeRegistry": Deployment(REGISTRY, 9, b"\4" * 32, b"\5" * 32, (TOKEN, 10_000_000, 5), b"\6" * 32),
    },
)


def test_what_users_of_a_manifest_ask_for() -> None:
    assert (MANIFEST.channels, MANIFEST.registry) == (CHANNELS, REGISTRY)
    assert MANIFEST.start_block == 5


def test_a_manifest_survives_its_file(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    MANIFEST.save(path)
    assert Manifest.load(path) == MANIFEST
    assert json.loads(path.read_text())["contracts"]["Channels"]["constructorArguments"] == [2, 3600]
    older = replace(MANIFEST, preset="older")
    older.save(path)
    assert Manifest.load(path) == older
    assert [entry.name for entry in tmp_path.iterdir()] == ["manifest.json"]


def test_a_manifest_of_before_the_proxy_and_init_codes_were_named() -> None:
    content: Any = MANIFEST.to_json()
    assert content.pop("deploymentProxy") == proxy.ADDRESS
    del content["salt"], content["confirmations"]
    for entry in content["contracts"].values():
        del entry["initCodeHash"]
    found = Manifest.from_json(content)
    registry = replace(MANIFEST.contracts["NodeRegistry"], init_code_hash=None)
    assert found == replace(MANIFEST, contracts={**MANIFEST.contracts, "NodeRegistry": registry})


def test_a_manifest_that_cannot_be_written_leaves_the_old_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "manifest.json"
    MANIFEST.save(path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(InvalidConfig, match="No space left"):
        replace(MANIFEST, preset="newer").save(path)
    monkeypatch.undo()
    assert Manifest.load(path) == MANIFEST
    assert [entry.name for entry in tmp_path.iterdir()] == ["manifest.json"]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ((), []),
        (("chainId",), "31337"),
        (("chainId",), None),
        (("preset",), 5),
        (("token",), "0x12"),
        (("token",), "0xF39fd6e51aad88F6F4ce6aB8827279cffFb92266"),
        (("contracts",), []),
        (("contracts",), {}),
        (("contracts", "Channels"), None),
        (("contracts", "Channels", "address"), "Channels"),
        (("contracts", "Channels", "block"), -1),
        (("contracts", "Channels", "transaction"), "0x12"),
        (("contracts", "Channels", "artifactHash"), ""),
        (("contracts", "Channels", "initCodeHash"), "0x12"),
        (("deploymentProxy",), "0x12"),
        (("salt",), "0x12"),
        (("contracts", "Channels", "constructorArguments"), [None]),
        (("contracts", "Channels", "constructorArguments"), "2"),
    ],
)
def test_a_malformed_manifest(tmp_path: Path, path: tuple[str, ...], value: object) -> None:
    content: Any = MANIFEST.to_json()
    inner = content
    for name in path[:-1]:
        inner = inner[name]
    if path:
        inner[path[-1]] = value
    else:
        content = value
    file = tmp_path / "manifest.json"
    file.write_text(json.dumps(content))
    with pytest.raises(InvalidConfig, match="manifest is malformed"):
        Manifest.load(file)


def test_a_manifest_that_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match="cannot be read: No such file"):
        Manifest.load(tmp_path / "missing.json")
    (tmp_path / "text.json").write_text("{")
    with pytest.raises(InvalidConfig, match="no JSON"):
        Manifest.load(tmp_path / "text.json")
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidConfig, match="no JSON"):
        Manifest.load(tmp_path / "bytes.json")
