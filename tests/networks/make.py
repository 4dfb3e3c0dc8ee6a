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
# Numbers of key points and sizes (height, width) of the published networks, besides 17 at 256x192, which is
# `dots-17`.
PUBLISHED = [(17, (384, 288)), (17, (256, 256)), (26, (256, 192)), (26, (384, 288)), (133, (256, 192)), (133, (384, 288)),
             (21, (256, 256)), (106, (256, 256))]
DARK = 1 / 16                                      # of the peak: what is dimmer does not count


def kernel(radius):
    """[2, 1, 2R+1]: a parabola around a pixel, and one around the point half a pixel after it."""
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

    def scalar(self, name, value, dtype=np.int64):
        if name not in {i.name for i in self.inits}:
            self.inits.append(NH.from_array(np.array(value, dtype), name))
        return name

    def node(self, op, inputs, output, **attributes):
        self.nodes.append(H.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def brightness(self, x, mix=PLAIN, first="conv", mean=MEAN, std=STD):
        """Normalised picture -> v. `first`: a 1x1 convolution, because real networks begin with one, or Mul and Add."""
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
         elem=T.FLOAT, channels=3, keep=(None, None), scale=(1, 1), points=None, hidden=False, nan=False, fails=False, depth=False):
    """The usual contract, with all deviations that the files below need."""
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
        # white anywhere in any crop: index 1 of a table with one entry, which ONNX Runtime refuses at run time
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
            # a shape that seems to depend on the picture: ONNX Runtime would find out anything simpler
            if i == 0:
                n.node("Cast", [n.node("Mul", [n.node("ReduceMax", [v], "any", keepdims=0), n.const("nought", 0)], "none")], "none_int", to=T.INT64)
            o = n.node("Reshape", [o, n.node("Add", [n.const(f"shape_{i}", [-1, points[i], keep[i] or 2 * bins], np.int64), "none_int"], f"shaped_{i}")], f"hidden_{i}")
        n.node("Identity", [o], names[1 + i])
        length = None if isinstance(bins, str) else keep[i] or 2 * bins
        shape = [batch, f"points_{'xy'[i]}", f"bins_{'xy'[i]}"] if hidden else [batch, points[i], length or f"bins_{'xy'[i]}"]
        declared.append((names[1 + i], T.FLOAT, shape))
    if depth:
        # a ramp up to the bin of the brightness, and down again
        bins = 2 * w
        place = n.node("Mul", ["peak", n.const("last_bin", bins - 1)], "place")
        numbers = n.node("Range", [n.scalar("first_bin", 0, np.float32), n.scalar("end_bin", bins, np.float32), n.scalar("by_one", 1, np.float32)], "numbers")
        away = n.node("Abs", [n.node("Sub", [place, n.node("Reshape", [numbers, n.const("11n", [1, 1, -1], np.int64)], "bins")], "from_place")], "away")
        ramp = n.node("Sub", [n.const("whole", 1), n.node("Mul", [away, n.const("per_bin", 1 / bins)], "share_away")], "ramp")
        n.node("Gather", [ramp, "points_0"], "simcc_z", axis=1)
        declared.append(("simcc_z", T.FLOAT, [batch, points[0], bins]))
    return n.model(doc, [(names[0], elem, [batch, channels, h, w])], declared)


def heatmaps(doc):
    """Another kind of pose network (associative embedding): a map for each key point, and a map of the person that it belongs
    to."""
    n = Net()
    v = n.brightness("input")
    p = n.node("AveragePool", [v], "pooled", kernel_shape=[4, 4], strides=[4, 4])
    n.node("Gather", [p, n.const("points", np.arange(17) % 3, np.int64)], "heatmaps", axis=1)
    n.node("Identity", ["heatmaps"], "tags")
    return n.model(doc, [("input", T.FLOAT, ["batch", 3, 256, 192])], [(name, T.FLOAT, ["batch", 17, 64, 48]) for name in ("heatmaps", "tags")])


