"""Channels as one payee and one payer see them: builds what they sign and reads what the chain says.
Defaults are a valid channel; every test changes the one thing that it is about."""

from dataclasses import dataclass, field
from itertools import count
from typing import Any

from brownie import chain
from eth_account.signers.local import LocalAccount

from signing import Domain, Signature, key

DOLLAR = 10**6
FAR = 2**40 - 1
MAX_UINT = 2**256 - 1
DELAY = 3600

NONE, OPEN, CLOSING, CLOSED = range(4)

NO_PERMIT = (0, 0, 0, 0, 0)
NO_RECEIPT = (0, 0, 0)

_labels = count()


def fresh_key() -> LocalAccount:
    """A key that no other channel uses."""
    return key(f"channel {next(_labels)}")


@dataclass
class Ledger:
    """A payer (a sending account), a payee (an address) and the contracts between them."""

    channels: Any
    token: Any
    payer: Any
    payee: str
    domain: Domain = field(init=False)

    def __post_init__(self) -> None:
        self.domain = Domain("Waypost Channels", self.channels.address)

    # What people sign

    def opening(self, signer: LocalAccount, /, **changes: Any) -> dict[str, Any]:
        """A valid Opening of `signer`'s channel."""
        return {
            "payer": str(self.payer),
            "payee": str(self.payee),
            "token": self.token.address,
            "signer": signer.address,
            "closeDelay": DELAY,
            "amount": 100 * DOLLAR,
            "salt": b"\x07" * 32,
            "deadline": FAR,
        } | changes

    def top_up(self, signer: LocalAccount, /, **changes: Any) -> dict[str, Any]:
        """A valid TopUp of `signer`'s channel by its payer."""
        opening = self.opening(signer, amount=10 * DOLLAR)
        del opening["closeDelay"]
        return opening | changes

    def sign(self, account: LocalAccount, primary: str, message: dict[str, Any]) -> Signature:
        """In the domain of the contract."""
        return self.domain.sign(account, primary, message)

    def receipt(self, signer: LocalAccount, cumulative: int, /, **changes: Any) -> tuple[int, bytes, bytes]:
        """A SignedReceipt; `changes` are to what is signed, not to what is sent."""
        message = {"payee": str(self.payee), "token": self.token.address, "cumulative": cumulative}
        return cumulative, *self.sign(signer, "Receipt", message | changes).compact

    def authorization(
        self, account: LocalAccount, primary: str, action: dict[str, Any], **changes: Any
    ) -> tuple:
        """ERC-3009 arguments by which `account` pays for an Opening or a TopUp."""
        message = {
            "from": action["payer"],
            "to": self.channels.address,
            "value": action["amount"],
            "validAfter": 0,
            "validBefore": FAR,
            "nonce": self.domain.struct_hash(primary, action),
        } | changes
        signature = token_domain(self.token).sign(account, "ReceiveWithAuthorization", message)
        return message["validAfter"], message["validBefore"], *signature.vrs

    def permit(self, account: LocalAccount, value: int, deadline: int = FAR) -> tuple:
        """ERC-2612 arguments by which `account` lets the contract take `value`."""
        message = {
            "owner": account.address,
            "spender": self.channels.address,
            "value": value,
            "nonce": self.token.nonces(account.address),
            "deadline": deadline,
        }
        return value, deadline, *token_domain(self.token).sign(account, "Permit", message).vrs

    # What people do

    def open(self, signer: LocalAccount | None = None, /, **changes: Any) -> LocalAccount:
        """Opens a channel as the payer and returns its signer."""
        signer = signer or fresh_key()
        opening = self.opening(signer, **changes)
        self.channels.open(
            as_tuple(opening), self.sign(signer, "Opening", opening).compact, {"from": self.payer}
        )
        return signer

    def claim(self, *receipts: tuple, **transaction: Any) -> Any:
        """Claims for the payee, sent by somebody else."""
        return self.channels.claim(
            self.payee, self.token, list(receipts), {"from": self.payer, **transaction}
        )

    def start_close(self, signer: LocalAccount) -> Any:
        """Starts closing as the payer."""
        return self.channels.startClose(self.payee, self.token, signer.address, {"from": self.payer})

    def finish_close(self, signer: LocalAccount, wait: int = DELAY) -> Any:
        """Lets `wait` seconds pass and finishes."""
        if wait:
            chain.sleep(wait)
        return self.channels.finishClose(self.payee, self.token, signer.address, {"from": self.payer})

    def state(self, signer: LocalAccount) -> dict[str, Any]:
        """The channel as the contract reports it."""
        return self.channels.channel(self.payee, self.token, signer.address).dict()

    def status(self, signer: LocalAccount) -> int:
        """The channel's status."""
        return self.state(signer)["status"]


def as_tuple(action: dict[str, Any]) -> tuple:
    """A message as the contract takes it."""
    return tuple(action.values())


def token_domain(token: Any) -> Domain:
    """The domain in which permits and authorizations of a test token are signed."""
    return Domain("Dev Dollar", token.address)
