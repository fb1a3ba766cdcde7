"""The registry: versions of models, with what they are worth and where they come from.

    registry = Registry.open(folder)                   # SQLite there, or the server that MLFLOW_TRACKING_URI names
    made = registry.register("car-speed", path)        # an ONNX file that train.export wrote
    registry.mark(made, CHALLENGER)
    registry.promote(made)                             # it is the champion now

A version is a run of MLflow with parameters and metrics, the ONNX file and an `MLmodel` with its signature as
artefacts, the Delta table as its input, and a model version that points there; its tags carry the file's SHA-256. So
MLflow's own page shows all of it. The file is logged as it is: MLflow's onnx flavour would bring a copy of its own.

Leaves out: stages (MLflow has given them up for aliases), access rights, deletion (MLflow's client has it).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from iotedge_lab.car.predictor import INPUT, OUTPUT, Predictor
from iotedge_lab.clock import Clock, SystemClock
from iotedge_lab.errors import UsageError
from iotedge_lab.registry import commit as git
from iotedge_lab.registry.tracking import RegistryProblem, connect, make, missing, module, shown, speaking
from iotedge_lab.registry.version import (
    CHALLENGER,
    CHAMPION,
    Field,
    Lineage,
    Signature,
    Version,
    check_name,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Registry", "signature_of"]

VARIABLE: Final = "MLFLOW_TRACKING_URI"
DATABASE: Final = "mlflow.db"
FILE: Final = "model/model.onnx"
_FOLDER: Final = "model"
_LONGEST: Final = 500  # characters of a parameter; MLflow has taken 6,000 since 2.10, older servers 500

# Tags of a version. Their names are ours, but for the commit's, which is MLflow's.
_SHA256, _SIZE = "sha256", "size"
_TABLE, _TABLE_VERSION, _DATA, _COMMIT = "table", "tableVersion", "dataSha256", "mlflow.source.git.commit"
_FATE, _REASON, _DECIDED = "fate", "reason", "decidedAt"


class Registry:
    """Versions of models at one MLflow. Made by `Registry.open`."""

    def __init__(self, client: Any, uri: str, artefacts: str | None, clock: Clock) -> None:
        self._client = client
        self._uri = uri
        self._artefacts = artefacts
        self._clock = clock

    @classmethod
    def open(
        cls, folder: str | os.PathLike[str], uri: str | None = None, *, clock: Clock | None = None
    ) -> Registry:
        """The registry of a folder; made if it is not there.

        uri: of an MLflow server or database instead, by default what MLFLOW_TRACKING_URI says; then the folder is not
        used. Raises `RegistryProblem` where it cannot be opened, `EnvironmentProblem` without MLflow.
        """
        chosen = uri or os.environ.get(VARIABLE) or None
        clock = clock or SystemClock()
        if chosen is not None:
            return cls(connect(chosen), chosen, None, clock)
        place = Path(folder).absolute()
        try:
            place.mkdir(parents=True, exist_ok=True)
            make(place / DATABASE)
        except OSError as error:
            raise UsageError(
                f"The registry cannot be made in {place}: {error.strerror}; choose another folder."
            ) from error
        database = f"sqlite:///{place / DATABASE}"
        return cls(connect(database), database, (place / "artifacts").as_uri(), clock)

    def __repr__(self) -> str:
        return f"Registry({shown(self._uri)})"

    @property
    def uri(self) -> str:
        """Where MLflow keeps it: `mlflow server --backend-store-uri ...` shows a database on a page."""
        return self._uri

    # -- in ------------------------------------------------------------------------------------------------

    def register(
        self,
        name: str,
        model: str | os.PathLike[str] | bytes,
        *,
        metrics: Mapping[str, float] | None = None,
        lineage: Lineage | None = None,
    ) -> Version:
        """Take in an ONNX file as the next version.

        Parameters and metrics come from the file's metadata (`train.export` writes them there); `metrics` adds
        further ones. lineage: table, its version, commit; what it leaves open is found out (the commit of this
        package's repository, the fingerprint of the data from the file).

        Raises `DataError` for a file that does not run on live rows, `UsageError` for a name that is none,
        `RegistryProblem` where MLflow fails; then there is no new version.
        """
        check_name(name)
        content = model if isinstance(model, bytes) else _read(Path(model))
        predictor = Predictor(content)
        told = predictor.metadata
        known = lineage or Lineage()
        known = Lineage(
            known.table,
            known.table_version,
            known.data_sha256 or str(told.get("data_sha256", "")),
            known.commit or git.current(),
        )
        tags = _tags(content, known)
        with speaking(f"register a version of {name}", self._uri):
            run = self._client.create_run(
                self._experiment(name), tags=tags, run_name=f"{name} {tags[_SHA256][:8]}"
            )
            run_id = str(run.info.run_id)
            try:
                numbers = _metrics(told) | dict(metrics or {})
                self._log(
                    run_id, _params(told), {_plain(name): each for name, each in numbers.items()}, known
                )
                self._log_files(run_id, content, signature_of(predictor))
            except BaseException:
                self._client.set_terminated(run_id, "FAILED")
                raise
            self._client.set_terminated(run_id)
            made = self._client.create_model_version(
                name, f"runs:/{run_id}/{_FOLDER}", run_id, tags=tags, await_creation_for=0
            )
        return self.get(name, str(made.version))

    def _experiment(self, name: str) -> str:
        """The experiment of a model, and the registered model itself; both made if they are not there."""
        try:
            self._client.get_registered_model(name)
        except Exception as error:
            if not missing(error):
                raise
            self._unless_there(lambda: self._client.create_registered_model(name))
        found = self._client.get_experiment_by_name(name)
        if found is None:
            place = f"{self._artefacts}/{name}" if self._artefacts else None
            self._unless_there(lambda: self._client.create_experiment(name, artifact_location=place))
            found = self._client.get_experiment_by_name(name)
        return str(found.experiment_id)

    @staticmethod
    def _unless_there(make: Any) -> None:
        """Make something that another process may make at the same moment."""
        try:
            make()
        except Exception as error:
            if getattr(error, "error_code", "") != "RESOURCE_ALREADY_EXISTS":
                raise

    def _log(
        self, run_id: str, params: Mapping[str, str], metrics: Mapping[str, float], lineage: Lineage
    ) -> None:
        entities = module("mlflow.entities")
        now = round(self._clock.now() * 1000)
        self._client.log_batch(
            run_id,
            metrics=[entities.Metric(name, float(value), now, 0) for name, value in metrics.items()],
            params=[entities.Param(name, value) for name, value in params.items()],
        )
        if lineage.table or lineage.data_sha256:
            source = {"path": lineage.table, "delta_table_version": lineage.table_version}
            table = entities.Dataset(
                name=Path(lineage.table).name or "rows",
                digest=lineage.data_sha256[:36] or str(lineage.table_version),  # MLflow takes 36 characters
                source_type="delta_table" if lineage.table else "code",
                source=json.dumps(source),
            )
            training = entities.InputTag("mlflow.data.context", "training")
            self._client.log_inputs(run_id, datasets=[entities.DatasetInput(table, [training])])

    def _log_files(self, run_id: str, content: bytes, signature: Signature) -> None:
        with tempfile.TemporaryDirectory(prefix="iotedge-lab-") as folder:
            (Path(folder) / "model.onnx").write_bytes(content)
            _mlmodel(signature, run_id).save(str(Path(folder) / "MLmodel"))
            for name in ("model.onnx", "MLmodel"):
                self._client.log_artifact(run_id, str(Path(folder) / name), _FOLDER)

    # -- out -----------------------------------------------------------------------------------------------

    def get(self, name: str, which: str | int) -> Version:
        """A version by its number, or by an alias. Raises `UsageError` where there is none."""
        found = self.find(name, which)
        if found is None:
            there = ", ".join(each.version for each in self.versions(name)) or "none"
            raise UsageError(
                f"There is no version {which!r} of {name!r} in {self!r}; there are {there}. Register one first."
            )
        return found

    def find(self, name: str, which: str | int) -> Version | None:
        """A version by its number, or by an alias; None where there is none."""
        check_name(name)
        word = str(which)
        with speaking(f"look up {name} {word}", self._uri):
            try:
                if word.isdecimal():
                    found = self._client.get_model_version(name, word)
                else:
                    found = self._client.get_model_version_by_alias(name, word)
            except Exception as error:
                if missing(error):
                    return None
                raise
            return self._version(found)

    def champion(self, name: str) -> Version | None:
        """The version that serves, if there is one."""
        return self.find(name, CHAMPION)

    def challenger(self, name: str) -> Version | None:
        """The version that is to replace it, if there is one."""
        return self.find(name, CHALLENGER)

    def versions(self, name: str) -> list[Version]:
        """All versions of a model, the oldest first; none for a name that is not there."""
        check_name(name)
        with speaking(f"list the versions of {name}", self._uri):
            numbers: list[int] = []
            token: str | None = None
            while True:
                page = self._client.search_model_versions(
                    f"name = '{name}'", max_results=200, page_token=token
                )
                numbers += [int(each.version) for each in page]
                token = page.token
                if not token:
                    break
            # One by one: a search does not tell the aliases on every server.
            return [
                self._version(self._client.get_model_version(name, str(each))) for each in sorted(numbers)
            ]

    def content(self, version: Version) -> bytes:
        """The ONNX file. Raises `RegistryProblem` where it is not what was registered."""
        content = self._file(version, FILE)
        if len(content) != version.size or hashlib.sha256(content).hexdigest() != version.sha256:
            raise RegistryProblem(
                f"The file of {version!r} is damaged: {len(content):,} bytes that are not the {version.size:,} which "
                "were registered. Register the model again."
            )
        return content

    def signature(self, version: Version) -> Signature:
        """What the version takes and gives, from its `MLmodel`; units from the model itself are not in there."""
        models = module("mlflow.models")
        with tempfile.TemporaryDirectory(prefix="iotedge-lab-") as folder:
            place = Path(folder) / "MLmodel"
            place.write_bytes(self._file(version, f"{_FOLDER}/MLmodel"))
            told = models.Model.load(str(place))
        units = told.metadata["units"]
        return Signature(
            tuple(Field(each.name, units[each.name]) for each in told.signature.inputs),
            tuple(Field(each.name, units[each.name]) for each in told.signature.outputs),
        )

    def _file(self, version: Version, path: str) -> bytes:
        with (
            speaking(f"give {path} of {version!r}", self._uri),
            tempfile.TemporaryDirectory(prefix="iotedge-lab-") as folder,
        ):
            return Path(self._client.download_artifacts(version.run_id, path, folder)).read_bytes()

    def _version(self, found: Any) -> Version:
        run = self._client.get_run(found.run_id)
        tags = found.tags
        if _SHA256 not in tags:
            raise RegistryProblem(
                f"Version {found.version} of {found.name!r} was not registered by this lab: it has no SHA-256. "
                "Use another name for the lab's models."
            )
        return Version(
            name=found.name,
            version=str(found.version),
            sha256=tags[_SHA256],
            size=int(tags[_SIZE]),
            created=datetime.fromtimestamp(found.creation_timestamp / 1000, UTC),
            run_id=found.run_id,
            aliases=tuple(sorted(found.aliases)),
            metrics=dict(run.data.metrics),
            params=dict(run.data.params),
            lineage=Lineage(
                tags.get(_TABLE, ""),
                int(tags[_TABLE_VERSION]) if _TABLE_VERSION in tags else None,
                tags.get(_DATA, ""),
                tags.get(_COMMIT, ""),
            ),
            fate=tags.get(_FATE, ""),
            reason=tags.get(_REASON, ""),
        )

    # -- fate ----------------------------------------------------------------------------------------------

    def mark(self, version: Version, alias: str) -> Version:
        """Give it an alias; the version that had it has it no more."""
        with speaking(f"mark {version!r} as {alias}", self._uri):
            self._client.set_registered_model_alias(version.name, alias, version.version)
        return self.get(version.name, version.version)

    def promote(self, version: Version, reason: str = "") -> Version:
        """Make it the champion, and the challenger no more; the champion before it keeps its number and its fate."""
        self._decide(version, "promoted", reason)
        return self.mark(version, CHAMPION)

    def reject(self, version: Version, reason: str) -> Version:
        """It is the challenger no more, and why; the champion stays."""
        self._decide(version, "rejected", reason)
        return self.get(version.name, version.version)

    def _decide(self, version: Version, fate: str, reason: str) -> None:
        when = datetime.fromtimestamp(self._clock.now(), UTC).isoformat(timespec="seconds")
        with speaking(f"write the fate of {version!r}", self._uri):
            for tag, value in ((_FATE, fate), (_REASON, reason[:4000]), (_DECIDED, when)):
                self._client.set_model_version_tag(version.name, version.version, tag, value)
            if CHALLENGER in self.get(version.name, version.version).aliases:
                self._client.delete_registered_model_alias(version.name, CHALLENGER)


def signature_of(predictor: Predictor) -> Signature:
    """What a model takes, by its recipe, and gives."""
    recipe = predictor.recipe
    inputs = tuple(Field(name, unit) for name, unit in zip(recipe.names, recipe.units, strict=True))
    return Signature(inputs, (Field(OUTPUT, str(predictor.metadata.get("target_unit", "mph"))),))


def _mlmodel(signature: Signature, run_id: str) -> Any:
    """MLflow's description of a model without a flavour: its signature, and the units as further data."""
    models, types = module("mlflow.models"), module("mlflow.types")
    schemas = [
        types.Schema([types.ColSpec("float", each.name) for each in fields])
        for fields in (signature.inputs, signature.outputs)
    ]
    units = {each.name: each.unit for each in (*signature.inputs, *signature.outputs)}
    return models.Model(
        artifact_path=_FOLDER,
        run_id=run_id,
        signature=models.ModelSignature(*schemas),
        metadata={"units": units, "tensor": {"name": INPUT, "shape": [-1, len(signature.inputs)]}},
    )


def _tags(content: bytes, lineage: Lineage) -> dict[str, str]:
    tags = {_SHA256: hashlib.sha256(content).hexdigest(), _SIZE: str(len(content))}
    if lineage.table:
        tags[_TABLE] = lineage.table
    if lineage.table_version is not None:
        tags[_TABLE_VERSION] = str(lineage.table_version)
    tags |= {_DATA: lineage.data_sha256, _COMMIT: lineage.commit}
    return {name: value for name, value in tags.items() if value}


def _params(told: Mapping[str, Any]) -> dict[str, str]:
    params = {f"config.{name}": value for name, value in (told.get("config") or {}).items()}
    for name in ("estimator", "seed", "data_rows", "target"):
        if name in told:
            params[name] = told[name]
    groups = told.get("data_groups") or []
    params["data_groups"] = f"{len(groups)}: {', '.join(map(str, groups))}"
    params["recipe"] = json.dumps(told["recipe"])
    params |= {f"version.{name}": value for name, value in (told.get("versions") or {}).items() if value}
    return {name: str(value)[:_LONGEST] for name, value in params.items()}


def _metrics(told: Mapping[str, Any]) -> dict[str, float]:
    metrics: dict[str, float] = {}
    if told.get("search_rmse") is not None:
        metrics["search_rmse"] = float(told["search_rmse"])
    for name, scores in (told.get("metrics") or {}).items():
        metrics |= {f"{name}/{key}": float(value) for key, value in scores.items() if value is not None}
    return metrics


def _plain(name: str) -> str:
    """The name with what MLflow takes in one."""
    return re.sub(r"[^\w\-. /:]", "_", name)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"The model {path} cannot be read: {error.strerror}; check the path.") from error
