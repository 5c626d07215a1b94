"""Poseidon against the published vectors, and both of its implementations against each other."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.errors import InvalidFieldElement
from waypost.protocol.poseidon import PARTIAL_ROUNDS, R, hash_plainly, parameters, poseidon

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "rln.json").read_text())["poseidon"]["cases"]
ELEMENTS = st.integers(0, R - 1)


@pytest.mark.parametrize("case", VECTORS, ids=lambda case: ",".join(case["inputs"]))
def test_published_hashes(case: dict[str, list[str]]) -> None:
    inputs = [int(each) for each in case["inputs"]]
    assert poseidon(inputs) == hash_plainly(inputs) == int(str(case["hash"]))


@given(ELEMENTS, ELEMENTS)
def test_pairs_hash_alike_in_python_and_in_the_native_library(left: int, right: int) -> None:
    assert poseidon([left, right]) == hash_plainly([left, right])


@given(st.lists(ELEMENTS, min_size=1, max_size=3))
def test_the_sparse_form_is_the_textbook_permutation(inputs: list[int]) -> None:
    """A state of any width goes through rounds that add constants, raise to the fifth power and mix: with the
    constants of the sparse form undone, by the definition in section 4 of the paper."""
    p = parameters(len(inputs) + 1)
    state = [0, *inputs]
    for number in range(8 + PARTIAL_ROUNDS[p.width]):
        state = [(value + constant) % R for value, constant in zip(state, p.plain[number], strict=True)]
        partial = 4 <= number < 4 + PARTIAL_ROUNDS[p.width]
        state = [pow(v, 5, R) if not partial or place == 0 else v for place, v in enumerate(state)]
        state = [sum(f * v for f, v in zip(row, state, strict=True)) % R for row in p.mix]
    assert state[0] == hash_plainly(inputs)


@pytest.mark.parametrize("inputs", [[], [1, 2, 3, 4], [R], [-1], [1, R], [0, 1, 2**256]])
def test_other_inputs_are_refused(inputs: list[int]) -> None:
    with pytest.raises(InvalidFieldElement):
        poseidon(inputs)
