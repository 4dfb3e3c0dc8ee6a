#!/usr/bin/env python3
"""Writes an RTMPose file whose backbone computes in 8-bit integers (QDQ), for processors with VNNI instructions.

    python quantise.py rtmpose-t.onnx rtmpose-t-int8.onnx --people people.npz mpii.npz coco.npz

Activations uint8 with one scale a tensor; their ranges are the smallest and largest values of four crops, averaged over 256 crops:
to cut rare extremes off moves points less than to keep them.  The crops are always the same ones, as many from each training pack,
none of them held out.  Weights int8 with one scale an output channel.  In float32 stay what moved points most or costs nothing: the
first convolution (and so the plugin can fold 1/std into it), the channel attentions, and the head with its final convolution.  Those
weights are stored in half precision as in store_half.py.  evaluate.py --against tells the cost in OKS.

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
FLOAT = ("/head/", "/attention/", "/stem/stem.0/", "simcc_")  # in the names that exporter and calibrate.py give the nodes


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
    def __init__(self, packs):
        crops = []
        for n, pack in enumerate(packs):
            z = dict(np.load(pack))
            off, raw, names = z["offset"], z["jpeg"].tobytes(), list(zip(E.text(z["src"]), E.text(z["img_id"])))
            mine = [i for i in np.random.default_rng(0).permutation(len(names)) if not E.held_out(*names[i])]
            crops += [E.crop(Image.open(io.BytesIO(raw[off[i]:off[i + 1]])).convert("RGB"), z["box"][i])[0] for i in mine[:CROPS // len(packs) + (n < CROPS % len(packs))]]
        x = np.stack(crops)[np.random.default_rng(0).permutation(len(crops))]
        x = ((x.astype(np.float32) - E.MEAN) / E.STD).transpose(0, 3, 1, 2)
        self.batches = iter([{"input": x[i:i + AT_ONCE]} for i in range(0, len(x), AT_ONCE)])

    def get_next(self):
        return next(self.batches, None)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("file"); ap.add_argument("out"); ap.add_argument("--people", nargs="+", required=True, help="training packs")
    a = ap.parse_args()
    os.makedirs(os.path.dirname(os.path.abspath(a.out)), exist_ok=True)
    model = plain(onnx.load(a.file))
    stay = [n.name for n in model.graph.node if any(part in n.name for part in FLOAT)]
    with tempfile.TemporaryDirectory() as d:
        onnx.save(model, f"{d}/float.onnx")
        quantize_static(f"{d}/float.onnx", f"{d}/int8.onnx", Crops(a.people), quant_format=QuantFormat.QDQ, activation_type=QuantType.QUInt8,
                        weight_type=QuantType.QInt8, per_channel=True, calibrate_method=CalibrationMethod.MinMax,
                        op_types_to_quantize=OPERATORS, nodes_to_exclude=stay, extra_options={"CalibMovingAverage": True})
        out = store_half.store_half(onnx.load(f"{d}/int8.onnx"))
    with open(a.out, "wb") as f:
        f.write(out.SerializeToString(deterministic=True))


if __name__ == "__main__":
    main()
