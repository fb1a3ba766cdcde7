"""How fast ModuleFilterCar is: rows predicted, and rows predicted and sent, beside the vendor's client alone.

The module's own code on rows of 10 Hz, with a model as a search finds it (gradient boosting on 24 features). It sends
through the lab's edge runtime, one message after another, each acknowledged after it is stored; the same client then
sends the same bytes in a plain loop, by turns, block by block.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from itertools import islice
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.edge import Bench
from benchmarks.setting import Row, Setting, work
from iotedge_lab.car import drives
from iotedge_lab.train import dataset
from iotedge_lab.train.export import to_onnx
from iotedge_lab.train.libraries import library

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NAME = "car_filter"
TITLE = "ModuleFilterCar: a model on live rows, and sending"
LEAST_ROWS = 5_000.0
LEAST_SHARE = 0.9
BLOCK = 500
_ROUTES = {"up": "FROM /messages/modules/Sender/outputs/output-filter-car INTO $upstream"}


def model(path: Path) -> int:
    """A model of a usual kind and size; its bytes."""
    data = dataset.shipped()
    settings = {
        "n_estimators": 120,
        "num_leaves": 31,
        "learning_rate": 0.1,
        "seed": 1,
        "verbose": -1,
        "n_jobs": 2,
    }
    fitted = library("lightgbm").LGBMRegressor(**settings).fit(data.features, data.target)
    proto = to_onnx(fitted, len(data.names))
    library("onnx.helper").set_model_props(proto, {"recipe": json.dumps(data.recipe.to_dict())})
    return path.write_bytes(proto.SerializeToString())


def run(setting: Setting, say: Callable[[str], None]) -> list[Row]:
    """One process with the module, at one edge device."""
    path = setting.folder / "filter.onnx"
    size = model(path)
    blocks, pure = setting.count(16, 3), setting.count(20_000, 500)
    block = setting.count(BLOCK, 50)
    wanted = max(pure + 50, (blocks + 1) * block, 600)
    rows = islice((row for each in drives.catalogue() for row in drives.rows(each.path)), wanted)
    with ExitStack() as stack:
        bench = Bench(stack, setting, "filter-hub", _ROUTES)
        told = work(
            "car_filter_module",
            {
                "connection_string": bench.connection_string("Sender"),
                "ca": bench.hub.to()["ca"],
                "model": str(path),
                "folder": str(setting.folder),
                "rows": [row.to_csv_line() for row in rows],
                "block": block,
                "blocks": blocks,
                "pure": pure,
            },
        )
    rate, filtered, sent = told["pure"], told["filtered"], told["sent"]
    share = median(one / other for one, other in zip(filtered, sent, strict=True))
    say(f"{rate:,.0f} rows/s; sending {median(filtered):,.0f}/s, the SDK alone {median(sent):,.0f}/s")
    return [
        Row(
            "Message to row, features, prediction, message",
            rate,
            "rows/s",
            target=f">= {LEAST_ROWS:,.0f} rows/s",
            met=rate >= LEAST_ROWS,
            note=f"the module's own path, all but the sending; {size / 1024:.0f} KiB of gradient boosting, 24 features",
        ),
        Row(
            "Rows predicted and sent: share of the SDK's own rate",
            share,
            "times",
            target=f">= {LEAST_SHARE:g} times",
            met=share >= LEAST_SHARE,
            note=f"the same client and bytes without the module; {blocks} blocks of {block}, by turns",
        ),
        Row("- predicted and sent, through the edge", median(filtered), "rows/s"),
        Row("- the SDK alone, through the edge", median(sent), "messages/s"),
        Row("A swap, for a car with a minute of rows", told["swap"], "ms", note="no row is served meanwhile"),
    ]
