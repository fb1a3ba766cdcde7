"""Makes model.onnx, the model that the module comes with: `python iotedge_lab/modules/ModuleFilterCar/make_model.py`.

It is the series' own: throttle, rpm and acceleration, normalised, and a straight line through them, learned from the
drives in data/. Its intervals and its figures are of whole drives that were held out. Not part of the module: what
runs at the edge needs onnxruntime alone.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

from iotedge_lab.car.features import PLAIN, TARGET
from iotedge_lab.train import dataset, evaluate
from iotedge_lab.train.export import to_onnx
from iotedge_lab.train.libraries import library

FILE: Final = Path(__file__).with_name("model.onnx")


def made() -> bytes:
    """The file."""
    data = dataset.shipped(PLAIN)
    fitted: Any = evaluate.linear(data)
    held = evaluate.compare(data, {"linear": evaluate.linear}, ["drive"])
    intervals = evaluate.Intervals.of(held.actual("drive"), held.predicted["drive", "linear"])
    metadata = {
        "features": list(data.names),
        "units": list(data.units),
        "target": TARGET,
        "target_unit": "mph",
        "data_sha256": data.sha256,
        "data_rows": len(data),
        "data_groups": list(data.group_names),
        "estimator": "linear",
        "config": {},
        "metrics": {"whole drives held out": held.score("drive", "linear").to_dict()},
        "recipe": data.recipe.to_dict(),
        "intervals": intervals.to_dict(),
    }
    proto = to_onnx(fitted.pipeline, len(data.names))
    texts = {name: json.dumps(value, separators=(",", ":")) for name, value in metadata.items()}
    library("onnx.helper").set_model_props(proto, texts)
    content: bytes = proto.SerializeToString(deterministic=True)
    return content


if __name__ == "__main__":
    FILE.write_bytes(made())
    sys.stdout.write(f"{FILE}: {FILE.stat().st_size} bytes\n")
