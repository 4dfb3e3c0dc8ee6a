#!/usr/bin/env python3
"""Writes an RTMPose file whose backbone computes in 8-bit integers (QDQ), for processors with VNNI instructions.

    python quantise.py rtmpose-t.onnx rtmpose-t-int8.onnx --people people.npz

Activations uint8 with one scale a tensor, their ranges the smallest and largest values over 256 crops of the training pack
(as large, always the same ones); weights int8 with one scale an output channel.  In float32 stay what moved points most or
costs nothing: the first convolution (and so the plugin can fold 1/std into it), the channel attentions, and the head with its
final convolution.  Those weights are stored in half precision as in store_half.py.  evaluate.py --against tells the cost in OKS.

Needs numpy, Pillow, onnx and onnxruntime (its package onnxruntime.quantization)."""
import argparse
import io
import os
import pathlib
import sys
import tempfile

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from PIL import Image

import evaluate as E

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import store_half

CROPS, AT_ONCE = 256, 4
OPERATORS = ["Conv", "Sigmoid", "Mul", "Add", "Concat", "MaxPool"]
FLOAT = ("/head/", "/attention/", "/stem/stem.0/")           # in the names that the exporter gives the nodes


def plain(model):
    """A copy with what store_half stored as float16 back as float32."""
    out, half = onnx.ModelProto(), {}
    out.CopyFrom(model)
    g = out.graph
    half.update({t.name: t for t in g.initializer if t.data_type == TensorProto.FLOAT16})
    casts = {n.input[0]: n for n in g.node if n.op_type == "Cast" and n.input[0] in half}
    for name, cast in casts.items():
        half[name].CopyFrom(numpy_helper.from_array(numpy_helper.to_array(half[name]).astype(np.float32), cast.output[0]))
        g.node.remove(cast)
    return out


class Crops(CalibrationDataReader):
    def __init__(self, pack):
        z = dict(np.load(pack))
        off, raw = z["offset"], z["jpeg"].tobytes()
        rows = np.random.default_rng(0).permutation(len(off) - 1)[:CROPS]
        crops = np.stack([E.crop(Image.open(io.BytesIO(raw[off[i]:off[i + 1]])).convert("RGB"), z["box"][i])[0] for i in rows])
        x = ((crops.astype(np.float32) - E.MEAN) / E.STD).transpose(0, 3, 1, 2)
        self.batches = iter([{"input": x[i:i + AT_ONCE]} for i in range(0, CROPS, AT_ONCE)])

    def get_next(self):
        return next(self.batches, None)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("file"); ap.add_argument("out"); ap.add_argument("--people", required=True, help="a training pack")
    a = ap.parse_args()
    os.makedirs(os.path.dirname(os.path.abspath(a.out)), exist_ok=True)
    model = plain(onnx.load(a.file))
    stay = [n.name for n in model.graph.node if any(part in n.name for part in FLOAT)]
    with tempfile.TemporaryDirectory() as d:
        onnx.save(model, f"{d}/float.onnx")
        quantize_static(f"{d}/float.onnx", f"{d}/int8.onnx", Crops(a.people), quant_format=QuantFormat.QDQ, activation_type=QuantType.QUInt8,
                        weight_type=QuantType.QInt8, per_channel=True, calibrate_method=CalibrationMethod.MinMax,
                        op_types_to_quantize=OPERATORS, nodes_to_exclude=stay)
        out = store_half.store_half(onnx.load(f"{d}/int8.onnx"))
    with open(a.out, "wb") as f:
        f.write(out.SerializeToString(deterministic=True))


if __name__ == "__main__":
    main()
