"""The detector from TensorFlow Lite to ONNX: six kinds of operators, channels last to channels first.

Stands for tflite2onnx, which is no longer kept up and whose files differ from run to run: here the same bytes in
give the same bytes out. Convolutions run channels first, as onnxruntime wants them; what is flattened into boxes
and scores is turned back before. Scaling to -1..1 and the scores' logistic are part of the graph: it takes an RGB
picture of bytes and gives box encodings and scores. Leaves out every operator that this one model does not have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from iotedge_lab.camera.onnx_file import OnnxGraph
from iotedge_lab.camera.tflite import read_graph
from iotedge_lab.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from iotedge_lab.camera.tflite import Graph, Operator, Table

# BuiltinOperator of schema.fbs.
ADD: Final = 0
CONCATENATION: Final = 2
CONV_2D: Final = 3
DEPTHWISE_CONV_2D: Final = 4
DEQUANTIZE: Final = 6
RESHAPE: Final = 22
# Padding and ActivationFunctionType.
_SAME: Final = 0
_NONE, _RELU6 = 0, 3

TO_FIRST: Final = (0, 3, 1, 2)
TO_LAST: Final = (0, 2, 3, 1)
IMAGE: Final = "image"
BOXES: Final = "box_encodings"
SCORES: Final = "scores"


def convert(tflite: bytes) -> bytes:
    """The ONNX file's bytes. Raises DataError for a model that this does not understand."""
    return _Conversion(read_graph(tflite)).run()


class _Conversion:
    def __init__(self, source: Graph) -> None:
        self._source = source
        self._target = OnnxGraph("ssd_mobilenetv2_oidv4")
        self._constants = {
            number: tensor.data for number, tensor in enumerate(source.tensors) if tensor.data is not None
        }
        self._first: set[int] = set()
        """the tensors that lie channels first in the target"""

    def run(self) -> bytes:
        if len(self._source.inputs) != 1 or len(self._source.outputs) != 2:
            raise DataError("This model is not the detector: it has other inputs and outputs.")
        self._enter(self._source.inputs[0])
        for each in self._source.operators:
            self._step(each)
        boxes, scores = self._source.outputs
        target = self._target
        target.node("Identity", [self._last(boxes)], BOXES)
        target.node("Sigmoid", [self._last(scores)], SCORES)
        target.gives(BOXES, "float32", self._source.tensors[boxes].shape)
        target.gives(SCORES, "float32", self._source.tensors[scores].shape)
        return target.to_bytes()

    def _enter(self, number: int) -> None:
        """Bytes 0 to 255, channels last, become numbers from -1 to 1, channels first."""
        target = self._target
        image = target.takes(IMAGE, "uint8", self._source.tensors[number].shape)
        numbers = target.node("Cast", [image], "image_numbers", to=1)
        scale = target.constant("image_scale", np.array(1.0 / 127.5, np.float32))
        one = target.constant("image_one", np.array(1.0, np.float32))
        scaled = target.node("Mul", [numbers, scale], "image_scaled")
        centred = target.node("Sub", [scaled, one], "image_centred")
        target.node("Transpose", [centred], _name(number), perm=TO_FIRST)
        self._first.add(number)

    def _step(self, step: Operator) -> None:
        output = step.outputs[0]
        if step.code == DEQUANTIZE:
            self._constants[output] = self._constant(step.inputs[0]).astype(np.float32)
        elif step.code in (CONV_2D, DEPTHWISE_CONV_2D):
            self._convolve(step)
        elif step.code == ADD:
            left, right = step.inputs
            if not {left, right} <= self._first or _options(step).number(0, "<b") != _NONE:
                raise DataError("This model is not the detector: it adds in another way.")
            self._target.node("Add", [_name(left), _name(right)], _name(output))
            self._first.add(output)
        elif step.code == RESHAPE:
            shape = np.array(self._source.tensors[output].shape, np.int64)
            inputs = [self._last(step.inputs[0]), self._target.constant(f"shape_{output}", shape)]
            self._target.node("Reshape", inputs, _name(output))
        elif step.code == CONCATENATION:
            names = [self._last(each) for each in step.inputs]
            self._target.node("Concat", names, _name(output), axis=_options(step).number(0))
        else:
            raise DataError(f"This model is not the detector: it has an operator {step.code}.")

    def _convolve(self, step: Operator) -> None:
        options = _options(step)
        deep = step.code == DEPTHWISE_CONV_2D
        picture, weights, bias = step.inputs
        output = step.outputs[0]
        activation = options.number(4 if deep else 3, "<b")
        if (
            picture not in self._first
            or options.number(0, "<b") != _SAME
            or activation not in (_NONE, _RELU6)
            or any(options.number(each, default=1) != 1 for each in ((5, 6) if deep else (4, 5)))
            or (deep and options.number(3) != 1)
        ):
            raise DataError("This model is not the detector: it has another kind of convolution.")
        kernel = self._constant(weights)
        # Kernels lie (out, height, width, in), and (1, height, width, out) where each channel has its own.
        kernel = np.transpose(kernel, (3, 0, 1, 2) if deep else (0, 3, 1, 2))
        sizes = self._source.tensors[picture].shape[1:3]
        strides = (options.number(2), options.number(1))
        before, after = zip(
            *(
                _same(size, int(window), stride)
                for size, window, stride in zip(sizes, kernel.shape[2:], strides, strict=True)
            ),
            strict=True,
        )
        target = self._target
        inputs = [
            _name(picture),
            target.constant(_name(weights), kernel),
            target.constant(_name(bias), self._constant(bias)),
        ]
        clipped = activation == _RELU6
        made = target.node(
            "Conv",
            inputs,
            f"{_name(output)}_raw" if clipped else _name(output),
            kernel_shape=kernel.shape[2:],
            strides=strides,
            pads=(*before, *after),
            group=kernel.shape[0] if deep else 1,
        )
        if clipped:
            low = target.constant(f"low_{output}", np.array(0.0, np.float32))
            high = target.constant(f"high_{output}", np.array(6.0, np.float32))
            target.node("Clip", [made, low, high], _name(output))
        self._first.add(output)

    def _constant(self, number: int) -> NDArray[np.generic]:
        if number not in self._constants:
            raise DataError("This model is not the detector: weights of it are computed.")
        return self._constants[number]

    def _last(self, number: int) -> str:
        """The tensor's name, turned to channels last where it lies channels first."""
        if number not in self._first:
            return _name(number)
        return self._target.node("Transpose", [_name(number)], f"{_name(number)}_last", perm=TO_LAST)


def _name(number: int) -> str:
    return f"t{number}"


def _options(step: Operator) -> Table:
    if step.options is None:
        raise DataError("The TensorFlow Lite file is damaged (an operator has no options); fetch it again.")
    return step.options


def _same(size: int, window: int, stride: int) -> tuple[int, int]:
    """TensorFlow's padding SAME: as many outputs as strides fit, the odd pixel at the end."""
    total = max((-(-size // stride) - 1) * stride + window - size, 0)
    return total // 2, total - total // 2
