"""Writing an ONNX file without the onnx package: the few protobuf messages that a small graph is made of.

Message and field numbers are those of onnx.proto3 (IR version 8, opset 13). The same graph always gives the
same bytes, so that a file can be checked by its sha256; the libraries' own writers do not promise that.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

IR_VERSION: Final = 8
OPSET: Final = 13
_ELEMENTS: Final = {"float32": 1, "uint8": 2, "int64": 7}


@dataclass(slots=True)
class OnnxGraph:
    """A graph that grows: constants, nodes, then what goes in and out."""

    name: str
    _nodes: list[bytes] = field(default_factory=list)
    _constants: list[bytes] = field(default_factory=list)
    _inputs: list[bytes] = field(default_factory=list)
    _outputs: list[bytes] = field(default_factory=list)

    def constant(self, name: str, values: NDArray[Any]) -> str:
        """A tensor of fixed values; its name comes back."""
        whole = np.ascontiguousarray(values)
        dims = b"".join(_varint_field(1, size) for size in whole.shape)
        kind = _varint_field(2, _ELEMENTS[whole.dtype.name])
        raw = whole.astype(whole.dtype.newbyteorder("<"), copy=False).tobytes()
        self._constants.append(dims + kind + _bytes_field(8, name.encode()) + _bytes_field(9, raw))
        return name

    def node(self, kind: str, inputs: Sequence[str], output: str, **attributes: int | Sequence[int]) -> str:
        """One operation; its output's name comes back."""
        parts = [_bytes_field(1, each.encode()) for each in inputs]
        parts += [_bytes_field(2, output.encode()), _bytes_field(4, kind.encode())]
        parts += [_bytes_field(5, _attribute(name, value)) for name, value in attributes.items()]
        self._nodes.append(b"".join(parts))
        return output

    def takes(self, name: str, element: str, shape: Sequence[int]) -> str:
        """An input; its name comes back."""
        self._inputs.append(_value_info(name, element, shape))
        return name

    def gives(self, name: str, element: str, shape: Sequence[int]) -> None:
        """An output, which a node has made."""
        self._outputs.append(_value_info(name, element, shape))

    def to_bytes(self) -> bytes:
        """The whole file."""
        graph = b"".join(
            [
                *(_bytes_field(1, each) for each in self._nodes),
                _bytes_field(2, self.name.encode()),
                *(_bytes_field(5, each) for each in self._constants),
                *(_bytes_field(11, each) for each in self._inputs),
                *(_bytes_field(12, each) for each in self._outputs),
            ]
        )
        opset = _bytes_field(1, b"") + _varint_field(2, OPSET)
        head = _varint_field(1, IR_VERSION) + _bytes_field(2, b"iotedge-lab")
        return head + _bytes_field(7, graph) + _bytes_field(8, opset)


def _attribute(name: str, value: int | Sequence[int]) -> bytes:
    if isinstance(value, int):
        return _bytes_field(1, name.encode()) + _varint_field(3, value) + _varint_field(20, 2)
    numbers = b"".join(_varint_field(8, each) for each in value)
    return _bytes_field(1, name.encode()) + numbers + _varint_field(20, 7)


def _value_info(name: str, element: str, shape: Sequence[int]) -> bytes:
    dims = b"".join(_bytes_field(1, _varint_field(1, size)) for size in shape)
    tensor = _varint_field(1, _ELEMENTS[element]) + _bytes_field(2, dims)
    return _bytes_field(1, name.encode()) + _bytes_field(2, _bytes_field(1, tensor))


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1  # a negative number is its two's complement of 64 bits
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _varint_field(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _bytes_field(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(value)) + value
