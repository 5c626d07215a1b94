"""Others judge our proofs and make some for us: the public ceremony's key, zerokit's published proof, a
client that is not ours, circom's own witness program and snarkjs."""

import json
import subprocess
from pathlib import Path

import pytest
from scripts.compile_circuit import compile_circuit
from tests.services.zk.conftest import MEMBER, ROOT

from waypost.protocol.messages import Message
from waypost.protocol.relay import signal_of
from waypost.protocol.rln import (
    Membership,
    Signal,
    application,
    external_nullifier,
    hash_to_field,
    identity_commitment,
    signal,
)
from waypost.zk import circuit, keys, proof, verifying_key
from waypost.zk.curve import reference
from waypost.zk.proof import Proof
from waypost.zk.proving_key import ProvingKey
from waypost.zk.verifier import Verifier

SNARKJS = ROOT / "node_modules" / ".bin" / "snarkjs"


def run(*words: str | Path, answer: str = "") -> subprocess.CompletedProcess[str]:
    if not SNARKJS.exists():
        pytest.skip("snarkjs is missing: make install-node")
    return subprocess.run(list(map(str, words)), input=answer, capture_output=True, text=True, check=False)


def snarkjs_accepts(folder: Path, key: Path, made: Proof, public: tuple[int, ...]) -> bool:
    (folder / "proof.json").write_text(made.to_json())
    (folder / "public.json").write_text(json.dumps(list(map(str, public))))
    done = run(SNARKJS, "groth16", "verify", key, folder / "public.json", folder / "proof.json")
    assert ("OK!" in done.stdout) == (done.returncode == 0)
    return done.returncode == 0


def circom_inputs(folder: Path) -> Path:
    inputs = {
        "secret": str(MEMBER.secret),
        "limit": str(MEMBER.limit),
        "messageId": "4",
        "siblings": [str(each) for each in MEMBER.siblings],
        "sides": [str(MEMBER.index >> level & 1) for level in range(20)],
        "x": "11",
        "externalNullifier": "12",
    }
    path = folder / "inputs.json"
    path.write_text(json.dumps(inputs))
    return path


# ---- The public ceremony ----


def test_a_proof_with_the_ceremonys_key_holds_under_its_published_verifying_key(
    published: Path, tmp_path: Path
) -> None:
    prover = keys.load_prover(published, keys.CEREMONY_PROVING_KEY, chain_id=1)
    made, shown = prover.prove(MEMBER, 4, 11, 12)
    assert shown == signal(MEMBER, 4, 11, 12)
    verifier = keys.load_verifier(published, keys.CEREMONY_VERIFYING_KEY, chain_id=1)
    assert verifier.key == prover.verifier.key
    assert verifier.verify(made, shown.public)
    assert Verifier(verifier.key, reference()).verify(made, shown.public)
    assert snarkjs_accepts(tmp_path, published / "verification_key.json", made, shown.public)


def test_the_proof_that_zerokit_publishes_holds(published: Path) -> None:
    key = verifying_key.parse((published / "verification_key.json").read_bytes())
    known = keys.known_proof(key)
    assert known is not None
    assert Verifier(key).verify(*known)
    assert not Verifier(key).verify(known[0], [*known[1][:4], 0])


# ---- A client that is not ours ----


def test_a_message_that_another_client_proved() -> None:
    """tests/vectors/signals.json, by which docs/relay.md shows how to prove a message."""
    vector = json.loads((ROOT / "tests/vectors/signals.json").read_text())
    of, who, made = vector["application"], vector["member"], vector["signal"]
    identifier = application(of["chainId"], of["contract"], of["network"], of["epochSeconds"])
    message = Message.from_json(vector["message"])
    member = Membership(int(who["secret"]), who["rate"], who["index"], tuple(map(int, who["path"])))
    external = external_nullifier(made["epoch"], identifier)
    shown = signal(member, made["messageId"], signal_of(message), external)
    assert str(hash_to_field(identifier)) == of["rlnIdentifier"]
    assert "0x" + message.id.hex() == vector["id"]
    assert str(identity_commitment(member.secret)) == who["idCommitment"]
    names = (made["y"], who["root"], made["nullifier"], vector["x"], made["externalNullifier"])
    assert tuple(map(str, shown.public)) == names
    other = proof.parse(json.dumps(vector["snarkjs"]))
    assert "0x" + other.data.hex() == vector["proof"]
    assert keys.load_development_verifier(of["chainId"]).verify(other, shown.public)


# ---- snarkjs and circom ----


@pytest.fixture(scope="module")
def verifying_file(key: ProvingKey, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("snarkjs") / "verification_key.json"
    path.write_text(key.verifying_key.to_json())
    return path


def test_snarkjs_accepts_our_proofs(
    proved: list[tuple[Proof, Signal]], verifying_file: Path, tmp_path: Path
) -> None:
    made, shown = proved[0]
    assert snarkjs_accepts(tmp_path, verifying_file, made, shown.public)
    assert not snarkjs_accepts(tmp_path, verifying_file, made, proved[1][1].public)


def test_circoms_program_makes_our_witness_and_snarkjs_proofs_we_accept(
    key: ProvingKey, development_file: Path, tmp_path: Path
) -> None:
    if not SNARKJS.exists():
        pytest.skip("snarkjs is missing: make install-node")
    program = compile_circuit().parent / "rln_js" / "rln.wasm"
    inputs, witness = circom_inputs(tmp_path), tmp_path / "witness.wtns"
    assert run(SNARKJS, "wtns", "calculate", program, inputs, witness).returncode == 0
    assert run(SNARKJS, "wtns", "export", "json", witness, tmp_path / "witness.json").returncode == 0
    theirs = [int(each) for each in json.loads((tmp_path / "witness.json").read_text())]
    assert theirs == circuit.witness(MEMBER, 4, 11, 12)
    files = tmp_path / "proof.json", tmp_path / "public.json"
    assert run(SNARKJS, "groth16", "prove", development_file, witness, *files).returncode == 0
    public = [int(each) for each in json.loads(files[1].read_text())]
    assert public == list(signal(MEMBER, 4, 11, 12).public)
    assert Verifier(key.verifying_key).verify(proof.parse(files[0].read_text()), public)


def test_snarkjs_reads_the_same_verifying_key_out_of_our_file(
    key: ProvingKey, development_file: Path, tmp_path: Path
) -> None:
    path = tmp_path / "key.json"
    done = run(SNARKJS, "zkey", "export", "verificationkey", development_file, path)
    assert done.returncode == 0, done.stdout
    assert verifying_key.parse(path.read_bytes()) == key.verifying_key
