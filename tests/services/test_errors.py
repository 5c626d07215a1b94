"""The error tree: every class has its own stable code, a title, and keeps its figures."""

import pickle
import re

import pytest

from waypost import errors
from waypost.errors import MessageTooLarge, NodeError, StaleReceipt, WaypostError

BRANCHES = WaypostError.__subclasses__()
LEAVES = [leaf for branch in BRANCHES for leaf in branch.__subclasses__()]


def test_the_tree_is_the_one_in_the_docstring() -> None:
    drawn = re.findall(r"[├└]── (\w+)", errors.__doc__ or "")
    assert drawn == [branch.__name__ for branch in BRANCHES]


def test_codes_are_unique() -> None:
    tree: list[type[WaypostError]] = [WaypostError, *BRANCHES, *LEAVES]
    codes = [error.code for error in tree]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize("branch", BRANCHES)
def test_leaves_stand_in_alphabetical_order(branch: type[WaypostError]) -> None:
    names = [leaf.__name__ for leaf in branch.__subclasses__()]
    assert names == sorted(names)


@pytest.mark.parametrize("leaf", LEAVES)
def test_a_leaf_has_a_code_and_a_sentence(leaf: type[WaypostError]) -> None:
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", leaf.code)
    assert re.fullmatch(r"[A-Z].*\.", leaf.title)
    assert str(leaf()) == leaf.title
    assert leaf().details == {}


def test_the_code_is_the_name() -> None:
    assert StaleReceipt.code == "stale_receipt"
    assert NodeError.code == "node_error"


def test_an_error_carries_its_own_sentence_and_figures() -> None:
    error = MessageTooLarge("The payload has 7 bytes; 5 are allowed.", given=7, maximum=5)
    assert str(error) == "The payload has 7 bytes; 5 are allowed."
    assert error.details == {"given": 7, "maximum": 5}


def test_an_error_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(MessageTooLarge("Too large.", given=7)))
    assert (type(error), str(error), error.details) == (MessageTooLarge, "Too large.", {"given": 7})
