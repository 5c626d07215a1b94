"""Price lists: what a node charges, exact integers in token base units."""

from dataclasses import dataclass
from typing import Self

import rfc8785
from eth_typing import ChecksumAddress

from waypost.errors import JSON, InvalidPriceList
from waypost.protocol.fields import Fields, camel_case, in_range
from waypost.protocol.signatures import address_bytes, keccak

KIB = 1024
HOUR = 3600
PRICE_BITS = 96

_PRICES = ("store_per_kib_hour", "fetch_per_kib", "opening", "min_receipt", "min_deposit", "relay_per_kib")


@dataclass(frozen=True, slots=True)
class PriceList:
    """Prices in base units of `token`, each below 2^96; `valid_until` in Unix seconds.

    Raises InvalidAddress or AmountOutOfRange.
    """

    token: ChecksumAddress
    valid_until: int
    store_per_kib_hour: int
    fetch_per_kib: int
    opening: int
    min_receipt: int
    min_deposit: int
    relay_per_kib: int = 0

    def __post_init__(self) -> None:
        address_bytes(self.token)
        for price in _PRICES:
            in_range(camel_case(price), getattr(self, price), PRICE_BITS)

    @property
    def price_id(self) -> str:
        """0x-hex Keccak-256 of token and prices as RFC 8785 JSON: a later `valid_until` keeps it."""
        return "0x" + keccak(rfc8785.dumps(self._content())).hex()

    def store_cost(self, size_bytes: int, seconds: int) -> int:
        """Of keeping so many bytes so long, rounded up once."""
        return _round_up(size_bytes * seconds * self.store_per_kib_hour, KIB * HOUR)

    def fetch_cost(self, size_bytes: int) -> int:
        """Of delivering so many bytes, rounded up once."""
        return _round_up(size_bytes * self.fetch_per_kib, KIB)

    def relay_cost(self, size_bytes: int) -> int:
        """Of passing so many bytes on to subscribers, or to one of them, rounded up once."""
        return _round_up(size_bytes * self.relay_per_kib, KIB)

    def to_json(self) -> dict[str, JSON]:
        """`{priceId, validUntil, token, storePerKibHour, …}`, prices as decimal strings."""
        return {"priceId": self.price_id, "validUntil": self.valid_until, **self._content()}

    @classmethod
    def from_json(cls, value: object) -> Self:
        """The reverse. Raises InvalidPriceList, also for a priceId of other prices."""
        fields = Fields(value, InvalidPriceList)
        prices = {price: fields.amount(camel_case(price), PRICE_BITS) for price in _PRICES}
        found = cls(fields.address("token"), fields.integer("validUntil"), **prices)
        if fields.text("priceId") != found.price_id:
            raise fields.fault("priceId", f"the hash of these prices, {found.price_id}")
        return found

    def _content(self) -> dict[str, JSON]:
        return {"token": self.token} | {camel_case(price): str(getattr(self, price)) for price in _PRICES}


def _round_up(numerator: int, denominator: int) -> int:
    return -(-numerator // denominator)
