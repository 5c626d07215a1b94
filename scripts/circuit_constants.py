"""Renders circuits/poseidon_constants.circom from the parameters that the product hashes with."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from waypost.protocol.poseidon import PARTIAL_ROUNDS, Parameters, parameters

TARGET = Path(__file__).parent.parent / "circuits" / "poseidon_constants.circom"
HEAD = """// Made by scripts/compile_circuit.py: do not edit. They are used in poseidon.circom.
pragma circom 2.1.0;
"""


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
