"""Checks Groth16 proofs: e(A, B) = e(alpha, beta) · e(inputs, gamma) · e(C, delta) (eprint 2016/260)."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from waypost.errors import InvalidKey, InvalidPoint
from waypost.protocol.poseidon import R
from waypost.zk.curve import Curve, Element, best, reference
from waypost.zk.points import encode_g1, encode_g2
from waypost.zk.proof import Proof
from waypost.zk.verifying_key import VerifyingKey

Public = Sequence[int]
"""The public signals in the circuit's order."""


@dataclass(frozen=True, slots=True)
class _Decoded:
    a: Element
    b: Element
    c: Element
    public: Public


class Verifier:
    """Verifies under one key. Whatever is malformed (a point off the curve or outside the subgroup, a
    coordinate or a public signal that is not reduced, the wrong number of signals) is as invalid as a wrong
    proof."""

    def __init__(self, key: VerifyingKey, curve: Curve | None = None) -> None:
        """`curve` computes; without one, the fastest that there is."""
        self.key = key
        self._curve = curve = curve or best()
        self._alpha = curve.g1(encode_g1(key.alpha))
        self._beta, self._gamma, self._delta = (
            curve.g2(encode_g2(each)) for each in (key.beta, key.gamma, key.delta)
        )
        self._ic = [curve.g1(encode_g1(each)) for each in key.ic]
        self._alpha_beta = curve.pairing([self._alpha], [self._beta])
        self._one = curve.pairing([self._alpha, curve.negate(self._alpha)], [self._beta, self._beta])

    @property
    def library(self) -> str:
        """What computes: "zksnake", or "py_ecc" where that has no wheel: half a second a proof."""
        return self._curve.name

    def verify(self, proof: Proof, public: Public) -> bool:
        """Whether the proof holds for these public signals."""
        decoded = self._decode(proof, public)
        return decoded is not None and self._holds(decoded)

    def verify_batch(self, proofs: Sequence[tuple[Proof, Public]]) -> list[bool]:
        """As `verify` for each, but together, which takes less than half the time when all hold. When one
        does not, each is checked by itself, so a batch with a bad proof takes longer than single checks."""
        decoded = [self._decode(proof, public) for proof, public in proofs]
        sound = [each for each in decoded if each is not None]
        if len(sound) > 1 and self._all_hold(sound):
            return [each is not None for each in decoded]
        return [each is not None and self._holds(each) for each in decoded]

    def self_test(self, proof: Proof, public: Public) -> None:
        """Raises InvalidKey unless this verifier and the reference accept the proof, and refuse it for
        another public signal."""
        changed = [(public[0] + 1) % R, *public[1:]]
        for each in (self, Verifier(self.key, reference())):
            if not each.verify(proof, public) or each.verify(proof, changed):
                raise InvalidKey(f"The self-test failed: {each._curve.name} judges a known proof wrongly.")

    def _decode(self, proof: Proof, public: Public) -> _Decoded | None:
        if len(public) != self.key.public or not all(0 <= each < R for each in public):
            return None
        curve = self._curve
        try:
            return _Decoded(curve.g1(proof.a), curve.g2(proof.b), curve.g1(proof.c), public)
        except InvalidPoint:
            return None

    def _holds(self, proof: _Decoded) -> bool:
        curve = self._curve
        inputs = curve.combine(self._ic, [1, *proof.public])
        left = [proof.a, curve.negate(inputs), curve.negate(proof.c)]
        return bool(curve.pairing(left, [proof.b, self._gamma, self._delta]) == self._alpha_beta)

    def _all_hold(self, proofs: Sequence[_Decoded]) -> bool:
        """Whether a random combination holds. A batch with a bad proof passes with a chance of 2^−128."""
        curve = self._curve
        weights = [secrets.randbits(128) | 1 << 128 for _ in proofs]
        total = sum(weights)
        sums = [
            sum(w * p.public[i] for w, p in zip(weights, proofs, strict=True)) % R
            for i in range(self.key.public)
        ]
        inputs = curve.combine(self._ic, [total, *sums])
        rest = curve.combine([each.c for each in proofs], weights)
        left = [curve.multiply(p.a, w) for w, p in zip(weights, proofs, strict=True)]
        left += map(curve.negate, (inputs, rest, curve.multiply(self._alpha, total)))
        right = [*(each.b for each in proofs), self._gamma, self._delta, self._beta]
        return bool(curve.pairing(left, right) == self._one)
