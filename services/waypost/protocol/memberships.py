"""What people sign for the RlnMembership contract, and what a slash commits to. Signed as EIP-712 typed data;
times are Unix seconds, amounts token base units."""

from dataclasses import dataclass

from eth_typing import ChecksumAddress

from waypost.errors import InvalidAuthorization, InvalidMembership
from waypost.protocol.eip712 import (
    Address,
    Bytes32,
    Domain,
    TypedStruct,
    Uint16,
    Uint32,
    Uint40,
    Uint256,
)
from waypost.protocol.fields import Fields, in_range
from waypost.protocol.openings import Authorization, ReceiveWithAuthorization
from waypost.protocol.signatures import address_bytes, keccak


@dataclass(frozen=True, slots=True)
class Registration(TypedStruct):
    """Registers a commitment: `rate` messages in an epoch, for `periods`. The payer will own the stake."""

    error = InvalidMembership

    payer: Address
    id_commitment: Uint256
    rate: Uint16
    home_node: Address
    periods: Uint32
    deadline: Uint40


@dataclass(frozen=True, slots=True)
class Extension(TypedStruct):
    """Pays for more periods of a member, whoever owns it."""

    error = InvalidMembership

    payer: Address
    id_commitment: Uint256
    periods: Uint32
    salt: Bytes32
    deadline: Uint40


@dataclass(frozen=True, slots=True)
class Exit(TypedStruct):
    """The owner ends its membership."""

    error = InvalidMembership

    id_commitment: Uint256
    deadline: Uint40


def authorize_membership(
    purpose: Registration | Extension,
    amount: int,
    membership: ChecksumAddress,
    token_domain: Domain,
    payer_key: bytes,
    valid_before: int,
) -> Authorization:
    """The payer's ERC-3009 transfer of exactly the `amount` that the purpose costs to the contract, for this
    purpose alone: the nonce is its struct hash. `valid_before` in Unix seconds. Raises InvalidPrivateKey."""
    transfer = _transfer(purpose, amount, membership, 0, valid_before)
    signature = transfer.sign(token_domain, payer_key)
    return Authorization(transfer, signature.v, signature.r, signature.s)


def parse_authorization(
    value: object, purpose: Registration | Extension, amount: int, membership: ChecksumAddress
) -> Authorization:
    """The authorization of this purpose, from `{validAfter, validBefore, v, r, s}`; checks no signature.
    Raises InvalidAuthorization."""
    fields = Fields(value, InvalidAuthorization)
    after, before = fields.integer("validAfter"), fields.integer("validBefore")
    transfer = _transfer(purpose, amount, membership, after, before)
    return Authorization(transfer, fields.integer("v", 255), fields.data("r", 32), fields.data("s", 32))


def _transfer(
    purpose: Registration | Extension,
    amount: int,
    membership: ChecksumAddress,
    valid_after: int,
    valid_before: int,
) -> ReceiveWithAuthorization:
    return ReceiveWithAuthorization(
        from_=purpose.payer,
        to=membership,
        value=amount,
        valid_after=valid_after,
        valid_before=valid_before,
        nonce=purpose.struct_hash(),
    )


def slash_hash(secret: int, receiver: ChecksumAddress, salt: bytes) -> bytes:
    """What is committed to before a slash; `salt` is 32 random bytes, since others may know the secret.
    Raises AmountOutOfRange, InvalidAddress, InvalidMembership."""
    if len(salt) != 32:
        raise InvalidMembership("salt must be 32 bytes.", field="salt")
    words = in_range("secret", secret, 256).to_bytes(32), address_bytes(receiver).rjust(32, b"\0"), salt
    return keccak(b"".join(words))
