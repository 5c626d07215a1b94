"""A Groth16 proof: 128 bytes on the wire, arkworks-compressed as zerokit sends it; snarkjs's JSON for
interchange."""

import json
from dataclasses import dataclass
from typing import Any

from waypost.errors import InvalidPoint, InvalidProof
from waypost.protocol.rln import Signal
from waypost.zk.json_points import json_of_g1, json_of_g2, parse_g1, parse_g2
from waypost.zk.points import G1, G1_BYTES, G2, G2_BYTES, decode_g1, decode_g2, encode_g1, encode_g2

PROOF_BYTES = 2 * G1_BYTES + G2_BYTES

_LONGEST = 4096


@dataclass(frozen=True, slots=True)
class Proof:
    """The points A and C of G1 and B of G2, compressed. A proof need not hold, nor its bytes be points:
    whoever verifies it looks. Raises InvalidProof for another length."""

    data: bytes

    def __post_init__(self) -> None:
        if len(self.data) != PROOF_BYTES:
            raise InvalidProof(
                f"A proof has {PROOF_BYTES} bytes, not {len(self.data)}.", given=len(self.data)
            )

    @property
    def a(self) -> bytes:
        return self.data[:G1_BYTES]

    @property
    def b(self) -> bytes:
        return self.data[G1_BYTES : G1_BYTES + G2_BYTES]

    @property
    def c(self) -> bytes:
        return self.data[G1_BYTES + G2_BYTES :]

    @classmethod
    def of(cls, a: G1, b: G2, c: G1) -> "Proof":
        """From coordinates. Raises InvalidProof for a point off its curve."""
        try:
            return cls(encode_g1(a) + encode_g2(b) + encode_g1(c))
        except InvalidPoint as error:
            raise InvalidProof(f"The proof has an unusable point. {error}") from None

    def points(self) -> tuple[G1, G2, G1]:
        """A, B and C. Raises InvalidProof."""
        try:
            return decode_g1(self.a), decode_g2(self.b), decode_g1(self.c)
        except InvalidPoint as error:
            raise InvalidProof(f"The proof has an unusable point. {error}") from None

    def to_json(self) -> str:
        """In the form of snarkjs's proof.json. Raises InvalidProof."""
        a, b, c = self.points()
        points = {"pi_a": json_of_g1(a), "pi_b": json_of_g2(b), "pi_c": json_of_g1(c)}
        return json.dumps({**points, "protocol": "groth16", "curve": "bn128"}, indent=1) + "\n"


def parse(text: str | bytes) -> Proof:
    """The proof in snarkjs's proof.json. Raises InvalidProof."""
    if len(text) > _LONGEST:
        raise InvalidProof("The proof is too long.")
    try:
        document: Any = json.loads(text)
        if (document["protocol"], document["curve"]) != ("groth16", "bn128"):
            raise InvalidProof("The proof is of another protocol or curve.")
        points = parse_g1(document["pi_a"]), parse_g2(document["pi_b"]), parse_g1(document["pi_c"])
    except InvalidPoint as error:
        raise InvalidProof(f"The proof has an unusable point. {error}") from None
    except (KeyError, TypeError, ValueError, RecursionError):
        raise InvalidProof("This is no proof in snarkjs's JSON.") from None
    return Proof.of(*points)


# ---- zerokit ----


def encode_zerokit(proof: Proof, signal: Signal) -> bytes:
    """288 bytes as zerokit's RLN-v2 gives a proof with its values: the proof, then root, external
    nullifier, x, y and nullifier, each 32 bytes little-endian."""
    values = signal.root, signal.external_nullifier, signal.x, signal.y, signal.nullifier
    return proof.data + b"".join(each.to_bytes(32, "little") for each in values)


def decode_zerokit(data: bytes) -> tuple[Proof, Signal]:
    """The inverse of encode_zerokit. Raises InvalidProof for another length, InvalidFieldElement for a
    value that is not reduced."""
    if len(data) != PROOF_BYTES + 5 * 32:
        raise InvalidProof(f"A proof with its values has 288 bytes, not {len(data)}.", given=len(data))
    proof = Proof(data[:PROOF_BYTES])
    starts = range(PROOF_BYTES, len(data), 32)
    root, external, x, y, nullifier = (int.from_bytes(data[start : start + 32], "little") for start in starts)
    return proof, Signal(y, root, nullifier, x, external)
