"""Runs Slither over forge's build-info: its findings must be exactly those that docs/slither.md argues."""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
ARGUED = ROOT / "docs/slither.md"
BUILD = ROOT / "build/slither"
FORGE = ROOT / "node_modules/.bin/forge"
SLITHER = ROOT / ".venv-review/bin/slither"
THEIRS = "node_modules|contracts/mocks"


def findings() -> Counter[str]:
    """What Slither says, as `check: sentence`, without line numbers."""
    output = ["--out", f"{BUILD}/out", "--cache-path", f"{BUILD}/cache"]
    command = [str(FORGE), "build", "--force", "--build-info", "--skip", "*/tests/forge/*", *output]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    report = BUILD / "report.json"
    report.unlink(missing_ok=True)
    reading = ["--foundry-ignore-compile", "--foundry-out-directory", "build/slither/out"]
    path = f"{FORGE.parent}:{os.environ['PATH']}"
    run = subprocess.run(
        [str(SLITHER), ".", *reading, "--filter-paths", THEIRS, "--json", str(report)],
        cwd=ROOT,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
    )
    answer: dict[str, Any] = json.loads(report.read_text()) if report.exists() else {"success": False}
    analyzed = re.search(r"\((\d+) contracts with \d+ detectors\)", run.stderr)
    if not answer["success"] or analyzed is None or int(analyzed[1]) == 0:
        sys.exit(f"Slither did not read the contracts:\n{run.stderr}")
    return Counter(sentence(found) for found in answer["results"].get("detectors", []))


def sentence(found: dict[str, str]) -> str:
    """The first line of a finding, which names where it is."""
    first = found["description"].splitlines()[0].strip()
    return f"{found['check']}: " + re.sub(r" ?\([\w./-]+\.sol#[\d-]+\)", "", first)


def argued() -> Counter[str]:
    """The findings of the committed table: the first cell of each row."""
    rows = ARGUED.read_text().splitlines()
    return Counter(row.split("`")[1] for row in rows if row.startswith("| `"))


def main() -> None:
    found, known = findings(), argued()
    for new in (found - known).elements():
        print(f"not argued: {new}", file=sys.stderr)
    for old in (known - found).elements():
        print(f"argued, but not found any more: {old}", file=sys.stderr)
    if found != known:
        sys.exit(f"Slither's findings are not those of {ARGUED.relative_to(ROOT)}.")
    print(f"Slither: {found.total()} findings, all argued")


if __name__ == "__main__":
    main()
