"""The command line: a thin layer over the library; here errors become exit codes."""

from dashpot.cli.app import main

__all__ = ["main"]
