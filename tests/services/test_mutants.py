"""The mutator: which mistakes it makes, that they are what they say, and that nothing unjudged passes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from scripts.mutate import __main__ as mutate
from scripts.mutate import python
from scripts.mutate.mutants import Mutant, Mutator

ROOT = Path(__file__).parents[2]
SOURCE = """// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

contract Purse {
    uint256 private _left = 7;
    error Short(uint256 left, uint256 asked);
    event Spent(uint256 amount);
    modifier once() { _; }

    function spend(uint256 amount) external once returns (uint256) {
        if (amount > _left) revert Short(_left, amount);
        _left -= amount;
        emit Spent(amount);
        assembly { mstore(0x00, add(amount, 1)) }
        return _left;
    }
}
"""
MISTAKES = {
    ("7", "(7 + 1)"),
    ("once", ""),
    ("amount > _left", "false"),
    ("amount > _left", "true"),
    (">", ">="),
    (">", "<="),
    ("revert Short(_left, amount);", "{}"),
    ("_left, amount", "amount, _left"),
    ("_left -= amount;", "{}"),
    ("-=", "+="),
    ("-=", "="),
    ("emit Spent(amount);", "{}"),
    ("mstore(0x00, add(amount, 1))", "{}"),
    ("0x00", "1"),
    ("1", "2"),
    ("add", "sub"),
    ("_left", "0"),
}


def mutants(source: str) -> list[Mutant]:
    question = {
        "language": "Solidity",
        "sources": {"Purse.sol": {"content": source}},
        "settings": {"outputSelection": {"*": {"": ["ast"]}}},
    }
    told = subprocess.run(
        ["node", str(ROOT / "scripts/solc/solc-v0.8.37"), "--standard-json"],
        input=json.dumps(question),
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    tree = json.loads(told.stdout)["sources"]["Purse.sol"]["ast"]
    return list(Mutator("Purse.sol", source.encode()).mutants(tree))


@pytest.fixture(scope="module")
def made() -> list[Mutant]:
    return mutants(SOURCE)


def test_the_mistakes_that_it_makes(made: list[Mutant]) -> None:
    assert {(mutant.before, mutant.text) for mutant in made} == MISTAKES
    assert len({mutant.id for mutant in made}) == len(made)


def test_each_is_one_change_where_it_says(made: list[Mutant]) -> None:
    source = SOURCE.encode()
    for mutant in made:
        assert source[mutant.start : mutant.end].decode() == mutant.before
        assert mutant.before in SOURCE.splitlines()[mutant.line - 1]
        changed = mutant.apply(source)
        assert changed == source[: mutant.start] + mutant.text.encode() + source[mutant.end :] != source


def test_names_outlive_changes_elsewhere(made: list[Mutant]) -> None:
    later = mutants(
        SOURCE.replace("contract Purse {", "contract Purse {\n    // Größe\n    uint8 public other = 3;")
    )
    assert {mutant.id for mutant in made} < {mutant.id for mutant in later}


@pytest.fixture
def judged(made: list[Mutant], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A target whose verdicts are in the file that is returned, and nothing explained but one mutant."""
    monkeypatch.setattr(mutate, "OUT", tmp_path)
    monkeypatch.setattr(mutate, "TARGETS", {"purse": ("Purse.sol",)})
    monkeypatch.setattr(mutate, "mutants", lambda _: made)
    monkeypatch.setattr(mutate, "state", lambda _: "now")
    explained = tmp_path / "survivors.md"
    explained.write_text(f"| `Purse.sol` | 9 / 9 |\n## Explained\n| `{made[0].id}` `b` | why |\n")
    monkeypatch.setattr(mutate, "EXPLAINED", explained)
    return tmp_path / "purse-now.jsonl"


def write(judged: Path, made: list[Mutant], **verdicts: str) -> None:
    rows = [{"id": mutant.id, "verdict": verdicts.get(f"m{n}", "killed")} for n, mutant in enumerate(made)]
    judged.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_what_is_not_judged_is_no_pass(judged: Path, made: list[Mutant]) -> None:
    assert not mutate.report("purse", whole=True)
    write(judged, made[:-1])
    assert not mutate.report("purse", whole=True)
    assert mutate.report("purse", whole=False)  # a shard
    write(judged, made)
    assert mutate.report("purse", whole=True)


def test_survivors_need_an_explanation(judged: Path, made: list[Mutant]) -> None:
    assert mutate.explained() == {made[0].id, "b"}
    write(judged, made, m0="survived", m1="invalid", m2="timeout")
    assert mutate.report("purse", whole=True)
    write(judged, made, m0="survived", m3="survived")
    assert not mutate.report("purse", whole=True)
    assert not mutate.report("purse", whole=False)


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("waypost.node.claims.xǁClaimerǁstep__mutmut_12", "claims.Claimer.step.12"),
        ("waypost.node.claims.x__retry_at__mutmut_1", "claims._retry_at.1"),
        ("waypost.node.ledger.xǁLedgerǁ__init____mutmut_3", "ledger.Ledger.__init__.3"),
        ("waypost.client.rate.xǁRateCounterǁtake__mutmut_2", "rate.RateCounter.take.2"),
    ],
)
def test_names_of_python_mutants(name: str, short: str) -> None:
    assert python.short(name) == short


@pytest.mark.parametrize("shard", ["0/8", "9/8", "3", "a/b", "1/0"])
def test_shards_that_are_none(shard: str) -> None:
    told = subprocess.run(
        [sys.executable, "-m", "scripts.mutate", "--shard", shard],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert told.returncode == 2
    assert "--shard is like 3/8" in told.stderr
