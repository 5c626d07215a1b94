#!/usr/bin/env bash
# Run a command of the Brownie environment, for example: scripts/brownie.sh pytest tests/contracts -k open
# It finds the pinned compiler and anvil, and gets a free port and a home folder of its own: runs never meet each
# other or somebody's anvil on 8545, and nothing in the user's home is read or written.
set -euo pipefail
cd "$(dirname "$0")/.."

export PATH=$PWD/.venv-brownie/bin:$PWD/node_modules/.bin:$PATH
if [ ! -x .venv-brownie/bin/brownie ]; then
  echo "Brownie is not installed: run make install-brownie." >&2
  exit 2
elif ! command -v anvil >/dev/null; then
  echo "anvil is missing: make install-brownie brings it on Linux x86-64; elsewhere install Foundry 1.7.1 (anvil, forge)." >&2
  exit 2
fi

home=$(mktemp -d "${TMPDIR:-/tmp}/brownie.XXXXXX")
trap 'rm -rf "$home"' EXIT
mkdir -p "$home/.brownie" build/hypothesis
ln -s "$PWD/build/hypothesis" "$home/.brownie/hypothesis"   # failing examples are tried again in the next run
networks=$(ls .venv-brownie/lib/python3.*/site-packages/brownie/data/network-config.yaml)
port=$(.venv-brownie/bin/python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
sed "s/port: 8545/port: $port/" "$networks" >"$home/.brownie/network-config.yaml"

export PYTHONWARNINGS=ignore::SyntaxWarning   # old escapes in a dependency of Brownie
export HOME=$home
export SOLCX_BINARY_PATH=$PWD/scripts/solc
export PYTEST_ADDOPTS="-c $PWD/tests/brownie.ini --rootdir $PWD ${PYTEST_ADDOPTS:-}"
"$@"
