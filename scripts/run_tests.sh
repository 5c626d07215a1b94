#!/usr/bin/env bash
# All tests, each part in its environment; ends with the summary line of each part and fails when one fails.
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
# Schemathesis tries one operation after the other as subtests, of which it runs only the first under xdist.
schema=tests/services/node/api/test_schema.py
# Long tests, which mostly wait for blocks, come first; two more workers than there are processors use their pauses.
run services .venv/bin/pytest --color=no -n 4 --dist loadfile --no-loadscope-reorder --ignore=$schema tests/e2e tests/fire tests/services
run schema .venv/bin/pytest --color=no $schema

echo
printf '%s\n' "${summaries[@]}"
exit $status
