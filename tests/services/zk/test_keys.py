"""Keys by their hash, and which of them a public chain may see."""

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from waypost.chain import presets
from waypost.errors import DevelopmentKey, FileUnusable, InvalidKey, KeyUnknown, ProverUnavailable
from waypost.protocol.rln import Signal
from waypost.zk import development, keys, proving_key
from waypost.zk.development import DEVELOPMENT_PROVING_KEY, DEVELOPMENT_VERIFYING_KEY
from waypost.zk.proof import Proof
from waypost.zk.proving_key import ProvingKey


@pytest.fixture(scope="module")
def folder(development_file: Path, key: ProvingKey, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The development key's files under names of no meaning, and a file that is no key."""
    folder = tmp_path_factory.mktemp("keys")
    shutil.copy(development_file, folder / "some.zkey")
    (folder / "some.json").write_text(key.verifying_key.to_json())
    (folder / "other.json").write_text("{}")
    (folder / "sub.json").mkdir()
    return folder


@pytest.fixture(scope="module")
def json_hash(folder: Path) -> str:
    return hashlib.sha256((folder / "some.json").read_bytes()).hexdigest()


def test_a_key_is_found_by_its_hash(folder: Path, json_hash: str, proved: list[tuple[Proof, Signal]]) -> None:
    verifier = keys.load_verifier(folder, json_hash.upper(), 31337)
    assert verifier.verify(proved[0][0], proved[0][1].public)
    assert verifier.key.digest == DEVELOPMENT_VERIFYING_KEY
    assert keys.load_prover(folder, DEVELOPMENT_PROVING_KEY, 1337).verifier.key == verifier.key


def test_a_key_that_is_not_there(folder: Path, json_hash: str) -> None:
    for sha256 in ("0" * 64, "", "some"):
        with pytest.raises(KeyUnknown):
            keys.load_verifier(folder, sha256, 31337)
    with pytest.raises(KeyUnknown):
        keys.load_prover(folder, json_hash, 31337)
    with pytest.raises(FileUnusable):
        keys.load_verifier(folder / "missing", json_hash, 31337)


def test_a_file_with_the_right_hash_may_still_be_no_key(folder: Path) -> None:
    with pytest.raises(InvalidKey):
        keys.load_verifier(folder, hashlib.sha256(b"{}").hexdigest(), 31337)


@pytest.mark.parametrize("chain_id", [1, 10, 8453, 11155111, 0, -1])
def test_development_keys_are_for_development_chains(
    folder: Path, json_hash: str, key: ProvingKey, chain_id: int
) -> None:
    with pytest.raises(DevelopmentKey):
        keys.load_prover(folder, DEVELOPMENT_PROVING_KEY, chain_id)
    with pytest.raises(DevelopmentKey):
        keys.load_verifier(folder, json_hash, chain_id)
    keys.require_allowed(key, chain_id, force=True)
    keys.require_allowed(key.verifying_key, chain_id, force=True)


def test_the_chains_are_those_of_the_deployment() -> None:
    assert keys.DEVELOPMENT_CHAINS == presets.DEVELOPMENT_CHAINS


def test_a_key_without_contributions_is_a_development_key(published: Path) -> None:
    key = proving_key.read((published / "rln_final.zkey").read_bytes())
    keys.require_allowed(key, 1)
    with pytest.raises(DevelopmentKey):
        keys.require_allowed(replace(key, contributions=0), 1)


def test_the_development_key_is_recognised_whatever_its_file_says(key: ProvingKey) -> None:
    with pytest.raises(DevelopmentKey):
        keys.require_allowed(replace(key, contributions=61), 1)


def test_a_known_proof_that_does_not_hold_stops_the_verifier(
    folder: Path, json_hash: str, proved: list[tuple[Proof, Signal]]
) -> None:
    keys.load_verifier(folder, json_hash, 31337, sample=(proved[0][0], proved[0][1].public))
    with pytest.raises(InvalidKey, match="self-test"):
        keys.load_verifier(folder, json_hash, 31337, sample=(proved[0][0], proved[1][1].public))


def test_a_proving_key_that_proves_nothing_stops_the_prover(key: ProvingKey, tmp_path: Path) -> None:
    """Its points are of the curve, and two of them in the wrong place: only a proof shows that."""
    swapped = [*key.c]
    swapped[100], swapped[101] = swapped[101], swapped[100]
    data = proving_key.write(replace(key, c=swapped))
    (tmp_path / "bad.zkey").write_bytes(data)
    with pytest.raises(InvalidKey, match="self-test"):
        keys.load_prover(tmp_path, hashlib.sha256(data).hexdigest(), 31337)


# ---- The development key ----


def test_the_development_key_is_kept(development_file: Path, tmp_path: Path) -> None:
    copy = tmp_path / development_file.name
    shutil.copy(development_file, copy)
    before = copy.stat().st_mtime_ns
    assert development.proving_key_file(tmp_path) == copy
    assert copy.stat().st_mtime_ns == before


def test_a_damaged_development_key_is_made_anew(
    development_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(development, "make_proving_key", development_file.read_bytes)
    path = tmp_path / "new" / development_file.name
    assert development.proving_key_file(path.parent) == path
    path.write_bytes(b"damaged")
    assert development.proving_key_file(path.parent) == path
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    assert hashlib.sha256(path.read_bytes()).hexdigest() == DEVELOPMENT_PROVING_KEY


def test_a_development_key_that_comes_out_differently_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(development, "make_proving_key", lambda: b"another")
    with pytest.raises(InvalidKey):
        development.proving_key_file(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_development_key_needs_the_native_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(development, "native", lambda: None)
    with pytest.raises(ProverUnavailable):
        development.make_proving_key()


def test_a_folder_that_cannot_be_written(
    development_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(development, "make_proving_key", development_file.read_bytes)
    (tmp_path / "file").write_text("")
    with pytest.raises(FileUnusable):
        development.proving_key_file(tmp_path / "file" / "keys")
