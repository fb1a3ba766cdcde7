"""A camera's frames as a notebook shows them: JPEG in an `<img>` with alt text, boxes drawn on them where wanted.

    frames.frame(picture.image, "The road ahead, a car in the left lane.")
    frames.frame(picture.image, "What the detector found.", boxes=detector.detect(picture.image))
    frames.side_by_side(one, another)
    frames.strip({"by day": one.image, "at dusk": another.image}, "The same street")

Boxes are detections or ground truth; each class has a colour of its own, and its name beside the box. The alt text
says how many of each there are. A frame is shrunk before it is stored: a notebook is to stay small.
"""

from __future__ import annotations

import base64
import html
import io
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from iotedge_lab.camera.detector import Detection
from iotedge_lab.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from PIL.ImageDraw import ImageDraw

    from iotedge_lab.camera.boxes import Box
    from iotedge_lab.camera.scene import Truth

    Frame = NDArray[np.uint8]
    Boxed = Detection | Truth

WIDTH: Final = 480
"""Pixels that a frame is wide, unless told otherwise."""

SMALL: Final = 240
"""Pixels that each of several frames is wide."""

QUALITY: Final = 78
"""Of the JPEG: 480 x 270 pixels of road come to about 20 KB."""

# Colours of petroff6, which colour-blind readers can tell apart; the label stands beside each box in any case.
_COLOURS: Final = {
    "car": "#5790fc",
    "vehicle": "#f89c20",
    "person": "#e42536",
    "bicycle": "#d47fd4",
    "plate": "#ffffff",
    "stop sign": "#9c9ca1",
}
_DARK: Final = ("#e42536",)  # on which white is read more easily than black
_OTHER: Final = "#7ad67a"
_REGION: Final = "#ffe14d"
_FONT: Final = 12  # pixels
_PAD: Final = 2


@dataclass(frozen=True, slots=True)
class Still:
    """A frame and the sentence that stands for it; the value of a cell. `caption` is shown below it."""

    alt: str
    jpeg: bytes = field(repr=False)
    width: int
    height: int
    caption: str = ""

    def __post_init__(self) -> None:
        if not self.alt.strip():
            raise UsageError("a frame without alt text; say in a sentence what it shows")

    def __repr__(self) -> str:
        return f"<Still: {self.alt}>"

    def _repr_html_(self) -> str:
        data = base64.b64encode(self.jpeg).decode("ascii")
        image = (
            f'<img alt="{html.escape(self.alt)}" src="data:image/jpeg;base64,{data}" '
            f'width="{self.width}" height="{self.height}" style="max-width:100%;height:auto">'
        )
        if not self.caption:
            return image
        return (
            f'<figure style="margin:0">{image}'
            f'<figcaption style="font-size:90%">{html.escape(self.caption)}</figcaption></figure>'
        )


@dataclass(frozen=True, slots=True)
class Stills:
    """Frames beside each other; the value of a cell."""

    stills: tuple[Still, ...]
    columns: int

    def __repr__(self) -> str:
        return "\n".join(map(repr, self.stills))

    def _repr_html_(self) -> str:
        cells = "".join(f"<div>{still._repr_html_()}</div>" for still in self.stills)
        widest = max(still.width for still in self.stills)
        columns = f"repeat({self.columns},minmax(0,{widest}px))"
        return f'<div style="display:grid;grid-template-columns:{columns};gap:10px">{cells}</div>'


def frame(
    image: Frame,
    alt: str,
    *,
    boxes: Iterable[Boxed] = (),
    region: Box | None = None,
    caption: str = "",
    width: int = WIDTH,
) -> Still:
    """A frame (rows x columns x 3 bytes, BGR) with boxes on it, shrunk to `width`; a smaller one stays as it is.

    boxes: detections or ground truth, in the frame's pixels; region: a rectangle that matters, drawn in yellow.
    Raises `UsageError` for what is no frame.
    """
    from PIL import Image, ImageDraw

    if getattr(image, "ndim", 0) != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise UsageError(
            "a frame is rows x columns x 3 bytes (BGR); hand over a Picture's .image, or what read_picture gave"
        )
    drawn = Image.fromarray(image[:, :, ::-1].copy())
    scale = min(1.0, width / drawn.width)
    if scale < 1.0:
        drawn = drawn.resize((width, max(1, round(drawn.height * scale))), Image.Resampling.LANCZOS)
    pen = ImageDraw.Draw(drawn)
    shown = list(boxes)
    if region is not None:
        pen.rectangle(_scaled(region, scale), outline=_REGION, width=2)
    # The surest last, so that its label is on top.
    for each in sorted(shown, key=lambda one: one.score if isinstance(one, Detection) else 0.0):
        _draw(pen, each, scale, drawn.size)
    stored = io.BytesIO()
    drawn.save(stored, format="jpeg", quality=QUALITY, optimize=True)
    words = f"{alt.strip()} {_counted(shown)}".strip()
    return Still(words, stored.getvalue(), drawn.width, drawn.height, caption)


def side_by_side(*stills: Still, columns: int = 0) -> Stills:
    """Frames beside each other, in so many columns; 0: all in one row. Raises `UsageError` without one."""
    if not stills:
        raise UsageError("no frame to show; hand over what frames.frame(...) gave")
    return Stills(stills, columns or len(stills))


def strip(images: Mapping[str, Frame], words: str, *, columns: int = 0, width: int = SMALL) -> Stills:
    """Small frames beside each other, each above its caption; the alt text of each is `words` and the caption.

    Raises `UsageError` as `frame` does, and for no frame at all.
    """
    stills = (
        frame(image, f"{words} {caption}.", caption=caption, width=width) for caption, image in images.items()
    )
    return side_by_side(*stills, columns=columns)


def _counted(boxes: Sequence[Boxed]) -> str:
    if not boxes:
        return ""
    counts = Counter(each.label for each in boxes)
    return f"Boxes: {', '.join(f'{count} {label}' for label, count in sorted(counts.items()))}."


def _scaled(box: Box, scale: float) -> tuple[float, float, float, float]:
    return (
        box.left * scale,
        box.top * scale,
        max(box.right, box.left) * scale,
        max(box.bottom, box.top) * scale,
    )


def _draw(pen: ImageDraw, each: Boxed, scale: float, size: tuple[int, int]) -> None:
    """One box with its name: above it where there is room, else within."""
    from PIL import ImageFont

    left, top, right, bottom = _scaled(each.box, scale)
    colour = _COLOURS.get(each.label.casefold(), _OTHER)
    # A dark line around it: a white car is as visible as a black one.
    pen.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline="#000000", width=1)
    pen.rectangle((left, top, right, bottom), outline=colour, width=2)
    font: Any = ImageFont.load_default(size=_FONT)
    text = _words(each)
    x0, y0, x1, y1 = pen.textbbox((0, 0), text, font=font)
    wide, high = x1 - x0 + 2 * _PAD, y1 - y0 + 2 * _PAD
    x = min(max(left, 0.0), size[0] - wide)
    y = top - high if top >= high else max(top, 0.0)
    pen.rectangle((x, y, x + wide, y + high), fill=colour)
    pen.text(
        (x + _PAD - x0, y + _PAD - y0), text, fill="#ffffff" if colour in _DARK else "#000000", font=font
    )


def _words(each: Boxed) -> str:
    if isinstance(each, Detection):
        return f"{each.label} {each.score:.2f}"
    return f"{each.label} {each.text}" if each.text and each.label == "plate" else each.label