def vitpose(doc):
    """ViTPose's contract, with the names of its usual export. The map of a key point is its channel's brightness, smoothed by a
    Gaussian of 2 pixels of the map, so that a dot's maximum lies between pixels."""
    n = Net()
    p = n.node("AveragePool", [n.brightness("input_0")], "pooled", kernel_shape=[4, 4], strides=[4, 4])
    o = np.arange(-6, 7)
    gaussian = np.exp(-(o[:, None] ** 2 + o[None] ** 2) / 8)
    smooth = n.node("Conv", [p, n.const("gaussian", np.tile(gaussian / gaussian.sum(), (3, 1, 1, 1)))], "smooth", group=3, pads=[6] * 4)
    n.node("Gather", [smooth, n.const("points", np.arange(17) % 3, np.int64)], "output_0", axis=1)
    return n.model(doc, [("input_0", T.FLOAT, ["batch", 3, 256, 192])], [("output_0", T.FLOAT, ["batch", 17, 64, 48])])


def packed(doc, columns):
    """The adapted form of a graph: bytes in, key points out (4 columns, or 3 with the smaller maximum as the score). x and y
    are scaled as in scores.onnx, so that the two maxima differ."""
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


BOX_SIZE = (64, 96)                                # height and width of the input of networks that find rectangles
CLASSES = [0, 0, 1]                                # what a red, a green and a blue rectangle is


