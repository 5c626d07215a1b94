"""What travels through relays: a message, with a proof that its sender keeps within a rate, and the frames of
`WS /v1/relay`. See 32/RLN-V2; here the signal follows from the message alone, so that the same message is the
same share wherever it is published."""

from dataclasses import dataclass
from typing import Self

from eth_typing import ChecksumAddress

from waypost.errors import JSON, InvalidMessage, InvalidProof, InvalidSession
from waypost.protocol.eip712 import Address, TypedStruct, Uint40
from waypost.protocol.fields import Fields
from waypost.protocol.messages import Message
from waypost.protocol.poseidon import require_field_element
from waypost.protocol.rln import Signal, external_nullifier, hash_to_field

PROOF_BYTES = 128
MAX_EPOCH = 2**53 - 1
MAX_GREETING_SECONDS = 300


@dataclass(frozen=True, slots=True)
class RateProof:
    """That a member may send one more message in `epoch` (Unix time divided by the network's epoch seconds).

    `proof` is Groth16's, 128 bytes as zk.proof has them; `root`, `nullifier` and `y` are public signals,
    field elements. The other two follow from message and epoch. Whether it holds is for verifiers to say.
    Raises InvalidFieldElement for an element that is not reduced, InvalidProof for another length.
    """

    epoch: int
    root: int
    nullifier: int
    y: int
    proof: bytes

    def __post_init__(self) -> None:
        for each in (self.root, self.nullifier, self.y):
            require_field_element(each)
        if len(self.proof) != PROOF_BYTES:
            raise InvalidProof(f"A proof has {PROOF_BYTES} bytes, not {len(self.proof)}.")

    def signal(self, message: Message, identifier: bytes) -> Signal:
        """All public signals, for the application `identifier` (see protocol.rln.application)."""
        external = external_nullifier(self.epoch, identifier)
        return Signal(self.y, self.root, self.nullifier, signal_of(message), external)

    def to_json(self) -> dict[str, JSON]:
        """`{epoch, root, nullifier, y, proof}`: field elements as decimal strings, the proof as 0x-hex."""
        return {
            "epoch": self.epoch,
            "root": str(self.root),
            "nullifier": str(self.nullifier),
            "y": str(self.y),
            "proof": "0x" + self.proof.hex(),
        }

    @classmethod
    def from_json(cls, value: object) -> Self:
        """The reverse. Raises InvalidMessage, or as the constructor does."""
        fields = Fields(value, InvalidMessage)
        root, nullifier, y = (fields.decimal(name) for name in ("root", "nullifier", "y"))
        proof = fields.data("proof", PROOF_BYTES)
        return cls(fields.integer("epoch", MAX_EPOCH), root, nullifier, y, proof)


@dataclass(frozen=True, slots=True)
class Envelope:
    """A message as relays pass it on. Without a proof it was paid for where it was published, and stays
    there."""

    message: Message
    proof: RateProof | None = None

    def to_json(self) -> dict[str, JSON]:
        """`{topic, payload, timestamp, meta?, rateProof?}`."""
        return self.message.to_json() | ({"rateProof": self.proof.to_json()} if self.proof else {})

    @classmethod
    def from_json(cls, value: object) -> Self:
        """The reverse. Raises as Message and RateProof do."""
        fields = Fields(value, InvalidMessage)
        proof = RateProof.from_json(fields.raw("rateProof")) if "rateProof" in fields else None
        return cls(Message.from_json(value), proof)


@dataclass(frozen=True, slots=True)
class Greeting(TypedStruct):
    """By which a registered node shows another that it may have the proved messages: signed with the node key
    under the node domain, `expires` at most MAX_GREETING_SECONDS ahead (Unix seconds)."""

    error = InvalidSession

    operator: Address
    peer: Address
    expires: Uint40


def signal_of(message: Message) -> int:
    """x: the field element of a message's id, and of where its payload and its topic end (4 bytes each,
    big-endian), which the id does not say: else one proof would be good for several messages."""
    lengths = len(message.payload).to_bytes(4) + len(message.topic.encode()).to_bytes(4)
    return hash_to_field(message.id + lengths)


def greeting_for(operator: ChecksumAddress, peer: ChecksumAddress, now: int) -> Greeting:
    """What `operator`'s node signs for `peer`'s, for a minute from `now`."""
    return Greeting(operator, peer, now + 60)
