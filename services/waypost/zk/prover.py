"""Proves that a member may signal: Groth16 over the witness of the RLN circuit, with snarkjs's proving
keys."""

import secrets
from collections.abc import Sequence
from itertools import accumulate, repeat

from waypost.errors import InvalidKey, InvalidPoint, ProverUnavailable, Unprovable
from waypost.protocol.poseidon import R
from waypost.protocol.rln import Membership, Signal
from waypost.zk import circuit
from waypost.zk.curve import Element, FastCurve, native
from waypost.zk.points import encode_g1, encode_g2
from waypost.zk.proof import Proof
from waypost.zk.proving_key import ProvingKey
from waypost.zk.r1cs import dot
from waypost.zk.verifier import Verifier

ROOT_OF_UNITY = pow(5, (R - 1) >> 28, R)
"""Of order 2^28, the largest power of two that divides R − 1; 5 generates the field's units."""


class Prover:
    """Proves with one key. Making one takes seconds, for every point of the key is checked to lie in its
    group."""

    def __init__(self, key: ProvingKey, curve: FastCurve | None = None) -> None:
        """Raises InvalidKey for a key of another circuit, or with a point outside its group;
        ProverUnavailable where there is no native library."""
        self._system = circuit.system()
        key.require_fit(self._system)
        found = curve or native()
        if found is None:
            raise ProverUnavailable
        self._curve = found
        self.verifier = Verifier(key.verifying_key, found)
        vk = key.verifying_key
        try:
            self._alpha, self._beta1, self._delta1 = (
                found.g1(encode_g1(each)) for each in (vk.alpha, key.beta1, key.delta1)
            )
            self._beta2, self._delta2 = (found.g2(encode_g2(each)) for each in (vk.beta, vk.delta))
            self._a, self._b1, self._c, self._h = (
                {place: found.g1(encode_g1(each)) for place, each in enumerate(points) if each}
                for points in (key.a, key.b1, key.c, key.h)
            )
            self._b2 = {place: found.g2(encode_g2(each)) for place, each in enumerate(key.b2) if each}
        except InvalidPoint as error:
            raise InvalidKey(f"The proving key has an unusable point. {error}") from None
        self._domain = key.domain
        shift = pow(ROOT_OF_UNITY, 2**28 // (2 * key.domain), R)
        self._shifts = list(accumulate(repeat(shift, key.domain - 1), lambda x, y: x * y % R, initial=1))

    def prove(
        self, membership: Membership, message_id: int, x: int, external_nullifier: int
    ) -> tuple[Proof, Signal]:
        """A proof and what it is for; x is the field element of what is signalled. Raises Unprovable when
        the circuit does not allow it: then there is no proof. Each call makes another proof of the same
        signal."""
        wires = circuit.witness(membership, message_id, x, external_nullifier)
        signal = circuit.signal_of(wires)
        proof = self._prove(wires)
        if not self.verifier.verify(proof, signal.public):
            raise Unprovable("The proof does not hold, so the key is not the circuit's.")
        return proof, signal

    def self_test(self) -> tuple[Proof, Signal]:
        """A proof of a fixed statement, which the verifier and py_ecc judged rightly. Raises InvalidKey."""
        try:
            proof, signal = self.prove(Membership(1, 1, 0, (0,) * 20), 0, 1, 1)
        except Unprovable as error:
            raise InvalidKey(f"The self-test failed. {error}") from None
        self.verifier.self_test(proof, signal.public)
        return proof, signal

    def _prove(self, wires: Sequence[int]) -> Proof:
        curve = self._curve
        r, s = (secrets.randbelow(R) for _ in range(2))
        first_private = self._system.public + 1
        a = self._sum(self._a, wires, self._alpha, (self._delta1, r))
        b1 = self._sum(self._b1, wires, self._beta1, (self._delta1, s))
        b2 = curve.combine_g2(list(self._b2.values()), [wires[place] for place in self._b2])
        b2 = curve.add(curve.add(b2, self._beta2), curve.multiply(self._delta2, s))
        quotient = self._sum(self._h, self._quotient(wires))
        c = self._sum(self._c, wires[first_private:], quotient, (a, s), (b1, r), (self._delta1, -r * s % R))
        points = curve.point_g1(a), curve.point_g2(b2), curve.point_g1(c)
        if points[0] is None or points[1] is None or points[2] is None:
            raise Unprovable("The proof has a point at infinity.")
        return Proof.of(points[0], points[1], points[2])

    def _sum(
        self,
        points: dict[int, Element],
        scalars: Sequence[int],
        start: Element | None = None,
        *more: tuple[Element, int],
    ) -> Element:
        curve = self._curve
        total = curve.combine(list(points.values()), [scalars[place] for place in points])
        for each in (*([start] if start is not None else []), *(curve.multiply(e, k) for e, k in more)):
            total = curve.add(total, each)
        return total

    def _quotient(self, wires: Sequence[int]) -> list[int]:
        """a·b − c at the odd 2n-th roots of unity, n being the domain's size. For all rows hold, c is a·b
        on the domain itself."""
        rows = self._system.rows
        rest = self._domain - len(rows)
        public = list(wires[: self._system.public + 1])
        a = [dot(row.a, wires) % R for row in rows] + public + [0] * (rest - len(public))
        b = [dot(row.b, wires) % R for row in rows] + [0] * rest
        c = [x * y % R for x, y in zip(a, b, strict=True)]
        shifted = zip(*map(self._shift, (a, b, c)), strict=True)
        return [(x * y - z) % R for x, y, z in shifted]

    def _shift(self, values: Sequence[int]) -> list[int]:
        coefficients = self._curve.interpolate(values)
        moved = [value * factor % R for value, factor in zip(coefficients, self._shifts, strict=True)]
        return self._curve.evaluate(moved, self._domain)
