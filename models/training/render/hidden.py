#!/usr/bin/env python3
"""How a file's scores tell hidden key points from visible ones, on rendered people, whose hidden points are known.

    python render/hidden.py bodies.npz pictures.npz FILE.onnx [--count 400] [--seed 900000]

For points that are seen, that the person's own body hides, and that something else hides: their share, the mean score, the share
within a tenth of the box's height of its place, and the expected calibration error; and the AUC of the score, seen against hidden.
Only points inside the crop and the picture count.  Training draws its people from small seeds.  Needs PyTorch and onnxruntime; nvcc
with a GPU, g++ without (about a second a crop)."""
import argparse
import os
import sys

import numpy as np
import torch
from PIL import Image

FOLDER = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [FOLDER, os.path.dirname(FOLDER)]
import evaluate as E
from render import BEHIND_ITSELF, HIDDEN, SEEN, Renderer

NAMES = {SEEN: "seen", BEHIND_ITSELF: "hidden by the person's own body", HIDDEN: "hidden by something else"}


def rendered(renderer, seed, count, at_once=20):
    """Crops for evaluate.run; key points, which of them count, whether they are seen, and boxes."""
    crops, rest = [], []
    for number in range(0, count, at_once):
        b = {k: v.cpu().numpy() if torch.is_tensor(v) else v for k, v in renderer.batch((seed, number), min(at_once, count - number)).items()}
        for img, box, edge in zip(b["img"], b["box"], b["edge"]):
            x0, y0, x1, y1 = edge.round().astype(int)
            picture = Image.fromarray(img.transpose(1, 2, 0)[y0:y1, x0:x1])
            a, (x, y, s) = E.crop(picture, box - [x0, y0, 0, 0])
            crops.append((a, (x + x0, y + y0, s)))
        k, e = b["kpts"], b["edge"][:, None]
        rest.append((k, ((k >= e[..., :2]) & (k < e[..., 2:])).all(-1), b["seen"], b["box"]))
    kpts, inside, seen, box = (np.concatenate(a) for a in zip(*rest))
    left, top, scale = (np.array(a)[:, None] for a in zip(*(c[1] for c in crops)))
    in_crop = (kpts[..., 0] >= left) & (kpts[..., 0] < left + E.W * scale) & (kpts[..., 1] >= top) & (kpts[..., 1] < top + E.H * scale)
    return crops, kpts, inside & in_crop, seen, box


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("bodies"); ap.add_argument("pictures"); ap.add_argument("file", nargs="+")
    ap.add_argument("--count", type=int, default=400); ap.add_argument("--seed", type=int, default=900000)
    a = ap.parse_args()
    crops, kpts, counted, seen, box = rendered(Renderer(a.bodies, a.pictures, "cuda" if torch.cuda.is_available() else "cpu"), a.seed, a.count)
    for file in a.file:
        found, score, _ = E.run(E.session(file), crops)
        near = np.hypot(*np.moveaxis(found - kpts, -1, 0)) < .1 * box[:, None, 3]
        print(f"{file}: {counted.sum()} points of {len(crops)} people")
        for kind, name in NAMES.items():
            m = counted & (seen == kind)
            print(f"{name}: share {m.sum() / counted.sum():.3f}, score {score[m].clip(0, 1).mean():.3f}, near {near[m].mean():.3f}, "
                  f"calibration error {E.reliability(score[m], near[m])[1]:.3f}")
        for kind in (BEHIND_ITSELF, HIDDEN):
            print(f"AUC, seen against {NAMES[kind]}: {E.auc_of(score[counted & (seen == SEEN)], score[counted & (seen == kind)]):.3f}")


if __name__ == "__main__":
    main()
