"""The Merkle tree of RLN's members: pairs hashed with Poseidon, an empty leaf is 0, and a subtree without
leaves costs nothing. Nodes are kept in any mapping, a dictionary or a database."""

from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from functools import cache

from waypost.errors import InvalidFieldElement, InvalidPath
from waypost.protocol.poseidon import R, poseidon, require_field_element
from waypost.protocol.rln import DEPTH, MAX_LIMIT, leaf, merkle_root

Nodes = MutableMapping[int, int]
"""Hashes by the node's number: the root is 1, the children of n are 2n and 2n + 1. Absent: nothing below."""


@cache
def empty_root(height: int) -> int:
    """The root of a tree of so many levels without members."""
    if height == 0:
        return 0
    below = empty_root(height - 1)
    return poseidon([below, below])


class MerkleTree:
    """A tree whose leaves can be set in any order. What it says depends on the leaves alone."""

    def __init__(self, depth: int = DEPTH, nodes: Nodes | None = None) -> None:
        """`nodes`: where hashes are kept, as another tree of this depth left them."""
        self.depth = depth
        self._nodes: Nodes = {} if nodes is None else nodes
        self._empty = [empty_root(depth - level) for level in range(depth + 1)]

    @property
    def root(self) -> int:
        """Of all leaves whose change was followed by `rehash`."""
        return self._node(1)

    def leaf(self, index: int) -> int:
        """The leaf; 0 if it is empty. Raises InvalidFieldElement for an index outside the tree."""
        return self._node(self._place(index))

    def path(self, index: int) -> tuple[int, ...]:
        """The siblings on the way from the leaf to the root, lowest first. Raises InvalidFieldElement."""
        node = self._place(index)
        return tuple(self._node(node >> level ^ 1) for level in range(self.depth))

    def set(self, leaves: Mapping[int, int]) -> None:
        """Changes leaves, by index. Raises InvalidFieldElement, and changes nothing then."""
        self.place(leaves)
        self.rehash(leaves)

    def place(self, leaves: Mapping[int, int]) -> None:
        """Changes leaves alone: until `rehash` has had their indices, root and paths are not right.
        Raises InvalidFieldElement, and changes nothing then."""
        placed = {self._place(index): require_field_element(value) for index, value in leaves.items()}
        self._nodes.update(placed)

    def rehash(self, indices: Iterable[int]) -> None:
        """Hashes what is above these leaves, level by level, each node once: some 10^5 hashes for as many
        neighbouring leaves, where one leaf at a time takes twenty times as many."""
        changed = {self._place(index) for index in indices}
        nodes, lookup = self._nodes, self._nodes.get
        for level in reversed(range(self.depth)):
            empty = self._empty[level + 1]
            changed = {node >> 1 for node in changed}
            for node in changed:
                left, right = lookup(2 * node, empty), lookup(2 * node + 1, empty)
                nodes[node] = self._empty[level] if left == right == empty else poseidon([left, right])

    def _place(self, index: int) -> int:
        if not 0 <= index < 1 << self.depth:
            most = (1 << self.depth) - 1
            raise InvalidFieldElement(f"The index must be from 0 to {most}, not {index}.", given=index)
        return index + (1 << self.depth)

    def _node(self, node: int) -> int:
        return self._nodes.get(node, self._empty[node.bit_length() - 1])


def check_path(id_commitment: int, limit: int, index: int, siblings: Sequence[int], root: int) -> None:
    """Checks that the member is at `index` in the tree of this root: what a client does with a path before
    it proves with it, since a wrong one makes proofs that nobody accepts. Which roots there have been, the
    chain's events say; honest nodes agree on them.

    Raises InvalidPath, or InvalidFieldElement for numbers that have no place in a tree.
    """
    if not 0 < id_commitment < R or not 1 <= limit <= MAX_LIMIT:
        raise InvalidFieldElement(f"A commitment is not 0, and a limit is from 1 to {MAX_LIMIT}.")
    if len(siblings) != DEPTH:
        raise InvalidPath(f"A path has {DEPTH} siblings, not {len(siblings)}.", given=len(siblings))
    if merkle_root(leaf(id_commitment, limit), index, siblings) != require_field_element(root):
        raise InvalidPath("The path leads from this member to another root.", index=index)
