"""A Groth16 verifying key, as snarkjs writes it in JSON. py_ecc checks every point of it when it is made."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from waypost.errors import InvalidKey, InvalidPoint
from waypost.zk.curve import reference
from waypost.zk.json_points import json_of_g1, json_of_g2, parse_g1, parse_g2
from waypost.zk.points import G1, G2, encode_g1, encode_g2

_LONGEST = 2**16


@dataclass(frozen=True)
class VerifyingKey:
    """The points that a verifier needs; `ic` has one more than there are public signals. Raises InvalidKey
    for a point off the curve, outside the subgroup, or at infinity."""

    alpha: G1
    beta: G2
    gamma: G2
    delta: G2
    ic: tuple[G1, ...]

    def __post_init__(self) -> None:
        curve = reference()
        try:
            for each in (self.alpha, *self.ic):
                curve.g1(encode_g1(each))
            for twisted in (self.beta, self.gamma, self.delta):
                curve.g2(encode_g2(twisted))
        except InvalidPoint as error:
            raise InvalidKey(f"The verifying key has an unusable point. {error}") from None
        if not self.ic:
            raise InvalidKey("The verifying key has no point for the constant.")

    @property
    def public(self) -> int:
        """How many public signals a proof has."""
        return len(self.ic) - 1

    @property
    def digest(self) -> str:
        """SHA-256 in hex over the compressed points: the same for one key, however its file is laid out."""
        twisted = map(encode_g2, (self.beta, self.gamma, self.delta))
        return hashlib.sha256(
            b"".join([encode_g1(self.alpha), *twisted, *map(encode_g1, self.ic)])
        ).hexdigest()

    def to_json(self) -> str:
        """In the form of `snarkjs zkey export verificationkey`, without the pairing that it adds."""
        document = {
            "protocol": "groth16",
            "curve": "bn128",
            "nPublic": self.public,
            "vk_alpha_1": json_of_g1(self.alpha),
            "vk_beta_2": json_of_g2(self.beta),
            "vk_gamma_2": json_of_g2(self.gamma),
            "vk_delta_2": json_of_g2(self.delta),
            "IC": [json_of_g1(each) for each in self.ic],
        }
        return json.dumps(document, indent=1) + "\n"


def parse(text: str | bytes) -> VerifyingKey:
    """The key in snarkjs's JSON. Raises InvalidKey."""
    if len(text) > _LONGEST:
        raise InvalidKey("The verifying key is too long.")
    try:
        document = json.loads(text)
        _require(document, "protocol", "groth16")
        _require(document, "curve", "bn128")
        ic = document["IC"]
        if not isinstance(ic, Sequence) or document["nPublic"] != len(ic) - 1:
            raise InvalidKey("The verifying key's nPublic does not fit its points.")
        return VerifyingKey(
            parse_g1(document["vk_alpha_1"]),
            parse_g2(document["vk_beta_2"]),
            parse_g2(document["vk_gamma_2"]),
            parse_g2(document["vk_delta_2"]),
            tuple(map(parse_g1, ic)),
        )
    except InvalidPoint as error:
        raise InvalidKey(f"The verifying key has an unusable point. {error}") from None
    except (KeyError, TypeError, ValueError, RecursionError):
        raise InvalidKey("This is no verifying key in snarkjs's JSON.") from None


def _require(document: Any, name: str, value: str) -> None:
    if document[name] != value:
        raise InvalidKey(f"The verifying key's {name} is not {value}.")
