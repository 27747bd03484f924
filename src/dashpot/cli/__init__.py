"""The command line: thin over the library, and the one place where errors become exit codes."""

from dashpot.cli.app import main

__all__ = ["main"]
