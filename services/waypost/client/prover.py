"""Proofs, made in a process of their own: loading a key takes seconds and a proof a third of one, during
which Python's lock would hold up every connection. Secrets go there through a pipe, never by the command
line."""

import asyncio
import itertools
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from pathlib import Path

from waypost.errors import (
    JSON,
    DevelopmentKey,
    FileUnusable,
    InvalidKey,
    KeyUnknown,
    ProverUnavailable,
    Unprovable,
    WaypostError,
)
from waypost.protocol.rln import Membership
from waypost.zk.development import DEVELOPMENT_PROVING_KEY
from waypost.zk.keys import CEREMONY_PROVING_KEY, DEVELOPMENT_CHAINS

CLOSE_SECONDS = 2.0

_ERRORS = {
    error.code: error
    for error in (DevelopmentKey, FileUnusable, InvalidKey, KeyUnknown, ProverUnavailable, Unprovable)
}


def proving_key(chain_id: int) -> str:
    """The SHA-256 of the key to prove with: the public ceremony's, but for development chains."""
    return DEVELOPMENT_PROVING_KEY if chain_id in DEVELOPMENT_CHAINS else CEREMONY_PROVING_KEY


class Prover:
    """Proves with the key that `folder` holds for a chain. Nothing is started before it is needed; `progress`
    is told what takes long. Requests that are cancelled are finished by the process and dropped."""

    def __init__(self, folder: Path, chain_id: int, progress: Callable[[str], None] = lambda _: None) -> None:
        self._folder, self._chain_id, self._progress = folder, chain_id, progress
        self._key = proving_key(chain_id)
        self._process: Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._ids = itertools.count()

    async def start(self) -> None:
        """Loads the key, unless it is loaded. Raises KeyUnknown, InvalidKey, FileUnusable, DevelopmentKey,
        ProverUnavailable."""
        async with self._starting:
            if self._process is not None and self._process.returncode is None:
                return
            if self._key == DEVELOPMENT_PROVING_KEY and not self._has_development_key():
                self._progress("making the development key (once, about ten seconds)")
            self._progress("loading the proving key (a few seconds)")
            arguments = str(self._folder), self._key, str(self._chain_id)
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "waypost.zk.worker", *arguments, stdin=PIPE, stdout=PIPE
            )
            try:
                assert process.stdout is not None
                line = await process.stdout.readline()
                answer = json.loads(line) if line else {"error": "", "message": "The prover has ended."}
                if "error" in answer:
                    raise self._fault(answer)
            except BaseException:
                await _end(process)
                raise
            self._process = process
            self._reading = asyncio.create_task(self._read(process))

    async def prove(self, membership: Membership, message_id: int, x: int, external_nullifier: int) -> bytes:
        """Groth16's 128 bytes, see zk.proof. Raises Unprovable, and as `start` does."""
        await self.start()
        process, id = self._process, next(self._ids)
        assert process is not None
        assert process.stdin is not None
        request: dict[str, JSON] = {
            "id": id,
            "secret": str(membership.secret),
            "limit": str(membership.limit),
            "index": str(membership.index),
            "siblings": [str(each) for each in membership.siblings],
            "messageId": str(message_id),
            "x": str(x),
            "externalNullifier": str(external_nullifier),
        }
        self._waiting[id] = future = _future()
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            await process.stdin.drain()
            return await future
        except ConnectionError:
            raise _ended() from None
        finally:
            self._waiting.pop(id, None)

    async def close(self) -> None:
        """Ends the process."""
        process, self._process = self._process, None
        if process is not None:
            await _end(process)
        if self._reading is not None:
            await self._reading

    async def _read(self, process: Process) -> None:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            answer = json.loads(line)
            future = self._waiting.get(answer["id"])
            if future is None or future.done():
                continue
            if "error" in answer:
                future.set_exception(self._fault(answer))
            else:
                future.set_result(bytes.fromhex(answer["proof"]))
        await process.wait()
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(_ended())

    def _fault(self, answer: dict[str, str]) -> WaypostError:
        error = _ERRORS.get(answer["error"], ProverUnavailable)
        if self._key == CEREMONY_PROVING_KEY and error in (KeyUnknown, FileUnusable):
            return KeyUnknown(
                f"{self._folder} needs the file rln_final.zkey with the SHA-256 {self._key}, which zerokit "
                "publishes (github.com/vacp2p/zerokit); any name that ends in .zkey will do.",
                sha256=self._key,
                folder=str(self._folder),
            )
        return error(answer["message"])

    def _has_development_key(self) -> bool:
        return (self._folder / f"{DEVELOPMENT_PROVING_KEY}.zkey").exists()


def _future() -> asyncio.Future[bytes]:
    return asyncio.get_running_loop().create_future()


def _ended() -> ProverUnavailable:
    return ProverUnavailable("The proving process has ended before it answered.")


async def _end(process: Process) -> None:
    if process.stdin is not None:
        process.stdin.close()
    try:
        await asyncio.wait_for(process.wait(), CLOSE_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()
