"""A figure as the HTML image that JupyterLab shows and a screen reader can read.

JupyterLab and nbconvert drop the alt text of a bare PNG output (`metadata={"image/png": {"alt": ...}}` is
stored and never rendered), an `<img alt=...>` in HTML keeps it. Hence this small object in place of a figure.
"""

from __future__ import annotations

import base64
import html
import io
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from iotedge_lab.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from matplotlib.figure import Figure

DPI = 100
"""Dots per inch: 7.2 inches make 720 pixels, which a half-wide JupyterLab shows unscaled."""


COLOURS = 128


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture and the sentence that stands for it.

    `alt` says what a reader who cannot see the picture has to know, the finding included; `png` its bytes.
    Displayed as the last value of a cell; its text form is the alt text.
    """

    alt: str
    png: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if not self.alt.strip():
            raise UsageError("a picture without alt text; say in a sentence what it shows")

    def __repr__(self) -> str:
        return f"<Picture: {self.alt}>"

    def _repr_html_(self) -> str:
        data = base64.b64encode(self.png).decode("ascii")
        return (
            f'<img alt="{html.escape(self.alt)}" src="data:image/png;base64,{data}" style="max-width:100%">'
        )

    def save(self, path: Path) -> None:
        """Write the PNG to a file."""
        path.write_bytes(self.png)


@contextmanager
def figure(width: float = 7.2, height: float = 3.0) -> Iterator[Figure]:
    """A figure in the house's style: petroff6 (safe for colour-blind readers), grid, no frame on two sides.

    Width and height in inches. No pyplot: no global figure list grows, no backend is chosen for the user.
    """
    import matplotlib as mpl
    from matplotlib import style
    from matplotlib.figure import Figure

    with (
        style.context("petroff6"),
        mpl.rc_context(
            {
                "axes.grid": True,
                "axes.spines.right": False,
                "axes.spines.top": False,
                "figure.constrained_layout.use": True,
                "font.size": 9.5,
                "grid.alpha": 0.3,
                "legend.frameon": False,
            }
        ),
    ):
        yield Figure(figsize=(width, height), dpi=DPI)


def picture(drawn: Figure, alt: str) -> Picture:
    """The figure as a `Picture`. Its bytes depend on the figure alone: no date, no version is written.

    A palette of 128 colours halves the bytes, and a notebook with four pictures stays under 300 KB.
    """
    from PIL import Image

    full, small = io.BytesIO(), io.BytesIO()
    drawn.savefig(full, format="png", metadata={"Software": None})
    with Image.open(full) as image:
        reduced = image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    reduced.save(small, format="png", optimize=True)
    return Picture(alt=alt, png=small.getvalue())
