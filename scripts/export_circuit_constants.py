"""Writes circuits/poseidon_constants.circom from the parameters that the product hashes with."""

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from waypost.protocol.poseidon import PARTIAL_ROUNDS, Parameters, parameters

TARGET = Path(__file__).parent.parent / "circuits" / "poseidon_constants.circom"
HEAD = """// Made by scripts/export_circuit_constants.py: do not edit. They are used in poseidon.circom.
pragma circom 2.1.0;
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail if the file is not up to date")
    text = render()
    if parser.parse_args().check:
        if TARGET.read_text("utf-8") != text:
            print(f"{TARGET.name} is out of date: run make circuit.", file=sys.stderr)
            return 1
        return 0
    TARGET.write_text(text, "utf-8")
    return 0


def render() -> str:
    tables: dict[str, dict[int, str]] = {}
    for width in PARTIAL_ROUNDS:
        for name, values in _arrays(parameters(width)).items():
            tables.setdefault(name, {})[width] = _array(values)
    return HEAD + "".join(_function(name, by_width) for name, by_width in tables.items())


def _arrays(p: Parameters) -> dict[str, Sequence[int] | Sequence[Sequence[int]]]:
    return {
        "FullConstants": p.constants,
        "PartialConstants": [each.constant for each in p.partial],
        "Mix": p.mix,
        "Bridge": p.bridge,
        "PartialFirst": [each.first for each in p.partial],
        "PartialColumn": [each.column for each in p.partial],
    }


def _array(values: Iterable[object]) -> str:
    items = (_array(each) if isinstance(each, Sequence) else str(each) for each in values)
    return "[" + ", ".join(items) + "]"


def _function(name: str, by_width: dict[int, str]) -> str:
    *others, (last, array) = by_width.items()
    cases = "".join(f"    if (width == {width}) {{ return {each}; }}\n" for width, each in others)
    return f"\nfunction {name}(width) {{\n{cases}    assert(width == {last});\n    return {array};\n}}\n"


if __name__ == "__main__":
    raise SystemExit(main())
