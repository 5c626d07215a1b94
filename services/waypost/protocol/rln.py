"""Rate-limiting nullifiers, version 2 (Vac's 32/RLN-V2): who signals more often than the limit discloses
the secret. Numbers are elements of BN254's scalar field, reduced."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from eth_typing import ChecksumAddress
from sha3 import keccak_256

from waypost.errors import InvalidFieldElement, InvalidShares
from waypost.protocol.poseidon import R, poseidon, require_field_element

DEPTH = 20
"""Levels of the Merkle tree of members, which holds 2^20 leaves; an empty leaf is 0."""
LIMIT_BITS = 16
MAX_LIMIT = 2**LIMIT_BITS - 1
"""The most signals per epoch that a membership can allow."""


@dataclass(frozen=True, slots=True)
class Membership:
    """What a member proves with: the secret, the limit that was registered, and where its leaf is.
    `siblings` are the neighbours on the way to the root, lowest first; `index` is the leaf's place in the
    tree, from 0."""

    secret: int = field(repr=False)
    limit: int
    index: int
    siblings: tuple[int, ...]

    def __post_init__(self) -> None:
        if not 0 < self.secret < R:
            raise InvalidFieldElement("The secret must lie between 0 and the order of BN254.")
        _require_within("limit", self.limit, 1, MAX_LIMIT)
        _require_within("index", self.index, 0, 2**DEPTH - 1)
        _require_within("number of siblings", len(self.siblings), DEPTH, DEPTH)
        for each in self.siblings:
            require_field_element(each)

    @property
    def leaf(self) -> int:
        return leaf(identity_commitment(self.secret), self.limit)

    @property
    def root(self) -> int:
        return merkle_root(self.leaf, self.index, self.siblings)


@dataclass(frozen=True, slots=True)
class Signal:
    """What everybody sees of a signal: the share (x, y), the root that the member proved, and the
    nullifier, which is the same for two signals of one member with one message id in one epoch."""

    y: int
    root: int
    nullifier: int
    x: int
    external_nullifier: int

    def __post_init__(self) -> None:
        for each in self.public:
            require_field_element(each)

    @property
    def public(self) -> tuple[int, int, int, int, int]:
        """The circuit's public signals, in its order."""
        return self.y, self.root, self.nullifier, self.x, self.external_nullifier


def identity_commitment(secret: int) -> int:
    """What a member registers."""
    return poseidon([secret])


def leaf(commitment: int, limit: int) -> int:
    """A member's leaf in the tree. `limit` is in signals per epoch."""
    return poseidon([commitment, limit])


def merkle_root(leaf: int, index: int, siblings: Sequence[int]) -> int:
    """The root above a leaf at `index`, given its siblings, lowest first. Raises InvalidFieldElement."""
    _require_within("index", index, 0, 2 ** len(siblings) - 1)
    node = leaf
    for level, sibling in enumerate(siblings):
        node = poseidon([sibling, node] if index >> level & 1 else [node, sibling])
    return node


def hash_to_field(data: bytes) -> int:
    """keccak-256, read little-endian, modulo R: as zerokit maps bytes."""
    return int.from_bytes(keccak_256(data).digest(), "little") % R


def application(chain_id: int, contract: ChecksumAddress, network: str, epoch_seconds: int) -> bytes:
    """The identifier of a network's messages under one membership contract: chain id (32 bytes, big-endian),
    address, the length of its epochs in seconds (8 bytes, big-endian), and its name in UTF-8. A signal for
    one counts nowhere else; so who is lied to about the epochs discloses nothing."""
    return chain_id.to_bytes(32) + bytes.fromhex(contract[2:]) + epoch_seconds.to_bytes(8) + network.encode()


def parse_commitment(text: str) -> int:
    """A commitment from its decimal form, without leading zeros. Raises InvalidFieldElement."""
    if not re.fullmatch("[1-9][0-9]{0,76}", text, re.ASCII) or int(text) >= R:
        raise InvalidFieldElement("A commitment is a decimal number from 1 to the order of BN254 less one.")
    return int(text)


def external_nullifier(epoch: int, identifier: bytes) -> int:
    """Of an epoch (a number from 0 to 2^64 − 1, hashed as 32 bytes little-endian, as Waku does) in the
    application named by `identifier`."""
    _require_within("epoch", epoch, 0, 2**64 - 1)
    return poseidon([hash_to_field(epoch.to_bytes(32, "little")), hash_to_field(identifier)])


def signal(membership: Membership, message_id: int, x: int, external_nullifier: int) -> Signal:
    """What the circuit makes of these inputs. `message_id` counts the epoch's signals, from 0; `x` is the
    field element of what is signalled. Raises InvalidFieldElement."""
    _require_within("message id", message_id, 0, membership.limit - 1)
    slope = poseidon([membership.secret, external_nullifier, message_id])
    y = (membership.secret + slope * require_field_element(x)) % R
    return Signal(y, membership.root, poseidon([slope]), x, external_nullifier)


def recover_secret(first: Signal, second: Signal) -> int:
    """The secret of who made two signals with one message id. Raises InvalidShares when they are no such
    pair: other epochs, other nullifiers, the same x (a repetition, no second share), or shares that do not
    fit the nullifier."""
    if (first.external_nullifier, first.nullifier) != (second.external_nullifier, second.nullifier):
        raise InvalidShares("The signals have different nullifiers.")
    if first.x == second.x:
        raise InvalidShares("The signals have the same x, so they disclose nothing.")
    slope = (first.y - second.y) * pow(first.x - second.x, -1, R) % R
    if poseidon([slope]) != first.nullifier:
        raise InvalidShares("The shares do not lie on the line that the nullifier stands for.")
    return (first.y - slope * first.x) % R


def _require_within(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise InvalidFieldElement(f"The {name} must be from {least} to {most}, not {value}.", given=value)
