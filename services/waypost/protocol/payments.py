"""x402 v2 on the wire, scheme "waypost-channel": the 402 answer and payment by receipt.
Each object travels as base64 JSON in a header named as in the x402 HTTP transport."""

import base64
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Self, cast

from eth_typing import ChecksumAddress

from waypost.errors import JSON, InvalidPayment
from waypost.protocol.fields import Fields
from waypost.protocol.signatures import Signature

X402_VERSION = 2
SCHEME = "waypost-channel"


def network(chain_id: int) -> str:
    """CAIP-2 name of an EVM chain."""
    return f"eip155:{chain_id}"


class HeaderObject(ABC):
    """Base of the objects that travel in a header."""

    __slots__ = ()

    header: ClassVar[str]

    @abstractmethod
    def to_json(self) -> dict[str, JSON]:
        """As in the x402 v2 specification."""

    @classmethod
    @abstractmethod
    def from_json(cls, value: object) -> Self:
        """The reverse. Raises a ProtocolError."""

    def to_header(self) -> str:
        """The header's value, base64 of compact JSON."""
        return base64.b64encode(json.dumps(self.to_json(), separators=(",", ":")).encode()).decode()

    @classmethod
    def from_header(cls, text: str) -> Self:
        """The reverse. Raises InvalidPayment, or what a field's fault raises."""
        try:
            value = json.loads(base64.b64decode(text, validate=True))
        except (ValueError, RecursionError):
            raise InvalidPayment(f"The {cls.header} header is no base64 JSON.") from None
        return cls.from_json(value)


@dataclass(frozen=True, slots=True)
class PaymentRequirements:
    """One way to pay: raise the channel's total by `amount` base units of `asset`.

    `extra` is the scheme's own: channels, closeDelay, minDeposit, balance, priceId.
    """

    chain_id: int
    amount: int
    asset: ChecksumAddress
    pay_to: ChecksumAddress
    max_timeout_seconds: int
    extra: Mapping[str, JSON] = field(default_factory=dict)

    def to_json(self) -> dict[str, JSON]:
        """As in the x402 v2 specification."""
        return {
            "scheme": SCHEME,
            "network": network(self.chain_id),
            "amount": str(self.amount),
            "asset": self.asset,
            "payTo": self.pay_to,
            "maxTimeoutSeconds": self.max_timeout_seconds,
            "extra": dict(self.extra),
        }

    @classmethod
    def from_json(cls, value: object) -> Self:
        """The reverse. Raises InvalidPayment, InvalidAddress or AmountOutOfRange."""
        fields = Fields(value, InvalidPayment)
        if fields.text("scheme") != SCHEME:
            raise fields.fault("scheme", f'"{SCHEME}"')
        return cls(
            chain_id=_chain_id(fields),
            amount=fields.amount("amount"),
            asset=fields.address("asset"),
            pay_to=fields.address("payTo"),
            max_timeout_seconds=fields.integer("maxTimeoutSeconds"),
            extra=cast(Mapping[str, JSON], fields.fields("extra").value) if "extra" in fields else {},
        )


@dataclass(frozen=True, slots=True)
class PaymentRequired(HeaderObject):
    """The 402 answer. `error` says why; `resource` is the URL that costs money."""

    header = "PAYMENT-REQUIRED"

    error: str
    resource: str
    accepts: tuple[PaymentRequirements, ...]

    def to_json(self) -> dict[str, JSON]:
        """As in the x402 v2 specification."""
        return {
            "x402Version": X402_VERSION,
            "error": self.error,
            "resource": {"url": self.resource},
            "accepts": [way.to_json() for way in self.accepts],
        }

    @classmethod
    def from_json(cls, value: object) -> Self:
        """The reverse, without the ways to pay that are of other schemes."""
        fields = _versioned(value)
        ways = [Fields(way, InvalidPayment) for way in fields.items("accepts")]
        return cls(
            error=fields.text("error") if "error" in fields else "",
            resource=fields.fields("resource").text("url"),
            accepts=tuple(PaymentRequirements.from_json(w.value) for w in ways if w.text("scheme") == SCHEME),
        )


@dataclass(frozen=True, slots=True)
class PaymentPayload(HeaderObject):
    """A payment: the requirements that were chosen, and the receipt that fulfils them."""

    header = "PAYMENT-SIGNATURE"

    accepted: PaymentRequirements
    signer: ChecksumAddress
    cumulative: int
    signature: Signature

    def to_json(self) -> dict[str, JSON]:
        """As in the x402 v2 specification."""
        return {
            "x402Version": X402_VERSION,
            "accepted": self.accepted.to_json(),
            "payload": {
                "signer": self.signer,
                "cumulative": str(self.cumulative),
                "signature": self.signature.to_hex(),
            },
        }

    @classmethod
    def from_json(cls, value: object) -> Self:
        """The reverse; recovers no key."""
        fields = _versioned(value)
        payload = fields.fields("payload")
        return cls(
            accepted=PaymentRequirements.from_json(fields.raw("accepted")),
            signer=payload.address("signer"),
            cumulative=payload.amount("cumulative"),
            signature=payload.signature("signature"),
        )


@dataclass(frozen=True, slots=True)
class PaymentResponse(HeaderObject):
    """How the payment went. Receipts settle later and in batches, so `transaction` is empty."""

    header = "PAYMENT-RESPONSE"

    success: bool
    chain_id: int
    payer: ChecksumAddress
    error_reason: str = ""
    transaction: str = ""

    def to_json(self) -> dict[str, JSON]:
        """As in the x402 v2 specification."""
        answer: dict[str, JSON] = {
            "success": self.success,
            "transaction": self.transaction,
            "network": network(self.chain_id),
            "payer": self.payer,
        }
        return answer | ({"errorReason": self.error_reason} if self.error_reason else {})

    @classmethod
    def from_json(cls, value: object) -> Self:
        """The reverse."""
        fields = Fields(value, InvalidPayment)
        success = fields.raw("success")
        if not isinstance(success, bool):
            raise fields.fault("success", "true or false")
        return cls(
            success=success,
            chain_id=_chain_id(fields),
            payer=fields.address("payer"),
            error_reason=fields.text("errorReason") if "errorReason" in fields else "",
            transaction=fields.text("transaction"),
        )


def _versioned(value: object) -> Fields:
    fields = Fields(value, InvalidPayment)
    if fields.integer("x402Version") != X402_VERSION:
        raise fields.fault("x402Version", str(X402_VERSION))
    return fields


def _chain_id(fields: Fields) -> int:
    found = re.fullmatch(r"eip155:([1-9][0-9]{0,15})", fields.text("network"))
    if found is None:
        raise fields.fault("network", '"eip155:" and a chain id')
    return int(found[1])
