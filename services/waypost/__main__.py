"""`python -m waypost` is the `waypost` command."""

import sys

from waypost.cli import main

sys.exit(main())
