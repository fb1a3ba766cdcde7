"""Number plates, read by rapidocr (the extra `plates`; its models come with the package, so no network is used).

Of a vehicle's picture the text is taken that looks like a plate: letters and digits, five to eight of both. The road's
plates are three letters and three digits. Whether one can be read is a matter of its size: benchmarks/ has the share by
width. At 640 x 360 a plate is 35 pixels wide at most, and none is read; at 1920 x 1080 those of cars nearby are.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any, Final

from iotedge_lab.camera.libraries import library

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Frame = NDArray[np.uint8]

VEHICLES: Final = ("Car", "Vehicle")
SIDE: Final = (
    480  # pixels to which the longer side of a vehicle is brought: more costs more and reads no more
)
LEAST_WIDTH: Final = 120  # pixels of a vehicle: a plate is a quarter of it, and smaller ones are never read
LEAST_SCORE: Final = 0.9  # below it, one letter is often another
_PLATE: Final = re.compile(r"(?=.*[A-Z])(?=.*[0-9])[A-Z0-9]{5,8}")


class PlateReader:
    """The reader, loaded: some 180 MB. Raises EnvironmentProblem where rapidocr or onnxruntime is missing."""

    def __init__(self) -> None:
        ocr = library("rapidocr")
        library("onnxruntime")
        self._resize = library("cv2")
        engine = "EngineConfig.onnxruntime"
        level = logging.getLogger("RapidOCR").level
        self._read = ocr.RapidOCR(
            params={
                "Global.log_level": "error",
                "Global.text_score": LEAST_SCORE,
                f"{engine}.intra_op_num_threads": 1,
                f"{engine}.inter_op_num_threads": 1,
                "Det.limit_type": "max",
                "Det.limit_side_len": SIDE,
            }
        )
        logging.getLogger("RapidOCR").setLevel(max(level, logging.ERROR))

    def read(self, vehicle: Frame) -> str:
        """What the plate in a vehicle's picture says, such as ABC123; "" where none can be read."""
        if vehicle.size == 0 or vehicle.shape[1] < LEAST_WIDTH:
            return ""
        cv2 = self._resize
        zoom = SIDE / max(vehicle.shape[:2])
        vehicle = cv2.resize(
            vehicle, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC if zoom > 1.0 else cv2.INTER_AREA
        )
        found: Any = self._read(vehicle, use_cls=False)
        texts = zip(found.txts or (), found.scores or (), strict=False)
        plates = [(score, plate) for text, score in texts if (plate := plate_of(text))]
        return max(plates)[1] if plates else ""


def plate_of(text: str) -> str:
    """The text as a plate, without spaces and dashes; "" where it is none."""
    plain = re.sub(r"[\s.·-]", "", text.upper())
    return plain if _PLATE.fullmatch(plain) else ""
