"""The commands of the README, as a newcomer would paste them: only ports and folders are this test's own."""

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from waypost.cli.demo.processes import free_ports

README = Path(__file__).parents[2] / "README.md"
PREPARE = """
set -euo pipefail
trap 'kill $(jobs -p)' EXIT
# Servers started with & need a moment, which a person at a prompt takes anyway.
until_ok() {
  for _ in $(seq 300); do "$@" >/dev/null 2>&1 && return; sleep 0.1; done
  echo "never: $*"; exit 1
}
"""


def commands(chain_port: int, node_port: int) -> str:
    block = re.search(r"## By hand.*?```bash\n(.*?)```", README.read_text(), re.DOTALL)
    assert block is not None
    script = block[1]
    for line, replacement in (
        ("waypost chain &", f"waypost chain --port {chain_port} &\nuntil_ok waypost deploy --dry-run"),
        ("node init", f"node init --port {node_port}"),
        ("waypost node run &", f"waypost node run &\nuntil_ok curl -fs http://127.0.0.1:{node_port}/readyz"),
    ):
        assert script.count(line) == 1, line
        script = script.replace(line, replacement)
    return script


def test_by_hand(tmp_path: Path) -> None:
    chain_port, node_port, _ = free_ports(3)
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "WAYPOST_HOME": str(tmp_path / "home"),
        "WAYPOST_RPC_URL": f"http://127.0.0.1:{chain_port}",
    }
    script = PREPARE + commands(chain_port, node_port)
    with subprocess.Popen(
        ["bash", "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        start_new_session=True,
    ) as shell:
        try:
            output, _ = shell.communicate(timeout=180)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGTERM)
    assert shell.returncode == 0, output
    assert "hello, me" in output
    assert "Claimed so far: 0.101 DUSD." in output


def test_the_gas_it_states_is_the_snapshots() -> None:
    gas = json.loads((README.parent / "tests/benchmarks/gas.json").read_text())
    labels = (
        "channels.claim.single",
        "channels.claim.marginal_100",
        "channels.open",
        "channels.open_with_authorization",
    )
    text = README.read_text()
    assert [label for label in labels if f"{gas[label]:,}" not in text] == []
