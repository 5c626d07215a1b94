"""Proofs from the process that makes them, with the development key."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from waypost.client.prover import Prover
from waypost.errors import FileUnusable, KeyUnknown, ProverUnavailable, Unprovable
from waypost.protocol.rln import Membership, signal
from waypost.zk.development import DEVELOPMENT_PROVING_KEY, proving_key_file
from waypost.zk.keys import CEREMONY_PROVING_KEY
from waypost.zk.proof import Proof
from waypost.zk.proving_key import read
from waypost.zk.verifier import Verifier

pytestmark = pytest.mark.asyncio(loop_scope="module")

MEMBER = Membership(secret=77, limit=4, index=3, siblings=tuple(range(20)))


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    proving_key_file(folder)
    return folder


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def prover(keys: Path) -> AsyncIterator[Prover]:
    made = Prover(keys, 31337)
    yield made
    await made.close()


@pytest.fixture(scope="module")
def verifier(keys: Path) -> Verifier:
    return Verifier(read((keys / f"{DEVELOPMENT_PROVING_KEY}.zkey").read_bytes()).verifying_key)


async def test_proofs_hold_for_what_was_asked(prover: Prover, verifier: Verifier) -> None:
    proofs = await asyncio.gather(*(prover.prove(MEMBER, number, 5 + number, 9) for number in range(3)))
    for number, proof in enumerate(proofs):
        assert verifier.verify(Proof(proof), signal(MEMBER, number, 5 + number, 9).public)
        assert not verifier.verify(Proof(proof), signal(MEMBER, number, 6 + number, 9).public)


async def test_what_the_circuit_forbids_is_an_error_and_no_end(prover: Prover) -> None:
    with pytest.raises(Unprovable, match="Message id 4 is not below the limit of 4"):
        await prover.prove(MEMBER, 4, 5, 9)
    assert len(await prover.prove(MEMBER, 3, 5, 9)) == 128


async def test_a_cancelled_proof_leaves_the_next_one_right(prover: Prover, verifier: Verifier) -> None:
    await prover.start()
    cancelled = asyncio.create_task(prover.prove(MEMBER, 0, 5, 9))
    await asyncio.sleep(0)
    cancelled.cancel()
    proof = await prover.prove(MEMBER, 1, 6, 9)
    assert cancelled.cancelled()
    assert verifier.verify(Proof(proof), signal(MEMBER, 1, 6, 9).public)


async def test_a_process_that_dies_is_named_and_replaced(keys: Path) -> None:
    said: list[str] = []
    prover = Prover(keys, 31337, said.append)
    await prover.start()
    assert said == ["loading the proving key (a few seconds)"]
    assert prover._process is not None
    asking = asyncio.create_task(prover.prove(MEMBER, 0, 5, 9))
    await asyncio.sleep(0.05)
    prover._process.kill()
    with pytest.raises(ProverUnavailable, match="ended"):
        await asking
    assert len(await prover.prove(MEMBER, 0, 5, 9)) == 128
    first = prover._process
    await prover.close()
    assert first.returncode == 0  # it ended by itself


async def test_a_public_chain_wants_the_key_of_the_ceremony(keys: Path) -> None:
    for folder in (keys, keys / "absent"):
        prover = Prover(folder, 1)
        with pytest.raises(KeyUnknown, match=rf"rln_final\.zkey .*{CEREMONY_PROVING_KEY}.*zerokit"):
            await prover.prove(MEMBER, 0, 5, 9)
        await prover.close()


async def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said: list[str] = []
    prover = Prover(tmp_path / "file", 31337, said.append)
    with pytest.raises(FileUnusable, match="file"):
        await prover.start()
    assert "development key" in said[0]
