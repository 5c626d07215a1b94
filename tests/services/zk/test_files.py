"""Files and messages from elsewhere: read as they are written, refused when they are damaged."""

import contextlib
import json
import lzma
import struct
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.services.zk.hostile import outside_the_subgroup

from waypost.errors import InvalidFieldElement, InvalidKey, InvalidProof, WaypostError
from waypost.protocol.poseidon import R
from waypost.protocol.rln import Signal
from waypost.zk import circuit, proof, proving_key, r1cs, sections, verifying_key
from waypost.zk.points import Q
from waypost.zk.proof import Proof
from waypost.zk.proving_key import ProvingKey

# ---- Proving keys ----


@pytest.fixture(scope="module")
def file(development_file: Path) -> bytes:
    return development_file.read_bytes()


def test_a_key_is_written_as_it_was_read(file: bytes, key: ProvingKey) -> None:
    assert proving_key.write(key) == file


def _edit(number: int, start: int, data: bytes) -> Callable[[dict[int, bytes]], None]:
    def edit(parts: dict[int, bytes]) -> None:
        body = parts[number]
        parts[number] = body[:start] + data + body[start + len(data) :]

    return edit


def _u32(number: int) -> bytes:
    return struct.pack("<I", number)


DAMAGE: dict[str, Callable[[dict[int, bytes]], Any]] = {
    "PLONK": _edit(1, 0, _u32(2)),
    "another base field": _edit(2, 4, _u32(7)),
    "another scalar field": _edit(2, 40, _u32(7)),
    "numbers of another size": _edit(2, 0, _u32(48)),
    "more public signals than wires": _edit(2, 76, _u32(5844)),
    "one public signal more": _edit(2, 76, _u32(6)),
    "one wire more": _edit(2, 72, _u32(5845)),
    "a domain that is no power of two": _edit(2, 80, _u32(8191)),
    "an empty domain": _edit(2, 80, _u32(0)),
    "a huge domain": _edit(2, 80, _u32(1 << 31)),
    "alpha at infinity": _edit(2, 84, bytes(64)),
    "alpha off the curve": _edit(2, 84, bytes([1])),
    "alpha not reduced": _edit(2, 84, Q.to_bytes(32, "little")),
    "delta at infinity": _edit(2, 84 + 64 * 2 + 128 * 2 + 64, bytes(128)),
    "delta off the curve": _edit(2, 84 + 64 * 2 + 128 * 2 + 64, bytes([1])),
    "a point not reduced": _edit(5, 640, b"\xff" * 32),
    "a coefficient of a third matrix": _edit(4, 4, _u32(2)),
    "a coefficient of a far row": _edit(4, 8, _u32(8192)),
    "a coefficient of an unknown wire": _edit(4, 12, _u32(5844)),
    "a coefficient not reduced": _edit(4, 16, R.to_bytes(32, "little")),
    "more coefficients than there are": _edit(4, 0, _u32(25_000)),
    "fewer coefficients than there are": _edit(4, 0, _u32(20)),
    "no inputs": lambda parts: parts.pop(3),
    "no contributions": lambda parts: parts.pop(10),
    "no header": lambda parts: parts.pop(2),
    "a point less": lambda parts: parts.update({9: parts[9][64:]}),
    "a longer header": lambda parts: parts.update({2: parts[2] + b"\0"}),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_keys_are_refused(file: bytes, name: str) -> None:
    parts = dict(sections.unpack(file, b"zkey", 1))
    DAMAGE[name](parts)
    with pytest.raises(InvalidKey):
        proving_key.read(sections.pack(parts, b"zkey", 1))


@pytest.mark.parametrize(
    "data", [b"", b"zkey", b"zkey\1\0\0\0", b"r1cs\1\0\0\0\0\0\0\0", b"zkey\2\0\0\0\0\0\0\0"], ids=repr
)
def test_other_files_are_no_keys(data: bytes) -> None:
    with pytest.raises(InvalidKey):
        proving_key.read(data)


@pytest.mark.parametrize("size", [1, 100, 1_000_000, 3_404_859])
def test_a_file_that_was_cut_short_is_refused(file: bytes, size: int) -> None:
    with pytest.raises(InvalidKey):
        proving_key.read(file[:size])
    with pytest.raises(InvalidKey):
        proving_key.read(file + b"\0")


def test_a_section_cannot_come_twice() -> None:
    once = sections.pack({1: b"\1\0\0\0"}, b"zkey", 1)
    with pytest.raises(InvalidKey, match="twice"):
        sections.unpack(once[:8] + _u32(2) + once[12:] * 2, b"zkey", 1)


# ---- Constraint systems ----


def test_a_damaged_constraint_system_is_refused() -> None:
    compiled = lzma.decompress(resources.files("waypost.zk").joinpath(circuit.FILE).read_bytes())
    parts = sections.unpack(compiled, b"r1cs", 1)
    edits = [
        _edit(1, 4, _u32(7)),  # the field
        _edit(1, 36, _u32(5)),  # wires
        _edit(1, 64, _u32(5819)),  # constraints
        _edit(2, 4, _u32(5844)),  # a wire
        _edit(2, 8, R.to_bytes(32, "little")),  # a factor
        _edit(2, 8, bytes(32)),
        _edit(2, 0, _u32(2**31)),
    ]
    for edit in edits:
        changed = dict(parts)
        edit(changed)
        with pytest.raises(InvalidKey):
            r1cs.read(sections.pack(changed, b"r1cs", 1))


# ---- Verifying keys ----


def test_a_verifying_key_survives_json(key: ProvingKey) -> None:
    text = key.verifying_key.to_json()
    assert verifying_key.parse(text) == key.verifying_key
    respaced = json.dumps(json.loads(text) | {"vk_alphabeta_12": []})
    assert verifying_key.parse(respaced).digest == key.verifying_key.digest


def _far_point(document: dict[str, Any]) -> None:
    x, y = outside_the_subgroup()
    document["vk_gamma_2"] = [list(map(str, x)), list(map(str, y)), ["1", "0"]]


KEY_EDITS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "protocol": lambda d: d.update(protocol="plonk"),
    "curve": lambda d: d.update(curve="bls12381"),
    "nPublic": lambda d: d.update(nPublic=4),
    "no IC": lambda d: d.pop("IC"),
    "empty IC": lambda d: d.update(IC=[], nPublic=-1),
    "IC is a number": lambda d: d.update(IC=5),
    "no alpha": lambda d: d.pop("vk_alpha_1"),
    "alpha off the curve": lambda d: d.update(vk_alpha_1=["1", "3", "1"]),
    "alpha unreduced": lambda d: d.update(vk_alpha_1=[str(1 + Q), "2", "1"]),
    "alpha at infinity": lambda d: d.update(vk_alpha_1=["0", "1", "0"]),
    "alpha projective": lambda d: d["vk_alpha_1"].__setitem__(2, "2"),
    "alpha in numbers": lambda d: d.update(vk_alpha_1=[1, 2, 1]),
    "alpha with a sign": lambda d: d.update(vk_alpha_1=["+1", "2", "1"]),
    "alpha with a zero in front": lambda d: d.update(vk_alpha_1=["01", "2", "1"]),
    "alpha in another script": lambda d: d.update(vk_alpha_1=["\u0661", "2", "1"]),
    "alpha too long": lambda d: d.update(vk_alpha_1=["1" * 5000, "2", "1"]),
    "beta short": lambda d: d["vk_beta_2"].pop(),
    "beta flat": lambda d: d.update(vk_beta_2=["1", "2", "1"]),
    "beta off the curve": lambda d: d.update(vk_beta_2=[["1", "2"], ["3", "4"], ["1", "0"]]),
    "beta projective": lambda d: d["vk_beta_2"].__setitem__(2, ["2", "0"]),
    "gamma outside the subgroup": _far_point,
}


