"""Mutation testing: makes one small mistake after the other and asks whether the tests notice.
`python -m scripts.mutate [--only channels] [--shard 3/8]`; resumable, results are in build/mutate/."""

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from scripts.mutate import python
from scripts.mutate.mutants import Mutant, Mutator

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "build/mutate"
EXPLAINED = ROOT / "tests/mutation/survivors.md"
FORGE = ROOT / "node_modules/.bin/forge"
TIMEOUT = 120.0
TARGETS = {
    "channels": (
        "payments/Channels.sol",
        "payments/Credits.sol",
        "payments/Receipts.sol",
        "libraries/Deposits.sol",
    ),
    "registry": ("staking/NodeRegistry.sol", "staking/Provisions.sol"),
    "membership": ("rln/RlnMembership.sol", "rln/Members.sol"),
}
KILLERS = {"channels": "Channels*.sol", "registry": "Registry*.sol", "membership": "Membership*.sol"}
"""Of tests/forge."""


def trees() -> dict[str, dict[str, object]]:
    """The syntax tree of every contract, by path."""
    info = OUT / "trees"
    command = [str(FORGE), "build", "--force", "--build-info", "--skip", "*/tests/forge/*"]
    places = ["--out", str(info), "--build-info-path", str(info / "info")]
    subprocess.run([*command, *places], cwd=ROOT, check=True, capture_output=True)
    newest = max((info / "info").glob("*.json"), key=lambda path: path.stat().st_mtime)
    sources = json.loads(newest.read_text())["output"]["sources"]
    return {path: source["ast"] for path, source in sources.items()}


def mutants(target: str) -> list[Mutant]:
    """All mutants of a target's files."""
    by_path = trees()
    files = [f"contracts/{name}" for name in TARGETS[target]]
    return [m for f in files for m in Mutator(f, (ROOT / f).read_bytes()).mutants(by_path[f])]


def killers(target: str) -> list[Path]:
    """The tests that must notice, and what they import."""
    tests = ROOT / "tests/forge"
    return sorted([tests / "Base.sol", *tests.glob(KILLERS[target])])


def workshop(target: str, shard: str) -> Path:
    """A copy of what forge needs, for one process alone; the compiler's cache stays for the next run.

    It has no tests but the killers: forge compiles twice when it is told which tests to run.
    """
    place = OUT / f"work-{target}-{shard}"
    for name in ("contracts", "tests"):
        shutil.rmtree(place / name, ignore_errors=True)
    shutil.copytree(ROOT / "contracts", place / "contracts")
    (place / "tests/forge").mkdir(parents=True)
    for file in killers(target):
        shutil.copy(file, place / "tests/forge")
    shutil.copy(ROOT / "foundry.toml", place)
    for name in ("node_modules", "scripts"):
        if not (place / name).exists():
            (place / name).symlink_to(ROOT / name)
    return place


def verdict(place: Path) -> str:
    """`killed`, `survived`, `invalid` (does not compile) or `timeout` (counts as killed)."""
    environment = {**os.environ, "PATH": f"{FORGE.parent}:{os.environ['PATH']}"}
    command = [str(FORGE), "test", "--fail-fast"]
    try:
        run = subprocess.run(
            command, cwd=place, env=environment, capture_output=True, text=True, timeout=TIMEOUT
        )
    except subprocess.TimeoutExpired:
        return "timeout"
    if run.returncode == 0:
        return "survived"
    return "killed" if "Ran " in run.stdout else "invalid"


def state(target: str) -> str:
    """Names the code and its tests: results of others are not taken over."""
    files = [*sorted(ROOT.glob("contracts/**/*.sol")), *killers(target), ROOT / "foundry.toml"]
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest()[:16]


