"""`waypost deploy` as a process, by an account of its own, through an endpoint that sees what is sent."""

import asyncio
import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eth_account import Account
from tests.services.chain.endpoint import PASS, Endpoint, Fault, ask

from waypost.chain.manifest import Manifest
from waypost.chain.transactions import SignedTransaction

CHAIN_ID = 11155111
PASSWORD = "example"
GWEI = 10**9
MONEY = 100 * 10**18
KILLED = -9


@dataclass
class Deployment:
    """One account's deployment, as often as it takes. `raws`: what the endpoint was given, once each."""

    url: str
    endpoint: Endpoint
    folder: Path
    account: Any = field(default_factory=Account.create)
    raws: list[bytes] = field(default_factory=list)

    @property
    def path(self) -> Path:
        return self.folder / "manifest.json"

    @property
    def record(self) -> Path:
        return self.folder / "manifest.json.pending"

    @property
    def recorded(self) -> list[SignedTransaction]:
        """What the record holds, oldest first."""
        entries = json.loads(self.record.read_text())["transactions"]
        return [SignedTransaction.from_raw(bytes.fromhex(entry["raw"][2:])) for entry in entries]

    @property
    def manifest(self) -> Manifest:
        return Manifest.load(self.path)

    async def prepare(self) -> None:
        await self._fund(self.account, self.folder / "wallet.json")
        self.endpoint.behind = self.url

    async def another_wallet(self) -> Path:
        path = self.folder / "another.json"
        await self._fund(Account.create(), path)
        return path

    async def pay_somebody(self, nonce: int) -> None:
        """The account is used for something else."""
        payment = {
            "type": 2,
            "chainId": CHAIN_ID,
            "nonce": nonce,
            "to": self.account.address,
            "value": 1,
            "gas": 21_000,
            "maxFeePerGas": 10**10,
            "maxPriorityFeePerGas": 10**9,
        }
        raw = self.account.sign_transaction(payment).raw_transaction
        await ask(self.url, "eth_sendRawTransaction", "0x" + raw.hex())

    async def start(self, *words: str) -> asyncio.subprocess.Process:
        self.endpoint.answers["eth_sendRawTransaction"] = self._seen
        return await asyncio.create_subprocess_exec(
            Path(sys.executable).parent / "waypost",
            *("deploy", "--preset", "testnet", "--yes", "--rpc-url", self.endpoint.url),
            *("--keystore", str(self.folder / "wallet.json"), "--manifest", str(self.path)),
            *words,
            env={**os.environ, "WAYPOST_PASSWORD": PASSWORD, "WAYPOST_HOME": str(self.folder / "home")},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )

    async def finish(self, *words: str) -> str:
        """Runs it to its end; what it said."""
        process = await self.start(*words)
        said, _ = await process.communicate()
        assert process.returncode == 0, said.decode()
        return said.decode()

    async def kill_at_next_transaction(self, *, arrives: bool, after: int = 0) -> str:
        """Kills the process when the endpoint is given a transaction, which anvil gets or never sees; `after`
        so many others."""
        process, given = await self.start(), iter(range(after))

        def strike(params: list[Any]) -> Any:
            self._seen(params)
            if next(given, None) is not None:
                return PASS
            process.kill()
            if arrives:
                return PASS
            raise Fault(-32000, "lost")

        self.endpoint.answers["eth_sendRawTransaction"] = strike
        said, _ = await process.communicate()
        assert process.returncode == KILLED, said.decode()
        return said.decode()

    async def kill_when_it_says(self, words: str) -> None:
        process = await self.start()
        assert process.stdout is not None
        while line := await process.stdout.readline():
            if words in line.decode():
                process.kill()
        assert await process.wait() == KILLED

    async def _fund(self, account: Any, path: Path) -> None:
        _write_wallet(account, path)
        await ask(self.url, "anvil_setBalance", account.address, hex(MONEY))

    def _seen(self, params: list[Any]) -> Any:
        raw = bytes.fromhex(params[0][2:])
        if raw not in self.raws:
            self.raws.append(raw)
        return PASS


def _write_wallet(account: Any, path: Path) -> None:
    path.write_text(json.dumps(Account.encrypt(account.key, PASSWORD, kdf="scrypt", iterations=2)))
