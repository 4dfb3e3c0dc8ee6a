#!/usr/bin/env python3
"""Checks what needs PyTorch: mirrored poses, and, where there is a GPU, the kernels against the reference that g++ makes of the same source
(which tests/python/test_render.py checks against exact integers).

    python check.py bodies.npz pictures.npz

Coverage and depth must be equal bit for bit; colours may differ by rounding, since sinf and powf are not the same everywhere.
Ends with 1 where something differs."""
import sys

import numpy as np
import torch

import poses
import raster
from kernels import build
from render import CH, CW, FINE, SUN, Renderer


def mirrored(r):
    """A mirrored pose must give the mirrored skeleton: left and right of poses.py and bodies.py agree."""
    b = r.bodies
    pose, _ = poses.draw(np.random.default_rng(3), 64)
    joints = b.mean[b.V:].expand(64, -1, -1)
    P = b.skeleton(joints, r.to(pose))[1]
    Q = b.skeleton(joints, r.to(poses.mirror(pose)))[1]
    other = [b.at[n[:-1] + {"L": "R", "R": "L"}[n[-1]]] if n[-2:] in (".L", ".R") else b.at[n] for n in b.bones]
    limbs = [b.at[n] for n in b.bones if not n.startswith(("toe", "finger", "metacarpal"))]
    far = ((P * torch.tensor([-1., 1., 1.], device=P.device))[:, other] - Q).norm(dim=-1)[:, limbs].max()
    print(f"mirrored poses: joints at most {1e3 * far:.1f} mm from the mirrored ones")
    return far < .005


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    lib, cuda = build(), torch.cuda.is_available()
    gpu = Renderer(*sys.argv[1:], "cuda" if cuda else "cpu", None if cuda else lib)
    ok = mirrored(gpu)
    if not cuda:
        print("no GPU: the kernels are not checked")
        sys.exit(not ok)
    with torch.no_grad():
        t = gpu.scene(np.random.default_rng(7), 12)
        seen, sun, (rgb, who, lit) = gpu.draw(t)
    mesh = {k: v.cpu() for k, v in gpu.bodies.mesh.items()}
    cpu = raster.Raster(mesh, "cpu", lib)
    c = {k: v.cpu() for k, v in t.items() if isinstance(v, torch.Tensor)}
    seen2 = cpu.cover(c["screen"], c["crop"], c["place"], t["crops"], CW * FINE, CH * FINE)
    sun2 = cpu.cover(c["lit"], c["crop"], c["place"], t["crops"], SUN, SUN)
    rgb2, who2, lit2 = cpu.shade(seen2, sun2, c["screen"], c["normal"], c["first"], c["params"], c["table"])
    for name, a, b in (("coverage", seen, seen2), ("shadow map", sun, sun2), ("who", who, who2)):
        same = bool((a.cpu() == b).all())
        ok &= same
        print(f"{name}: {'equal' if same else str(int((a.cpu() != b).sum())) + ' pixels differ'}, {int((b != 0).sum())} not empty")
    d = (rgb.cpu() - rgb2).abs()
    far, lost = float((d > 2).float().mean()), float(((lit.cpu() - lit2).abs() > .01).float().mean())
    ok &= far < 1e-3 and lost < 1e-3
    print(f"colours: mean difference {d.mean():.5f} of 255, {far:.2e} of the pixels by more than 2; shadows differ in {lost:.2e}")
    sys.exit(not ok)


if __name__ == "__main__":
    main()
