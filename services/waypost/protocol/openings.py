"""What is signed to open, fund and close a channel, so that anybody can submit it.
Payers without ETH add an ERC-3009 authorization bound to the opening by its nonce."""

from dataclasses import dataclass
from typing import Self

from eth_typing import ChecksumAddress

from waypost.errors import JSON, InvalidAuthorization, InvalidOpening, InvalidSignature
from waypost.protocol.eip712 import (
    Address,
    Bytes32,
    Domain,
    TypedStruct,
    Uint32,
    Uint40,
    Uint128,
    Uint256,
)
from waypost.protocol.fields import Fields
from waypost.protocol.signatures import Signature


@dataclass(frozen=True, slots=True)
class Opening(TypedStruct):
    """Opens the channel (payee, token, signer); `close_delay` in seconds."""

    error = InvalidOpening

    payer: Address
    payee: Address
    token: Address
    signer: Address
    close_delay: Uint32
    amount: Uint128
    salt: Bytes32
    deadline: Uint40


@dataclass(frozen=True, slots=True)
class TopUp(TypedStruct):
    """Adds to a channel's deposit; `payer` is whoever funds it."""

    error = InvalidOpening

    payer: Address
    payee: Address
    token: Address
    signer: Address
    amount: Uint128
    salt: Bytes32
    deadline: Uint40


@dataclass(frozen=True, slots=True)
class StartClose(TypedStruct):
    """The payer starts the timed close."""

    error = InvalidOpening

    payee: Address
    token: Address
    signer: Address
    deadline: Uint40


@dataclass(frozen=True, slots=True)
class Close(TypedStruct):
    """The payee consents to an immediate close at `final_cumulative` token base units."""

    error = InvalidOpening

    payee: Address
    token: Address
    signer: Address
    final_cumulative: Uint128
    deadline: Uint40


@dataclass(frozen=True, slots=True)
class WithdrawCredit(TypedStruct):
    """The owner of a failed push has it sent to `to`."""

    error = InvalidOpening

    owner: Address
    token: Address
    to: Address
    salt: Bytes32
    deadline: Uint40


@dataclass(frozen=True, slots=True)
class SignedOpening:
    """An opening that the channel's signer agrees to, so nobody can squat on its key."""

    opening: Opening
    signer_signature: Signature

    def verify(self, domain: Domain) -> None:
        """Raises InvalidSignature unless the opening's signer signed it."""
        found = self.opening.recover(domain, self.signer_signature)
        if found != self.opening.signer:
            sentence = f"The opening was signed by {found}, not by {self.opening.signer}."
            raise InvalidSignature(sentence, signer=self.opening.signer, recovered=found)

    def to_json(self) -> dict[str, JSON]:
        """`{opening, signerSignature}`."""
        signature = self.signer_signature.to_hex()
        return {"opening": self.opening.to_json(), "signerSignature": signature}

    @classmethod
    def from_json(cls, value: object) -> Self:
        """The reverse; checks no signature. Raises a ProtocolError."""
        fields = Fields(value, InvalidOpening)
        opening = Opening.from_json(fields.raw("opening"))
        return cls(opening, fields.signature("signerSignature"))


@dataclass(frozen=True, slots=True)
class ReceiveWithAuthorization(TypedStruct):
    """ERC-3009's transfer that only its receiver can submit."""

    error = InvalidAuthorization

    from_: Address
    to: Address
    value: Uint256
    valid_after: Uint256
    valid_before: Uint256
    nonce: Bytes32


@dataclass(frozen=True, slots=True)
class Authorization:
    """A payer's signed ERC-3009 transfer to Channels or RlnMembership. Times are Unix seconds, exclusive."""

    transfer: ReceiveWithAuthorization
    v: int
    r: bytes
    s: bytes

    def verify(self, token_domain: Domain) -> None:
        """Raises InvalidSignature unless an account, not a contract wallet, made and signed the transfer."""
        if self.v not in (27, 28):
            raise InvalidSignature("A signature's v is 27 or 28.", v=self.v)
        if self.s[0] >> 7:
            raise InvalidSignature("The signature's s is out of range.")
        signature = Signature(self.r, bytes((self.s[0] | (self.v - 27) << 7,)) + self.s[1:])
        found = self.transfer.recover(token_domain, signature)
        if found != self.transfer.from_:
            sentence = f"The authorization was signed by {found}, not by {self.transfer.from_}."
            raise InvalidSignature(sentence, signer=self.transfer.from_, recovered=found)

    def to_abi(self) -> tuple[int, int, int, bytes, bytes]:
        """The contracts' `Authorization(validAfter, validBefore, v, r, s)`."""
        return self.transfer.valid_after, self.transfer.valid_before, self.v, self.r, self.s

    def to_json(self) -> dict[str, JSON]:
        """`{validAfter, validBefore, v, r, s}`: the rest follows from the opening."""
        return {
            "validAfter": self.transfer.valid_after,
            "validBefore": self.transfer.valid_before,
            "v": self.v,
            "r": "0x" + self.r.hex(),
            "s": "0x" + self.s.hex(),
        }

    @classmethod
    def from_json(cls, value: object, purpose: Opening | TopUp, channels: ChecksumAddress) -> Self:
        """The authorization of this opening or top-up; checks no signature, since contract wallets
        sign too. Raises InvalidAuthorization."""
        fields = Fields(value, InvalidAuthorization)
        after, before = fields.integer("validAfter"), fields.integer("validBefore")
        transfer = _transfer(purpose, channels, after, before)
        return cls(transfer, fields.integer("v", 255), fields.data("r", 32), fields.data("s", 32))


def authorize(
    purpose: Opening | TopUp,
    channels: ChecksumAddress,
    token_domain: Domain,
    payer_key: bytes,
    valid_before: int,
) -> Authorization:
    """The payer's transfer of `purpose.amount` to Channels, for this opening or top-up alone: the
    nonce is its struct hash. `valid_before` in Unix seconds. Raises InvalidPrivateKey."""
    transfer = _transfer(purpose, channels, 0, valid_before)
    signature = transfer.sign(token_domain, payer_key)
    return Authorization(transfer, signature.v, signature.r, signature.s)


def _transfer(
    purpose: Opening | TopUp, channels: ChecksumAddress, valid_after: int, valid_before: int
) -> ReceiveWithAuthorization:
    return ReceiveWithAuthorization(
        from_=purpose.payer,
        to=channels,
        value=purpose.amount,
        valid_after=valid_after,
        valid_before=valid_before,
        nonce=purpose.struct_hash(),
    )
