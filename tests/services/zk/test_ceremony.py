"""A ceremony of one's own, on a circuit of two constraints: what scripts/ceremony.py makes, it verifies."""

import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.services.zk.conftest import ROOT

from waypost.errors import DevelopmentKey
from waypost.protocol.poseidon import R
from waypost.zk import keys, proving_key, r1cs, sections, verifying_key
from waypost.zk.r1cs import Terms

SNARKJS = ROOT / "node_modules" / ".bin" / "snarkjs"


def constraint_file(path: Path, factor: int) -> Path:
    """Wire 1 times `factor` is the cube of wire 2, through wire 3."""
    rows: list[Sequence[Terms]] = [
        (((3, 1),), ((2, 1),), ((1, factor),)),
        (((2, 1),), ((2, 1),), ((3, 1),)),
    ]
    header = (
        struct.pack("<I", 32) + R.to_bytes(32, "little") + struct.pack("<IIIIQI", 4, 1, 1, 0, 4, len(rows))
    )
    body = b""
    for terms in (each for row in rows for each in row):
        body += struct.pack("<I", len(terms))
        body += b"".join(struct.pack("<I", wire) + value.to_bytes(32, "little") for wire, value in terms)
    labels = struct.pack("<QQQQ", 0, 1, 2, 3)
    path.write_bytes(sections.pack({1: header, 2: body, 3: labels}, b"r1cs", 1))
    assert r1cs.read(path.read_bytes()).rows[0].c == ((1, factor),)
    return path


def snarkjs(*words: str | Path) -> None:
    subprocess.run([str(SNARKJS), *map(str, words)], check=True, capture_output=True)


def ceremony(circuit: Path, *words: str | Path) -> int:
    command = [sys.executable, "-m", "scripts.ceremony", "--circuit", str(circuit), *map(str, words)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode


def test_a_ceremony(tmp_path: Path) -> None:
    if not SNARKJS.exists():
        pytest.skip("snarkjs is missing: make install-node")
    powers = tmp_path / "powers.ptau"
    snarkjs("powersoftau", "new", "bn128", "4", tmp_path / "new.ptau")
    snarkjs(
        "powersoftau",
        "contribute",
        tmp_path / "new.ptau",
        tmp_path / "one.ptau",
        "--name=one",
        "-e=some text",
    )
    snarkjs("powersoftau", "prepare", "phase2", tmp_path / "one.ptau", powers)
    circuit = constraint_file(tmp_path / "circuit.r1cs", 2)
    first, second, third = (tmp_path / f"{number}.zkey" for number in range(3))

    assert ceremony(circuit, "start", powers, first) == 0
    assert ceremony(circuit, "contribute", first, second, "--name", "Alice") == 0
    assert ceremony(circuit, "contribute", second, third) == 0
    assert ceremony(circuit, "verify", powers, third) == 0

    start, end = (proving_key.read(path.read_bytes()) for path in (first, third))
    assert (start.contributions, end.contributions) == (0, 2)
    end.require_fit(r1cs.read(circuit.read_bytes()))
    keys.require_allowed(end, 1)
    with pytest.raises(DevelopmentKey):
        keys.require_allowed(start, 1)

    assert ceremony(circuit, "export", third, tmp_path / "key.json") == 0
    assert verifying_key.parse((tmp_path / "key.json").read_bytes()) == end.verifying_key

    another = constraint_file(tmp_path / "another.r1cs", 3)
    assert ceremony(another, "verify", powers, third) != 0
    forged = dict(sections.unpack(third.read_bytes(), b"zkey", 1))
    forged[9] = forged[9][64:128] + forged[9][:64] + forged[9][128:]
    third.write_bytes(sections.pack(forged, b"zkey", 1))
    assert ceremony(circuit, "verify", powers, third) != 0
