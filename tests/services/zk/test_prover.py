"""The prover: proofs of honest signals, and none of anything else."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.services.zk.conftest import MEMBER
from tests.services.zk.hostile import outside_the_subgroup

from waypost.errors import InvalidFieldElement, InvalidKey, ProverUnavailable, Unprovable
from waypost.protocol.poseidon import R
from waypost.protocol.rln import MAX_LIMIT, Membership, signal
from waypost.zk import circuit
from waypost.zk.prover import Prover
from waypost.zk.proving_key import ProvingKey

ELEMENTS = st.integers(0, R - 1)


@settings(max_examples=10)
@given(
    st.builds(
        Membership,
        secret=st.integers(1, R - 1),
        limit=st.integers(1, MAX_LIMIT),
        index=st.integers(0, 2**20 - 1),
        siblings=st.tuples(*[ELEMENTS] * 20),
    ),
    st.floats(0, 1, exclude_max=True),
    ELEMENTS,
    ELEMENTS,
)
def test_any_member_can_prove(prover: Prover, member: Membership, part: float, x: int, external: int) -> None:
    message_id = int(part * member.limit)
    proof, made = prover.prove(member, message_id, x, external)
    assert made == signal(member, message_id, x, external)
    assert prover.verifier.verify(proof, made.public)


@pytest.mark.parametrize("limit", [1, 2, 2**15, MAX_LIMIT])
def test_the_first_and_the_last_message_of_a_limit(prover: Prover, limit: int) -> None:
    member = replace(MEMBER, limit=limit)
    for message_id in {0, limit - 1}:
        prover.prove(member, message_id, 1, 2)


@pytest.mark.parametrize("message_id", [9, 10, 2**15, 2**16 - 1, 2**16, 2**17, R - 1])
def test_a_message_beyond_the_limit_cannot_be_proved(prover: Prover, message_id: int) -> None:
    with pytest.raises(Unprovable, match="not below the limit of 9") as refusal:
        prover.prove(MEMBER, message_id, 1, 2)
    assert refusal.value.details.keys() == {"constraint"}


@pytest.mark.parametrize(
    ("message_id", "x", "external"), [(0, R, 1), (0, 1, R), (0, -1, 1), (0, 1, 2**256), (R, 1, 1), (-1, 1, 1)]
)
def test_inputs_are_not_silently_reduced(prover: Prover, message_id: int, x: int, external: int) -> None:
    with pytest.raises(InvalidFieldElement):
        prover.prove(MEMBER, message_id, x, external)


def test_two_proofs_of_one_signal_differ(prover: Prover) -> None:
    (one, signal_1), (other, signal_2) = (prover.prove(MEMBER, 0, 1, 2) for _ in range(2))
    assert signal_1 == signal_2
    assert one.a != other.a
    assert one.b != other.b
    assert one.c != other.c


@pytest.mark.parametrize("wire", [1, 2, 3, 6, 9, 49, 50, 51, 111, 3000, 5814, 5843])
def test_a_wrong_witness_gives_no_proof(prover: Prover, monkeypatch: pytest.MonkeyPatch, wire: int) -> None:
    honest: Callable[..., list[int]] = circuit.witness

    def wrong(*arguments: object) -> list[int]:
        wires = honest(*arguments)
        wires[wire] = (wires[wire] + 1) % R
        return wires

    monkeypatch.setattr(circuit, "witness", wrong)
    with pytest.raises(Unprovable):
        prover.prove(MEMBER, 0, 1, 2)


# ---- Keys ----


def test_a_key_of_another_circuit_is_refused(key: ProvingKey) -> None:
    matrix, row, wire, value = key.coefficients[100]
    changed = [*key.coefficients]
    changed[100] = matrix, row, wire, value + 1
    for coefficients in (changed, key.coefficients[1:], [*key.coefficients, (1, 5830, 0, 1)]):
        with pytest.raises(InvalidKey, match="another circuit"):
            Prover(replace(key, coefficients=coefficients))
    with pytest.raises(InvalidKey, match="another circuit"):
        Prover(replace(key, a=[*key.a, None]))


@pytest.mark.parametrize("part", ["a", "b1", "c", "h"])
def test_a_key_with_a_point_off_the_curve_is_refused(key: ProvingKey, part: str) -> None:
    points = list(getattr(key, part))
    points[200] = (1, 3)
    with pytest.raises(InvalidKey, match="curve"):
        Prover(replace(key, **{part: points}))  # type: ignore[arg-type]


def test_a_key_with_a_point_outside_the_subgroup_is_refused(
    key: ProvingKey, capfd: pytest.CaptureFixture[str]
) -> None:
    b2 = [outside_the_subgroup(), *key.b2[1:]]
    with pytest.raises(InvalidKey, match="point"):
        Prover(replace(key, b2=b2))
    assert capfd.readouterr().err == ""


def test_a_key_whose_points_are_in_disorder_proves_nothing(key: ProvingKey) -> None:
    swapped = [*key.c]
    swapped[100], swapped[101] = swapped[101], swapped[100]
    prover = Prover(replace(key, c=swapped))
    with pytest.raises(Unprovable, match="does not hold"):
        prover.prove(MEMBER, 0, 1, 2)
    with pytest.raises(InvalidKey, match="self-test"):
        prover.self_test()


def test_no_native_library_no_prover(key: ProvingKey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("waypost.zk.prover.native", lambda: None)
    with pytest.raises(ProverUnavailable):
        Prover(key)
