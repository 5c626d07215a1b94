"""Measures RLN proofs on one core: making one, checking one, checking a batch, and py_ecc on the same proof
beside them. Run it with `python -m tests.benchmarks.rln [--json]`."""

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import process_time_ns

os.environ["RAYON_NUM_THREADS"] = "1"  # read by the native library as it starts

from waypost.protocol.rln import DEPTH, Membership
from waypost.zk import proving_key
from waypost.zk.curve import reference
from waypost.zk.development import proving_key_file
from waypost.zk.prover import Prover
from waypost.zk.verifier import Verifier

PROVE_MS = 1_000.0
VERIFY_MS = 2.5
BATCH = 32
KEYS = Path(__file__).parents[2] / "build" / "keys"
MEMBER = Membership(secret=42, limit=BATCH, index=7, siblings=tuple(range(DEPTH)))


def measure(work: Callable[[], object], count: int) -> float:
    """Median milliseconds of processor time of one call."""
    times = []
    for _ in range(count):
        start = process_time_ns()
        work()
        times.append(process_time_ns() - start)
    return median(times) / 1e6


def main() -> int:
    """Prints the figures; fails when a proof takes longer than its budget to make or to check."""
    parser = argparse.ArgumentParser(description="Measure RLN proofs.")
    parser.add_argument("--count", type=int, default=5, help="proofs to make for each figure (default 5)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()

    key = proving_key.read(proving_key_file(KEYS).read_bytes())
    start = process_time_ns()
    prover = Prover(key)
    load = (process_time_ns() - start) / 1e6
    signals = iter(range(BATCH))
    prover.prove(MEMBER, 0, 1, 2)
    prove = measure(lambda: prover.prove(MEMBER, next(signals), 1, 2), arguments.count)
    made = [prover.prove(MEMBER, message_id, 1, 2) for message_id in range(BATCH)]
    batch = [(proof, signal.public) for proof, signal in made]
    proof, public = batch[0]
    slow = Verifier(prover.verifier.key, reference())
    verify = measure(lambda: prover.verifier.verify(proof, public), 40 * arguments.count)
    together = measure(lambda: prover.verifier.verify_batch(batch), 2 * arguments.count) / BATCH
    py_ecc = measure(lambda: slow.verify(proof, public), arguments.count)
    figures = {
        "load_ms": round(load),
        "prove_ms": round(prove),
        "verify_ms": round(verify, 2),
        "batch_ms": round(together, 2),
        "py_ecc_ms": round(py_ecc),
        "py_ecc_over_verify": round(py_ecc / verify),
        "verify_over_batch": round(verify / together, 2),
        "prove_over_py_ecc": round(prove / py_ecc, 2),
    }
    if arguments.json:
        print(json.dumps(figures))
    else:
        print(f"load a proving key    {load:8.0f} ms")
        print(f"prove                 {prove:8.0f} ms  (budget {PROVE_MS:.0f} ms)")
        print(f"verify one            {verify:8.2f} ms  ({1000 / verify:.0f}/s, budget {VERIFY_MS} ms)")
        print(f"verify in a batch     {together:8.2f} ms  ({1000 / together:.0f}/s, {BATCH} at once)")
        print(f"verify with py_ecc    {py_ecc:8.0f} ms  ({figures['py_ecc_over_verify']} times as long)")
    return int(prove > PROVE_MS or verify > VERIFY_MS)


if __name__ == "__main__":
    sys.exit(main())
