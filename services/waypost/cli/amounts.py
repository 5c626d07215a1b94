"""Amounts for people: whole tokens with decimals on the command line, exact base units everywhere else."""

import re
from dataclasses import dataclass

from waypost.chain.amounts import ether as ether
from waypost.chain.amounts import plain
from waypost.chain.token import Token
from waypost.errors import AmountOutOfRange

_NUMBER = re.compile(r"([0-9]{0,40})(?:\.([0-9]{0,40}))?", re.ASCII)


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
        found = _NUMBER.fullmatch(text.strip())
        whole, part = (found[1], found[2] or "") if found else ("", "")
        units = int((whole or "0") + part.ljust(self.decimals, "0")) if whole or part else -1
        if units < 0 or len(part) > self.decimals or units >= 2**96:
            raise AmountOutOfRange(
                f"{text[:80]!r} is no {name} such as 2.5; {self.symbol} has {self.decimals} decimals.",
                given=text[:80],
            )
        return units

    def show(self, amount: int) -> str:
        """ "2.5 DUSD": exact, without trailing zeros."""
        return f"{plain(amount, self.decimals)} {self.symbol}"
