"""A payer, a payee and a signer with what they sign."""

import time
from dataclasses import dataclass
from itertools import count

from waypost.chain.channels import Channels
from waypost.chain.embedded import FUNDED_KEYS
from waypost.chain.token import Token
from waypost.protocol.openings import Opening, SignedOpening
from waypost.protocol.receipts import Receipt, SignedReceipt
from waypost.protocol.signatures import address_of, keccak

PAYER_KEY = FUNDED_KEYS[1]
PAYEE_KEY = FUNDED_KEYS[2]
PAYER = address_of(PAYER_KEY)
PAYEE = address_of(PAYEE_KEY)

_numbers = count(1)


@dataclass(frozen=True)
class Terms:
    """A channel that may be opened, with the signer's key."""

    channels: Channels
    signed: SignedOpening
    signer_key: bytes

    @property
    def opening(self) -> Opening:
        return self.signed.opening

    def receipt(self, cumulative: int) -> SignedReceipt:
        """For a total of so many base units."""
        receipt = Receipt(self.opening.payee, self.opening.token, cumulative)
        return SignedReceipt(receipt, receipt.sign(self.channels.domain(), self.signer_key))


def terms(channels: Channels, token: Token, amount: int = 1_000, close_delay: int = 2) -> Terms:
    """Terms with a fresh signer."""
    number = next(_numbers)
    signer_key = keccak(b"signer" + number.to_bytes(32))
    opening = Opening(
        payer=PAYER,
        payee=PAYEE,
        token=token.address,
        signer=address_of(signer_key),
        close_delay=close_delay,
        amount=amount,
        salt=number.to_bytes(32),
        deadline=in_an_hour(),
    )
    signature = opening.sign(channels.domain(), signer_key)
    return Terms(channels, SignedOpening(opening, signature), signer_key)


def in_an_hour() -> int:
    """Unix seconds."""
    return int(time.time()) + 3600
