"""The verifier: what holds is accepted, everything else refused without a trace on stderr."""

import secrets

import pytest
from tests.services.zk.hostile import outside_the_subgroup

from waypost.errors import InvalidKey, InvalidProof
from waypost.protocol.poseidon import R
from waypost.protocol.rln import Signal
from waypost.zk.curve import FastCurve, reference
from waypost.zk.points import Q, decode_g1, decode_g2, encode_g1, encode_g2
from waypost.zk.proof import PROOF_BYTES, Proof
from waypost.zk.prover import Prover
from waypost.zk.verifier import Verifier

Proved = list[tuple[Proof, Signal]]


@pytest.fixture(scope="module", params=["native", "py_ecc"])
def verifier(request: pytest.FixtureRequest, prover: Prover) -> Verifier:
    return prover.verifier if request.param == "native" else Verifier(prover.verifier.key, reference())


@pytest.fixture
def native(prover: Prover) -> Verifier:
    return prover.verifier


def test_proofs_hold(verifier: Verifier, proved: Proved) -> None:
    for proof, signal in proved[:2]:
        assert verifier.verify(proof, signal.public)


@pytest.mark.parametrize("place", range(5))
def test_a_proof_holds_for_its_signal_alone(verifier: Verifier, proved: Proved, place: int) -> None:
    proof, signal = proved[0]
    public = list(signal.public)
    public[place] = (public[place] + 1) % R
    assert not verifier.verify(proof, public)


@pytest.mark.parametrize("change", [R, -R, 2**256 * R])
@pytest.mark.parametrize("place", range(5))
def test_public_signals_must_be_reduced(native: Verifier, proved: Proved, place: int, change: int) -> None:
    """Otherwise one share would have many nullifiers and x."""
    proof, signal = proved[0]
    public = list(signal.public)
    public[place] += change
    assert not native.verify(proof, public)
    assert native.verify_batch([(proof, public), proved_pair(proved[1])]) == [False, True]


def test_the_number_of_public_signals_matters(native: Verifier, proved: Proved) -> None:
    proof, signal = proved[0]
    assert not native.verify(proof, signal.public[:4])
    assert not native.verify(proof, (*signal.public, 0))
    assert not native.verify(proof, ())


