"""A process that loads one proving key and proves: JSON lines in, JSON lines out. Proving holds Python's lock
for a third of a second, so whoever has other things to do lets this process do it.

`python -m waypost.zk.worker FOLDER SHA256 CHAIN-ID`. It ends when its input does, so it outlives nobody."""

import json
import signal
import sys
from pathlib import Path
from typing import TextIO

from waypost.errors import JSON, WaypostError
from waypost.protocol.rln import Membership
from waypost.zk import development, keys
from waypost.zk.prover import Prover


def load(folder: Path, sha256: str, chain_id: int) -> Prover:
    """The prover, self-tested; the development key is made when it is missing. Raises as
    `keys.load_prover`."""
    if sha256 == development.DEVELOPMENT_PROVING_KEY:
        development.proving_key_file(folder)
    return keys.load_prover(folder, sha256, chain_id)


def serve(prover: Prover, lines: TextIO, out: TextIO) -> None:
    """Answers each request in turn: `{id, secret, limit, index, siblings, messageId, x, externalNullifier}`,
    numbers as decimal strings, with `{id, proof}` in hex, or `{id, error, message}`."""
    for line in lines:
        request = json.loads(line)
        try:
            membership = Membership(
                secret=int(request["secret"]),
                limit=int(request["limit"]),
                index=int(request["index"]),
                siblings=tuple(map(int, request["siblings"])),
            )
            proof, _ = prover.prove(
                membership,
                int(request["messageId"]),
                int(request["x"]),
                int(request["externalNullifier"]),
            )
        except WaypostError as error:
            _say(out, {"id": request["id"], "error": error.code, "message": str(error)})
        else:
            _say(out, {"id": request["id"], "proof": proof.data.hex()})


def main() -> None:
    """Says `{ready: true}`, or `{error, message}` and ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that this one serves
    folder, sha256, chain_id = sys.argv[1:]
    try:
        prover = load(Path(folder), sha256, int(chain_id))
    except WaypostError as error:
        _say(sys.stdout, {"error": error.code, "message": str(error)})
        return
    _say(sys.stdout, {"ready": True})
    serve(prover, sys.stdin, sys.stdout)


def _say(out: TextIO, answer: JSON) -> None:
    out.write(json.dumps(answer) + "\n")
    out.flush()


if __name__ == "__main__":
    main()
