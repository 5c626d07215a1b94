"""RLN's formulas: published values, and who can recover a secret from what."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.errors import InvalidFieldElement, InvalidShares
from waypost.protocol.poseidon import R, poseidon
from waypost.protocol.rln import (
    DEPTH,
    MAX_LIMIT,
    Membership,
    external_nullifier,
    hash_to_field,
    identity_commitment,
    leaf,
    merkle_root,
    recover_secret,
    signal,
)

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "rln.json").read_text())
SECRETS = st.integers(1, R - 1)
MEMBER = Membership(secret=12345, limit=3, index=5, siblings=tuple(range(DEPTH)))
EPOCH = external_nullifier(1_000, b"waypost")


@pytest.mark.parametrize("case", VECTORS["commitments"]["cases"])
def test_published_commitments(case: dict[str, str]) -> None:
    assert identity_commitment(int(case["secret"], 16)) == int(case["commitment"], 16)


def test_the_published_root_of_a_membership() -> None:
    case = VECTORS["membership"]
    siblings = tuple(int(each, 16) for each in case["siblings"])
    member = Membership(hash_to_field(case["seed"].encode()), case["limit"], case["index"], siblings)
    assert member.root == sum(limb << 64 * place for place, limb in enumerate(case["root_limbs"]))
    assert member.leaf == leaf(identity_commitment(member.secret), 100)


def test_the_empty_tree_hashes_zeros() -> None:
    node = 0
    for sibling in VECTORS["membership"]["siblings"]:
        assert node == int(sibling, 16)
        node = poseidon([node, node])


def test_a_side_of_the_path_changes_the_root() -> None:
    roots = {merkle_root(7, index, (1, 2, 3)) for index in range(8)}
    assert len(roots) == 8
    with pytest.raises(InvalidFieldElement):
        merkle_root(7, 8, (1, 2, 3))


# ---- Signals and secrets ----


@given(SECRETS, st.integers(0, R - 1), st.integers(0, R - 1))
def test_two_shares_disclose_the_secret(secret: int, x1: int, x2: int) -> None:
    member = replace(MEMBER, secret=secret)
    first, second = (signal(member, 1, x, EPOCH) for x in (x1, x2))
    if x1 == x2:
        with pytest.raises(InvalidShares):
            recover_secret(first, second)
    else:
        assert recover_secret(first, second) == secret


def test_honest_signals_disclose_nothing() -> None:
    first = signal(MEMBER, 0, 11, EPOCH)
    others = [
        signal(MEMBER, 1, 12, EPOCH),
        signal(MEMBER, 0, 12, external_nullifier(1_001, b"waypost")),
        signal(MEMBER, 0, 12, external_nullifier(1_000, b"another")),
        signal(replace(MEMBER, secret=54321), 0, 12, EPOCH),
    ]
    assert len({each.nullifier for each in (first, *others)}) == 5
    for other in others:
        with pytest.raises(InvalidShares):
            recover_secret(first, other)


def test_a_made_up_share_slashes_nobody() -> None:
    first, second = (signal(MEMBER, 0, x, EPOCH) for x in (11, 12))
    with pytest.raises(InvalidShares, match="line"):
        recover_secret(first, replace(second, y=(second.y + 1) % R))


def test_one_signal_with_two_nullifiers_is_no_pair() -> None:
    first, second = (signal(MEMBER, 0, x, EPOCH) for x in (11, 12))
    for other in (replace(second, nullifier=first.nullifier ^ 1), replace(second, external_nullifier=1)):
        with pytest.raises(InvalidShares, match="nullifiers"):
            recover_secret(first, other)


def test_the_same_member_under_another_root_is_still_caught() -> None:
    moved = replace(MEMBER, siblings=(99, *MEMBER.siblings[1:]))
    first, second = signal(MEMBER, 0, 11, EPOCH), signal(moved, 0, 12, EPOCH)
    assert first.root != second.root
    assert recover_secret(first, second) == MEMBER.secret


@pytest.mark.parametrize("message_id", [-1, 3, 2**16])
def test_the_limit_holds(message_id: int) -> None:
    with pytest.raises(InvalidFieldElement):
        signal(MEMBER, message_id, 11, EPOCH)


@pytest.mark.parametrize("x", [-1, R, 2**256])
def test_unreduced_numbers_are_refused(x: int) -> None:
    with pytest.raises(InvalidFieldElement):
        signal(MEMBER, 0, x, EPOCH)
    with pytest.raises(InvalidFieldElement):
        replace(signal(MEMBER, 0, 1, EPOCH), nullifier=x)


@pytest.mark.parametrize(
    "change",
    [
        {"secret": 0},
        {"secret": R},
        {"limit": 0},
        {"limit": MAX_LIMIT + 1},
        {"index": -1},
        {"index": 2**DEPTH},
        {"siblings": (0,) * 19},
        {"siblings": (0,) * 19 + (R,)},
    ],
)
def test_impossible_memberships_are_refused(change: dict[str, int]) -> None:
    with pytest.raises(InvalidFieldElement):
        replace(MEMBER, **change)  # type: ignore[arg-type]


def test_an_epoch_is_hashed_as_32_bytes_little_endian() -> None:
    parts = hash_to_field(b"\x02\x01" + bytes(30)), hash_to_field(b"waypost")
    assert external_nullifier(0x0102, b"waypost") == poseidon(parts)


@pytest.mark.parametrize("epoch", [-1, 2**64])
def test_epochs_are_unsigned_64_bit(epoch: int) -> None:
    with pytest.raises(InvalidFieldElement):
        external_nullifier(epoch, b"waypost")


def test_a_membership_does_not_print_its_secret() -> None:
    assert "12345" not in repr(MEMBER)


@given(st.binary(max_size=100))
def test_bytes_map_into_the_field(data: bytes) -> None:
    assert 0 <= hash_to_field(data) < R
