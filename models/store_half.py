#!/usr/bin/env python3
"""Stores the weights of an ONNX network in half precision; what it computes, and in which precision, stays as it is.

    python models/store_half.py IN.onnx OUT.onnx

A graph that computes in half precision is slower on a CPU (measured 1.34x), but half of a float32 file's size is worth
having in a library that carries it.  So every large tensor is stored as float16 and cast to float32 once, by a Cast
node that takes nothing but the stored tensor.  ONNX Runtime folds such a node when it loads the file (constant
folding, at every optimisation level but 'disabled'), so that the session holds and runs the float32 graph.

The rule: a float32 initializer of FEW or more elements becomes float16; smaller ones (biases, scales, norms, the first
convolution) and the constants inside nodes (ScaleNorm's 1e-5 is a subnormal half) stay float32.  They are a
few kB together, a bias is the most sensitive tensor of its layer, and a reader that folds 1/std into the first
convolution finds it in plain float32.  A tensor with a value outside half's range stays float32 as well.

Output dimensions that follow from the graph but are only named in the file (key points, bins) are written down.
Needs onnx and numpy.  The same input gives the same bytes.
"""
import os
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FEW = 2048


def store_half(model):
    """A copy of `model` with its large float32 initializers stored as float16."""
    out = onnx.ModelProto()
    out.CopyFrom(model)
    g = out.graph
    fed = {i.name for i in g.input}
    stored, casts = [], []
    for t in g.initializer:
        if t.data_type == TensorProto.FLOAT and t.name not in fed:
            a = numpy_helper.to_array(t)
            if a.size >= FEW and np.abs(a).max() <= np.finfo(np.float16).max:
                stored.append(numpy_helper.from_array(a.astype(np.float16), t.name + ".half"))
                casts.append(helper.make_node("Cast", [t.name + ".half"], [t.name], name=t.name + ".cast", to=TensorProto.FLOAT))
                continue
        stored.append(t)
    nodes = list(g.node)
    del g.initializer[:], g.node[:]
    g.initializer.extend(stored)
    g.node.extend(casts + nodes)
    known = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph.output
    for o, k in zip(g.output, known):
        for d, e in zip(o.type.tensor_type.shape.dim[1:], k.type.tensor_type.shape.dim[1:]):
            if not d.HasField("dim_value") and e.HasField("dim_value"):
                d.dim_value = e.dim_value
    onnx.checker.check_model(out, full_check=True)
    return out


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__.strip())
    os.makedirs(os.path.dirname(os.path.abspath(sys.argv[2])), exist_ok=True)
    out = store_half(onnx.load(sys.argv[1]))
    with open(sys.argv[2], "wb") as f:
        f.write(out.SerializeToString(deterministic=True))


if __name__ == "__main__":
    main()
