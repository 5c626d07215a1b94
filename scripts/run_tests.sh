#!/usr/bin/env bash
# Both halves of the tests, each in its environment; ends with the summary line of each and fails when either fails.
set -uo pipefail
cd "$(dirname "$0")/.."
mkdir -p build

status=0
summaries=()
run() {
  local name=$1 log="build/test-$1.log"
  shift
  echo "=== $name: $*"
  "$@" 2>&1 | tee "$log" || status=1
  summaries+=("$name: $(grep -E '^=+ .* in [0-9.]+s' "$log" | tail -n 1)")
}

run contracts scripts/brownie.sh pytest $(ls -d tests/contracts tests/invariants 2>/dev/null)
run services .venv/bin/pytest --color=no -n 2 --dist loadfile $(ls -d tests/e2e tests/fire 2>/dev/null) tests/services

echo
printf '%s\n' "${summaries[@]}"
exit $status