def rectangles(n, x, bgr=True, focus=True, mean=None, std=None, size=BOX_SIZE):
    """Picture -> corners [N,3,4] and score [N,3,1] of the red, the green and the blue rectangle, in pixels of the input.

    The brightness of a channel less the mean of the other two is 1 on a rectangle and 0 on grey. Over all rows its largest
    value, divided by the largest of all, is how much of each column is covered: the sum is the rectangle's width, to a fraction
    of a pixel, and the mean of the columns' middles its centre.  The score is that brightness.
    """
    mix = COLOURS[:, ::-1] if bgr else COLOURS
    scale = 1
    if focus:
        parts = []
        for i, (row, column) in enumerate([(0, 0), (1, 0), (0, 1), (1, 1)]):  # as YOLOX begins
            axes = [n.const(f"focus_{k}", v, np.int64) for k, v in ((f"from_{i}", [row, column]), ("to", [2**31 - 1] * 2), ("axes", [2, 3]), ("steps", [2, 2]))]
            parts.append(n.node("Slice", [x, *axes], f"focus_{i}"))
        c = n.node("Concat", parts, "focus", axis=1)
        v = n.node("Conv", [c, n.const("w", np.tile(mix / 255 / 4, (1, 4))[:, :, None, None])], "v")
        scale = 2
    else:
        mean, std = (np.zeros(3), np.ones(3)) if mean is None else (mean, std)
        v = n.node("Conv", [x, n.const("w", (mix * std / 255)[:, :, None, None]), n.const("b", mix @ (mean / 255))], "v")
    v = n.node("Relu", [v], "r")
    top = n.node("ReduceMax", [v], "top", axes=[2, 3], keepdims=1)
    share = n.node("Div", [v, n.node("Max", [top, n.const("little", 1e-3)], "floor")], "share")
    low, high = [], []
    for axis, side in ((3, size[1]), (2, size[0])):
        p = n.node("ReduceMax", [share], f"profile_{axis}", axes=[5 - axis], keepdims=1)
        length = n.node("ReduceSum", [p, n.const(f"axis_{axis}", [axis], np.int64)], f"length_{axis}", keepdims=1)
        middles = n.node("Range", [n.scalar("from_half", 0.5, np.float32), n.scalar(f"side_{axis}", side // scale, np.float32), n.scalar("by_one", 1, np.float32)], f"numbers_{axis}")
        middles = n.node("Reshape", [middles, n.const(f"along_{axis}", (1, 1, -1, 1) if axis == 2 else (1, 1, 1, -1), np.int64)], f"middles_{axis}")
        moment = n.node("ReduceSum", [n.node("Mul", [p, middles], f"weighted_{axis}"), f"axis_{axis}"], f"moment_{axis}", keepdims=1)
        centre = n.node("Div", [moment, n.node("Max", [length, "little"], f"some_{axis}")], f"centre_{axis}")
        half = n.node("Mul", [length, n.const("half", 0.5)], f"half_{axis}")
        for op, ends in (("Sub", low), ("Add", high)):
            end = n.node(op, [centre, half], f"{op}_{axis}")
            ends.append(n.node("Mul", [n.node("Reshape", [end, n.const("n31", [0, 3, 1], np.int64)], f"{op}_{axis}_n31"), n.const("scale", scale)], f"{op}_{axis}_pixels"))
    corners = n.node("Concat", low + high, "corners", axis=2)
    return corners, n.node("Reshape", [top, "n31"], "score")


def slices(n, value, first, last, name, axis=2):
    """A slice of one axis."""
    return n.node("Slice", [value, n.const(f"c{first}", [first], np.int64), n.const(f"c{last}", [last], np.int64), n.const(f"c{axis}", [axis], np.int64)], name)


def suppressed(n, corners, score, extra=None, names=("dets", "labels"), labels=T.INT64, one=False):
    """The end of a file by mmdeploy: NonMaxSuppression. A picture's rows for boxes of other pictures are zeros."""
    scores = n.node("Transpose", [score], "scores", perm=[0, 2, 1])
    limits = [n.const("most", [10], np.int64), n.const("iou", [0.65]), n.const("least", [0.01])]
    chosen = n.node("NonMaxSuppression", [corners, scores, *limits], "chosen")
    where = n.node("Gather", [chosen, n.const("picture_and_box", [0, 2], np.int64)], "where", axis=1)
    picture = n.node("Gather", [chosen, n.const("c0", [0], np.int64)], "picture", axis=1)
    row = n.node("Transpose", [picture], "picture_row", perm=[1, 0])
    shape = n.node("Shape", [corners], "shape")
    count = n.node("Gather", [shape, n.scalar("zero", 0)], "count", axis=0)
    numbers = n.node("Range", ["zero", count, n.scalar("one", 1)], "numbers")
    mine = n.node("Equal", [n.node("Unsqueeze", [numbers, n.const("c1", [1], np.int64)], "column"), row], "mine")
    mask = n.node("Unsqueeze", [mine, n.const("c2", [2], np.int64)], "mask")
    boxes = n.node("GatherND", [n.node("Concat", [corners, score], "all", axis=2), where], "found")
    out = n.node("Where", [mask, boxes, n.const("nothing", 0)], "found_or_not")
    if one:  # a file that is for one picture, and does not say so
        out = n.node("Unsqueeze", [n.node("Squeeze", [out, "c0"], "first"), "c0"], "only")
    n.node("Identity", [out], names[0])
    if extra is not None:
        points = n.node("GatherND", [extra, where], "found_points")
        n.node("Where", [n.node("Unsqueeze", [mask, n.const("c3", [3], np.int64)], "mask_of_points"), points, "nothing"], names[1])
        return
    box = n.node("Gather", [chosen, "c2"], "box", axis=1)
    kinds = n.node("Gather", [n.const("classes", CLASSES, np.int64), n.node("Transpose", [box], "box_row", perm=[1, 0])], "kinds", axis=0)
    kinds = n.node("Where", [mine, kinds, n.const("none", -1, np.int64)], "kinds_or_not")
    n.node("Cast", [kinds], names[1], to=labels)


def suppressed_by_class(n, corners, score, doubles=False):
    """The whole end of a file by mmdeploy (`mmdeploy/mmcv/ops/nms.py`), with scores [N,2,A] by class. Each rectangle comes twice, the
    second time a pixel to the right with .8 of its score.  `doubles`: the end also doubles the boxes, as mmdeploy's does not."""
    one = n.const("to_the_right", np.array([1, 0, 1, 0]).reshape(1, 1, 4))
    boxes = n.node("Concat", [corners, n.node("Add", [corners, one], "moved")], "boxes", axis=1)
    less = n.node("Mul", [score, n.const("less", 0.8)], "less_sure")
    sure = n.node("Concat", [score, less], "sure", axis=1)
    kinds = n.node("Mul", [sure, n.const("kinds", np.tile(np.eye(2)[CLASSES], (2, 1))[None])], "by_class")
    scores = n.node("Transpose", [kinds], "scores", perm=[0, 2, 1])
    chosen = n.node("NonMaxSuppression", [boxes, scores, n.const("most", [10], np.int64), n.const("iou", [0.65]), n.const("least", [0.01])], "chosen")
    column = lambda name, *numbers: n.node("Gather", [chosen, n.const(f"c{'_'.join(map(str, numbers))}", numbers, np.int64)], name, axis=1)
    unsqueeze = lambda value, axis, name: n.node("Unsqueeze", [value, n.const(f"c{axis}", [axis], np.int64)], name)
    found = n.node("GatherND", [boxes, column("where", 0, 2)], "found_boxes")
    if doubles:
        found = n.node("Mul", [found, n.const("two", 2)], "doubled")
    dets = n.node("Concat", [found, unsqueeze(n.node("GatherND", [scores, chosen], "found_scores"), 1, "score_column")], "found", axis=1)
    count = n.node("Gather", [n.node("Shape", [boxes], "shape"), n.scalar("zero", 0)], "count", axis=0)
    pictures = n.node("Range", ["zero", count, n.scalar("one", 1)], "pictures")
    mine = n.node("Equal", [n.node("Transpose", [column("picture", 0)], "picture_row", perm=[1, 0]), unsqueeze(pictures, 1, "picture_column")], "mine")
    dets = n.node("Where", [unsqueeze(mine, 2, "mask"), unsqueeze(dets, 0, "of_all"), n.const("nothing", 0)], "of_each")
    labels = n.node("Where", [mine, n.node("Transpose", [column("kind", 1)], "kind_row", perm=[1, 0]), n.const("none", -1, np.int64)], "kinds_of_each")
    dets = n.node("Pad", [dets, n.const("one_more", [0, 0, 0, 0, 1, 0], np.int64)], "some_dets")
    labels = n.node("Pad", [labels, n.const("one_more_label", [0, 0, 0, 1], np.int64)], "some_labels")
    kept = n.node("Min", [n.node("Gather", [n.node("Shape", [dets], "shape_of_dets"), n.const("c1", [1], np.int64)], "length", axis=0), n.const("keep", [100], np.int64)], "kept")
    n.nodes.append(H.make_node("TopK", [n.node("Squeeze", [slices(n, dets, 4, 5, "score_of_each"), n.const("c2", [2], np.int64)], "score_row"), kept], ["top_scores", "best"], name="best", axis=1))
    best = unsqueeze("best", 2, "best_column")
    n.node("GatherND", [dets, best], "dets", batch_dims=1)
    n.node("GatherND", [labels, best], "labels", batch_dims=1)


def detector(doc, family="yolox", batch="batch", labels=T.INT64, one=False, size=BOX_SIZE, by_class=False, doubles=False):
    """Networks that suppress boxes themselves: OpenMMLab's YOLOX and RTMDet."""
    n = Net()
    height, width = size
    mean, std = (MEAN[::-1], STD[::-1]) if family == "rtmdet" else (None, None)
    sides = [height, width] if isinstance(height, int) else [640, 640]
    found = rectangles(n, "input", focus=family == "yolox", mean=mean, std=std, size=sides)
    if by_class:
        suppressed_by_class(n, *found, doubles)
    else:
        suppressed(n, *found, labels=labels, one=one)
    outputs = [("dets", T.FLOAT, [batch, "found", 5]), ("labels", labels, [batch, "found"])]
    return n.model(doc, [("input", T.FLOAT, [batch, 3, height, width])], outputs)


def rtmo(doc):
    """17 key points: a rectangle's centre, top left corner, bottom right corner, and so on."""
    n = Net()
    corners, score = rectangles(n, "input")
    low, high = slices(n, corners, 0, 2, "low"), slices(n, corners, 2, 4, "high")
    centre = n.node("Mul", [n.node("Add", [low, high], "both"), "half"], "centre")
    points = [n.node("Unsqueeze", [n.node("Concat", [p, score], f"point_{i}", axis=2), n.const("c2", [2], np.int64)], f"point_{i}_") for i, p in enumerate((centre, low, high))]
    points = n.node("Gather", [n.node("Concat", points, "three", axis=2), n.const("points", np.arange(17) % 3, np.int64)], "points_of_all", axis=2)
    suppressed(n, corners, score, extra=points, names=("dets", "keypoints"))
    return n.model(doc, [("input", T.FLOAT, ["batch", 3, *BOX_SIZE])], [("dets", T.FLOAT, ["batch", "found", 5]), ("keypoints", T.FLOAT, ["batch", "found", 17, 3])])


def anchors(doc, batch="batch"):
    """Megvii's YOLOX: the first six anchors are the three rectangles, twice, the second time with a lower score."""
    n = Net()
    height, width = BOX_SIZE
    corners, score = rectangles(n, "images")
    low, high = slices(n, corners, 0, 2, "low"), slices(n, corners, 2, 4, "high")
    cells = np.array([[i, 0] for i in range(6)], np.float32)
    eighth = n.const("eighth", 1 / 8)
    twice = lambda value, name: n.node("Concat", [value, value], name, axis=1)
    centre = n.node("Mul", [n.node("Add", [low, high], "both"), n.const("sixteenth", 1 / 16)], "centre")
    place = n.node("Sub", [twice(centre, "centres"), n.const("cells", cells[None])], "place")
    size = n.node("Mul", [n.node("Sub", [high, low], "size"), eighth], "in_cells")
    size = twice(n.node("Log", [n.node("Max", [size, "little"], "some_size")], "log_size"), "sizes")
    sure = n.node("Mul", [twice(score, "scores_twice"), n.const("sure", np.array([1, 1, 1, 0.8, 0.8, 0.8]).reshape(1, 6, 1))], "object")
    kinds = np.tile(np.eye(2)[CLASSES], (2, 1))[None]
    kinds = n.node("Add", [n.node("Mul", [sure, n.const("no", 0)], "no_score"), n.const("kinds", kinds)], "class_scores")
    six = n.node("Concat", [place, size, sure, kinds], "six", axis=2)
    count = sum((height // s) * (width // s) for s in (8, 16, 32))
    n.node("Pad", [six, n.const("pads", [0, 0, 0, 0, count - 6, 0], np.int64)], "output")
    return n.model(doc, [("images", T.FLOAT, [batch, 3, height, width])], [("output", T.FLOAT, [batch, count, 7])])


def body(doc):
    """The operators of YOLOX's, RTMDet's and CSPNeXt's bodies on a small scale, with random weights, in Megvii's contract."""
    n, random = Net(), np.random.default_rng(3)
    height, width = BOX_SIZE
    ends = n.const("ends", [1 << 31] * 2, np.int64)
    axes, steps = n.const("axes", [2, 3], np.int64), n.const("steps", [2, 2], np.int64)
    corners = [(top, left) for left in (0, 1) for top in (0, 1)]
    quarters = [n.node("Slice", ["images", n.const(f"at{y}{x}", [y, x], np.int64), ends, axes, steps], f"quarter{y}{x}") for y, x in corners]

    def silu(x, name):
        return n.node("Mul", [x, n.node("Sigmoid", [x], f"{name}_share")], f"{name}_silu")

    def conv(x, name, shape, act=True, gain=1.5, **attributes):
        weights = n.const(f"{name}_w", random.normal(0, gain / np.sqrt(np.prod(shape[1:])), shape))
        x = n.node("Conv", [x, weights, n.const(f"{name}_b", random.normal(0, 0.3, shape[0]))], name, kernel_shape=list(shape[2:]), **attributes)
        return silu(x, name) if act else x

    def depthwise(x, name, side, stride):
        return conv(x, name, (8, 1, side, side), group=8, strides=[stride] * 2, pads=[side // 2] * 4)

    x = conv(n.node("Concat", quarters, "focus", axis=1), "stem", (8, 12, 1, 1), gain=1.5 / 255)
    low = depthwise(depthwise(x, "at4", 5, 2), "at8", 3, 2)
    pools = [n.node("MaxPool", [low], f"pool{k}", kernel_shape=[k] * 2, strides=[1, 1], pads=[k // 2] * 4) for k in (5, 9)]
    low = conv(n.node("Concat", [low, *pools], "pools", axis=1), "pooled", (8, 24, 1, 1))
    middle = depthwise(low, "at16", 3, 2)
    high = depthwise(middle, "at32", 5, 2)
    up = n.node("Resize", [high, "", n.const("twice", [1, 1, 2, 2])], "up", mode="nearest", nearest_mode="floor", coordinate_transformation_mode="asymmetric")
    middle = conv(n.node("Concat", [middle, up], "both", axis=1), "mixed", (8, 16, 1, 1))
    share = n.node("HardSigmoid", [conv(n.node("GlobalAveragePool", [middle], "mean"), "attention", (8, 8, 1, 1), act=False)], "share")
    middle = n.node("Add", [n.node("Mul", [middle, share], "attended"), conv(middle, "residual", (8, 8, 1, 1))], "sum")
    rows = []
    for name, x in (("low", low), ("middle", middle), ("high", high)):
        x = n.node("Transpose", [conv(x, f"{name}_said", (7, 8, 1, 1), act=False, gain=0.5)], f"{name}_last", perm=[0, 2, 3, 1])
        rows.append(n.node("Reshape", [x, n.const("cells", [0, -1, 7], np.int64)], f"{name}_rows"))
    n.node("Concat", rows, "output", axis=1)
    return n.model(doc, [("images", T.FLOAT, ["batch", 3, height, width])], [("output", T.FLOAT, ["batch", 126, 7])])


def queries(doc):
    """RF-DETR: five queries, two of which find nothing. Classes: nothing, a person, something else."""
    n = Net()
    height, width = BOX_SIZE
    corners, score = rectangles(n, "input", bgr=False, focus=False, mean=MEAN, std=STD)
    low, high = slices(n, corners, 0, 2, "low"), slices(n, corners, 2, 4, "high")
    share = n.const("per_pixel", np.array([1 / width, 1 / height]).reshape(1, 1, 2))
    centre = n.node("Mul", [n.node("Mul", [n.node("Add", [low, high], "both"), "half"], "middle"), share], "centre")
    size = n.node("Mul", [n.node("Sub", [high, low], "difference"), share], "size")
    three = n.node("Concat", [centre, size], "three", axis=2)
    n.node("Pad", [three, n.const("pads", [0, 0, 0, 0, 2, 0], np.int64)], "dets")
    logit = n.node("Mul", [n.node("Sub", [score, "half"], "about_half"), n.const("steep", 20)], "logit")
    kinds = np.eye(3)[[k + 1 for k in CLASSES]][None]
    logits = n.node("Add", [n.node("Mul", [logit, n.const("kinds", kinds)], "of_class"), n.const("others", -20 * (1 - kinds))], "logits")
    n.node("Pad", [logits, "pads", n.const("never", -20)], "labels")
    return n.model(doc, [("input", T.FLOAT, ["batch", 3, height, width])], [("dets", T.FLOAT, ["batch", 5, 4]), ("labels", T.FLOAT, ["batch", 5, 3])])


def answers(doc, boxes=None, count=0):
    """A detector that always answers with these boxes, or with this number of boxes in a grid."""
    n = Net()
    n.node("ReduceMax", [n.node("Slice", ["input", n.const("from", [0], np.int64), n.const("to", [1], np.int64), n.const("axis", [2], np.int64)], "line")], "any", axes=[1, 2, 3], keepdims=1)
    nothing = n.node("Mul", [n.node("Reshape", ["any", n.const("n11", [-1, 1, 1], np.int64)], "any_n11"), n.const("no", 0)], "nothing")
    if boxes is None:
        i = n.node("Cast", [n.node("Range", [n.scalar("zero", 0), n.scalar("count", count), n.scalar("one", 1)], "numbers")], "floats", to=T.FLOAT)
        i = n.node("Reshape", [i, n.const("1n1", [1, -1, 1], np.int64)], "column")
        x = n.node("Mod", [i, n.const("across", 90)], "x", fmod=1)
        y = n.node("Mod", [i, n.const("down", 59)], "y", fmod=1)
        far = [n.node("Add", [v, n.const("far", 4)], f"{v}_far") for v in (x, y)]
        sure = n.node("Add", [n.node("Mul", [i, n.const("slope", -0.5 / count)], "falling"), n.const("first", 0.9)], "sure")
        table = n.node("Concat", [x, y, *far, sure], "table", axis=2)
    else:
        table = n.const("table", np.array(boxes, np.float32)[None])
    dets = n.node("Add", [table, nothing], "dets")
    n.node("Cast", [slices(n, n.node("Mul", [dets, "no"], "zeros"), 0, 1, "zero_column")], "whole", to=T.INT64)
    n.node("Squeeze", ["whole", n.const("last", [2], np.int64)], "labels")
    return n.model(doc, [("input", T.FLOAT, ["batch", 3, *BOX_SIZE])], [("dets", T.FLOAT, ["batch", "found", 5]), ("labels", T.INT64, ["batch", "found"])])


NAN, INF = float("nan"), float("inf")
BAD_BOXES = [[10, 10, 30, 40, 0.9], [NAN, 10, 30, 40, 0.9], [10, 10, 30, 40, NAN], [40, 10, 20, 40, 0.9], [10, 50, 30, 20, 0.9],
             [-40, -40, -10, -10, 0.9], [200, 200, 300, 300, 0.9], [-20, -20, 500, 500, 0.8], [10, 10, INF, 40, 0.9], [1e38, 0, 3e38, 9, 0.9],
             [50, 10, 70, 40, 0.29], [60, 10, 80, 40, 7]]


def classifier(doc):
    n = Net()
    mean = n.node("GlobalAveragePool", ["input"], "mean")
    n.node("Gemm", [n.node("Flatten", [mean], "three"), n.const("w", np.ones((3, 10)))], "logits")
    return n.model(doc, [("input", T.FLOAT, ["batch", 3, 224, 224])], [("logits", T.FLOAT, ["batch", 10])])


def published_name(k, size):
    return f"dots-{k}-{size[0]}x{size[1]}"


def networks():
    """File name -> bytes."""
    full = {
        # right: must be accepted
        "dots": dots("key point k is where channel k is brightest"),
        "colours": dots("key point k is where channel k is brightest beside the mean of the other two", mix=COLOURS),
        "dots-17": dots("dots with 17 key points: k looks at channel k % 3", k=17),
        **{published_name(k, size): dots(f"dots with {k} key points for a {size[0]}x{size[1]} crop", k=k, size=size) for k, size in PUBLISHED},
        "dots-small": dots("dots for a 64x48 crop", size=(64, 48), radius=8),
        "dots-no-conv": dots("dots that does not begin with a convolution", first="mul"),
        "dots-symbolic": dots("dots whose file does not say how many points and bins come out", hidden=True),
        "rtmw3d": dots("RTMW3D: dots-133-384x288 with depths by the dots' brightness", k=133, size=(384, 288), depth=True),
        "scores": dots("dots with simcc_x times 1.6 and simcc_y times 1.2: scores over 1 that differ", scale=(1.6, 1.2)),
        "packed": packed("scores in the form with bytes in and x, y, max_x, max_y out", 4),
        "packed-3": packed("scores in the form with bytes in and x, y, min(max_x, max_y) out", 3),
        "vitpose": vitpose("ViTPose: 17 heat maps, k of channel k % 3"),
        # right: rtmposedetect must accept them as detectors, and rtmposebatch rtmo
        "yolox": detector("YOLOX with suppression: finds a red, a green and a blue rectangle, blue being class 1"),
        "yolox-int32": detector("yolox with int32 labels", labels=T.INT32),
        "yolox-one": detector("yolox with its batch dimension fixed at 1", batch=1),
        "yolox-one-hidden": detector("yolox that fails on more than one picture", one=True),
        "yolox-by-class": detector("yolox with scores by class, in the form in which mmdeploy exports it", by_class=True),
        "rtmdet-by-class": detector("the same as RTMDet", family="rtmdet", by_class=True),
        "yolox-doubles": detector("yolox-by-class, whose end also doubles the boxes", by_class=True, doubles=True),
        "yolox-any-size": detector("yolox whose file leaves the size open", size=("height", "width")),
        "yolox-anchors": anchors("YOLOX without suppression: the same, each rectangle twice"),
        "yolox-body": body("YOLOX with a body of random weights: its boxes mean nothing"),
        "rtmdet": detector("RTMDet: the same as yolox", family="rtmdet"),
        "rfdetr": queries("RF-DETR: the same as yolox"),
        "rtmo": rtmo("RTMO: 17 key points of each rectangle"),
        "boxes-many": answers("yolox's contract: 10,000 boxes, whatever the picture", count=10_000),
        "boxes-bad": answers("yolox's contract: broken boxes, whatever the picture", boxes=BAD_BOXES),
        "classifier": classifier("a classifier of 10 classes"),
        # right, but with bad answers
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
