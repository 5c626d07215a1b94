"""Runs the commands of a document as somebody would paste them, on a chain and ports of the test's own."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parents[2]
SECONDS = 240
PREPARE = """
set -euo pipefail
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
# Servers started with & need a moment, which a person at a prompt takes anyway.
until_ok() {
  for _ in $(seq 300); do "$@" >/dev/null 2>&1 && return; sleep 0.1; done
  echo "never: $*"; exit 1
}
"""


def blocks(document: str, heading: str = "") -> list[str]:
    """The document's bash blocks, from `heading` on."""
    text = (ROOT / document).read_text()
    return re.findall(r"```bash\n(.*?)```", text[text.index(heading) :], re.DOTALL)


def replace(script: str, *changes: tuple[str, str]) -> str:
    """Each change happens exactly once, or the test no longer fits its document."""
    for line, replacement in changes:
        assert script.count(line) == 1, line
        script = script.replace(line, replacement)
    return script


def run(script: str, folder: Path, environment: Mapping[str, str], path: Sequence[str] = ()) -> str:
    """What the script printed; it must succeed. Everything that it started is stopped."""
    places = [str(Path(sys.executable).parent), *path, os.environ["PATH"]]
    with subprocess.Popen(
        ["bash", "-c", PREPARE + script],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder,
        env={**os.environ, "PATH": ":".join(places), "WAYPOST_HOME": str(folder / "home"), **environment},
        start_new_session=True,
    ) as shell:
        try:
            output, _ = shell.communicate(timeout=SECONDS)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGTERM)
    assert shell.returncode == 0, output
    return output
