"""What a deployment sends, written down before it is broadcast: one that was interrupted, even by kill -9,
goes on with the very transactions that it sent, and creates nothing twice. One at a time."""

import fcntl
import json
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from eth_typing import ChecksumAddress

from waypost import files
from waypost.chain.blocks import TransactionReceipt
from waypost.chain.connection import Connection
from waypost.chain.transactions import ATTEMPTS, Persist, Sender, SignedTransaction
from waypost.errors import (
    JSON,
    DataInUse,
    InvalidConfig,
    ProtocolError,
    RpcFailed,
    RpcUnreachable,
    TransactionReplaced,
    TransactionReverted,
    TransactionStuck,
)
from waypost.protocol.fields import Fields

SUFFIX = ".pending"
"""The record of `31337.json` is `31337.json.pending`, beside it."""
LOCK = ".lock"
"""And this the file that is locked while one deployment works on both; it stays, empty."""

Progress = Callable[[str], None]
"""Is told in words what is happening."""


@dataclass(frozen=True, slots=True)
class Sent:
    """One transaction, and the address where `name` has code once it was carried out."""

    name: str
    address: ChecksumAddress
    transaction: SignedTransaction

    @property
    def words(self) -> str:
        """For people."""
        return f"{self.name}'s transaction 0x{self.transaction.hash.hex()}"

    def to_json(self) -> dict[str, JSON]:
        """The record's entry. `hash` and `nonce` are for people: `raw` says both."""
        return {
            "name": self.name,
            "address": self.address,
            "hash": "0x" + self.transaction.hash.hex(),
            "nonce": self.transaction.nonce,
            "raw": "0x" + self.transaction.raw.hex(),
        }

    @classmethod
    def from_json(cls, value: object) -> Self:
        """The reverse. Raises ProtocolError or ValueError."""
        fields = Fields(value, ProtocolError)
        raw = bytes.fromhex(fields.text("raw").removeprefix("0x"))
        return cls(fields.text("name"), fields.address("address"), SignedTransaction.from_raw(raw))


@contextmanager
def alone(manifest: Path) -> Iterator[None]:
    """Keeps every other deployment away from a manifest and its record, until the end or the process's death.

    Raises DataInUse if one is running, InvalidConfig if the lock's file cannot be made.
    """
    path = manifest.with_name(manifest.name + LOCK)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = path.open("ab")
    except OSError as error:
        raise InvalidConfig(f"{path} cannot be written: {error.strerror}.", path=str(path)) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sentence = f"Another deployment of {manifest} is running: run this again when it is done."
            raise DataInUse(sentence, path=str(manifest)) from None
        yield


