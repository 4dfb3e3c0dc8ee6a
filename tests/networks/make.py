#!/usr/bin/env python3
"""Writes the tests' networks: tiny ONNX files whose right answer is known, and faulty ones that must be refused.

    python tests/networks/make.py [FOLDER]        (default: this folder; the files are committed)

The key point networks look for a dot, one per colour channel.  What they compute, per crop and channel k:

    v    brightness, 0 black .. 1 white                        Conv 1x1, undoes mean and std (and mixes the channels)
    peak = max v                                               the score
    r    = max(0, v - peak / 16)                               what is black beside the brightest spot does not count
    m_x  = mean of r over the rows,  m_y = mean over the columns
    b[j] = sum_i m[i] * max(0, (2R)^2 - (2i - j)^2)            Conv with 2 outputs: whole and half pixels
    simcc = peak * b / max b

A sum of parabolas has its top exactly at the centroid of what lies within R pixels of it: the answer is the centre of
the dot to the nearest half pixel (R = 22: dots of up to 40 pixels; 8 in dots-small), with no plateau to tie on.  The
kernel's weights are whole numbers under 2048, exact also in TF32 and in half precision.

Needs onnx and numpy.  The same bytes every time.  Opset 17, IR version 8: ONNX Runtime 1.21 and later.
"""
import pathlib
import sys

import numpy as np
import onnx
from onnx import TensorProto as T
from onnx import helper as H
from onnx import numpy_helper as NH

MEAN = np.array([123.675, 116.28, 103.53])
STD = np.array([58.395, 57.12, 57.375])
PLAIN = np.eye(3)                                  # key point k: channel k
COLOURS = 1.5 * np.eye(3) - 0.5                    # key point k: channel k less the mean of the other two
# Numbers of key points and sizes (height, width) of the published networks, beside 17 at 256x192, which is `dots-17`.
PUBLISHED = [(17, (384, 288)), (17, (256, 256)), (26, (256, 192)), (26, (384, 288)), (133, (256, 192)), (133, (384, 288)),
             (21, (256, 256)), (106, (256, 256))]
DARK = 1 / 16                                      # of the peak: what is dimmer does not count


def kernel(radius):
    """[2, 1, 2R+1]: a parabola about a pixel, and one about the point half a pixel after it."""
    o = np.arange(-radius, radius + 1)
    return np.stack([np.maximum(0, 4 * radius**2 - (2 * o - h) ** 2) for h in (0, 1)])[:, None].astype(np.float32)


