"""Calls raster.cu's two entries on tensors."""
import ctypes

import torch

from kernels import build


class Raster:
    """Draws batches; `mesh` holds what does not change: face [F,3] int32, field [V,9], rest [V,3], part [V] int8."""

    def __init__(self, mesh, device, lib=None):
        self.device = torch.device(device)
        cuda = self.device.type == "cuda"
        self.lib = lib or build("sm_%d%d" % torch.cuda.get_device_capability() if cuda else None)
        self.face, self.part = mesh["face"].int().contiguous(), mesh["part"].to(torch.int8).contiguous()
        self.field, self.rest = mesh["field"].float().contiguous(), mesh["rest"].float().contiguous()
        self.V, self.F = len(self.rest), len(self.face)
        if self.field.shape != (self.V, 9) or int(self.face.max()) >= self.V:
            raise ValueError("the mesh does not fit together")

    def call(self, name, *args):
        def plain(a):
            if isinstance(a, torch.Tensor):
                if not a.is_contiguous() or a.device.type != self.device.type:
                    raise ValueError(f"{name}: tensors must be contiguous and on {self.device}")
                return ctypes.c_void_p(a.data_ptr())
            return ctypes.c_int(a)
        stream = torch.cuda.current_stream().cuda_stream if self.device.type == "cuda" else 0
        count, rest = args[0], [plain(a) for a in args[1:]]
        code = getattr(self.lib, name)(ctypes.c_int64(count), *rest, ctypes.c_void_p(stream))
        if code:
            raise RuntimeError(f"{name}: CUDA error {code}")

    def cover(self, screen, crop, place, crops, W, H):
        """screen [N,V,3]: column, row and nearness of each corner (not positive: not there); crop and place [N] int32:
        which crop a person is in, and as which of its people.  -> [crops,H,W] int64: nearness and triangle."""
        seen = torch.zeros(crops, H, W, dtype=torch.int64, device=self.device)
        self.call("cover", len(screen), screen.float().contiguous(), self.face, crop.int(), place.int(), self.V, self.F, W, H, seen)
        return seen

    def shade(self, seen, sun, screen, normal, first, person, crop):
        """-> rgb [B,3,H,W] 0..255, who [B,H,W] int8 (place of the person, -1: nobody), lit [B,H,W] (1: no shadow behind)."""
        B, H, W = seen.shape
        rgb = torch.empty(B, 3, H, W, device=self.device)
        who, lit = torch.empty(B, H, W, dtype=torch.int8, device=self.device), torch.empty(B, H, W, device=self.device)
        self.call("shade", B, seen, W, H, sun, sun.shape[2], sun.shape[1], screen.float().contiguous(), normal.float().contiguous(), self.face, self.field, 9,
                  self.rest, self.part, first.int(), person.float().contiguous(), crop.float().contiguous(), self.V, self.F, rgb, who, lit)
        return rgb, who, lit


def nearness(seen):
    """The nearness (1/metres, 0: nothing) that cover left at each pixel."""
    return (seen >> 32).to(torch.int32).view(torch.float32)
