"""Members' messages for benchmarks, by the thousand: their proofs are made with the secrets of the
development key, which anybody can compute, in a millisecond instead of a third of a second. Checking them is
the same work as checking others."""

import base64
import os
import time
from pathlib import Path
from secrets import randbelow
from typing import TypeVar

from tests.services.node.membership import Registry

from waypost.protocol.merkle import MerkleTree
from waypost.protocol.messages import Message
from waypost.protocol.poseidon import R
from waypost.protocol.relay import Envelope, RateProof, signal_of
from waypost.protocol.rln import Membership, application, external_nullifier, signal
from waypost.zk import development, proving_key
from waypost.zk.curve import native
from waypost.zk.development import proving_key_file
from waypost.zk.points import encode_g1
from waypost.zk.proof import Proof
from waypost.zk.verifier import Public

P = TypeVar("P")

KEYS = Path(__file__).parents[2] / "build" / "keys"


class Forger:
    """Makes proofs without a witness: those of Groth16's simulator (eprint 2016/260)."""

    def __init__(self) -> None:
        curve = native()
        assert curve is not None, "There is no native library here."
        self._curve = curve
        key = proving_key.read(proving_key_file(KEYS).read_bytes()).verifying_key
        secrets = development._secrets(development._SEED)
        _tau, self._alpha, self._beta, self._gamma, self._delta = (next(secrets) for _ in range(5))
        self._g1, self._g2 = curve.generators()
        self._inputs = [curve.g1(encode_g1(each)) for each in key.ic]

    def prove(self, public: Public) -> Proof:
        """C follows from A, B and the public signals when one knows all exponents."""
        curve, a, b = self._curve, randbelow(R - 1) + 1, randbelow(R - 1) + 1
        share = pow(self._delta, -1, R)
        scalars = [(a * b - self._alpha * self._beta) * share % R]
        scalars += [-self._gamma * share * each % R for each in (1, *public)]
        c = curve.combine([self._g1, *self._inputs], scalars)
        left, right = curve.multiply(self._g1, a), curve.multiply(self._g2, b)
        return Proof.of(
            _finite(curve.point_g1(left)), _finite(curve.point_g2(right)), _finite(curve.point_g1(c))
        )


def _finite(point: P | None) -> P:
    assert point is not None
    return point


def message(topic: str, size: int) -> Message:
    """With a random payload of `size` bytes."""
    return Message(topic, os.urandom(size), time.time_ns())


def payload(message: Message) -> str:
    """As it travels, by which a message is known again."""
    return base64.b64encode(message.payload).decode()


async def proved_messages(
    registry: Registry, chain_id: int, network: str, epoch_seconds: int, topic: str, count: int, size: int
) -> list[Envelope]:
    """The messages of one new member, all in the same epoch."""
    secret = randbelow(R - 1) + 1
    record = await registry.register(secret, rate=count)
    tree = MerkleTree()
    tree.set(registry.leaves)
    member = Membership(secret, count, record.index, tree.path(record.index))
    epoch = int(time.time()) // epoch_seconds
    external = external_nullifier(
        epoch, application(chain_id, registry.contract.address, network, epoch_seconds)
    )
    forger, envelopes = Forger(), []
    for number in range(count):
        sent = message(topic, size)
        told = signal(member, number, signal_of(sent), external)
        proof = forger.prove(told.public)
        envelopes.append(Envelope(sent, RateProof(epoch, told.root, told.nullifier, told.y, proof.data)))
    return envelopes
