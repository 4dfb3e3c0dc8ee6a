#!/usr/bin/env python3
"""Writes detectors and RTMO with random weights: as fast and as large as the published networks, in the form in which their
makers export them.  For benchmarks where no weights are at hand.

    python models/random_detectors.py FOLDER yolox-nano yolox-nano-coco rtmdet-nano rtmo-s [--people N]

writes FOLDER/NAME-random.onnx.  They look at the picture as the published ones do, and find nobody; with --people N they always
find the same N people, standing side by side.  Needs numpy and onnx.  The same weights every time.

| name | network | input | answers |
|---|---|---|---|
| yolox-nano | YOLOX-nano of one class (mmpose, HumanArt), with suppression | 416x416 | dets, labels |
| yolox-nano-coco | YOLOX-nano of 80 classes (Megvii), without | 416x416 | output |
| rtmdet-nano | RTMDet-nano of one class (mmpose, COCO's people), with suppression | 320x320 | dets, labels |
| rtmo-s | RTMO-s (mmpose, Body7), with suppression | 640x640 | dets, keypoints |

Widths, depths and kernels are those of YOLOX's `yolox/models/` and `exps/default/nano.py`, of mmpose's
`projects/rtmpose/rtmdet/person/rtmdet_nano_320-8xb32_coco-person.py` and `configs/body_2d_keypoint/rtmo/body7/rtmo-s_8xb32-600e_body7-640x640.py`;
the ends of the files are mmdeploy's (`mmdeploy/mmcv/ops/nms.py`, `codebase/mmpose/models/heads/rtmo_head.py`).  Batch norms are folded into
the convolutions, as in an exported file.
"""
import argparse
import math
import pathlib
from typing import NamedTuple

import numpy as np
import onnx
from onnx import TensorProto as T
from onnx import helper as H
from onnx import numpy_helper as NH

# A person of the known answer, in parts of the input's height: as wide and as high as this.
PERSON = (0.12, 0.36)


class Map(NamedTuple):
    """A value of the graph: [batch, channels, height, width]."""
    name: str
    channels: int
    height: int
    width: int


