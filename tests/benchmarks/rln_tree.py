"""Measures building the tree of RLN's members: all leaves at once, in memory and in a node's database, and
one leaf after the other beside them. Run it with `python -m tests.benchmarks.rln_tree`."""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, process_time

from waypost.chain.blocks import BlockRef
from waypost.node.backends import schema
from waypost.node.backends.sqlite import connect
from waypost.node.rln_tree import RlnTree
from waypost.protocol.merkle import MerkleTree
from waypost.protocol.poseidon import R
from waypost.protocol.rln import DEPTH, leaf

BUDGET = 10.0
"""Seconds of processor time for 100,000 members, hashing their leaves included."""
RATE = 8


def measure(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds of processor time, and of the wall clock."""
    wall, processor = perf_counter(), process_time()
    work()
    return process_time() - processor, perf_counter() - wall


def main() -> int:
    """Prints the figures; fails when the budget is missed, or when two ways lead to different roots."""
    parser = argparse.ArgumentParser(description="Measure the tree of RLN's members.")
    parser.add_argument("--members", type=int, default=100_000)
    parser.add_argument(
        "--naive", type=int, default=5_000, help="members to insert one by one; the rest is multiplied"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    count, sample = arguments.members, min(arguments.naive, arguments.members)

    commitments = [(7919 * n + 1) * (R // 10**7) % R for n in range(1, count + 1)]
    leaves: dict[int, int] = {}
    tree = MerkleTree()

    def build() -> None:
        leaves.update({index: leaf(each, RATE) for index, each in enumerate(commitments)})
        tree.set(leaves)

    built, built_wall = measure(build)
    part, naive = MerkleTree(), MerkleTree()
    part.set({index: leaves[index] for index in range(sample)})

    def insert() -> None:
        for index in range(sample):
            naive.set({index: leaf(commitments[index], RATE)})

    inserted, _ = measure(insert)
    with tempfile.TemporaryDirectory() as folder:
        connection = connect(Path(folder) / "node.db")
        connection.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;" + schema.RLN)
        kept = RlnTree(DEPTH, 1800)
        block = BlockRef(1, bytes(32), bytes(32), 0)

        def rebuild() -> None:
            connection.execute("BEGIN IMMEDIATE")
            kept.change(connection, leaves, block, recent=True)
            connection.execute("COMMIT")

        database, _ = measure(rebuild)
        same = kept.root(connection) == tree.root and part.root == naive.root
        started, _ = measure(lambda: kept.path(connection, count // 2))
        connection.close()
    each = inserted / sample
    figures = {
        "members": count,
        "build_s": round(built, 2),
        "build_wall_s": round(built_wall, 2),
        "database_s": round(database, 2),
        "path_from_database_ms": round(1000 * started, 2),
        "naive_ms_each": round(1000 * each, 2),
        "naive_s": round(each * count, 1),
        "naive_measured_on": sample,
        "naive_over_build": round(each * count / built, 1),
        "roots_agree": same,
    }
    if arguments.json:
        print(json.dumps(figures))
    else:
        print(f"build {count} members       {built:8.2f} s  ({built_wall:.2f} s by the clock)")
        print(f"in a database, leaves known   {database:8.2f} s")
        print(f"one path from the database    {1000 * started:8.2f} ms")
        print(f"one leaf after the other      {each * count:8.1f} s  ({sample} measured)")
        print(f"ratio                         {figures['naive_over_build']:8.1f}")
    return int(not same or built > BUDGET * count / 100_000)


if __name__ == "__main__":
    sys.exit(main())
