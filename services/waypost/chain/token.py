"""An ERC-20 token with permits (ERC-2612) and authorizations (ERC-3009), such as USDC or DevDollar.
Amounts are base units."""

from dataclasses import dataclass
from typing import Self

from eth_typing import ChecksumAddress

from waypost.chain.amounts import grouped, plain
from waypost.chain.connection import Call
from waypost.chain.contract import Contract
from waypost.errors import ChainError, RpcUnreachable
from waypost.protocol.eip712 import Address, Domain, TypedStruct, Uint256
from waypost.protocol.signatures import address_of, keccak

_VERSION = keccak(b"version()")[:4]
_AUTHORIZATION_STATE = "authorizationState"


@dataclass(frozen=True, slots=True)
class PermitMessage(TypedStruct, primary_type="Permit"):
    """ERC-2612: `owner` lets `spender` move `value` until `deadline`."""

    owner: Address
    spender: Address
    value: Uint256
    nonce: Uint256
    deadline: Uint256


@dataclass(frozen=True, slots=True)
class Permit:
    """The contracts' `Permit`: a signed allowance. Deadline 0 means that there is none."""

    value: int
    deadline: int
    v: int
    r: bytes
    s: bytes

    def to_abi(self) -> tuple[int, int, int, bytes, bytes]:
        """`Permit(value, deadline, v, r, s)`."""
        return self.value, self.deadline, self.v, self.r, self.s


@dataclass(frozen=True, slots=True)
class Unit:
    """A token's name and decimals."""

    symbol: str
    decimals: int

    @classmethod
    async def of(cls, token: "Token") -> Self:
        """What the token says of itself, its symbol cut to what fits a line: anybody can write a token.

        Raises TransactionReverted, WrongContract, RpcUnreachable, RpcFailed.
        """
        symbol = "".join(each if each.isprintable() else "?" for each in (await token.symbol())[:32])
        return cls(symbol, await token.decimals())

    @property
    def words(self) -> str:
        """ "DUSD with 6 decimals"."""
        return f"{self.symbol} with {self.decimals} decimals"

    def show(self, amount: int) -> str:
        """ "2500.5 DUSD": exact, without trailing zeros."""
        return f"{plain(amount, self.decimals)} {self.symbol}"

    def grouped(self, amount: int) -> str:
        """ "2,500.5 DUSD": the same for reading."""
        return f"{grouped(amount, self.decimals)} {self.symbol}"


DEV_DOLLAR = Unit("DUSD", 6)
"""Of a DevDollar that is not deployed yet."""

NO_PERMIT = Permit(0, 0, 0, bytes(32), bytes(32))


class Token(Contract):
    """Reads raise RpcUnreachable, RpcFailed or WrongContract."""

    artifact = "DevDollar"

    async def balance_of(self, owner: ChecksumAddress) -> int:
        """What `owner` has."""
        return int(await self._read("balanceOf", owner))

    async def allowance(self, owner: ChecksumAddress, spender: ChecksumAddress) -> int:
        """What `spender` may still move of `owner`'s tokens."""
        return int(await self._read("allowance", owner, spender))

    async def decimals(self) -> int:
        """How many decimals people see."""
        return int(await self._read("decimals"))

    async def symbol(self) -> str:
        """The ticker."""
        return str(await self._read("symbol"))

    async def domain(self) -> Domain:
        """The EIP-712 domain of permits and authorizations: what EIP-5267 says, else the token's
        name and version (USDC), with version 1 where the token states none."""
        try:
            found = await self._read("eip712Domain")
            return Domain(found[1], found[2], found[3], found[4])
        except RpcUnreachable:
            raise
        except ChainError:
            name = str(await self._read("name"))
            return Domain(name, await self._version(), self.connection.chain_id, self.address)

    async def supports_authorization(self) -> bool:
        """Whether a payer without ETH can open channels (ERC-3009)."""
        try:
            await self._read("authorizationState", self.address, bytes(32))
        except RpcUnreachable:
            raise
        except ChainError:
            return False
        return True

    async def permit(self, owner_key: bytes, spender: ChecksumAddress, value: int, deadline: int) -> Permit:
        """Signs an allowance that anybody can submit; `deadline` in Unix seconds."""
        owner = address_of(owner_key)
        nonce = int(await self._read("nonces", owner))
        message = PermitMessage(owner, spender, value, nonce, deadline)
        signature = message.sign(await self.domain(), owner_key)
        return Permit(value, deadline, signature.v, signature.r, signature.s)

    def approve(self, spender: ChecksumAddress, amount: int) -> Call:
        """By the owner."""
        return self._call("approve", spender, amount)

    def transfer(self, to: ChecksumAddress, amount: int) -> Call:
        """By the owner."""
        return self._call("transfer", to, amount)

    def mint(self, to: ChecksumAddress, amount: int) -> Call:
        """DevDollar only: by anybody, out of nothing."""
        return self._call("mint", to, amount)

    async def _version(self) -> str:
        call = Call(self.address, _VERSION, name="Token.version")
        try:
            answer = await self.connection.simulate(call)
        except RpcUnreachable:
            raise
        except ChainError:
            return "1"
        return _text(answer) or "1"


def _text(answer: bytes) -> str:
    # ABI: one string, that is offset, length, bytes.
    length = int.from_bytes(answer[32:64])
    return answer[64 : 64 + length].decode("utf-8", errors="replace")
