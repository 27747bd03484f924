"""The command line: a thin layer over the library; here errors become exit codes."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line. Exit codes: 0 done, 2 an error, with one message that says what was wrong, 130
    interrupted, also while torch is still being loaded.
    """
    try:
        from dashpot.core.threads import wait_passively

        wait_passively()
        from dashpot.cli import app

        app.main()
    except KeyboardInterrupt:
        print("interrupted.", file=sys.stderr)
        sys.exit(130)
