"""Members as they and their nodes see them: registers, signs, commits, slashes and knows what is due.
Defaults are a valid membership; every test changes the one thing that it is about."""

from itertools import count
from typing import Any

from brownie import Contract, chain
from eth_abi import encode
from eth_account.signers.local import LocalAccount
from eth_utils import keccak

from channel_ledger import DOLLAR, FAR, token_domain
from signing import Domain, Signature

FIELD = 21888242871839275222246405745257275088548364400416034343698204186575808495617
DEPTH = 20
PERIOD = 7 * 86400
WINDOW = 2 * 86400
STAKE_PER_RATE = DOLLAR
FEE_PER_RATE = 7
RATE = 100
PERIODS = 4
STAKE = STAKE_PER_RATE * RATE
FEE = FEE_PER_RATE * RATE * PERIODS
PARAMETERS = (DEPTH, PERIOD, WINDOW, STAKE_PER_RATE, FEE_PER_RATE)
SALT = b"\x05" * 32

NEVER, ENDED = b"\x00" * 32, b"\x00" * 31 + b"\x01"

POSEIDON_ABI = [
    {
        "type": "function",
        "name": "hash",
        "stateMutability": "pure",
        "inputs": [{"name": "input", "type": "uint256[1]"}],
        "outputs": [{"name": "", "type": "uint256"}],
    }
]

Record = tuple[int, str, str, int, int, int, int]

_secrets = count(1)


def fresh_secret() -> int:
    """A secret that no other member uses."""
    return int.from_bytes(keccak(text=f"waypost test secret {next(_secrets)}"), "big") % FIELD


def gross(record: Record, until: int, fee_per_rate: int = FEE_PER_RATE, period: int = PERIOD) -> int:
    """What has streamed from a member until a time, the burned fifth included."""
    return fee_per_rate * record[4] * (until - record[5]) // period


def split(amount: int) -> tuple[int, int]:
    """Of all that has streamed: the home node's part, and what is burned."""
    return amount * 4 // 5, amount - amount * 4 // 5


class Members:
    """A membership contract, its token, and whoever pays."""

    def __init__(self, contract: Any, token: Any, payer: Any, home: Any) -> None:
        self.contract, self.token, self.payer, self.home = contract, token, payer, home
        self.domain = Domain("Waypost RlnMembership", contract.address)
        self.poseidon = Contract.from_abi("Poseidon", contract.poseidon(), POSEIDON_ABI)

    def commitment(self, secret: int) -> int:
        """Poseidon(secret), by the contract that test_slash.py checks against vectors."""
        return int(self.poseidon.hash([secret]))

    # What people sign

    def registration(self, id_commitment: int, /, **changes: Any) -> dict[str, Any]:
        """A valid Registration by the payer."""
        return {
            "payer": str(self.payer),
            "idCommitment": id_commitment,
            "rate": RATE,
            "homeNode": str(self.home),
            "periods": PERIODS,
            "deadline": FAR,
        } | changes

    def extension(self, record: Record, /, **changes: Any) -> dict[str, Any]:
        """A valid Extension by the payer."""
        return {
            "payer": str(self.payer),
            "idCommitment": record[0],
            "periods": 2,
            "salt": b"\x07" * 32,
            "deadline": FAR,
        } | changes

    def sign(self, account: LocalAccount, primary: str, message: dict[str, Any]) -> Signature:
        """In the domain of the contract."""
        return self.domain.sign(account, primary, message)

    def authorization(
        self, account: LocalAccount, primary: str, action: dict[str, Any], value: int, **changes: Any
    ) -> tuple:
        """ERC-3009 arguments by which `account` pays `value` for a Registration or an Extension."""
        message = {
            "from": action["payer"],
            "to": self.contract.address,
            "value": value,
            "validAfter": 0,
            "validBefore": FAR,
            "nonce": self.domain.struct_hash(primary, action),
        } | changes
        signature = token_domain(self.token).sign(account, "ReceiveWithAuthorization", message)
        return message["validAfter"], message["validBefore"], *signature.vrs

    def permit(self, account: LocalAccount, value: int) -> tuple:
        """ERC-2612 arguments by which `account` lets the contract take `value`."""
        message = {
            "owner": account.address,
            "spender": self.contract.address,
            "value": value,
            "nonce": self.token.nonces(account.address),
            "deadline": FAR,
        }
        return value, FAR, *token_domain(self.token).sign(account, "Permit", message).vrs

    # What people do

    def register(
        self,
        secret: int | None = None,
        /,
        payer: Any = None,
        home: Any = None,
        rate: int = RATE,
        periods: int = PERIODS,
    ) -> Record:
        """Registers a member and returns its record."""
        id_commitment = self.commitment(fresh_secret() if secret is None else secret)
        sender = {"from": payer or self.payer}
        return record_of(
            self.contract.register(id_commitment, rate, home or self.home, periods, sender), self.contract
        )

    def exit(self, record: Record, sender: Any = None) -> Any:
        """Ends a membership as its owner."""
        return self.contract.exit(record, {"from": sender or self.payer})

    def commit(self, secret: int, receiver: Any, sender: Any, salt: bytes = SALT) -> Any:
        """Announces a slash."""
        return self.contract.commitSlash(slash_hash(secret, receiver, salt), {"from": sender})

    def slash(self, secret: int, record: Record, receiver: Any, sender: Any) -> Any:
        """Announces a slash and carries it out as soon as that is possible."""
        self.commit(secret, receiver, sender)
        chain.mine(1)
        return self.contract.slash(secret, receiver, SALT, record, {"from": sender})

    # What the contract says

    def member(self, record: Record) -> dict[str, Any]:
        """What has changed since registration."""
        return self.contract.member(record[0]).dict()

    def is_ended(self, record: Record) -> bool:
        """Whether nothing is left of the member but that it was one."""
        member = self.member(record)
        return bytes(member.pop("recordHash")) == ENDED and not any(member.values())


def record_of(tx: Any, contract: Any) -> Record:
    """The record that a registration made, from its event alone."""
    event = next(e for e in tx.events["Registered"] if e.address == contract.address)
    names = ("idCommitment", "owner", "homeNode", "index", "rate", "start", "periods")
    return tuple(event[name] for name in names)  # type: ignore[return-value]


def record_hash(record: Record) -> bytes:
    """What the contract keeps of it."""
    types = ["uint256", "address", "address", "uint32", "uint16", "uint40", "uint32"]
    return keccak(encode(types, list(record)))


def slash_hash(secret: int, receiver: Any, salt: bytes = SALT) -> bytes:
    """What is committed to."""
    return keccak(encode(["uint256", "address", "bytes32"], [secret, str(receiver), salt]))
