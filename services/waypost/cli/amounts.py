"""Amounts for people: whole tokens with decimals on the command line, exact base units everywhere else."""

import re
from dataclasses import dataclass

from waypost.chain import token
from waypost.chain.amounts import ether as ether
from waypost.errors import AmountOutOfRange

_NUMBER = re.compile(r"([0-9]{0,40})(?:\.([0-9]{0,40}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Unit(token.Unit):
    """A token's name and decimals, in which people type amounts."""

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
