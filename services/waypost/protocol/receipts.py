"""Receipts: signed running totals that pay one node on one channel.
The key that signs them is the channel, so checking one means recovering its signer."""

from dataclasses import dataclass
from typing import Self

from eth_typing import ChecksumAddress

from waypost.errors import JSON, InvalidReceipt, ProtocolError
from waypost.protocol.eip712 import Address, Domain, TypedStruct, Uint128
from waypost.protocol.fields import Fields, in_range
from waypost.protocol.signatures import (
    Signature,
    address_bytes,
    checksum,
    keccak,
    recover_address_bytes,
)


@dataclass(frozen=True, slots=True)
class Receipt(TypedStruct):
    """`cumulative` token base units for all service so far; a later one replaces earlier ones."""

    error = InvalidReceipt

    payee: Address
    token: Address
    cumulative: Uint128


@dataclass(frozen=True, slots=True)
class SignedReceipt:
    """A receipt with its signer's signature."""

    receipt: Receipt
    signature: Signature

    @property
    def cumulative(self) -> int:
        """Token base units."""
        return self.receipt.cumulative

    def to_abi(self) -> tuple[int, bytes, bytes]:
        """The contracts' `SignedReceipt(cumulative, r, vs)`."""
        return self.cumulative, self.signature.r, self.signature.vs

    def to_json(self) -> dict[str, JSON]:
        """`{cumulative, signature}`: who is paid in what token follows from where it is sent."""
        return {"cumulative": str(self.cumulative), "signature": self.signature.to_hex()}

    @classmethod
    def from_json(cls, value: object, payee: ChecksumAddress, token: ChecksumAddress) -> Self:
        """The reverse. Raises InvalidReceipt, AmountOutOfRange or InvalidSignature."""
        fields = Fields(value, InvalidReceipt)
        receipt = Receipt(payee, token, fields.amount("cumulative"))
        return cls(receipt, fields.signature("signature"))


class ReceiptVerifier:
    """Checks receipts for one payee and token, with everything constant hashed beforehand."""

    def __init__(self, domain: Domain, payee: ChecksumAddress, token: ChecksumAddress) -> None:
        self.domain = domain
        self.payee = payee
        self.token = token
        self._digest_prefix = b"\x19\x01" + domain.separator
        self._struct_prefix = Receipt.type_hash + b"".join(
            address_bytes(address).rjust(32, b"\0") for address in (payee, token)
        )

    def signer(self, cumulative: int, signature: Signature) -> ChecksumAddress:
        """The channel that this receipt is of. Raises InvalidSignature, AmountOutOfRange."""
        word = in_range("cumulative", cumulative, 128).to_bytes(32)
        digest = keccak(self._digest_prefix + keccak(self._struct_prefix + word))
        return checksum(recover_address_bytes(digest, signature))

    def verify(self, cumulative: int, signature: Signature, signer: ChecksumAddress) -> None:
        """Raises InvalidReceipt unless `signer` signed this total for this payee and token."""
        try:
            found = self.signer(cumulative, signature)
        except ProtocolError as error:
            raise InvalidReceipt(str(error), **error.details) from None
        if found != signer:
            sentence = f"The receipt was signed by {found}, or for another node; not by {signer}."
            raise InvalidReceipt(sentence, signer=signer, recovered=found)
