"""Amounts for people: whole tokens with decimals on the command line, exact base units everywhere else."""

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from waypost.chain.token import Token
from waypost.errors import AmountOutOfRange

ETHER = 10**18


@dataclass(frozen=True, slots=True)
class Unit:
    """A token's name and decimals."""

    symbol: str
    decimals: int

    @classmethod
    async def of(cls, token: Token) -> "Unit":
        """What the token says of itself."""
        return cls(await token.symbol(), await token.decimals())

    def parse(self, text: str, name: str = "amount") -> int:
        """Base units of a text like "2.5". Raises AmountOutOfRange."""
        try:
            value = Decimal(text) if len(text) <= 80 and "_" not in text else Decimal("NaN")
        except InvalidOperation:
            value = Decimal("NaN")
        scaled = value.scaleb(self.decimals) if value.is_finite() else Decimal(-1)
        if scaled < 0 or scaled != scaled.to_integral_value() or scaled >= 2**96:
            raise AmountOutOfRange(
                f"{text[:80]!r} is no {name} such as 2.5; {self.symbol} has {self.decimals} decimals.",
                given=text[:80],
            )
        return int(scaled)

    def show(self, amount: int) -> str:
        """ "2.5 DUSD": exact, without trailing zeros."""
        return f"{_plain(amount, self.decimals)} {self.symbol}"


def ether(wei: int) -> str:
    """ "0.01 ETH"."""
    return f"{_plain(wei, 18)} ETH"


def _plain(amount: int, decimals: int) -> str:
    whole, part = divmod(abs(amount), 10**decimals)
    digits = f"{part:0{decimals}d}".rstrip("0") if decimals else ""
    return f"{'-' if amount < 0 else ''}{whole}{'.' + digits if digits else ''}"
