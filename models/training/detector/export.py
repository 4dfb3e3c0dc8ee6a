#!/usr/bin/env python3
"""Writes a checkpoint of the detector as ONNX, in YOLOX's form: pixels BGR 0..255 in, one output [batch, A, 6], opset 17, dynamic batch.

    python export.py out/ema.pt detector-f32.onnx
    python ../../store_half.py detector-f32.onnx detector.onnx

and checks the file with ONNX Runtime against PyTorch at batches of 1 and 3."""
import argparse
import os
import sys

import numpy as np
import onnx
import torch

from network import SIDE, Detector, Exported

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import rtmpose as R
from export import tidy                                             # ../export.py


def main():
    import onnxruntime as ort
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("checkpoint"); ap.add_argument("out")
    a = ap.parse_args()
    os.makedirs(os.path.dirname(os.path.abspath(a.out)), exist_ok=True)
    net = Detector()
    if a.checkpoint != "random":
        net.load_state_dict(R.weights(a.checkpoint))
    net = Exported(net).eval()
    axes = {n: {0: "batch"} for n in ("images", "output")}
    torch.onnx.export(net, (torch.zeros(2, 3, SIDE, SIDE),), a.out, input_names=["images"], output_names=["output"], dynamic_axes=axes, opset_version=17,
                      do_constant_folding=True, dynamo=False)
    m = onnx.load(a.out)
    tidy(m)
    onnx.checker.check_model(m, full_check=True)
    onnx.save(m, a.out)
    ses = ort.InferenceSession(a.out, providers=["CPUExecutionProvider"])
    for b in (1, 3):
        x = 255 * torch.rand(b, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(b))
        with torch.no_grad():
            print(f"batch {b}: largest difference {np.abs(net(x).numpy() - ses.run(None, {'images': x.numpy()})[0]).max():.1e}")


if __name__ == "__main__":
    main()
