"""Key files, named by their hash: an operator keeps .zkey and .json files in one folder, and settings name
the SHA-256 of the one to use. Development keys are for development chains."""

import hashlib
import json
from importlib import resources
from pathlib import Path

from waypost.errors import DevelopmentKey, FileUnusable, KeyUnknown
from waypost.zk import proving_key, verifying_key
from waypost.zk.development import DEVELOPMENT_VERIFYING_KEY
from waypost.zk.proof import Proof
from waypost.zk.prover import Prover
from waypost.zk.proving_key import ProvingKey
from waypost.zk.verifier import Public, Verifier
from waypost.zk.verifying_key import VerifyingKey

DEVELOPMENT_CHAINS = (1337, 31337)
"""Chain ids that no public chain has."""
CEREMONY_PROVING_KEY = "ae30d3d4b29d9dab8c65ff181644a3eb57c2c0fa9f687ea3baf8c7f711d7946a"
"""SHA-256 of rln_final.zkey, which Vac's ceremony of 61 contributions made and zerokit publishes."""
CEREMONY_VERIFYING_KEY = "ae43614cd02ebe951f44465924eff9882d1321b20f0cc129406bc5fa2547fe11"
"""SHA-256 of the verification_key.json that belongs to it, as zerokit publishes it."""

_DEVELOPMENT_FILE = "development_verification_key.json"
_LARGEST = 64 * 2**20


def load_prover(folder: Path, sha256: str, chain_id: int, force: bool = False) -> Prover:
    """A prover, self-tested, with the .zkey file that has this SHA-256 (hex); takes seconds. Raises
    KeyUnknown, InvalidKey, FileUnusable, ProverUnavailable, and DevelopmentKey as `require_allowed` does."""
    key = proving_key.read(find(folder, sha256, ".zkey"))
    require_allowed(key, chain_id, force)
    prover = Prover(key)
    prover.self_test()
    return prover


def load_verifier(
    folder: Path, sha256: str, chain_id: int, force: bool = False, sample: tuple[Proof, Public] | None = None
) -> Verifier:
    """A verifier with the key in the .json file that has this SHA-256 (hex). Raises KeyUnknown, InvalidKey,
    FileUnusable, and DevelopmentKey as `require_allowed` does.

    It is self-tested with `sample`, a proof that is known to hold; the keys of the public ceremony and of
    development bring theirs. Without one, only the key's points are checked."""
    return _tested(verifying_key.parse(find(folder, sha256, ".json")), chain_id, force, sample)


def load_development_verifier(chain_id: int, force: bool = False) -> Verifier:
    """A verifier with the development key, self-tested. Raises InvalidKey, and DevelopmentKey as
    `require_allowed` does."""
    return _tested(development_key(), chain_id, force)


def development_key() -> VerifyingKey:
    """The verifying key of development, which comes with Waypost."""
    return verifying_key.parse(resources.files("waypost.zk").joinpath(_DEVELOPMENT_FILE).read_bytes())


def _tested(
    key: VerifyingKey, chain_id: int, force: bool, sample: tuple[Proof, Public] | None = None
) -> Verifier:
    require_allowed(key, chain_id, force)
    verifier = Verifier(key)
    if known := sample or known_proof(key):
        verifier.self_test(*known)
    return verifier


def known_proof(key: VerifyingKey) -> tuple[Proof, Public] | None:
    """A proof that holds under the key, for the keys that Waypost knows."""
    samples = json.loads(resources.files("waypost.zk").joinpath("samples.json").read_bytes())
    sample = samples.get(key.digest)
    return sample and (Proof(bytes.fromhex(sample["proof"])), [int(each) for each in sample["public"]])


def find(folder: Path, sha256: str, suffix: str) -> bytes:
    """The content of the file in the folder that ends in `suffix` and has this SHA-256 (hex), whatever its
    name. Raises KeyUnknown, FileUnusable."""
    try:
        for path in sorted(folder.iterdir()):
            if path.suffix == suffix and path.is_file() and path.stat().st_size <= _LARGEST:
                data = path.read_bytes()
                if hashlib.sha256(data).hexdigest() == sha256.lower():
                    return data
    except OSError as error:
        raise FileUnusable(f"The key folder {folder} cannot be read: {error}.", path=str(folder)) from None
    raise KeyUnknown(f"No {suffix} file in {folder} has the SHA-256 {sha256}.", sha256=sha256)


def require_allowed(key: ProvingKey | VerifyingKey, chain_id: int, force: bool = False) -> None:
    """Raises DevelopmentKey for a key that anybody may be able to forge proofs for, on a chain that is not
    for development, unless forced."""
    if is_development(key) and chain_id not in DEVELOPMENT_CHAINS and not force:
        raise DevelopmentKey(f"A development key may not be used on chain {chain_id}.", chain_id=chain_id)


def is_development(key: ProvingKey | VerifyingKey) -> bool:
    """Whether it is the development key, or a proving key that nobody contributed to: its delta is 1, or
    known to whoever made it. A verifying key does not say how it was made; only the development key's is
    recognised."""
    if isinstance(key, ProvingKey):
        return key.contributions == 0 or is_development(key.verifying_key)
    return key.digest == DEVELOPMENT_VERIFYING_KEY
