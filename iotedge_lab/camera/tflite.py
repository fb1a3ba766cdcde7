"""Reading a TensorFlow Lite file: its tensors and operators, straight from the flatbuffer.

Stands for the reading half of a converter; the tables and field numbers are those of TensorFlow Lite's
schema.fbs (version 3). Understood is what the detector has: one graph, no control flow, no quantised weights.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from iotedge_lab.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

MAGIC: Final = b"TFL3"
_TYPES: Final[Mapping[int, np.dtype[Any]]] = {
    number: np.dtype(form) for number, form in enumerate(("<f4", "<f2", "<i4", "u1"))
}


@dataclass(frozen=True, slots=True)
class Tensor:
    """A value of the graph; `data` is there for constants."""

    name: str
    shape: tuple[int, ...]
    data: NDArray[np.generic] | None


@dataclass(frozen=True, slots=True)
class Operator:
    """One step: `code` is a BuiltinOperator, `options` that operator's own table, if it has one."""

    code: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Table | None


@dataclass(frozen=True, slots=True)
class Graph:
    """What the file holds, in the order in which it is computed."""

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A flatbuffer table: fields by number, each absent one with its default."""

    data: bytes
    at: int

    def _field(self, number: int) -> int:
        """Where the field lies, or 0."""
        table = self.at - _int(self.data, self.at, "<i")
        slot = 4 + 2 * number
        if slot >= _int(self.data, table, "<H"):
            return 0
        offset = _int(self.data, table + slot, "<H")
        return self.at + offset if offset else 0

    def number(self, number: int, form: str = "<i", default: int = 0) -> int:
        """A scalar field in a form of `struct`."""
        at = self._field(number)
        return _int(self.data, at, form) if at else default

    def table(self, number: int) -> Table | None:
        """A field that is a table of its own."""
        at = self._field(number)
        return Table(self.data, at + _int(self.data, at, "<I")) if at else None

    def _vector(self, number: int) -> tuple[int, int]:
        """Where the vector's first element lies, and how many there are."""
        at = self._field(number)
        if not at:
            return 0, 0
        at += _int(self.data, at, "<I")
        return at + 4, _int(self.data, at, "<I")

    def content(self, number: int) -> bytes:
        """A vector of bytes, or a string."""
        at, count = self._vector(number)
        if at + count > len(self.data):
            raise struct.error("a vector reaches beyond the end")
        return self.data[at : at + count]

    def numbers(self, number: int) -> tuple[int, ...]:
        """A vector of 32-bit whole numbers."""
        at, count = self._vector(number)
        return struct.unpack_from(f"<{count}i", self.data, at)

    def tables(self, number: int) -> list[Table]:
        """A vector of tables."""
        at, count = self._vector(number)
        places = range(at, at + 4 * count, 4)
        return [Table(self.data, place + _int(self.data, place, "<I")) for place in places]


def _int(data: bytes, at: int, form: str) -> int:
    return int(struct.unpack_from(form, data, at)[0])


def read_graph(data: bytes) -> Graph:
    """The graph in a .tflite file's bytes. Raises DataError where they are none."""
    if data[4:8] != MAGIC:
        raise DataError("This is no TensorFlow Lite file (TFL3 does not stand in its fifth byte).")
    try:
        return _graph(Table(data, _int(data, 0, "<I")))
    except (struct.error, IndexError, KeyError, ValueError) as error:
        raise DataError(f"The TensorFlow Lite file is damaged ({error}); fetch it again.") from error


def _graph(model: Table) -> Graph:
    buffers = model.tables(4)
    codes = [max(each.number(0, "<b"), each.number(3)) for each in model.tables(1)]
    graph = model.tables(2)[0]
    tensors = []
    for each in graph.tables(0):
        shape = each.numbers(0)
        content = buffers[each.number(2, "<I")].content(0)
        kind = _TYPES[each.number(1, "<b")]
        data = np.frombuffer(content, kind).reshape(shape) if content else None
        tensors.append(Tensor(each.content(3).decode(), shape, data))
    operators = [
        Operator(codes[each.number(0, "<I")], each.numbers(1), each.numbers(2), each.table(4))
        for each in graph.tables(3)
    ]
    return Graph(tuple(tensors), tuple(operators), graph.numbers(1), graph.numbers(2))