class Net:
    """A graph under construction: nodes, initializers and unique names."""

    def __init__(self):
        self.nodes, self.inits = [], []

    def const(self, name, array, dtype=np.float32):
        if name not in {i.name for i in self.inits}:
            self.inits.append(NH.from_array(np.ascontiguousarray(array, dtype), name))
        return name

    def node(self, op, inputs, output, **attributes):
        self.nodes.append(H.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def brightness(self, x, mix=PLAIN, first="conv", mean=MEAN, std=STD):
        """Normalised picture -> v.  `first`: one 1x1 convolution, as real networks begin, or Mul and Add."""
        if first == "conv":
            return self.node("Conv", [x, self.const("w", (mix * std / 255)[:, :, None, None]), self.const("b", mix @ (mean / 255))], "v")
        assert (mix == PLAIN).all()
        s = self.node("Mul", [x, self.const("w", (std / 255).reshape(1, 3, 1, 1))], "scaled")
        return self.node("Add", [s, self.const("b", (mean / 255).reshape(1, 3, 1, 1))], "v")

    def dots(self, v, radius=22, nan=False):
        """v -> names of simcc_x and simcc_y, [N,3,bins]."""
        top = self.node("ReduceMax", [v], "top", axes=[2, 3], keepdims=1)
        dark = self.node("Mul", [top, self.const("dark", DARK)], "threshold")
        r = self.node("Relu", [self.node("Sub", [v, dark], "above")], "r")
        flat = self.node("Reshape", [top, self.const("n31", [0, 3, 1], np.int64)], "top_n31")
        if nan:  # the root of something negative where the channel is black
            peak = self.node("Sqrt", [self.node("Sub", [flat, self.const("little", 0.01)], "less")], "peak")
        else:
            peak = self.node("Relu", [flat], "peak")
        self.const("parabola", np.tile(kernel(radius), (3, 1, 1)))
        out = []
        for a, axis in (("x", 2), ("y", 3)):
            m = self.node("ReduceMean", [r], f"m_{a}", axes=[axis], keepdims=0)
            c = self.node("Conv", [m, "parabola"], f"conv_{a}", group=3, pads=[radius, radius])
            c = self.node("Reshape", [c, self.const("n32w", [0, 3, 2, -1], np.int64)], f"phases_{a}")
            c = self.node("Transpose", [c], f"mixed_{a}", perm=[0, 1, 3, 2])
            c = self.node("Reshape", [c, self.const("n3w", [0, 3, -1], np.int64)], f"b_{a}")
            d = self.node("ReduceMax", [c], f"max_{a}", axes=[2], keepdims=1)
            d = self.node("Max", [d, self.const("floor", 1e-6)], f"floor_{a}")
            c = self.node("Div", [c, d], f"shape_{a}")
            out.append(self.node("Mul", [c, peak], f"dots_{a}"))
        return out

    def model(self, doc, inputs, outputs):
        """Serialised; inputs and outputs as (name, type, shape)."""
        g = H.make_graph(self.nodes, "dots", [H.make_tensor_value_info(*i) for i in inputs],
                         [H.make_tensor_value_info(*o) for o in outputs], self.inits, doc_string=doc)
        m = H.make_model(g, opset_imports=[H.make_opsetid("", 17)], ir_version=8, producer_name="rtmposebatch tests")
        onnx.checker.check_model(m, full_check=True)
        return m.SerializeToString(deterministic=True)


def dots(doc, k=3, mix=PLAIN, size=(256, 192), radius=22, batch="batch", first="conv", names=("input", "simcc_x", "simcc_y"),
         elem=T.FLOAT, channels=3, keep=(None, None), scale=(1, 1), points=None, hidden=False, nan=False, fails=False):
    """The usual contract, with every way to bend it that a file below needs."""
    n = Net()
    x = names[0]
    if elem == T.UINT8:
        x = n.node("Cast", [x], "float", to=T.FLOAT)
        v = n.brightness(x, mix, mean=0 * MEAN, std=1 + 0 * STD)
    elif elem != T.FLOAT:
        v = n.brightness(n.node("Cast", [x], "float", to=T.FLOAT), mix)
    elif channels == 1:
        v = n.node("Conv", [x, n.const("w", np.full((3, 1, 1, 1), STD.mean() / 255)), n.const("b", np.full(3, MEAN.mean() / 255))], "v")
    else:
        v = n.brightness(x, mix, first)
    if fails:
        # white anywhere in any crop: index 1 of a table with one entry, which ONNX Runtime refuses while it runs
        top = n.node("ReduceMax", [v], "whitest", keepdims=0)
        i = n.node("Cast", [n.node("Greater", [top, n.const("limit", 0.9)], "white")], "index", to=T.INT64)
        v = n.node("Add", [v, n.node("Gather", [n.const("table", [0.0]), i], "fails_if_white", axis=0)], "v_checked")
    out = list(n.dots(v, radius, nan))
    points = points or (k, k)
    h, w = size
    declared = []
    for i, bins in enumerate((w, h)):
        o = out[i]
        if scale[i] != 1:
            o = n.node("Mul", [o, n.const(f"scale_{i}", scale[i])], f"scaled_{i}")
        if points[i] != 3:
            o = n.node("Gather", [o, n.const(f"points_{i}", np.arange(points[i]) % 3, np.int64)], f"points_of_{i}", axis=1)
        if keep[i]:
            o = n.node("Slice", [o, n.const("zero", [0], np.int64), n.const("end", [keep[i]], np.int64), n.const("axis", [2], np.int64)], f"kept_{i}")
        if hidden:
            # a shape that depends on the picture, to a reader at least: ONNX Runtime sees through anything simpler
            if i == 0:
                n.node("Cast", [n.node("Mul", [n.node("ReduceMax", [v], "any", keepdims=0), n.const("nought", 0)], "none")], "none_int", to=T.INT64)
            o = n.node("Reshape", [o, n.node("Add", [n.const(f"shape_{i}", [-1, points[i], keep[i] or 2 * bins], np.int64), "none_int"], f"shaped_{i}")], f"hidden_{i}")
        n.node("Identity", [o], names[1 + i])
        length = None if isinstance(bins, str) else keep[i] or 2 * bins
        shape = [batch, f"points_{'xy'[i]}", f"bins_{'xy'[i]}"] if hidden else [batch, points[i], length or f"bins_{'xy'[i]}"]
        declared.append((names[1 + i], T.FLOAT, shape))
    return n.model(doc, [(names[0], elem, [batch, channels, h, w])], declared)


def heatmaps(doc):
    """Another kind of pose network (associative embedding): a map for each key point, and one that tells whose it is."""
    n = Net()
    v = n.brightness("input")
    p = n.node("AveragePool", [v], "pooled", kernel_shape=[4, 4], strides=[4, 4])
    n.node("Gather", [p, n.const("points", np.arange(17) % 3, np.int64)], "heatmaps", axis=1)
    n.node("Identity", ["heatmaps"], "tags")
    return n.model(doc, [("input", T.FLOAT, ["batch", 3, 256, 192])], [(name, T.FLOAT, ["batch", 17, 64, 48]) for name in ("heatmaps", "tags")])


def vitpose(doc):
    """ViTPose's contract, by the names of its usual export: a map for each key point, of what is bright in its channel,
    smoothed by a Gaussian of 2 pixels of the map, so that the top of a dot lies between pixels."""
    n = Net()
    p = n.node("AveragePool", [n.brightness("input_0")], "pooled", kernel_shape=[4, 4], strides=[4, 4])
    o = np.arange(-6, 7)
    gaussian = np.exp(-(o[:, None] ** 2 + o[None] ** 2) / 8)
    smooth = n.node("Conv", [p, n.const("gaussian", np.tile(gaussian / gaussian.sum(), (3, 1, 1, 1)))], "smooth", group=3, pads=[6] * 4)
    n.node("Gather", [smooth, n.const("points", np.arange(17) % 3, np.int64)], "output_0", axis=1)
    return n.model(doc, [("input_0", T.FLOAT, ["batch", 3, 256, 192])], [("output_0", T.FLOAT, ["batch", 17, 64, 48])])


def packed(doc, columns):
    """The form a graph is brought to when it is loaded: bytes in, key points out (4 columns, or 3 with the smaller
    maximum as the score).  x and y are scaled as in scores.onnx, so that the two maxima differ."""
    n = Net()
    x = n.node("Transpose", ["image"], "nchw", perm=[0, 3, 1, 2])
    x = n.node("Cast", [x], "float", to=T.FLOAT)
    x = n.node("Sub", [x, n.const("mean", MEAN.reshape(1, 3, 1, 1))], "centred")
    out = n.dots(n.brightness(x, std=1 + 0 * STD))
    index, best = [], []
    for a, o, s in zip("xy", out, (1.6, 1.2)):
        o = n.node("Mul", [o, n.const(f"scale_{a}", s)], f"scaled_{a}")
        n.nodes.append(H.make_node("TopK", [o, n.const("one", [1], np.int64)], [f"best_{a}", f"at_{a}"], name=f"topk_{a}", axis=2))
        f = n.node("Cast", [f"at_{a}"], f"bin_{a}", to=T.FLOAT)
        index.append(n.node("Mul", [f, n.const("half", 0.5)], f"pixel_{a}"))
        best.append(f"best_{a}")
    if columns == 3:
        best = [n.node("Min", best, "score")]
    n.node("Concat", index + best, "keypoints", axis=2)
    return n.model(doc, [("image", T.UINT8, ["batch", 256, 192, 3])], [("keypoints", T.FLOAT, ["batch", 3, columns])])


def published_name(k, size):
    return f"dots-{k}-{size[0]}x{size[1]}"


def networks():
    """File name -> bytes."""
    full = {
        # right: must be taken
        "dots": dots("key point k is where channel k is brightest"),
        "colours": dots("key point k is where channel k is brightest beside the mean of the other two", mix=COLOURS),
        "dots-17": dots("dots with 17 key points: k looks at channel k % 3", k=17),
        **{published_name(k, size): dots(f"dots with {k} key points for a {size[0]}x{size[1]} crop", k=k, size=size) for k, size in PUBLISHED},
        "dots-small": dots("dots for a 64x48 crop", size=(64, 48), radius=8),
        "dots-no-conv": dots("dots that does not begin with a convolution", first="mul"),
        "dots-symbolic": dots("dots whose file does not say how many points and bins come out", hidden=True),
        "scores": dots("dots with simcc_x times 1.6 and simcc_y times 1.2: scores over 1 that differ", scale=(1.6, 1.2)),
        "packed": packed("scores in the form with bytes in and x, y, max_x, max_y out", 4),
        "packed-3": packed("scores in the form with bytes in and x, y, min(max_x, max_y) out", 3),
        "vitpose": vitpose("ViTPose: 17 heat maps, k of channel k % 3"),
        # right, but what comes out is bad
        "nan": dots("dots that answers NaN for a black channel", nan=True),
        "fails": dots("dots whose run fails on the CPU when a crop holds white (over 0.9)", fails=True),
        # faulty: must be refused at load
        "batch-1": dots("batch dimension fixed at 1", batch=1),
        "heatmaps": heatmaps("two outputs, 17 heat maps and as many tags"),
        "float16": dots("input is float16", elem=T.FLOAT16),
        "uint8-nchw": dots("input is uint8 [N,3,H,W], 0 to 255", elem=T.UINT8),
        "one-channel": dots("input has one channel", channels=1),
        "other-names": dots("input and outputs have other names", names=("images", "x", "y")),
        "short-simcc": dots("simcc_x has 100 bins, and the file says so", keep=(100, None)),
        "short-simcc-hidden": dots("simcc_x has 100 bins, and the file does not say so", keep=(100, None), hidden=True),
        "different-k": dots("17 key points in simcc_x, 16 in simcc_y, and the file says so", points=(17, 16)),
        "different-k-hidden": dots("17 key points in simcc_x, 16 in simcc_y, and the file does not say so", points=(17, 16), hidden=True),
        "no-size": dots("height and width are symbolic", size=("height", "width")),
        "zero-size": dots("height and width are 0", size=(0, 0)),
    }
    return {f"{k}.onnx": v for k, v in full.items()}


def main():
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parent
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in networks().items():
        (folder / name).write_bytes(data)


if __name__ == "__main__":
    main()
