"""The command line: a thin layer over the library; here errors become exit codes."""

from __future__ import annotations

import os
import sys
import time

__all__ = ["main"]

COMPLETES = "_DASHPOT_COMPLETE"
"""What a shell sets that asks for completions."""


def main() -> None:
    """Run the command line. Exit codes: 0 done, 2 an error, with one message that says what was wrong, 130
    interrupted, also while torch is still being loaded.
    """
    started = time.monotonic()
    try:
        from dashpot.core.threads import share_heap, wait_passively

        wait_passively()
        share_heap()
        if COMPLETES in os.environ:
            os.environ.setdefault("TYPER_USE_RICH", "0")  # which takes longer to load than the rest
        from dashpot.cli import app

        app.main(started)
    except KeyboardInterrupt:
        print("interrupted.", file=sys.stderr)
        sys.exit(130)
