#!/bin/sh
# Print a Python that the locked packages have wheels for (3.11 to 3.13), or say what is missing.
# PYTHON=... names one instead; a newer one is used as a last resort, since it may have to compile packages.
version() { "$1" -c 'import sys; print(sys.version_info[0] * 100 + sys.version_info[1])' 2>/dev/null || echo 0; }

if [ -n "$PYTHON" ]; then
  [ "$(version "$PYTHON")" -ge 311 ] && { command -v "$PYTHON"; exit; }
  echo "PYTHON=$PYTHON is not a Python 3.11 or newer." >&2
  exit 1
fi
for python in python3 python3.13 python3.12 python3.11; do
  found=$(version $python)
  [ "$found" -ge 311 ] && [ "$found" -le 313 ] && { command -v $python; exit; }
done
if [ "$(version python3)" -ge 314 ]; then
  echo "python3 is newer than 3.13: some packages have no wheel for it and need a C compiler (or set PYTHON=python3.13)." >&2
  command -v python3
  exit
fi
echo "Waypost needs Python 3.11 or newer: install one, or name it with PYTHON=/path/to/python3." >&2
exit 1
