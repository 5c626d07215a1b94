#!/usr/bin/env bash
# Measure gas again and compare with the committed snapshot, byte for byte; the file is left as it was found.
set -euo pipefail
cd "$(dirname "$0")/.."
snapshot=tests/benchmarks/gas.json
mkdir -p build
cp "$snapshot" build/gas.committed.json
trap 'cp build/gas.committed.json "$snapshot"' EXIT

make gas
if ! diff -u --label committed --label measured build/gas.committed.json "$snapshot"; then
  echo "The gas snapshot differs from what the contracts use: run make gas and commit $snapshot." >&2
  exit 1
fi
echo "$snapshot is up to date"
