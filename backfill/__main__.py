"""`python -m backfill` and the `backfill` command."""

from __future__ import annotations

import sys

from backfill import cli


def main() -> None:
    """Run the command line and exit with its code."""
    sys.exit(cli.main())


if __name__ == "__main__":
    main()
