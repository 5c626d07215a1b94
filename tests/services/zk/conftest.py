"""Provers and proofs. The development key is made once and kept under build/; the published ceremony's
files are found in the folder that WAYPOST_RLN_KEYS names."""

import os
from pathlib import Path

import pytest

from waypost.protocol.poseidon import R
from waypost.protocol.rln import DEPTH, Membership, Signal
from waypost.zk import proving_key
from waypost.zk.curve import FastCurve, native
from waypost.zk.development import proving_key_file
from waypost.zk.proof import Proof
from waypost.zk.prover import Prover
from waypost.zk.proving_key import ProvingKey

ROOT = Path(__file__).parents[3]
MEMBER = Membership(secret=R - 5, limit=9, index=0b1011, siblings=tuple(range(1, DEPTH + 1)))


@pytest.fixture(scope="session")
def published() -> Path:
    """The folder with rln_final.zkey and verification_key.json."""
    folder = os.environ.get("WAYPOST_RLN_KEYS")
    if not folder:
        pytest.skip("WAYPOST_RLN_KEYS names no folder with the public ceremony's rln_final.zkey")
    return Path(folder)


@pytest.fixture(scope="session")
def curve() -> FastCurve:
    found = native()
    if found is None:
        pytest.skip("zksnake has no wheel for this platform")
    return found


@pytest.fixture(scope="session")
def development_file(curve: FastCurve) -> Path:
    return proving_key_file(ROOT / "build" / "keys")


@pytest.fixture(scope="session")
def key(development_file: Path) -> ProvingKey:
    return proving_key.read(development_file.read_bytes())


@pytest.fixture(scope="session")
def prover(key: ProvingKey) -> Prover:
    return Prover(key)


@pytest.fixture(scope="session")
def proved(prover: Prover) -> list[tuple[Proof, Signal]]:
    """Proofs of one member's different signals."""
    return [prover.prove(MEMBER, message_id, 1000 + message_id, 77) for message_id in range(5)]
