"""Who deploys: an account that pays no more per gas than it was told to, and whether its money suffices.
`waypost deploy` and `brownie run deploy` read their parameters here."""

import re
from dataclasses import dataclass, replace
from typing import Self

from eth_typing import ChecksumAddress

from waypost.chain.amounts import ether, plain
from waypost.chain.connection import Connection
from waypost.chain.fees import Fees
from waypost.chain.transactions import Sender
from waypost.errors import JSON, InsufficientFunds, InvalidConfig

_GWEI = re.compile(r"([0-9]{1,9})(?:\.([0-9]{1,9}))?", re.ASCII)
_SALT = re.compile(r"(?:0x)?([0-9a-fA-F]{64})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Bid:
    """What is offered, in wei per gas: at most `max_fee`, and of that `tip` as priority fee (EIP-1559).
    None: what the chain asks."""

    max_fee: int | None = None
    tip: int | None = None

    def __post_init__(self) -> None:
        if self.max_fee is not None and self.tip is not None and self.tip > self.max_fee:
            given, limit = plain(self.tip, 9), plain(self.max_fee, 9)
            raise InvalidConfig(
                f"The priority fee of {given} gwei is above the most to pay, {limit} gwei.",
                priorityFeeWei=str(self.tip),
                maxFeeWei=str(self.max_fee),
            )

    @classmethod
    def parse(cls, max_fee: str | None, tip: str | None) -> Self:
        """From texts in gwei. Raises InvalidConfig."""
        return cls(_wei(max_fee, "the most to pay"), _wei(tip, "the priority fee"))

    def within(self, asked: Fees) -> Fees:
        """What the chain asks for, with this tip."""
        return asked if self.tip is None else replace(asked, tip=self.tip)


class Deployer(Sender):
    """Sends with a bid of its own. What is stuck is replaced with an eighth more, the tip as well, up to the
    bid's `max_fee`."""

    def __init__(self, connection: Connection, private_key: bytes, bid: Bid) -> None:
        super().__init__(connection, private_key, max_fee_per_gas=bid.max_fee)
        self._bid = bid

    async def fees(self) -> Fees:
        """What a transaction should offer now. Raises RpcUnreachable, RpcFailed."""
        return self._bid.within(await super().fees())


@dataclass(frozen=True, slots=True)
class Funds:
    """What an account has, and the most that a deployment may cost it; in wei."""

    account: ChecksumAddress
    balance: int
    needed: int

    @classmethod
    async def of(cls, connection: Connection, account: ChecksumAddress, needed: int) -> Self:
        """What the account has now. Raises RpcUnreachable, RpcFailed."""
        return cls(account, await connection.balance(account), needed)

    @property
    def suffice(self) -> bool:
        """Whether the account can pay."""
        return self.balance >= self.needed

    @property
    def line(self) -> str:
        """For people."""
        verdict = "enough" if self.suffice else f"{ether(self.needed - self.balance)} too little"
        return f"  {self.account} pays, and has {ether(self.balance)}: {verdict}"

    def to_json(self) -> dict[str, JSON]:
        """For programs."""
        return {"deployer": self.account, "balanceWei": str(self.balance), "sufficient": self.suffice}

    def require(self) -> None:
        """Raises InsufficientFunds."""
        if not self.suffice:
            raise InsufficientFunds(
                f"{self.account} has {ether(self.balance)}; the deployment may cost {ether(self.needed)}.",
                account=self.account,
                balance=str(self.balance),
                needed=str(self.needed),
            )


def salt(text: str) -> bytes:
    """The 32 bytes from which the proxy derives addresses. Raises InvalidConfig."""
    found = _SALT.fullmatch(text)
    if not found:
        raise InvalidConfig("The salt is 0x and 64 hexadecimal digits.", given=text[:80])
    return bytes.fromhex(found[1])


def _wei(gwei: str | None, what: str) -> int | None:
    if gwei is None:
        return None
    found = _GWEI.fullmatch(gwei)
    if not found:
        sentence = f"{gwei[:80]!r} is not {what} in gwei, such as 2.5; at most nine decimals."
        raise InvalidConfig(sentence, given=gwei[:80])
    return int(found[1] + (found[2] or "").ljust(9, "0"))
