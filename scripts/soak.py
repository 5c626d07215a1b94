"""The long tests: shards by seed, one after the other. An interrupted run goes on with the shard it was in.
A shard is a command; what it printed stays in build/soak/SEED/, and its last line of JSON is its figures."""

import argparse
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KILLS, ROUNDS = 25, 7
PARTS = ("fire", "members", "machines", "forge")


@dataclass(frozen=True)
class Shard:
    """One command with one seed."""

    part: str
    number: int
    command: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        """Also of its files."""
        return f"{self.part}-{self.number:02}"

    @property
    def line(self) -> str:
        """What repeats it in a shell."""
        return " ".join((*(f"{name}={value}" for name, value in self.environment), *self.command))


def shards(seed: int) -> Iterator[Shard]:
    """All of them: 200 kills, 28 spammers, 600 runs of each machine, 10,000 of forge's."""
    for number in range(8):
        own = str(seed * 100 + number)
        yield Shard("fire", number, (".venv/bin/python", "-m", "tests.fire.soak", own, str(KILLS)))
    for number in range(4):
        own = str(seed * 100 + number)
        yield Shard("members", number, (".venv/bin/python", "-m", "tests.fire.member_soak", own, str(ROUNDS)))
    for number in range(6):
        own = str(seed * 100 + number)
        yield Shard(
            "machines",
            number,
            ("scripts/brownie.sh", "pytest", "-q", "tests/invariants"),
            (("WAYPOST_SOAK_SEED", own), ("WAYPOST_SOAK_EXAMPLES", "100")),
        )
    for number in range(2):
        own = hex(seed * 100 + number)
        yield Shard(
            "forge",
            number,
            ("node_modules/.bin/forge", "test", "--match-path", "tests/forge/Fuzz*"),
            (("FOUNDRY_FUZZ_RUNS", "5000"), ("FOUNDRY_FUZZ_SEED", own)),
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="which run; it goes on where it stopped")
    parser.add_argument("--only", choices=PARTS, help="one part alone")
    parser.add_argument("--fresh", action="store_true", help="forget what this seed has done so far")
    options = parser.parse_args()
    folder = ROOT / "build" / "soak" / str(options.seed)
    folder.mkdir(parents=True, exist_ok=True)
    if options.fresh:
        for file in folder.iterdir():
            file.unlink()
    chosen = [shard for shard in shards(options.seed) if options.only in (None, shard.part)]
    places = (f"{number}/{len(chosen)}" for number in range(1, len(chosen) + 1))
    failed = [shard for shard, place in zip(chosen, places, strict=True) if not passed(shard, folder, place)]
    report(folder, chosen, failed)


def passed(shard: Shard, folder: Path, place: str) -> bool:
    """Runs a shard unless it has passed before; `place` says which of how many it is."""
    done, log = folder / f"{shard.name}.json", folder / f"{shard.name}.log"
    head = f"[{place}] {shard.name}"
    if done.exists():
        print(f"{head}: passed before", flush=True)
        return True
    print(f"{head}: {shard.line}", flush=True)
    start = time.monotonic()
    with log.open("w") as output:
        environment = {**os.environ, **dict(shard.environment)}
        code = subprocess.run(
            shard.command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT
        ).returncode
    seconds = round(time.monotonic() - start)
    if code != 0:
        print(
            f"{head}: FAILED after {seconds} s, see {log.relative_to(ROOT)}; again: {shard.line}", flush=True
        )
        return False
    done.write_text(json.dumps({"seconds": seconds, "figures": figures(log)}) + "\n")
    print(f"{head}: passed in {seconds} s", flush=True)
    return True


def figures(log: Path) -> dict[str, int]:
    """The last line of a log, if it is an object of counts."""
    lines = log.read_text(errors="replace").strip().splitlines()
    found: dict[str, int] = json.loads(lines[-1]) if lines and lines[-1].startswith("{") else {}
    return found


def report(folder: Path, chosen: list[Shard], failed: list[Shard]) -> None:
    """Sums up, on the screen and in report.json; ends the program with 1 if a shard failed."""
    total: Counter[str] = Counter()
    seconds = 0
    for shard in chosen:
        if shard not in failed:
            done = json.loads((folder / f"{shard.name}.json").read_text())
            total.update(done["figures"])
            seconds += done["seconds"]
    summary = {
        "shards": len(chosen),
        "passed": len(chosen) - len(failed),
        "failed": [shard.name for shard in failed],
        "seconds": seconds,
        "figures": dict(total),
    }
    (folder / "report.json").write_text(json.dumps(summary, indent=2) + "\n")
    print(json.dumps(summary, indent=2))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
