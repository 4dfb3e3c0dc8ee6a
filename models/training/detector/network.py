"""A person detector in plain PyTorch, with YOLOX's answers: RTMPose-t's CSPNeXt up to stride 16, a narrow last stage, a small
pyramid, and for each stride two branches of separable convolutions.

The answers are [N,A,5], A cells of strides 8, 16 and 32, row by row: x and y of the box's centre in cells from the cell's corner, the
natural logarithms of its width and height in cells, and the logit of the score."""
import os
import sys

import torch
import torch.nn.functional as F
from torch import nn

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import rtmpose as R

SIDE = 416
STRIDES = (8, 16, 32)
LAST, WIDTH = 192, 80                                               # channels of the last stage, and of the pyramid and the head
MOST = 9.0                                                          # |logarithm of a side in cells| is kept below


def cells(side=SIDE, device="cpu"):
    """Column, row [A,2] and stride [A] of the cells."""
    at, stride = [], []
    for s in STRIDES:
        y, x = torch.meshgrid(*(torch.arange(side // s, device=device, dtype=torch.float32),) * 2, indexing="ij")
        at.append(torch.stack((x, y), -1).reshape(-1, 2)), stride.append(torch.full((at[-1].shape[0],), float(s), device=device))
    return torch.cat(at), torch.cat(stride)


def boxes(answer, at, stride):
    """Answers [...,A,5] -> boxes x0 y0 x1 y1 [...,A,4] in input pixels."""
    c = (answer[..., :2] + at) * stride[:, None]
    half = answer[..., 2:4].exp() * stride[:, None] / 2
    return torch.cat((c - half, c + half), -1)


class Pyramid(nn.Module):
    """Three maps of `width` channels from three of `cin`: coarse to fine, then fine to coarse."""

    def __init__(self, cin, width):
        super().__init__()
        self.side = nn.ModuleList(R.ConvBNAct(c, width, 1) for c in cin)
        self.down = nn.ModuleList(R.CSPLayer(width, 1, False) for _ in range(2))
        self.shrink = nn.ModuleList(nn.Sequential(R.ConvBNAct(width, width, 5, 2, groups=width), R.ConvBNAct(width, width, 1)) for _ in range(2))
        self.up = nn.ModuleList(R.CSPLayer(width, 1, False) for _ in range(2))

    def forward(self, maps):
        fine, mid, coarse = (side(m) for side, m in zip(self.side, maps))
        twice = lambda x: F.interpolate(x, scale_factor=2, mode="nearest")
        mid = self.down[0](mid + twice(coarse))
        fine = self.down[1](fine + twice(mid))
        mid = self.up[0](mid + self.shrink[0](fine))
        coarse = self.up[1](coarse + self.shrink[1](mid))
        return fine, mid, coarse


class Head(nn.Module):
    def __init__(self, width, stride):
        super().__init__()
        self.shape = (-1, 5, (SIDE // stride) ** 2)                     # constant: only the batch is symbolic in a file
        branch = lambda: nn.Sequential(R.SeparableConv(width, width, 5), R.SeparableConv(width, width, 5))
        self.where, self.whether = branch(), branch()
        self.box, self.score = nn.Conv2d(width, 4, 1), nn.Conv2d(width, 1, 1)
        with torch.no_grad():
            self.box.weight.mul_(.1), self.score.weight.mul_(.1)
            self.box.bias.copy_(torch.tensor([.5, .5, .8, 1.5])), self.score.bias.fill_(-4.6)

    def forward(self, x):
        where, whether = self.where(x), self.whether(x)
        with torch.autocast(x.device.type, enabled=False):              # half precision would round boxes to a hundredth
            return torch.cat((self.box(where.float()), self.score(whether.float())), 1).reshape(self.shape).transpose(1, 2)


class Detector(nn.Module):
    """[N,3,H,W] normalised RGB -> answers [N,A,5]."""

    def __init__(self):
        super().__init__()
        whole = R.CSPNeXt(*R.SIZES["t"])
        self.backbone = nn.ModuleDict({k: getattr(whole, k) for k in ("stem", "stage1", "stage2", "stage3")})
        fine, mid = (getattr(whole, k)[-1].final_conv.conv.out_channels for k in ("stage2", "stage3"))
        self.last = nn.Sequential(R.ConvBNAct(mid, LAST, 3, 2), R.SPP(LAST), R.CSPLayer(LAST, 1, False))
        self.pyramid = Pyramid((fine, mid, LAST), WIDTH)
        self.heads = nn.ModuleList(Head(WIDTH, s) for s in STRIDES)

    def start(self, path):
        """Takes the backbone's weights from a checkpoint of RTMPose-t."""
        known = {k: v for k, v in R.weights(path).items() if k.startswith("backbone.") and not k.startswith("backbone.stage4")}
        lost = self.load_state_dict(known, strict=False)
        assert not lost.unexpected_keys and not any(k.startswith("backbone.") for k in lost.missing_keys), lost

    def features(self, x):
        b = self.backbone
        fine = b["stage2"](b["stage1"](b["stem"](x)))
        mid = b["stage3"](fine)
        return self.pyramid((fine, mid, self.last(mid)))

    def forward(self, x):
        a = torch.cat([h(m) for h, m in zip(self.heads, self.features(x))], 1).float()
        return torch.cat((a[..., :2], a[..., 2:4].clamp(-MOST, MOST), a[..., 4:]), -1)


class Exported(nn.Module):
    """What a file holds: pixels BGR 0..255 in; YOLOX's columns out: x, y, log w, log h, score, and 1 for the one class."""

    def __init__(self, net):
        super().__init__()
        self.net = net
        self.register_buffer("mean", torch.tensor(R.MEAN)[None, :, None, None])
        self.register_buffer("scale", 1 / torch.tensor(R.STD)[None, :, None, None])

    def forward(self, x):
        a = self.net((x.flip(1) - self.mean) * self.scale)
        p = a[..., 4:].sigmoid()
        return torch.cat((a[..., :4], p, 0 * p + 1), -1)
