"""A ceremony of one's own for the RLN circuit's keys: start, contribute in turn, verify, export. Keys made
so are safe if one contributor forgets. The public ceremony's key fits as well, so most networks need none.
Runs snarkjs."""

import argparse
import lzma
import secrets
import subprocess
import sys
from importlib import resources
from pathlib import Path

from waypost.zk import circuit

SNARKJS = Path(__file__).parent.parent / "node_modules" / ".bin" / "snarkjs"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--circuit", type=Path, help="an .r1cs file of another circuit than RLN")
    steps = parser.add_subparsers(required=True)
    start = _step(steps, "start", "the first key, from powers of tau of at least 2^13", _start)
    start.add_argument("powers", type=Path, help="a .ptau file prepared for the second phase")
    start.add_argument("key", type=Path, help="the .zkey file to write")
    contribute = _step(steps, "contribute", "mix in a secret that is forgotten at once", _contribute)
    contribute.add_argument("before", type=Path, help="the .zkey file of the contributor before")
    contribute.add_argument("after", type=Path, help="the .zkey file to write")
    contribute.add_argument(
        "--name", default="a contributor", help="what the file says of you, for everybody"
    )
    verify = _step(
        steps, "verify", "check that a key follows from the circuit by contributions only", _verify
    )
    verify.add_argument("powers", type=Path, help="the .ptau file that it started with")
    verify.add_argument("key", type=Path, help="the .zkey file")
    export = _step(steps, "export", "write the verifying key", _export)
    export.add_argument("key", type=Path, help="the .zkey file")
    export.add_argument("verifying_key", type=Path, help="the .json file to write")
    arguments = parser.parse_args()
    if not SNARKJS.exists():
        print("snarkjs is missing: run make install-node.", file=sys.stderr)
        return 1
    return int(arguments.run(arguments))


def _step(
    steps: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, text: str, run: object
) -> argparse.ArgumentParser:
    parser = steps.add_parser(name, help=text, description=text)
    parser.set_defaults(run=run)
    return parser


def _start(arguments: argparse.Namespace) -> int:
    return _snarkjs("groth16", "setup", _circuit(arguments), arguments.powers, arguments.key)


def _contribute(arguments: argparse.Namespace) -> int:
    # snarkjs asks for a random text and mixes it with randomness of its own. An argument would show in `ps`.
    name = f"--name={arguments.name}"
    entropy = secrets.token_hex(64) + "\n"
    return _snarkjs("zkey", "contribute", arguments.before, arguments.after, name, answer=entropy)


def _verify(arguments: argparse.Namespace) -> int:
    return _snarkjs("zkey", "verify", _circuit(arguments), arguments.powers, arguments.key)


def _export(arguments: argparse.Namespace) -> int:
    return _snarkjs("zkey", "export", "verificationkey", arguments.key, arguments.verifying_key)


def _circuit(arguments: argparse.Namespace) -> Path:
    if arguments.circuit is not None:
        return Path(arguments.circuit)
    path = Path(__file__).parent.parent / "build" / "ceremony" / "rln.r1cs"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(lzma.decompress(resources.files("waypost.zk").joinpath(circuit.FILE).read_bytes()))
    return path


def _snarkjs(*words: str | Path, answer: str = "") -> int:
    return subprocess.run([str(SNARKJS), *map(str, words)], input=answer, text=True, check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main())