class Net:
    """A graph under construction.  Counts parameters as their makers do, before batch norms are folded, and multiply-adds."""

    def __init__(self, size):
        self.nodes, self.inits, self.random = [], {}, np.random.default_rng(1)
        self.size, self.parameters, self.macs = size, 0, 0

    def const(self, values, dtype=np.float32):
        # Not ascontiguousarray: it makes a vector of a scalar, and CUDA builds of ONNX Runtime refuse a Range of vectors.
        array = np.asarray(values, dtype, order="C")
        key = (array.shape, array.dtype.str, array.tobytes())
        if key not in self.inits:
            self.inits[key] = NH.from_array(array, f"c{len(self.inits)}")
        return self.inits[key].name

    def ints(self, *values):
        return self.const(values, np.int64)

    def node(self, op, *inputs, outputs=1, **attributes):
        names = [f"{op}_{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(H.make_node(op, inputs, names, **attributes))
        return names[0] if outputs == 1 else names

    def weights(self, shape, fan_in, gain=1.2):
        """So that what comes out is about as large as what goes in, behind SiLU."""
        return self.const(self.random.normal(0, gain / math.sqrt(fan_in), shape))

    def silu(self, x):
        return self.node("Mul", x, self.node("Sigmoid", x))

    def conv(self, x, channels, kernel=1, stride=1, groups=1, act=True, norm=True, bias=None, gain=1.2):
        """A convolution with a batch norm folded in and SiLU behind it; without `norm` one with a bias (an array or 0) of its own."""
        fan_in = x.channels // groups * kernel * kernel
        weights = self.weights((channels, x.channels // groups, kernel, kernel), fan_in, gain)
        offsets = self.const(self.random.normal(0, 0.1, channels) if bias is None else np.broadcast_to(bias, channels))
        out = self.node("Conv", x.name, weights, offsets, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[kernel // 2] * 4, group=groups)
        height, width = -(-x.height // stride), -(-x.width // stride)
        self.parameters += channels * fan_in + channels * (2 if norm else 1)
        self.macs += channels * fan_in * height * width
        return Map(self.silu(out) if act else out, channels, height, width)

    def separable(self, x, channels, kernel=3, stride=1):
        return self.conv(self.conv(x, x.channels, kernel, stride, groups=x.channels), channels)

    def linear(self, x, fan_in, out, rows, bias=True, gain=1.0):
        """Of the last axis; `rows` are counted for the multiply-adds."""
        self.parameters += fan_in * out + out * bias
        self.macs += fan_in * out * rows
        y = self.node("MatMul", x, self.weights((fan_in, out), fan_in, gain))
        return self.node("Add", y, self.const(self.random.normal(0, 0.1, out))) if bias else y

    def add(self, x, y):
        return x._replace(name=self.node("Add", x.name, y.name))

    def cat(self, *maps):
        return maps[0]._replace(name=self.node("Concat", *(m.name for m in maps), axis=1), channels=sum(m.channels for m in maps))

    def up(self, x):
        name = self.node("Resize", x.name, "", self.const([1, 1, 2, 2]), mode="nearest", nearest_mode="floor", coordinate_transformation_mode="asymmetric")
        return x._replace(name=name, height=2 * x.height, width=2 * x.width)

    def pyramid_pools(self, x, channels):
        """SPP: beside what is there the largest of 5, 9 and 13."""
        x = self.conv(x, x.channels // 2)
        pools = [x._replace(name=self.node("MaxPool", x.name, kernel_shape=[k] * 2, pads=[k // 2] * 4)) for k in (5, 9, 13)]
        return self.conv(self.cat(x, *pools), channels)

    def csp(self, x, channels, depth, block, identity, attention=False):
        """Two branches of half the width, one of them through blocks."""
        branch = self.conv(x, channels // 2)
        for _ in range(depth):
            y = block(branch)
            branch = self.add(y, branch) if identity else y
        both = self.cat(branch, self.conv(x, channels // 2))
        if attention:
            mean = Map(self.node("GlobalAveragePool", both.name), channels, 1, 1)
            share = self.node("HardSigmoid", self.conv(mean, channels, act=False, norm=False, bias=0).name, alpha=1 / 6, beta=0.5)
            both = both._replace(name=self.node("Mul", both.name, share))
        return self.conv(both, channels)

    def rows(self, maps):
        """[batch, channels, height, width] of each stride -> [batch, all cells, channels]."""
        flat = [self.node("Reshape", self.node("Transpose", m.name, perm=[0, 2, 3, 1]), self.ints(0, -1, m.channels)) for m in maps]
        return self.node("Concat", *flat, axis=1)

    def part(self, x, first, last, axis=2):
        return self.node("Slice", x, self.ints(first), self.ints(last), self.ints(axis))

    def model(self, inputs, outputs):
        names = {name for _, (name, *_) in outputs}
        for value, (name, *_) in outputs:
            self.node("Identity", value)
            self.nodes[-1].output[0] = name
        assert len(names) == len(outputs)
        graph = H.make_graph(self.nodes, "random", [H.make_tensor_value_info(*i) for i in inputs], [H.make_tensor_value_info(*o) for _, o in outputs],
                             list(self.inits.values()), doc_string="random weights: for benchmarks, finds nothing")
        model = H.make_model(graph, opset_imports=[H.make_opsetid("", 17)], ir_version=8, producer_name="random_detectors.py")
        onnx.checker.check_model(model, full_check=True)
        return model


# ---- backbones and necks ------------------------------------------------------------------------------------------

def darknet(net, x, wide, deep, separable):
    """CSPDarknet: what comes out at strides 8, 16 and 32."""
    conv = net.separable if separable else (lambda x, channels, kernel, stride=1: net.conv(x, channels, kernel, stride))
    block = lambda x: conv(net.conv(x, x.channels), x.channels, 3)
    # Focus: every second pixel apart.
    quarters = [net.node("Slice", x.name, net.ints(top, left), net.ints(*[1 << 31] * 2), net.ints(2, 3), net.ints(2, 2)) for left in (0, 1) for top in (0, 1)]
    x = net.conv(Map(net.node("Concat", *quarters, axis=1), 12, x.height // 2, x.width // 2), int(64 * wide), 3, gain=1.2 / 128)
    found = []
    for channels, depth in ((128, 3), (256, 9), (512, 9), (1024, 3)):
        x = conv(x, int(channels * wide), 3, 2)
        if channels == 1024:
            x = net.pyramid_pools(x, x.channels)
        x = net.csp(x, x.channels, max(round(depth * deep), 1), block, identity=channels != 1024)
        found.append(x)
    return found[1:]


def cspnext(net, x, wide, deep):
    """CSPNeXt with separable convolutions."""
    half = int(64 * wide // 2)
    x = net.conv(net.conv(net.conv(x, half, 3, 2), half, 3), int(64 * wide), 3)
    found = []
    for channels, depth in ((128, 3), (256, 6), (512, 6), (1024, 3)):
        x = net.separable(x, int(channels * wide), 3, 2)
        if channels == 1024:
            x = net.pyramid_pools(x, x.channels)
        block = lambda x: net.separable(net.separable(x, x.channels), x.channels, 5)
        x = net.csp(x, x.channels, max(round(depth * deep), 1), block, identity=channels != 1024, attention=True)
        found.append(x)
    return found[1:]


def pafpn(net, maps, csp, down):
    """Top down, then bottom up again."""
    low, middle, high = maps
    reduced_high = net.conv(high, middle.channels)
    middle = csp(net.cat(net.up(reduced_high), middle), middle.channels)
    reduced_middle = net.conv(middle, low.channels)
    low = csp(net.cat(net.up(reduced_middle), low), low.channels)
    middle = csp(net.cat(down(low), reduced_middle), middle.channels)
    return low, middle, csp(net.cat(down(middle), reduced_high), high.channels)


def hybrid_encoder(net, maps, hidden, wide):
    """RT-DETR's neck: attention in the map of stride 32, then top down and bottom up with RepVGG blocks, folded."""
    low, middle, high = (net.conv(m, hidden, act=False) for m in maps)
    count = high.height * high.width
    memory = net.node("Reshape", net.node("Transpose", high.name, perm=[0, 2, 3, 1]), net.ints(0, count, hidden))
    placed = net.node("Add", memory, net.const(net.random.uniform(-1, 1, (1, count, hidden))))
    heads = [net.node("Transpose", net.node("Reshape", net.linear(x, hidden, hidden, count), net.ints(0, count, 8, hidden // 8)), perm=perm)
             for x, perm in ((placed, [0, 2, 1, 3]), (placed, [0, 2, 3, 1]), (memory, [0, 2, 1, 3]))]
    net.macs += 2 * count * count * hidden
    near = net.node("Softmax", net.node("Mul", net.node("MatMul", *heads[:2]), net.const((hidden // 8) ** -0.5)), axis=-1)
    seen = net.node("Reshape", net.node("Transpose", net.node("MatMul", near, heads[2]), perm=[0, 2, 1, 3]), net.ints(0, count, hidden))

    def normed(x):
        net.parameters += 2 * hidden
        return net.node("LayerNormalization", x, net.const(np.ones(hidden)), net.const(np.zeros(hidden)), axis=-1, epsilon=1e-5)

    memory = normed(net.node("Add", memory, net.linear(seen, hidden, hidden, count)))
    inner = net.linear(memory, hidden, 4 * hidden, count)
    half = net.node("Mul", inner, net.const(0.5))
    gelu = net.node("Mul", half, net.node("Add", net.node("Erf", net.node("Mul", inner, net.const(0.5 ** 0.5))), net.const(1)))
    memory = normed(net.node("Add", memory, net.linear(gelu, 4 * hidden, hidden, count)))
    high = high._replace(name=net.node("Transpose", net.node("Reshape", memory, net.ints(0, high.height, high.width, hidden)), perm=[0, 3, 1, 2]))

    def block(x):
        channels = int(hidden * wide)
        return net.conv(net.add(net.conv(net.conv(x, channels), channels, 3), net.conv(x, channels)), hidden)

    lateral = net.conv(high, hidden)
    middle = block(net.cat(net.up(lateral), middle))
    lateral_middle = net.conv(middle, hidden)
    low = block(net.cat(net.up(lateral_middle), low))
    middle = block(net.cat(net.conv(low, hidden, 3, 2), lateral_middle))
    high = block(net.cat(net.conv(middle, hidden, 3, 2), lateral))
    return [net.conv(m, hidden, act=False) for m in (middle, high)]


# ---- heads and ends -----------------------------------------------------------------------------------------------

def cells(net, strides):
    """Of each cell of each stride its left top corner in pixels, and its stride."""
    height, width = net.size
    places = [np.stack(np.meshgrid(np.arange(width // s), np.arange(height // s)), 2).reshape(-1, 2) * s for s in strides]
    return np.concatenate(places), np.concatenate([np.full(len(p), s) for p, s in zip(places, strides)])


def people_of(net, count, places, strides):
    """Boxes side by side in the middle of the picture, and the cell of the largest stride that each is found in."""
    height, width = net.size
    for k in range(count):
        centre = np.array([width * (k + 0.5) / count, height * 9 / 32])
        box = np.concatenate([centre - height * np.array(PERSON) / 2, centre + height * np.array(PERSON) / 2])
        far = np.abs(places + strides[:, None] / 2 - centre).max(1) + 1e6 * (strides != strides.max())
        yield int(far.argmin()), box


def known(net, rows, count, columns, values):
    """`rows` with what makes `count` cells say what `values` gives of a box: the numbers of a cell that are not None replace what is there."""
    places, strides = cells(net, net.strides)
    keep, instead = np.ones((len(places), columns)), np.zeros((len(places), columns))
    for cell, box in people_of(net, count, places, strides):
        for column, value in enumerate(values(box, places[cell], strides[cell])):
            if value is not None:
                keep[cell, column], instead[cell, column] = 0, value
    return net.node("Add", net.node("Mul", rows, net.const(keep[None])), net.const(instead[None])) if count else rows


def suppressed(net, boxes, scores, iou, least, keep, of_each=200):
    """mmdeploy's multiclass_nms: boxes [N,A,4], scores [N,A,1] -> numbers of the boxes that are kept, [N,n]; and dets, labels."""
    scores = net.node("Transpose", scores, perm=[0, 2, 1])
    chosen = net.node("NonMaxSuppression", boxes, scores, net.ints(of_each), net.const([iou]), net.const([least]))
    column = lambda *numbers: net.node("Gather", chosen, net.ints(*numbers), axis=1)
    dets = net.node("Concat", net.node("GatherND", boxes, column(0, 2)), net.node("Unsqueeze", net.node("GatherND", scores, chosen), net.ints(1)), axis=1)
    batch = net.node("Shape", boxes, start=0, end=1)
    zero, one = net.const(0, np.int64), net.const(1, np.int64)
    pictures = net.node("Range", zero, net.node("Squeeze", batch, net.ints(0)), one)
    mine = net.node("Equal", net.node("Transpose", column(0), perm=[1, 0]), net.node("Unsqueeze", pictures, net.ints(1)))
    dets = net.node("Where", net.node("Unsqueeze", mine, net.ints(2)), net.node("Unsqueeze", dets, net.ints(0)), net.const(0))
    labels = net.node("Where", mine, net.node("Transpose", column(1), perm=[1, 0]), net.const(-1, np.int64))
    numbers = net.node("Where", mine, net.node("Transpose", column(2), perm=[1, 0]), net.const(0, np.int64))
    # One that is nothing, so that none is empty.
    pad = lambda x, *amounts, value=None: net.node("Pad", x, net.ints(*amounts), *([] if value is None else [net.const(value, np.int64)]))
    dets, labels, numbers = pad(dets, 0, 0, 0, 0, 1, 0), pad(labels, 0, 0, 0, 1), pad(numbers, 0, 0, 0, 1, value=-1)
    count = net.node("Min", net.node("Shape", dets, start=1, end=2), net.ints(keep))
    score = net.node("Squeeze", net.part(dets, 4, 5), net.ints(2))
    _, best = net.node("TopK", score, count, outputs=2, axis=1)
    best = net.node("Unsqueeze", best, net.ints(2))
    return [net.node("GatherND", value, best, batch_dims=1) for value in (dets, labels, numbers)]


def by_suppression(net, boxes, scores, people_keep, iou, least):
    dets, labels, _ = suppressed(net, boxes, scores, iou, least, people_keep)
    height, width = net.size
    return net.model([("input", T.FLOAT, ["batch", 3, height, width])],
                     [(dets, ("dets", T.FLOAT, ["batch", "num_dets", 5])), (labels, ("labels", T.INT64, ["batch", "num_dets"]))])


def rare(probability):
    """The bias of a score that is seldom high."""
    return -math.log((1 - probability) / probability)


def yolox(net, people, classes):
    """YOLOX-nano: of one class as mmdeploy exports it, of 80 as its authors do."""
    name = "images" if classes > 1 else "input"
    height, width = net.size
    wide, deep, net.strides = 0.25, 0.33, (8, 16, 32)
    block = lambda x: net.separable(net.conv(x, x.channels), x.channels)
    csp = lambda x, channels: net.csp(x, channels, round(3 * deep), block, identity=False)
    maps = pafpn(net, darknet(net, Map(name, 3, height, width), wide, deep, True), csp, lambda x: net.separable(x, x.channels, 3, 2))
    found = []
    for x in maps:
        x = net.conv(x, int(256 * wide))
        kind = net.separable(net.separable(x, x.channels), x.channels)
        place = net.separable(net.separable(x, x.channels), x.channels)
        said = lambda x, channels, bias: net.conv(x, channels, act=False, norm=False, bias=bias, gain=0.1)
        found.append([said(kind, classes, rare(0.01)), said(place, 4, 0), said(place, 1, rare(0.01))])
    kinds, places, objects = (net.rows(m) for m in zip(*found))
    rows = net.node("Concat", places, net.node("Sigmoid", objects), net.node("Sigmoid", kinds), axis=2)
    answer = lambda box, place, stride: [*(((box[:2] + box[2:]) / 2 - place) / stride), *np.log((box[2:] - box[:2]) / stride), 0.95, 0.95, *[None] * (classes - 1)]
    rows = known(net, rows, people, 5 + classes, answer)
    if classes > 1:
        count = len(cells(net, net.strides)[0])
        return net.model([(name, T.FLOAT, ["batch", 3, height, width])], [(rows, ("output", T.FLOAT, ["batch", count, 5 + classes]))])
    boxes, scores = yolox_boxes(net, rows), net.node("Mul", net.part(rows, 4, 5), net.part(rows, 5, 6))
    return by_suppression(net, boxes, scores, 100, iou=0.65, least=0.01)


def yolox_boxes(net, rows):
    """Centre and size in cells -> left, top, right, bottom in pixels."""
    places, strides = cells(net, net.strides)
    strides = net.const(strides[None, :, None])
    centre = net.node("Add", net.node("Mul", net.part(rows, 0, 2), strides), net.const(places[None]))
    half = net.node("Mul", net.node("Mul", net.node("Exp", net.part(rows, 2, 4)), strides), net.const(0.5))
    return net.node("Concat", net.node("Sub", centre, half), net.node("Add", centre, half), axis=2)


def rtmdet(net, people):
    height, width = net.size
    wide, deep, net.strides = 0.25, 0.33, (8, 16, 32)
    block = lambda x: net.separable(net.separable(x, x.channels), x.channels, 5)
    csp = lambda x, channels: net.csp(x, channels, 1, block, identity=False)
    maps = pafpn(net, cspnext(net, Map("input", 3, height, width), wide, deep), csp, lambda x: net.separable(x, x.channels, 3, 2))
    found = []
    for x, stride in zip(maps, net.strides):
        x = net.separable(x, 64)
        kind = net.separable(net.separable(x, 64), 64)
        place = net.separable(net.separable(x, 64), 64)
        said = lambda x, channels, bias: net.conv(x, channels, act=False, norm=False, bias=bias, gain=0.1)
        found.append([said(kind, 1, rare(0.01)), said(place, 4, 1)])
    kinds, sides = (net.rows(m) for m in zip(*found))
    rows = net.node("Concat", sides, net.node("Sigmoid", kinds), axis=2)
    rows = known(net, rows, people, 5, lambda box, place, stride: [*((place - box[:2]) / stride), *((box[2:] - place) / stride), 0.9])
    places, strides = cells(net, net.strides)
    sides = net.node("Mul", net.part(rows, 0, 4), net.const(strides[None, :, None]))
    places = net.const(places[None])
    boxes = net.node("Concat", net.node("Sub", places, net.part(sides, 0, 2)), net.node("Add", places, net.part(sides, 2, 4)), axis=2)
    return by_suppression(net, boxes, net.part(rows, 4, 5), 100, iou=0.6, least=0.05)


def rtmo(net, people, points=17):
    height, width = net.size
    wide, deep, hidden, net.strides = 0.5, 0.33, 256, (16, 32)
    maps = hybrid_encoder(net, darknet(net, Map("input", 3, height, width), wide, deep, False), hidden, wide)
    groups, found = 8, []
    pose_width = groups * int(wide * 36)
    for x in maps:
        kind, pose = (Map(net.part(x.name, first, first + hidden // 2, axis=1), hidden // 2, x.height, x.width) for first in (0, hidden // 2))
        kind = net.conv(net.conv(kind, hidden // 2, 3), hidden // 2, 3)
        for number in range(4):
            pose = net.conv(pose, pose_width, 3, groups=groups if number else 1)
        said = lambda x, channels, bias, gain=0.1: net.conv(x, channels, act=False, norm=False, bias=bias, gain=gain)
        found.append([said(kind, 1, rare(0.01)), said(pose, 4, 0), said(pose, points, 0), said(pose, 256, 0, 1.0)])
    kinds, places, seen, poses = (net.rows(m) for m in zip(*found))
    rows = net.node("Concat", places, net.node("Sigmoid", kinds), axis=2)
    answer = lambda box, place, stride: [*(((box[:2] + box[2:]) / 2 - place) / stride), *np.log((box[2:] - box[:2]) / stride), 0.9]
    rows = known(net, rows, people, 5, answer)
    boxes = yolox_boxes(net, rows)
    scores = net.part(rows, 4, 5)
    *_, numbers = suppressed(net, boxes, scores, iou=0.65, least=0.1, keep=50)
    # The one that is nothing is the last cell, with its own score.
    numbers = net.node("Unsqueeze", numbers, net.ints(2))
    kept = lambda value: net.node("GatherND", value, numbers, batch_dims=1)
    dets = kept(net.node("Concat", boxes, scores, axis=2))
    seen = kept(net.node("Sigmoid", seen))
    grids = net.node("GatherND", net.const(cells(net, net.strides)[0]), numbers)
    points_of = classified_points(net, kept(poses), dets, grids, points, count=people + 1)
    keypoints = net.node("Concat", points_of, net.node("Unsqueeze", seen, net.ints(3)), axis=3)
    return net.model([("input", T.FLOAT, ["batch", 3, height, width])],
                     [(dets, ("dets", T.FLOAT, ["batch", "num_dets", 5])), (keypoints, ("keypoints", T.FLOAT, ["batch", "num_dets", points, 3]))])


def classified_points(net, poses, dets, grids, points, count, bins=(192, 256), features=128):
    """RTMO's dynamic coordinate classifier: features of a person -> positions, by bins over the box x 1.25."""
    x = net.linear(poses, 256, features * points, count)
    net.parameters += features * points  # of the batch norm, and of the places that are added to queries and keys
    x = net.node("Reshape", x, net.ints(0, 0, points, features))
    # The gated attention unit over the key points.
    rows, inner, key = count * points, 2 * features, 128
    length = net.node("Max", net.node("Mul", net.node("ReduceL2", x, axes=[3], keepdims=1), net.const(features ** -0.5)), net.const(1e-5))
    u_v_base = net.silu(net.linear(net.node("Div", x, length), features, 2 * inner + key, rows, bias=False))
    u, v, base = net.node("Split", u_v_base, net.ints(inner, inner, key), outputs=3, axis=3)
    q, k = (net.node("Add", net.node("Mul", base, net.const(np.ones(key))), net.const(net.random.normal(0, 0.5, (points, key)))) for _ in range(2))
    near = net.node("Relu", net.node("Mul", net.node("MatMul", q, net.node("Transpose", k, perm=[0, 1, 3, 2])), net.const(key ** -0.5)))
    seen = net.node("Mul", u, net.node("MatMul", net.node("Mul", near, near), v))
    x = net.node("Add", x, net.linear(seen, inner, features, rows, bias=False))
    net.parameters += 5 * key + features + points * key
    low, high = net.part(dets, 0, 2), net.part(dets, 2, 4)
    centre = net.node("Mul", net.node("Add", low, high), net.const(0.5))
    size = net.node("Mul", net.node("Sub", high, low), net.const(1.25))
    centre = net.node("Sub", centre, grids)
    found = []
    for axis, number in enumerate(bins):
        share = net.const(np.linspace(-0.5, 0.5, number)[None, None])
        places = net.node("Add", net.node("Mul", share, net.part(size, axis, axis + 1)), net.part(centre, axis, axis + 1))
        waves = net.node("Mul", net.node("Unsqueeze", places, net.ints(3)), net.const(300 ** (-np.arange(features // 2) / (features // 2))))
        waves = net.node("Concat", net.node("Cos", waves), net.node("Sin", waves), axis=3)
        coded = net.node("Transpose", net.linear(waves, features, features, number * count), perm=[0, 1, 3, 2])
        net.macs += rows * features * number
        likely = net.node("Softmax", net.node("MatMul", x, coded), axis=-1)
        mean = net.node("ReduceSum", net.node("Mul", likely, net.node("Unsqueeze", places, net.ints(2))), net.ints(3), keepdims=1)
        found.append(net.node("Add", mean, net.node("Unsqueeze", net.part(grids, axis, axis + 1), net.ints(3))))
    return net.node("Concat", *found, axis=3)


# Name -> input's height and width, and what builds it.
NETWORKS = {
    "yolox-nano": ((416, 416), lambda net, people: yolox(net, people, classes=1)),
    "yolox-nano-coco": ((416, 416), lambda net, people: yolox(net, people, classes=80)),
    "rtmdet-nano": ((320, 320), rtmdet),
    "rtmo-s": ((640, 640), rtmo),
}


def build(name, people=0):
    """The network, and what was counted of it."""
    size, of = NETWORKS[name]
    net = Net(size)
    return of(net, people), net


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("names", nargs="+", choices=NETWORKS)
    parser.add_argument("--people", type=int, default=0)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for name in options.names:
        model, net = build(name, options.people)
        path = options.folder / f"{name}-random.onnx"
        path.write_bytes(model.SerializeToString(deterministic=True))
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, {net.parameters / 1e6:.2f} million parameters, {net.macs / 1e9:.3f}e9 multiply-adds")


if __name__ == "__main__":
    main()