@pytest.mark.parametrize("name", KEY_EDITS)
def test_damaged_verifying_keys_are_refused(key: ProvingKey, name: str) -> None:
    document = json.loads(key.verifying_key.to_json())
    KEY_EDITS[name](document)
    with pytest.raises(InvalidKey):
        verifying_key.parse(json.dumps(document))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", "{}", b"\xff\xfe", "[" * 4_000, "[" * 100_000])
def test_other_text_is_neither_key_nor_proof(text: str | bytes) -> None:
    with pytest.raises(InvalidKey):
        verifying_key.parse(text)
    with pytest.raises(InvalidProof):
        proof.parse(text)


# ---- Proofs ----


def test_a_proof_survives_json_and_zerokits_form(proved: list[tuple[Proof, Signal]]) -> None:
    made, signal = proved[0]
    assert proof.parse(made.to_json()) == made
    data = proof.encode_zerokit(made, signal)
    assert len(data) == 288
    assert data[128:160] == signal.root.to_bytes(32, "little")
    assert proof.decode_zerokit(data) == (made, signal)


@pytest.mark.parametrize(
    "edit",
    [
        {"protocol": "plonk"},
        {"curve": "bls12381"},
        {"pi_a": ["1", "3", "1"]},
        {"pi_a": [str(1 + Q), "2", "1"]},
        {"pi_c": ["0", "1", "0"]},
        {"pi_b": [["1", "2"], ["3", "4"], ["1", "0"]]},
        {"pi_b": None},
    ],
    ids=repr,
)
def test_damaged_proofs_are_refused(proved: list[tuple[Proof, Signal]], edit: dict[str, Any]) -> None:
    with pytest.raises(InvalidProof):
        proof.parse(json.dumps(json.loads(proved[0][0].to_json()) | edit))


def test_bytes_that_are_no_points_have_no_json() -> None:
    with pytest.raises(InvalidProof):
        Proof(b"\xff" * 128).to_json()


@pytest.mark.parametrize("start", range(128, 288, 32))
def test_zerokits_values_must_be_reduced(proved: list[tuple[Proof, Signal]], start: int) -> None:
    data = bytearray(proof.encode_zerokit(*proved[0]))
    data[start : start + 32] = R.to_bytes(32, "little")
    with pytest.raises(InvalidFieldElement):
        proof.decode_zerokit(bytes(data))


@pytest.mark.parametrize("size", [0, 128, 287, 289])
def test_zerokits_form_has_288_bytes(size: int) -> None:
    with pytest.raises(InvalidProof):
        proof.decode_zerokit(bytes(size))


@given(st.binary(max_size=400))
def test_noise_raises_nothing_but_errors_of_ours(data: bytes) -> None:
    for read in (proving_key.read, r1cs.read, verifying_key.parse, proof.parse):
        with pytest.raises(WaypostError):
            read(data)
    with contextlib.suppress(WaypostError):
        proof.decode_zerokit(data)
