"""Verifies proofs in a process of its own: the native library keeps the interpreter's lock for as long as it
computes, some 20 ms for a batch, in which the process that calls it answers nobody.

Run as `python -m waypost.node.proof_process`, it reads a verifying key, then batches from standard input, and
ends with it, so that it never outlives whoever started it, however that one ended."""

import asyncio
import contextlib
import os
import signal
import struct
import sys
from collections.abc import Sequence
from typing import BinaryIO

from waypost.errors import NodeNotReady
from waypost.zk import verifying_key
from waypost.zk.proof import PROOF_BYTES, Proof
from waypost.zk.verifier import Public, Verifier
from waypost.zk.verifying_key import VerifyingKey

SECONDS = 120.0
"""A batch that takes longer has hung: py_ecc needs half a second for each of its proofs."""

_COUNTS = struct.Struct(">HH")
_WORD = 32

Job = tuple[Proof, Public]


class VerifierProcess:
    """The process, started when the first batch comes. One batch at a time; use it from one task."""

    def __init__(self, key: VerifyingKey) -> None:
        self._key = key
        self._process: asyncio.subprocess.Process | None = None

    async def judge(self, together: Sequence[Job], apart: Sequence[Job]) -> list[bool]:
        """Whether each proof holds: first those `together`, which are checked as one batch, then each of
        those `apart` by itself. At most 65,535 of either, with reduced public signals.

        Raises NodeNotReady when the process ended; the next call starts another.
        """
        jobs = [*together, *apart]
        batch = _COUNTS.pack(len(together), len(apart)) + b"".join(map(_encode, jobs))
        try:
            async with asyncio.timeout(SECONDS):
                process = await self._running()
                assert process.stdin is not None
                assert process.stdout is not None
                process.stdin.write(batch)
                await process.stdin.drain()
                return [bool(verdict) for verdict in await process.stdout.readexactly(len(jobs))]
        except (OSError, RuntimeError, TimeoutError, asyncio.IncompleteReadError) as error:
            # uvloop raises RuntimeError for a pipe that the other side has closed.
            await self.close()
            raise NodeNotReady(
                "The process that verifies proofs has ended; try again shortly.", retryAfter=1
            ) from error
        except BaseException:
            await self.close()  # what it would answer belongs to nobody
            raise

    async def close(self) -> None:
        """Ends the process."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _running(self) -> asyncio.subprocess.Process:
        if self._process is not None and self._process.returncode is not None:
            await self.close()  # something killed it while it had nothing to do
        return self._process or await self._start()

    async def _start(self) -> asyncio.subprocess.Process:
        process = self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            __name__,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "RAYON_NUM_THREADS": "1"},  # the other processors are the node's
        )
        assert process.stdin is not None
        text = self._key.to_json().encode()
        process.stdin.write(len(text).to_bytes(4) + text)
        return process


def _encode(job: Job) -> bytes:
    proof, public = job
    return proof.data + b"".join(each.to_bytes(_WORD) for each in public)


def _decode(data: bytes) -> Job:
    words = data[PROOF_BYTES:]
    return Proof(data[:PROOF_BYTES]), [
        int.from_bytes(words[start : start + _WORD]) for start in range(0, len(words), _WORD)
    ]


def serve(reader: BinaryIO, writer: BinaryIO) -> None:
    """Answers batches until there are no more, one byte for each proof."""
    verifier = Verifier(verifying_key.parse(reader.read(int.from_bytes(reader.read(4)))))
    size = PROOF_BYTES + _WORD * verifier.key.public
    while len(counts := reader.read(_COUNTS.size)) == _COUNTS.size:
        first, rest = _COUNTS.unpack(counts)
        data = reader.read(size * (first + rest))
        if len(data) < size * (first + rest):
            return  # whoever asked died in the middle
        jobs = [_decode(data[start : start + size]) for start in range(0, len(data), size)]
        verdicts = verifier.verify_batch(jobs[:first]) + [verifier.verify(*job) for job in jobs[first:]]
        writer.write(bytes(verdicts))
        writer.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to the node, too, which then ends this
    out, sys.stdout = sys.stdout, sys.stderr  # verdicts and nothing else
    with contextlib.suppress(BrokenPipeError):
        serve(sys.stdin.buffer, out.buffer)