class Creations:
    """The transactions of one deployment, oldest first. Without a `path` they are in memory only."""

    def __init__(
        self,
        chain_id: int,
        deployer: ChecksumAddress,
        path: Path | None = None,
        sent: Sequence[Sent] = (),
    ) -> None:
        self._chain_id = chain_id
        self._deployer = deployer
        self._path = path
        self._sent = list(sent)

    @classmethod
    def beside(
        cls, manifest: Path, chain_id: int, deployer: ChecksumAddress, addresses: Collection[ChecksumAddress]
    ) -> Self:
        """The record of an interrupted deployment to these `addresses`, or an empty one.

        Raises InvalidConfig if it cannot be read, or belongs to another deployment.
        """
        path = manifest.with_name(manifest.name + SUFFIX)
        if not path.exists():
            return cls(chain_id, deployer, path)
        hint = "Delete it only if that deployment shall not go on."
        try:
            fields = Fields(json.loads(path.read_text("utf-8")), ProtocolError)
            chain, account = fields.integer("chainId"), fields.address("deployer")
            sent = [Sent.from_json(entry) for entry in fields.items("transactions")]
        except (OSError, ValueError, ProtocolError) as error:
            sentence = f"{path} records what a deployment sent, and cannot be read: {error} {hint}"
            raise InvalidConfig(sentence, path=str(path)) from None
        if (chain, account) != (chain_id, deployer):
            sentence = f"{path} records a deployment to chain {chain} by {account}: go on with that. {hint}"
            raise InvalidConfig(sentence, path=str(path), chainId=chain, deployer=account)
        for each in sent:
            if not each.transaction.is_by(deployer, chain_id):
                sentence = f"{path} was tampered with: {deployer} did not sign {each.words} for this chain."
                raise InvalidConfig(sentence, path=str(path), contract=each.name)
            if each.address not in addresses:
                sentence = (
                    f"{path} records another deployment, with {each.name} at {each.address}:"
                    f" go on with its parameters. {hint}"
                )
                raise InvalidConfig(sentence, path=str(path), contract=each.name, address=each.address)
        return cls(chain_id, deployer, path, sent)

    def persist(self, name: str, address: ChecksumAddress) -> Persist:
        """What `Sender.send` awaits before it broadcasts a transaction of that step."""

        async def persist(transaction: SignedTransaction) -> None:
            self._keep([*self._sent, Sent(name, address, transaction)])

        return persist

    async def receipt(self, connection: Connection, address: ChecksumAddress) -> TransactionReceipt | None:
        """Of the transaction that put the contract at `address`; None if none of these did."""
        for each in self._sent:
            if each.address == address:
                found = await connection.receipt(each.transaction.hash)
                if found is not None and found.succeeded:
                    return found
        return None

    async def settle(self, sender: Sender, tell: Progress) -> None:
        """Brings to an end what was sent and is not carried out: waits for it, sends again what the chain
        does not have, and with higher fees what is stuck. Says which can never be mined, and forgets those.

        Raises TransactionStuck, FeeTooHigh, InsufficientFunds, RpcUnreachable, RpcFailed.
        """
        for nonce in sorted({each.transaction.nonce for each in self._sent}):
            last = self._of(nonce)[-1]
            if await sender.connection.code(last.address):
                continue
            reason = await self._finish(sender, nonce, tell)
            if reason is not None:
                tell(f"{last.words} came to nothing: {reason}")
                self._keep([each for each in self._sent if each.transaction.nonce != nonce])

    def discard(self) -> None:
        """Removes the file: the manifest says all now."""
        if self._path is not None and self._path.exists():
            self._path.unlink()
            files.sync_folder(self._path.parent)

    def _of(self, nonce: int) -> list[Sent]:
        return [each for each in self._sent if each.transaction.nonce == nonce]

    def _keep(self, sent: list[Sent]) -> None:
        if self._path is not None:
            content = {
                "chainId": self._chain_id,
                "deployer": self._deployer,
                "transactions": [each.to_json() for each in sent],
            }
            files.write(self._path, json.dumps(content, indent=2) + "\n")
        self._sent = sent

    async def _known(self, connection: Connection, nonce: int) -> bool:
        for each in self._of(nonce):
            if await connection.knows(each.transaction.hash):
                return True
        return False

    async def _finish(self, sender: Sender, nonce: int, tell: Progress) -> object:
        """None once it is mined; else why it will not be, in words. What is signed instead of it gets the
        same nonce wherever that is still free, so that never both are mined."""
        last = self._of(nonce)[-1]
        if not await self._known(sender.connection, nonce):
            following = await sender.connection.nonce(sender.address, pending=True)
            if following < nonce:  # another history of a chain that started anew
                return f"the account's next nonce is {following}, and this one has {nonce}."
            if following == nonce:
                tell(f"{last.words} never arrived, or was dropped: it is sent again")
                try:
                    await sender.broadcast(last.transaction)
                except RpcFailed as error:  # it may offer too little by now
                    return error
            # Else another one took the nonce, or the endpoint lags: waiting tells.
        try:
            await self._wait(sender, nonce, tell)
        except (TransactionReplaced, TransactionReverted) as error:
            return error
        return None

    async def _wait(self, sender: Sender, nonce: int, tell: Progress) -> None:
        if await self.receipt(sender.connection, self._of(nonce)[-1].address) is None:
            tell(f"Waiting for {self._of(nonce)[-1].words}")
        for attempt in range(ATTEMPTS):
            offered = self._of(nonce)
            try:
                await sender.wait([each.transaction for each in offered])
                return
            except TransactionStuck:
                if attempt == ATTEMPTS - 1:
                    raise
            last = offered[-1]
            replacement = await sender.replace(last.transaction)
            await self.persist(last.name, last.address)(replacement)
            with suppress(RpcFailed, RpcUnreachable):  # waiting tells what became of both
                await sender.broadcast(replacement)
