"""Measures building the tree of RLN's members: all leaves at once, in memory and in a node's database, and
one leaf after the other beside them. Run it with `python -m tests.benchmarks.rln_tree`."""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

from waypost.chain.blocks import BlockRef
from waypost.chain.membership import Registered
from waypost.node.backends import schema
from waypost.node.backends.sqlite import connect
from waypost.node.member_log import MemberLog
from waypost.node.rln_tree import RlnTree
from waypost.protocol.merkle import MerkleTree
from waypost.protocol.poseidon import R
from waypost.protocol.rln import DEPTH, leaf

BUDGET = 10.0
"""Seconds of processor time for 100,000 members, hashing their leaves included."""
RATE = 8
SOMEBODY: Any = "0x1111111111111111111111111111111111111111"
FORGET = "".join(f"DELETE FROM {table};" for table in ("tree_nodes", "tree_pending", "tree_roots"))


def block_of(number: int) -> BlockRef:
    """A block of its own for every registration."""
    return BlockRef(number + 1, (number + 1).to_bytes(32), number.to_bytes(32), number)


def registered(index: int, commitment: int) -> Registered:
    """The registration's event, as the watcher gives it."""
    block = block_of(index)
    return Registered(
        contract=SOMEBODY,
        block_number=block.number,
        block_hash=block.hash,
        transaction_hash=bytes(32),
        log_index=0,
        id_commitment=commitment,
        owner=SOMEBODY,
        home_node=SOMEBODY,
        index=index,
        rate=RATE,
        start=0,
        periods=1,
    )


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
        connection.executescript(f"BEGIN; {FORGET} COMMIT;")
        log = MemberLog(kept, lambda: 2**40)  # by that clock all is long ago

        def fold() -> None:
            connection.execute("BEGIN IMMEDIATE")
            for index, commitment in enumerate(commitments):
                log.apply(connection, [registered(index, commitment)], block_of(index))
            kept.settle(connection)
            connection.execute("COMMIT")

        folded, _ = measure(fold)
        same = same and kept.root(connection) == tree.root
        connection.close()
    each = inserted / sample
    figures = {
        "members": count,
        "build_s": round(built, 2),
        "build_wall_s": round(built_wall, 2),
        "database_s": round(database, 2),
        "from_events_s": round(folded, 2),
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
        print(f"in a database, from events    {folded:8.2f} s")
        print(f"one path from the database    {1000 * started:8.2f} ms")
        print(f"one leaf after the other      {each * count:8.1f} s  ({sample} measured)")
        print(f"ratio                         {figures['naive_over_build']:8.1f}")
    return int(not same or built > BUDGET * count / 100_000)


if __name__ == "__main__":
    sys.exit(main())
