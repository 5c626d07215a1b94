"""The manifest's file: written at once or not at all, and read with suspicion."""

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from waypost.chain import artifacts, proxy
from waypost.chain.embedded import FUNDED_KEYS
from waypost.chain.manifest import Deployment, Manifest
from waypost.errors import InvalidConfig
from waypost.protocol.signatures import address_of

DEPLOYER, TOKEN, CHANNELS, REGISTRY, MEMBERSHIP = map(address_of, FUNDED_KEYS[:5])
MANIFEST = Manifest(
    chain_id=31337,
    preset="local",
    deployer=DEPLOYER,
    token=TOKEN,
    contracts={
        "DevDollar": Deployment(TOKEN, 7, b"\1" * 32, b"\2" * 32, ()),
        "Channels": Deployment(CHANNELS, 5, None, b"\3" * 32, (2, 3600)),
        "NodeRegistry": Deployment(REGISTRY, 9, b"\4" * 32, b"\5" * 32, (TOKEN, 10_000_000, 5), b"\6" * 32),
        "RlnMembership": Deployment(
            MEMBERSHIP, 11, b"\7" * 32, b"\x08" * 32, (TOKEN, 20, 60, 600, 10_000, 1_000)
        ),
    },
)


def test_what_users_of_a_manifest_ask_for() -> None:
    assert (MANIFEST.channels, MANIFEST.registry) == (CHANNELS, REGISTRY)
    assert MANIFEST.membership == MEMBERSHIP
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


def test_a_manifest_of_before_there_were_members(tmp_path: Path) -> None:
    content: Any = MANIFEST.to_json()
    del content["contracts"]["RlnMembership"]
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    found = Manifest.load(tmp_path / "manifest.json")
    assert found.membership is None
    assert (found.channels, found.registry, found.start_block) == (CHANNELS, REGISTRY, 5)
    assert found.to_json() == content


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
        (("contracts", "Channels", "constructorArguments"), []),
        (("contracts", "Channels", "constructorArguments"), [2]),
        (("contracts", "Channels", "constructorArguments"), [2, 3600, 1]),
        (("contracts", "Channels", "constructorArguments"), [2, "3600"]),
        (("contracts", "Channels", "constructorArguments"), [2, True]),
        (("contracts", "Channels", "constructorArguments"), [2, 2**32]),
        (("contracts", "Channels", "constructorArguments"), [-1, 2]),
        (("contracts", "NodeRegistry", "constructorArguments"), [5, 1, 5]),
        (("contracts", "NodeRegistry", "constructorArguments"), ["0x12", 1, 5]),
        (("contracts", "DevDollar", "constructorArguments"), [1]),
        (("contracts", "RlnMembership"), None),
        (("contracts", "RlnMembership", "constructorArguments"), [TOKEN, 20, 60, 600, 10_000]),
        (("contracts", "RlnMembership", "constructorArguments"), [TOKEN, 256, 60, 600, 10_000, 1_000]),
        (("contracts", "RlnMembership", "constructorArguments"), [TOKEN, 20, 60, 2**40, 10_000, 1_000]),
        (("contracts", "RlnMembership", "constructorArguments"), [TOKEN, 20, 60, 600, -1, 1_000]),
        (("contracts", "RlnMembership", "constructorArguments"), [TOKEN, 20, 60, 600, 10_000, 2**96]),
        (("contracts", "Casino"), {}),
        (("confirmations",), 1001),
    ],
)
def test_a_malformed_manifest(tmp_path: Path, path: tuple[str, ...], value: object) -> None:
    file = tmp_path / "manifest.json"
    file.write_text(json.dumps(altered(path, value)))
    with pytest.raises(InvalidConfig) as raised:
        Manifest.load(file)
    assert str(raised.value).startswith(f"The manifest {file} is malformed: ")
    for name in path[1:]:  # the contract and its field
        assert name in str(raised.value)


def altered(path: Sequence[Any], value: object) -> Any:
    """The manifest's JSON with another value in one place."""
    content: Any = json.loads(json.dumps(MANIFEST.to_json()))
    if not path:
        return value
    inner = content
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    return content


def places(content: Any) -> Iterator[tuple[Any, ...]]:
    """The path to every value inside of a JSON value, and to itself."""
    yield ()
    listed: Any = content.items() if isinstance(content, dict) else ()
    for key, inner in enumerate(content) if isinstance(content, list) else listed:
        yield from ((key, *path) for path in places(inner))


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.just("0x")
JSON_VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8
)


@settings(max_examples=500)
@given(path=st.sampled_from(sorted(places(MANIFEST.to_json()), key=str)), value=JSON_VALUES)
def test_whatever_stands_in_one_place(path: tuple[Any, ...], value: Any) -> None:
    """It is refused in words, or means something that can be written again."""
    try:
        found = Manifest.from_json(altered(path, value))
    except InvalidConfig:
        return
    assert Manifest.from_json(json.loads(json.dumps(found.to_json()))) == found
    assert found.start_block >= 0
    for name, entry in found.contracts.items():
        assert artifacts.load(name).init_code(entry.constructor_arguments)


@given(data=st.data())
def test_whatever_the_file_holds(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    text = json.dumps(MANIFEST.to_json()).encode()
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 9)))
    file = tmp_path_factory.getbasetemp() / "manifest.json"
    file.write_bytes(text[:start] + data.draw(st.binary(max_size=9)) + text[end:])
    with suppress(InvalidConfig):
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
    (tmp_path / "deep.json").write_text("[" * 100_000)
    with pytest.raises(InvalidConfig, match="no JSON"):
        Manifest.load(tmp_path / "deep.json")
