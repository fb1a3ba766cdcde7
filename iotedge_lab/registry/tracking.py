"""MLflow's client, loaded where it is first needed, kept silent and off the network.

MLflow 3.17 reports its use to its makers, unless a variable forbids it before it is loaded (by FLAML, perhaps:
`train.libraries`); it prints a line with pictures at the end of a run on a server, a bar at each download, and what it
does to a new database; and it uses an option that SQLAlchemy 2.1 deprecates. Here it does none of that.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import threading
import warnings
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from iotedge_lab.errors import EnvironmentProblem, LabError
from iotedge_lab.train.libraries import quieten_mlflow

if TYPE_CHECKING:
    from collections.abc import Iterator

_SERVER_SETTINGS: Final = {
    # A server that does not answer is told of in seconds; MLflow's own seven tries take minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}
_loading = threading.Lock()


class RegistryProblem(LabError):
    """MLflow refused something, or its server does not answer; the message carries its words."""


def module(name: str) -> Any:
    """MLflow's module `name`. Raises `EnvironmentProblem` that says which packages bring it."""
    with _loading:
        quieten_mlflow()
        for variable, value in _SERVER_SETTINGS.items():
            os.environ.setdefault(variable, value)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return import_module(name)
        except ImportError as error:
            raise EnvironmentProblem(
                f"The registry needs MLflow, and {name} cannot be imported ({error}): pip install mlflow-skinny "
                "sqlalchemy alembic sqlparse; the extra 'registry' has all of it."
            ) from error


def connect(uri: str) -> Any:
    """An MlflowClient for tracking and registry at `uri` (sqlite:///..., http://...).

    Makes a database that is not there. Raises `RegistryProblem` where it cannot be opened.
    """
    client = module("mlflow.tracking").MlflowClient
    with _loading, warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # the deprecated option is used as the store's tables are first loaded
        try:
            return client(tracking_uri=uri, registry_uri=uri)
        except Exception as error:
            # SQLAlchemy's, alembic's and MLflow's errors share no class.
            raise RegistryProblem(
                f"The registry at {shown(uri)} cannot be opened: {_first_line(error)}. Is it a database of MLflow "
                f"3.17, or of an older one? A damaged file may be moved away; a new one is made."
            ) from error


def make(database: Path) -> None:
    """Make a new SQLite database of MLflow's; nothing where there is one. Raises `RegistryProblem`, `OSError`.

    MLflow comes to its tables by some seventy changes, and SQLite waits for the disk after each: seconds on a busy one.
    So it is made beside without waiting, brought to the disk once, and named when it is whole: nobody opens half of it.
    """
    if database.exists():
        return
    with tempfile.TemporaryDirectory(
        dir=database.parent, prefix=".new-", ignore_cleanup_errors=True
    ) as folder:
        beside, whole = Path(folder) / "beside.db", Path(folder) / "whole.db"
        with _hurrying():
            connect(f"sqlite:///{beside}")
        shutil.copyfile(beside, whole)
        with whole.open("rb+") as file:
            os.fsync(file.fileno())
        try:
            os.link(whole, database)  # unlike a rename it takes no other process's place
        except FileExistsError:
            return
        except OSError:  # a file system without links
            whole.replace(database)


@contextmanager
def _hurrying() -> Iterator[None]:
    """SQLAlchemy's connections to SQLite do not wait for the disk while this lasts, and are closed at its end."""
    event, engine = module("sqlalchemy.event"), module("sqlalchemy.engine").Engine
    used: set[Any] = set()
    mine = threading.get_ident()

    def connected(connection: Any, _record: Any) -> None:
        if threading.get_ident() == mine:
            connection.execute("PRAGMA synchronous = OFF").close()

    def engaged(connection: Any) -> None:
        if threading.get_ident() == mine:
            used.add(connection.engine)

    event.listen(engine, "connect", connected)
    event.listen(engine, "engine_connect", engaged)
    try:
        yield
    finally:
        event.remove(engine, "connect", connected)
        event.remove(engine, "engine_connect", engaged)
        for each in used:
            each.dispose()


@contextmanager
def speaking(doing: str, uri: str) -> Iterator[None]:
    """Turn MLflow's errors into ours; `doing` completes "The registry cannot ..."."""
    failures = (module("mlflow.exceptions").MlflowException, OSError)
    try:
        yield
    except LabError:
        raise
    except failures as error:
        remedy = "Is the server up?" if uri.startswith("http") else "Is the disk full, or the file locked?"
        raise RegistryProblem(
            f"The registry at {shown(uri)} cannot {doing}: {_first_line(error)} {remedy}"
        ) from (None if "@" in uri else error)  # MLflow's own words have the password in them


def missing(error: BaseException) -> bool:
    """Whether MLflow says that there is no such thing."""
    return getattr(error, "error_code", "") in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


def shown(uri: str) -> str:
    """The address without a user's name and password in it."""
    scheme, mark, rest = uri.partition("://")
    return scheme + mark + rest.rpartition("@")[2] if mark else uri


def _first_line(error: BaseException) -> str:
    lines = re.sub(r"//[^/@\s]+@", "//", str(error)).strip().splitlines()
    return f"{lines[0][:300] if lines else type(error).__name__}."
