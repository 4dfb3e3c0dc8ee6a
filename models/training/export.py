#!/usr/bin/env python3
"""Writes a checkpoint of train.py as ONNX: float32, opset 17, dynamic batch, outputs simcc_x and simcc_y.

    python export.py ema.pt rtmpose-t-f32.onnx [--size t]
    python ../store_half.py rtmpose-t-f32.onnx rtmpose-t.onnx

and checks the file with ONNX Runtime against PyTorch at batches of 1, 3 and 8."""
import argparse
import os

import numpy as np
import onnx
import onnxruntime as ort
import torch

import rtmpose as R


def tidy(m):
    """Constants to initialisers, Identity nodes away, output shapes with only the batch symbolic."""
    g, alias, keep = m.graph, {}, []
    for n in g.node:
        if n.op_type == "Constant" and n.attribute[0].name == "value":
            t = n.attribute[0].t
            t.name = n.output[0]
            g.initializer.append(t)
        elif n.op_type == "Identity" and n.output[0] not in {o.name for o in g.output}:
            alias[n.output[0]] = n.input[0]
        else:
            keep.append(n)
    for n in keep:
        for i, x in enumerate(n.input):
            while x in alias:
                x = alias[x]
            n.input[i] = x
    del g.node[:]
    g.node.extend(keep)
    del g.value_info[:]
    for o in g.output:
        for d in o.type.tensor_type.shape.dim[1:]:
            if d.dim_param:
                d.ClearField("dim_param")
    known = onnx.shape_inference.infer_shapes(m, strict_mode=True, data_prop=True)
    for o, k in zip(g.output, known.graph.output):
        o.CopyFrom(k)


def export(net, path):
    """Writes a network as ONNX; gives the names of its outputs."""
    names = ["input", "simcc_x", "simcc_y"]
    h, w = net.size_hw
    torch.onnx.export(net, (torch.zeros(2, 3, h, w),), path, input_names=names[:1], output_names=names[1:], dynamic_axes={n: {0: "batch"} for n in names},
                      opset_version=17, do_constant_folding=True, dynamo=False)
    m = onnx.load(path)
    tidy(m)
    onnx.checker.check_model(m, full_check=True)
    onnx.save(m, path)
    return names[1:]


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("checkpoint"); ap.add_argument("out"); ap.add_argument("--size", default="t")
    a = ap.parse_args()
    os.makedirs(os.path.dirname(os.path.abspath(a.out)), exist_ok=True)
    net = R.RTMPose(a.size)
    net.load_state_dict(R.weights(a.checkpoint))
    net = net.eval().to(memory_format=torch.contiguous_format)
    outputs = export(net, a.out)
    h, w = net.size_hw
    ses = ort.InferenceSession(a.out, providers=["CPUExecutionProvider"])
    for b in (1, 3, 8):
        x = torch.randn(b, 3, h, w, generator=torch.Generator().manual_seed(b))
        with torch.no_grad():
            ref = [o.numpy() for o in net(x)]
        print(f"batch {b}: largest difference {max(np.abs(p - q).max() for p, q in zip(ref, ses.run(outputs, {'input': x.numpy()}))):.1e}")


if __name__ == "__main__":
    main()
