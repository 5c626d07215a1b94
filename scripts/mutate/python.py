"""Mutation testing of money and rates in Python, by mutmut: `make mutate ARGS="--only ledger"`.
mutmut wants its sources in src/, so it works on a copy in build/mutate/, where its results stay."""

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "build" / "mutate"
TARGETS = {
    "claim_plan": ("test_claim_plan.py",),
    "ledger": ("test_ledger.py", "test_ledger_chain.py", "test_ledger_refusals.py", "test_ledger_machine.py"),
    "claims": ("test_claims_alone.py", "test_claims_told.py", "test_claims.py"),
    "rate_gate": ("test_rate_gate.py",),
    "nullifiers": ("test_rate_gate.py",),
    "exposures": ("test_exposures.py",),
    "slasher": ("test_slasher_alone.py",),
    "rate": ("test_rate.py",),
    "marker": ("test_marker.py", "test_rate.py"),
}
"""Modules, and the tests that must kill their mutants, which are in the folder of the same name."""
FOLDERS = {"rate": "client", "marker": "client"}
"""Of services/waypost; all others are in node."""
ENVIRONMENT = {**os.environ, "PYTHONPATH": "src"}


def test(target: str, limit: float) -> None:
    """Judges every mutant that has no verdict yet, for at most `limit` seconds."""
    place = _workshop(target)
    command = [sys.executable, "-m", "mutmut", "run", "--max-children", "2"]
    with subprocess.Popen(command, cwd=place, env=ENVIRONMENT) as run:
        try:
            run.wait(min(limit, threading.TIMEOUT_MAX))
        except subprocess.TimeoutExpired:
            run.send_signal(signal.SIGINT)  # what is judged is kept
            run.wait()
            sys.exit(f"{target}: mutants are left; run it again to go on.")
    if run.returncode != 0:
        sys.exit(f"mutmut could not judge {target}; see above.")


def report(target: str, explained: set[str]) -> bool:
    """Prints a count and the survivors; False if one is not explained, or nothing was judged."""
    place = OUT / f"python-{target}"
    if not (place / "mutants").exists() or _stamp(place) != _state(target):
        print(f"{_folder(target)}/{target}.py: nothing is judged yet")
        return False
    told = subprocess.run(
        [sys.executable, "-m", "mutmut", "results", "--all", "true"],
        cwd=place,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    verdicts = dict(re.findall(r"^\s+(\S+): (.+)$", told, re.MULTILINE))
    survivors = sorted(name for name, verdict in verdicts.items() if verdict in ("survived", "no tests"))
    unjudged = sum(verdict == "not checked" for verdict in verdicts.values())
    judged = len(verdicts) - unjudged
    killed = judged - len(survivors)
    print(f"{_folder(target)}/{target}.py: {killed} killed / {judged}, {unjudged} not judged yet")
    for name in survivors:
        mark = "explained" if short(name) in explained else "NOT EXPLAINED"
        print(f"| `{short(name)}` | {mark} |")
    return not unjudged and all(short(name) in explained for name in survivors)


def short(name: str) -> str:
    """`ledger.Ledger.prune.3` for mutmut's name of a mutant."""
    _, _, module, function = name.split(".", 3)
    function, _, number = function.rpartition("__mutmut_")
    parts = [part for part in re.split("ǁ", function.removeprefix("x")) if part]
    return ".".join(
        (module, *(part.removeprefix("_") if len(parts) == 1 else part for part in parts), number)
    )


def _folder(target: str) -> str:
    return FOLDERS.get(target, "node")


def _workshop(target: str) -> Path:
    place = OUT / f"python-{target}"
    if _stamp(place) != _state(target):
        shutil.rmtree(place, ignore_errors=True)  # verdicts on other code, or by other tests
    for name, source in (("src", "services"), ("tests", "tests")):
        shutil.rmtree(place / name, ignore_errors=True)
        shutil.copytree(ROOT / source, place / name, ignore=shutil.ignore_patterns("__pycache__"))
    folder = _folder(target)
    tests = [f"tests/services/{folder}/{name}" for name in TARGETS[target]]
    config = (ROOT / "pyproject.toml").read_text().replace('pythonpath = ["."]', 'pythonpath = [".", "src"]')
    (place / "pyproject.toml").write_text(
        f"""{config}
[tool.mutmut]
source_paths = ["src/waypost"]
only_mutate = ["src/waypost/{folder}/{target}.py"]
pytest_add_cli_args_test_selection = {tests!r}
also_copy = ["src", "tests", "pyproject.toml"]
"""
    )
    (place / "state").write_text(_state(target))
    return place


def _stamp(place: Path) -> str:
    file = place / "state"
    return file.read_text() if file.exists() else ""


def _state(target: str) -> str:
    """Names the code and its tests."""
    folder = _folder(target)
    tests = (ROOT / "tests/services" / folder / name for name in TARGETS[target])
    files = [ROOT / f"services/waypost/{folder}/{target}.py", *tests]
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest()
