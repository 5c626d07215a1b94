"""The members' tree against a model that hashes every node of a full tree, and against published roots."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.errors import InvalidFieldElement, InvalidPath
from waypost.protocol.merkle import MerkleTree, check_path, empty_root
from waypost.protocol.poseidon import R, poseidon
from waypost.protocol.rln import DEPTH, identity_commitment, leaf, merkle_root

# Tornado-style trees of circomlib's Poseidon over zero leaves, as Semaphore and zerokit publish them.
PUBLISHED = {
    1: 14744269619966411208579211824598458697587494354926760081771325075741142829156,
    2: 7423237065226347324353380772367382631490014989348495481811164164159255474657,
    3: 11286972368698509976183087595462810875513684078608517520839298933882497716792,
    20: 15019797232609675441998260052101280400536945603062888308240081994073687793470,
}
DEPTH_OF_MODEL = 4
CHANGES = st.lists(
    st.dictionaries(st.integers(0, 15), st.one_of(st.just(0), st.integers(0, R - 1)), max_size=8), max_size=5
)


def levels(leaves: list[int]) -> list[list[int]]:
    """All nodes, from the leaves up."""
    found = [leaves]
    while len(found[-1]) > 1:
        row = found[-1]
        found.append([poseidon(row[i : i + 2]) for i in range(0, len(row), 2)])
    return found


@pytest.mark.parametrize("height", PUBLISHED)
def test_trees_without_members_have_the_published_roots(height: int) -> None:
    assert empty_root(height) == MerkleTree(height).root == PUBLISHED[height]


@given(CHANGES)
def test_the_tree_is_that_of_the_model(changes: list[dict[int, int]]) -> None:
    tree, leaves = MerkleTree(DEPTH_OF_MODEL), [0] * 16
    for change in changes:
        tree.set(change)
        for index, value in change.items():
            leaves[index] = value
    model = levels(leaves)
    assert tree.root == model[-1][0]
    for index in range(16):
        assert tree.leaf(index) == leaves[index]
        siblings = tree.path(index)
        assert siblings == tuple(model[level][index >> level ^ 1] for level in range(DEPTH_OF_MODEL))
        assert merkle_root(leaves[index], index, siblings) == tree.root


@given(CHANGES)
def test_only_the_leaves_matter_not_how_they_came(changes: list[dict[int, int]]) -> None:
    one_by_one, later, final = MerkleTree(DEPTH_OF_MODEL), MerkleTree(DEPTH_OF_MODEL), dict[int, int]()
    for change in changes:
        for index, value in change.items():
            one_by_one.set({index: value})
        later.place(change)
        final |= change
    later.rehash(final)
    together = MerkleTree(DEPTH_OF_MODEL)
    together.set(final)
    assert one_by_one.root == later.root == together.root


def test_another_tree_goes_on_with_the_nodes_of_the_first() -> None:
    nodes: dict[int, int] = {}
    MerkleTree(nodes=nodes).set({0: 1, 2**DEPTH - 1: 2})
    both = MerkleTree(nodes=nodes)
    both.set({1: 3})
    fresh = MerkleTree()
    fresh.set({0: 1, 1: 3, 2**DEPTH - 1: 2})
    assert both.root == fresh.root
    both.set({0: 0, 1: 0, 2**DEPTH - 1: 0})
    assert both.root == PUBLISHED[DEPTH]


@pytest.mark.parametrize("change", [{-1: 1}, {2**DEPTH: 1}, {0: R}, {0: -1}, {0: 1, 2**DEPTH: 1}])
def test_what_has_no_place_changes_nothing(change: dict[int, int]) -> None:
    tree = MerkleTree()
    with pytest.raises(InvalidFieldElement):
        tree.set(change)
    assert tree.root == PUBLISHED[DEPTH]


def test_a_client_checks_its_path() -> None:
    tree, commitment = MerkleTree(), identity_commitment(42)
    tree.set({6: 5, 7: leaf(commitment, 3)})
    path = tree.path(7)
    check_path(commitment, 3, 7, path, tree.root)
    lies = [
        (commitment, 4, 7, path, tree.root),
        (commitment, 3, 6, path, tree.root),
        (identity_commitment(43), 3, 7, path, tree.root),
        (commitment, 3, 7, (1, *path[1:]), tree.root),
        (commitment, 3, 7, path[:-1], tree.root),
        (commitment, 3, 7, (*path, 0), tree.root),
        (commitment, 3, 7, path, empty_root(DEPTH)),
    ]
    for lie in lies:
        with pytest.raises(InvalidPath):
            check_path(*lie)
    for nonsense in [
        (0, 3, 7, path, tree.root),
        (R, 3, 7, path, tree.root),
        (commitment, 0, 7, path, tree.root),
        (commitment, 2**16, 7, path, tree.root),
        (commitment, 3, -1, path, tree.root),
        (commitment, 3, 2**DEPTH, path, tree.root),
        (commitment, 3, 7, (R, *path[1:]), tree.root),
        (commitment, 3, 7, path, tree.root + R),
    ]:
        with pytest.raises(InvalidFieldElement):
            check_path(*nonsense)
