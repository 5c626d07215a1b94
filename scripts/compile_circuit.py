"""Compiles circuits/rln.circom into the constraint system that the product proves with, and writes the
constants of its hash. With --check it only tells whether both are up to date."""

import argparse
import lzma
import subprocess
import sys
from pathlib import Path

from scripts import circuit_constants as constants

from waypost.zk import circuit, r1cs

ROOT = Path(__file__).parent.parent
SOURCE = Path("circuits/rln.circom")
BUILD = Path("build/circuit")
COMPILED = ROOT / "services" / "waypost" / "zk" / circuit.FILE


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail if anything is not up to date")
    check = parser.parse_args().check
    if constants.TARGET.read_text("utf-8") != constants.render():
        if check:
            return _stale(constants.TARGET)
        constants.TARGET.write_text(constants.render(), "utf-8")
    made = r1cs.read(compile_circuit().read_bytes())
    if not COMPILED.exists() or r1cs.read(lzma.decompress(COMPILED.read_bytes())).digest != made.digest:
        if check:
            return _stale(COMPILED)
        COMPILED.write_bytes(lzma.compress((ROOT / BUILD / "rln.r1cs").read_bytes(), preset=9))
    print(f"{len(made.rows)} constraints, {made.wires} wires, SHA-256 {made.digest}")
    return 0


def compile_circuit() -> Path:
    """The .r1cs file; beside it the folder rln_js with circom's own witness program. Level 2 of
    simplification is part of what the circuit is: its keys belong to it."""
    (ROOT / BUILD).mkdir(parents=True, exist_ok=True)
    command = ["node_modules/.bin/circom2", str(SOURCE), "--r1cs", "--wasm", "--O2", "--output", str(BUILD)]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return ROOT / BUILD / "rln.r1cs"


def _stale(path: Path) -> int:
    print(f"{path.relative_to(ROOT)} is out of date: run make circuit.", file=sys.stderr)
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
