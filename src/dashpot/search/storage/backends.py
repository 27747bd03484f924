"""Storage backends of a study, and their errors."""

from __future__ import annotations

import errno
import importlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dashpot.core.errors import ConfigError, StorageError

KINDS = "a journal file, or a URL such as postgresql://user@host/name, mysql://..., sqlite:///file, grpc://host:port"
DRIVERS = {"postgresql": "psycopg", "postgres": "psycopg", "mysql": "pymysql"}


def samplers(name: str, seed: int, grid: Mapping[str, Sequence[Any]] | None = None) -> Any:
    """An Optuna sampler by name.

    Raises:
        ConfigError: an unknown one.
    """
    import optuna

    if name == "tpe":
        # Several are asked for before the first has answered: the constant liar keeps them apart.
        return optuna.samplers.TPESampler(
            seed=seed, multivariate=True, group=True, constant_liar=True, n_startup_trials=16
        )
    if name == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    if name == "quasi-random":
        return optuna.samplers.QMCSampler(seed=seed, scramble=True)
    if name == "gp":
        return optuna.samplers.GPSampler(seed=seed)
    if name == "grid":
        return optuna.samplers.GridSampler(dict(grid or {}), seed=seed)
    raise ConfigError("sampler", "one of tpe, random, quasi-random, gp, grid", name)


def shares_its_seed(sampler: str) -> bool:
    """Whether workers of one study walk through one sequence, for which all need one seed; others must differ."""
    return sampler in ("quasi-random", "grid")


def resolved(url: str) -> str:
    """A storage with its file, if it is one, by its full path, so that it is found from any folder.

    Example:
        >>> resolved("postgresql://me@there/study")
        'postgresql://me@there/study'
    """
    if "://" not in url:
        return str(Path(url).resolve())
    if url.startswith("sqlite:///") and not url.startswith("sqlite:////"):
        return f"sqlite:///{Path(url.removeprefix('sqlite:///')).resolve()}"
    return url


def open_storage(url: str) -> Any:
    """Optuna's storage for a journal's path or a URL.

    Raises:
        ConfigError: no such kind.
        StorageError: a package is missing.
    """
    import optuna

    if "://" not in url:
        from optuna.storages import JournalStorage

        from dashpot.search.storage.journal import Journal

        return JournalStorage(Journal(Path(url)))
    scheme, rest = url.split("://", 1)
    try:
        if scheme == "grpc":
            importlib.import_module("grpc")
            host, _, port = rest.partition(":")
            if not host or (port and not port.isdigit()):
                raise ConfigError("--storage", "grpc://host:port", url)
            return optuna.storages.GrpcStorageProxy(host=host, port=int(port or 13000))
        driver = f"{'mysql' if scheme == 'mysql' else 'postgresql'}+{DRIVERS[scheme]}" if scheme in DRIVERS else scheme
        return optuna.storages.RDBStorage(f"{driver}://{rest}", engine_kwargs=_engine(scheme))
    except ImportError as error:
        package = "grpcio" if scheme == "grpc" else DRIVERS.get(scheme, _named(error))
        way = f"pip install {package}" if package == "pymysql" else "pip install 'dashpot[scale]'"
        raise StorageError(
            f"--storage {shown(url)} needs the package {package}, which is not installed. Install it: {way}"
        ) from error
    except Exception as error:  # every driver has errors of its own; all but a wrong address are raised again
        if type(error).__name__ in ("NoSuchModuleError", "ArgumentError") or isinstance(error, ValueError):
            raise ConfigError("--storage", KINDS, shown(url)) from error
        raise


def _engine(scheme: str) -> dict[str, Any]:
    """Connections are tested before use, since a server may have been restarted, and none waits for minutes."""
    connect: dict[str, Any] = {}
    if scheme.split("+")[0] in ("postgresql", "postgres"):
        connect = {"connect_timeout": 10}
    elif scheme == "sqlite":
        connect = {"timeout": 30}
    return {"pool_pre_ping": True, "connect_args": connect}


def _named(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return str(getattr(error, "name", None) or error)


def passing(error: BaseException) -> bool:
    """Whether an error of the storage may be temporary: a lost connection, a restarting server, a locked file."""
    if any(isinstance(part, ConnectionError | TimeoutError) for part in _chain(error)):
        return True
    for part in _chain(error):
        room, name = type(part).__module__.split(".")[0], type(part).__name__
        if room == "sqlalchemy":
            return name in (
                "OperationalError",
                "InterfaceError",
                "DisconnectionError",
                "TimeoutError",
                "IntegrityError",
                "PendingRollbackError",
            ) or bool(getattr(part, "connection_invalidated", False))
        if room == "grpc":
            return getattr(part, "code", lambda: None)() is None or part.code().name in (
                "UNAVAILABLE",
                "DEADLINE_EXCEEDED",
                "CANCELLED",
                "ABORTED",
                "INTERNAL",
                "UNKNOWN",  # the proxy's server has lost its own database for a moment
                "RESOURCE_EXHAUSTED",
            )
    return type(error).__name__ == "StorageInternalError"


RESTARTING = (
    "closed the connection",
    "starting up",
    "shutting down",
    "recovery",
    "terminating connection",
    "gone away",
    # Workers that make the tables at the same time get in each other's way.
    "duplicate key value",
    "already exists",
)


def restarting(error: BaseException) -> bool:
    """Whether a server is there, and ends, begins or makes its tables: it will answer soon, where a wrong address never
    does.
    """
    return any(words in str(part) for part in _chain(error) for words in RESTARTING)


def meaning(error: BaseException, url: str, name: str) -> StorageError | None:
    """A permanent error of the storage, in one sentence; None if it is no error of a storage."""
    if isinstance(error, StorageError):
        return error
    if isinstance(error, KeyError) and error.args in ((), ("Record does not exist.",)):
        return StorageError(f"the study {name!r} is no longer in {shown(url)}; it was deleted. Start again.")
    if isinstance(error, OSError):
        why = "the disk is full" if error.errno == errno.ENOSPC else first_line(error)
        return StorageError(f"the storage {shown(url)} could not be read or written: {why}.")
    if isinstance(error, json.JSONDecodeError) or error.args == ("Invalid log format.",):
        return StorageError(
            f"the journal {url} is damaged: {first_line(error)}. Restore it, or start again with another one."
        )
    if any(type(part).__module__.split(".")[0] in ("sqlalchemy", "psycopg", "grpc") for part in _chain(error)):
        return StorageError(f"the storage {shown(url)} refused: {first_line(error)}.")
    return None


def first_line(error: BaseException) -> str:
    """The first line of the innermost error: the database's own words."""
    innermost = list(_chain(error))[-1]
    details = getattr(innermost, "details", None)
    text = str(details() if callable(details) else innermost).strip() or type(innermost).__name__
    return text.splitlines()[0][:200].rstrip(".")


def shown(url: str) -> str:
    """A storage without its password.

    Example:
        >>> shown("postgresql://me:secret@there/study")
        'postgresql://me@there/study'
    """
    if "@" not in url or "://" not in url:
        return url
    scheme, rest = url.split("://", 1)
    user, host = rest.rsplit("@", 1)
    return f"{scheme}://{user.split(':')[0]}@{host}"


def _chain(error: BaseException | None) -> Any:
    while error is not None:
        yield error
        error = error.__cause__
