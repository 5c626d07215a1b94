"""Price lists: what a node charges, exact integers in token base units."""

from dataclasses import dataclass, fields
from typing import Self

import rfc8785
from eth_typing import ChecksumAddress

from waypost.errors import JSON, InvalidPriceList
from waypost.protocol.fields import Fields, in_range
from waypost.protocol.signatures import address_bytes, keccak

KIB = 1024
HOUR = 3600


@dataclass(frozen=True, slots=True)
class PriceList:
    """Prices in base units of `token`, each below 2^96; `valid_until` in Unix seconds."""

    token: ChecksumAddress
    valid_until: int
    store_per_kib_hour: int
    fetch_per_kib: int
    opening: int
    min_receipt: int
    min_deposit: int

    def __post_init__(self) -> None:
        address_bytes(self.token)
        for field in fields(self)[2:]:
            in_range(field.name, getattr(self, field.name), 96)

    @property
    def price_id(self) -> str:
        """0x-hex Keccak of the token and prices: extending `valid_until` keeps it."""
        return "0x" + keccak(rfc8785.dumps(self._prices())).hex()

    def store_cost(self, size_bytes: int, seconds: int) -> int:
        """Of keeping so many bytes so long, rounded up once."""
        return _round_up(size_bytes * seconds * self.store_per_kib_hour, KIB * HOUR)

    def fetch_cost(self, size_bytes: int) -> int:
        """Of delivering so many bytes, rounded up once."""
        return _round_up(size_bytes * self.fetch_per_kib, KIB)

    def _prices(self) -> dict[str, JSON]:
        return {
            "token": self.token,
            "storePerKibHour": str(self.store_per_kib_hour),
            "fetchPerKib": str(self.fetch_per_kib),
            "opening": str(self.opening),
            "minReceipt": str(self.min_receipt),
            "minDeposit": str(self.min_deposit),
        }

    def to_json(self) -> dict[str, JSON]:
        """`{priceId, validUntil, token, storePerKibHour, …}`, prices as decimal strings."""
        return {"priceId": self.price_id, "validUntil": self.valid_until, **self._prices()}

    @classmethod
    def from_json(cls, value: object) -> Self:
        """The reverse. Raises InvalidPriceList (also for a priceId of other prices),
        InvalidAddress or AmountOutOfRange."""
        given = Fields(value, InvalidPriceList)
        prices = cls(
            token=given.address("token"),
            valid_until=given.integer("validUntil"),
            store_per_kib_hour=given.amount("storePerKibHour", 96),
            fetch_per_kib=given.amount("fetchPerKib", 96),
            opening=given.amount("opening", 96),
            min_receipt=given.amount("minReceipt", 96),
            min_deposit=given.amount("minDeposit", 96),
        )
        if given.text("priceId") != prices.price_id:
            raise given.fault("priceId", f"the hash of these prices, {prices.price_id}")
        return prices


def _round_up(numerator: int, denominator: int) -> int:
    return -(-numerator // denominator)
