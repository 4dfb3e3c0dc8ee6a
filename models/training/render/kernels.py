"""Compiles raster.cu: nvcc for an NVIDIA GPU, g++ (slow, for trials and as the reference) for the processor.  Needs no PyTorch."""
import ctypes
import os
import subprocess
import tempfile

import layout

HERE = os.path.dirname(os.path.abspath(__file__))


def build(arch=None):
    """-> the library; arch: the GPU's, as `sm_90`, or None for the processor.  Compiled anew, since it takes seconds."""
    with tempfile.TemporaryDirectory(prefix="raster-") as folder:
        source, lib = os.path.join(folder, "raster.cu" if arch else "raster.cpp"), os.path.join(folder, "raster.so")
        with open(source, "w") as out, open(os.path.join(HERE, "raster.cu")) as kernel:
            out.write(layout.defines() + kernel.read())
        # no fused multiply-add: the kernels must cover the same pixels as the reference
        cmd = ["nvcc", "-O3", "-fmad=false", "-arch=" + arch, "-Xcompiler", "-fPIC"] if arch else ["g++", "-O2", "-ffp-contract=off", "-fPIC"]
        got = subprocess.run(cmd + ["-shared", "-o", lib, source], capture_output=True, text=True)
        if got.returncode:
            raise RuntimeError(f"{' '.join(cmd)}\n{got.stderr[:3000]}")
        return ctypes.CDLL(lib)
