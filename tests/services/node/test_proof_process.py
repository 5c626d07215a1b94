"""The process that verifies: its verdicts, its ends, and that it never outlives a node."""

import asyncio
import io
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.services.node.limiting import prover
from tests.services.node.money_node import until
from tests.services.zk.hostile import outside_the_subgroup

from waypost.node.proof_process import Job, VerifierProcess, serve
from waypost.protocol.rln import DEPTH, Membership, Signal
from waypost.zk import keys
from waypost.zk.points import G1_BYTES, encode_g2
from waypost.zk.proof import Proof

MEMBER = Membership(5, 9, 3, tuple(range(DEPTH)))


@pytest.fixture
async def process() -> AsyncIterator[VerifierProcess]:
    process = VerifierProcess(keys.development_key())
    yield process
    await process.close()


@pytest.fixture(scope="module")
def good() -> list[Job]:
    made: list[tuple[Proof, Signal]] = [prover().prove(MEMBER, n, 7, 8) for n in range(4)]
    return [(proof, signal.public) for proof, signal in made]


async def test_its_verdicts(process: VerifierProcess, good: list[Job]) -> None:
    wrong = good[0][0], good[1][1]
    data = good[0][0].data
    twisted = data[:G1_BYTES] + encode_g2(outside_the_subgroup()) + data[-G1_BYTES:]
    hostile = [(Proof(each), good[0][1]) for each in (bytes(128), b"\xff" * 128, twisted)]
    assert await process.judge(good, []) == [True] * 4
    assert await process.judge([good[0], wrong, good[1]], [good[2], wrong]) == [
        True,
        False,
        True,
        True,
        False,
    ]
    assert await process.judge(hostile, hostile) == [False] * 6
    assert await process.judge([], good[:1]) == [True]


async def test_one_that_was_killed_is_started_again(process: VerifierProcess, good: list[Job]) -> None:
    assert await process.judge(good[:1], []) == [True]
    assert process._process is not None
    process._process.kill()
    await process._process.wait()
    assert await process.judge(good[:1], []) == [True]


async def test_an_answer_that_nobody_waited_for_is_given_to_nobody(
    process: VerifierProcess, good: list[Job]
) -> None:
    wrong = good[0][0], good[1][1]
    await process.judge(good[:1], [])
    asked = asyncio.ensure_future(process.judge([wrong], []))
    await asyncio.sleep(0)
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    assert await process.judge(good[:1], []) == [True]


PARENT = """
import asyncio
from waypost.node.proof_process import VerifierProcess
from waypost.zk import keys
async def main():
    process = VerifierProcess(keys.development_key())
    await process.judge([], [])
    print(process._process.pid, flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


async def test_it_ends_with_a_node_that_is_killed() -> None:
    command = sys.executable, "-c", PARENT
    parent = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert parent.stdout is not None
    child = int(await parent.stdout.readline())
    os.kill(child, 0)
    parent.kill()
    await parent.wait()

    def gone() -> bool:
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return True
        state = Path(f"/proc/{child}/stat")  # where nobody collects the dead, they stay in the list
        return state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z"

    await until(gone)


@pytest.mark.parametrize("cut", [1, 3, 4, 100])
def test_a_batch_that_breaks_off_is_not_answered(good: list[Job], cut: int) -> None:
    text = keys.development_key().to_json().encode()
    batch = (1).to_bytes(2) + bytes(2) + good[0][0].data + b"".join(each.to_bytes(32) for each in good[0][1])
    answers = io.BytesIO()
    serve(io.BytesIO(len(text).to_bytes(4) + text + batch + batch[:cut]), answers)
    assert answers.getvalue() == b"\x01"