def test_no_flipped_bit_goes_unnoticed(
    native: Verifier, proved: Proved, capfd: pytest.CaptureFixture[str]
) -> None:
    proof, signal = proved[0]
    for bit in range(PROOF_BYTES * 8):
        data = bytearray(proof.data)
        data[bit // 8] ^= 1 << bit % 8
        assert not native.verify(Proof(bytes(data)), signal.public), bit
    assert capfd.readouterr().err == ""  # the native library's panics would print


def _hostile(proof: Proof) -> dict[str, bytes]:
    a, _, c = proof.points()
    infinity1, infinity2 = bytes(31) + b"\x40", bytes(63) + b"\x40"
    return {
        "zeros": bytes(128),
        "ones": b"\xff" * 128,
        "noise": secrets.token_bytes(128),
        "A and C swapped": proof.c + proof.b + proof.a,
        "A at infinity": infinity1 + proof.b + proof.c,
        "B at infinity": proof.a + infinity2 + proof.c,
        "C at infinity": proof.a + proof.b + infinity1,
        "all at infinity": infinity1 + infinity2 + infinity1,
        "A and B at infinity": infinity1 + infinity2 + proof.c,
        "B outside the subgroup": proof.a + encode_g2(outside_the_subgroup()) + proof.c,
        "A negated": encode_g1((a[0], Q - a[1])) + proof.b + proof.c,
        "C negated": proof.a + proof.b + encode_g1((c[0], Q - c[1])),
        "x of A at Q": Q.to_bytes(32, "little") + proof.b + proof.c,
        "x of C at Q": proof.a + proof.b + Q.to_bytes(32, "little"),
        "B's coordinates swapped": proof.a + proof.b[32:] + proof.b[:32] + proof.c,
    }


@pytest.mark.parametrize("name", _hostile(Proof.of((1, 2), decode_g2(bytes.fromhex(
    "edf692d95cbdde46ddda5ef7d422436779445c5e66006a42761e1f12efde0018"
    "c212f3aeb785e49712e7a9353349aaf1255dfb31b7bf60723a480d9293938e19"
)), (1, 2))))  # fmt: skip
def test_hostile_proofs(
    verifier: Verifier, proved: Proved, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    proof, signal = proved[0]
    bad = Proof(_hostile(proof)[name])
    assert not verifier.verify(bad, signal.public)
    assert verifier.verify_batch([(bad, signal.public)]) == [False]
    assert capfd.readouterr().err == ""


def test_another_proof_of_the_same_signal_can_be_made_from_one(native: Verifier, proved: Proved) -> None:
    """Groth16 allows it: so duplicates are told by nullifier and x, never by a proof's bytes."""
    proof, signal = proved[0]
    a, b, c = proof.points()
    negated = Proof.of((a[0], Q - a[1]), (b[0], (-b[1][0] % Q, -b[1][1] % Q)), c)
    assert negated != proof
    assert native.verify(negated, signal.public)


@pytest.mark.parametrize("size", [0, 127, 129, 256])
def test_a_proof_has_128_bytes(size: int) -> None:
    with pytest.raises(InvalidProof):
        Proof(bytes(size))


# ---- Batches ----


def proved_pair(proved: tuple[Proof, Signal]) -> tuple[Proof, tuple[int, ...]]:
    return proved[0], proved[1].public


def test_a_batch_holds(verifier: Verifier, proved: Proved) -> None:
    batch = [proved_pair(each) for each in proved[:3]]
    assert verifier.verify_batch(batch) == [True] * 3
    assert verifier.verify_batch([]) == []
    assert verifier.verify_batch(batch[:1]) == [True]


@pytest.mark.parametrize("bad", range(5))
def test_a_bad_proof_spoils_no_other(native: Verifier, proved: Proved, bad: int) -> None:
    batch = [proved_pair(each) for each in proved]
    expected = [place != bad for place in range(5)]
    batch[bad] = batch[bad][0], proved[bad - 1][1].public
    assert native.verify_batch(batch) == expected
    batch[bad] = Proof(bytes(128)), proved[bad][1].public
    assert native.verify_batch(batch) == expected


def test_errors_that_cancel_out_are_found(native: Verifier, proved: Proved, curve: FastCurve) -> None:
    """C of one proof moved by a point, of the other by its negative: an unweighted sum would not see it."""
    moved = []
    shift = curve.generators()[0]
    for (proof, signal), by in zip(proved[:2], (shift, curve.negate(shift)), strict=True):
        c = curve.point_g1(curve.add(curve.g1(proof.c), by))
        assert c is not None
        moved.append((Proof(proof.a + proof.b + encode_g1(c)), signal.public))
    assert native.verify_batch(moved) == [False, False]
    assert decode_g1(moved[0][0].c) != decode_g1(proved[0][0].c)


def test_a_full_batch_is_checked_at_once(
    native: Verifier, proved: Proved, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(proof: object) -> bool:
        raise AssertionError("checked singly")

    monkeypatch.setattr(native, "_holds", refuse)
    assert native.verify_batch([proved_pair(each) for each in proved]) == [True] * 5


# ---- Self-test ----


def test_the_self_test_wants_a_proof_that_holds(native: Verifier, proved: Proved) -> None:
    native.self_test(*proved_pair(proved[0]))
    with pytest.raises(InvalidKey, match="self-test"):
        native.self_test(proved[0][0], proved[1][1].public)


def test_the_self_test_catches_a_curve_that_says_yes_to_all(prover: Prover, proved: Proved) -> None:
    verifier = Verifier(prover.verifier.key)
    verifier.verify = lambda proof, public: True  # type: ignore[method-assign]
    with pytest.raises(InvalidKey, match="zksnake"):
        verifier.self_test(*proved_pair(proved[0]))
