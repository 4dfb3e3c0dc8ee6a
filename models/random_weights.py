#!/usr/bin/env python3
"""Writes RTMPose of one or more sizes with random weights: as fast and as large as the published networks, but they find
nothing.  For benchmarks (benches/gpu) where no weights are at hand.

    python models/random_weights.py FOLDER t s m l

writes FOLDER/rtmpose-SIZE-random.onnx: 17 points, 256x192.  Needs PyTorch (a build for the CPU will do), numpy, onnx and
onnxruntime.  The same weights every time."""
import pathlib
import sys

import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "training"))
import export
import rtmpose


def main():
    if len(sys.argv) < 3 or not set(sys.argv[2:]) <= set(rtmpose.SIZES):
        sys.exit(__doc__.strip())
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for size in sys.argv[2:]:
        torch.manual_seed(0)
        path = folder / f"rtmpose-{size}-random.onnx"
        export.export(rtmpose.RTMPose(size).eval(), str(path))
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