def test(target: str, number: int, of: int, limit: float) -> None:
    """Judges each mutant of the shard that has no verdict yet, for at most `limit` seconds."""
    shard = mutants(target)[number - 1 :: of]
    log = OUT / f"{target}-{state(target)}.jsonl"
    done = results(target)
    place = workshop(target, f"{number}-{of}")
    if verdict(place) != "survived":
        sys.exit(f"The tests of {target} fail without any mutant.")
    end = time.monotonic() + limit
    for count, mutant in enumerate(shard, 1):
        if mutant.id in done:
            continue
        if time.monotonic() > end:
            sys.exit(f"{target}: {len(shard) - count + 1} mutants are left; run it again to go on.")
        file = place / mutant.file
        source = file.read_bytes()
        file.write_bytes(mutant.apply(source))
        result = verdict(place)
        file.write_bytes(source)
        with log.open("a") as lines:
            lines.write(json.dumps({"id": mutant.id, "verdict": result}) + "\n")
        print(f"{target} {count}/{len(shard)} {mutant.file}:{mutant.line} {result}", flush=True)


def results(target: str) -> dict[str, str]:
    """Verdicts so far, by mutant, for the code as it is."""
    log = OUT / f"{target}-{state(target)}.jsonl"
    lines = log.read_text().splitlines() if log.exists() else []
    return {row["id"]: row["verdict"] for row in map(json.loads, lines)}


def explained() -> set[str]:
    """The mutants for which the committed list says why they survive."""
    _, _, table = EXPLAINED.read_text().partition("## Explained")
    rows = (row.split("|")[1] for row in table.splitlines() if row.startswith("| `"))
    return {name for cell in rows for name in cell.replace("`", "").split()}


def report(target: str, *, whole: bool) -> bool:
    """Prints a table and the survivors; False if one is not explained, or, of the
    `whole`, a mutant not judged."""
    verdicts = results(target)
    known = explained()
    everything = mutants(target)
    tested = [mutant for mutant in everything if mutant.id in verdicts]
    if len(tested) < len(everything):
        print(f"{target}: {len(everything) - len(tested)} of {len(everything)} mutants are not judged yet")
    for file in TARGETS[target]:
        mine = [verdicts[m.id] for m in tested if m.file == f"contracts/{file}"]
        valid = [v for v in mine if v != "invalid"]
        killed, invalid = len(valid) - valid.count("survived"), len(mine) - len(valid)
        print(f"{file}: {killed} killed / {len(valid)}, {invalid} do not compile")
    survivors = [m for m in tested if verdicts[m.id] == "survived"]
    for m in survivors:
        mark = "explained" if m.id in known else "NOT EXPLAINED"
        print(f"| `{m.id}` | {m.file}:{m.line} | {flat(m.before)} → {flat(m.text)} | {mark} |")
    return not (whole and len(tested) < len(everything)) and all(m.id in known for m in survivors)


def flat(text: str) -> str:
    """On one line."""
    return " ".join(text.split()) or "nothing"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=[*TARGETS, *python.TARGETS], help="one target alone")
    parser.add_argument(
        "--shard", default="1/1", help="n/of: every of-th mutant (Python: target), from the n-th on"
    )
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so long, per target")
    parser.add_argument("--report", action="store_true", help="show what is known, test nothing")
    arguments = parser.parse_args()
    shard = re.fullmatch(r"([1-9]\d*)/([1-9]\d*)", arguments.shard)
    if shard is None or int(shard[1]) > int(shard[2]):
        parser.error(f"--shard is like 3/8, not {arguments.shard!r}")
    number, of = int(shard[1]), int(shard[2])
    OUT.mkdir(parents=True, exist_ok=True)
    targets = [arguments.only] if arguments.only else [*TARGETS, *list(python.TARGETS)[number - 1 :: of]]
    for target in targets if not arguments.report else ():
        if target in python.TARGETS:
            python.test(target, arguments.seconds)
        else:
            test(target, number, of, arguments.seconds)
    unexplained = [
        target
        for target in targets
        if not (
            python.report(target, explained()) if target in python.TARGETS else report(target, whole=of == 1)
        )
    ]
    if unexplained:
        sys.exit(f"Not judged to the end, or survivors are not explained: {', '.join(unexplained)}.")


if __name__ == "__main__":
    main()
