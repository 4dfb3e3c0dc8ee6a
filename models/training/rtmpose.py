"""RTMPose (CSPNeXt backbone + RTMCC/SimCC head) in plain PyTorch.

Independent implementation; depends on torch only.  Module and parameter names follow the layout of
the published mmpose checkpoints:

    backbone.stem.{0,1,2}.{conv,bn}.*                 backbone.stageN.0.{conv,bn}.*
    backbone.stageN.I.{main,short,final}_conv.*       backbone.stageN.I.blocks.J.conv1.* / conv2.{depthwise,pointwise}_conv.*
    backbone.stageN.I.attention.fc.*                  backbone.stage4.1.conv{1,2}.*   (SPP)
    head.final_layer.*  head.mlp.0.g  head.mlp.1.weight  head.gau.{ln.g,uv.weight,gamma,beta,o.weight,res_scale.scale}
    head.cls_x.weight   head.cls_y.weight

"""
import math

import torch
import torch.nn.functional as F
from torch import nn

# (deepen, widen)
SIZES = {"t": (0.167, 0.375), "s": (0.33, 0.50), "m": (0.67, 0.75), "l": (1.0, 1.0), "x": (1.33, 1.25)}
MEAN = (123.675, 116.28, 103.53)  # RGB
STD = (58.395, 57.12, 57.375)
STAGE_WIDTH = (128, 256, 512, 1024)
STAGE_DEPTH = (3, 6, 6, 3)


class ConvBNAct(nn.Module):
    """conv (no bias) -> BatchNorm -> SiLU; sub-modules named conv / bn."""

    def __init__(self, cin, cout, k, stride=1, groups=1):
        super().__init__()
        self.conv = nn.Conv2d(cin, cout, k, stride, k // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(cout, eps=1e-3, momentum=0.03)

    def forward(self, x):
        return F.silu(self.bn(self.conv(x)))


class SeparableConv(nn.Module):
    def __init__(self, cin, cout, k):
        super().__init__()
        self.depthwise_conv = ConvBNAct(cin, cin, k, groups=cin)
        self.pointwise_conv = ConvBNAct(cin, cout, 1)

    def forward(self, x):
        return self.pointwise_conv(self.depthwise_conv(x))


class Block(nn.Module):
    """3x3 dense conv, then 5x5 separable conv, optional identity."""

    def __init__(self, ch, identity):
        super().__init__()
        self.conv1 = ConvBNAct(ch, ch, 3)
        self.conv2 = SeparableConv(ch, ch, 5)
        self.identity = identity

    def forward(self, x):
        y = self.conv2(self.conv1(x))
        return x + y if self.identity else y


class ChannelAttention(nn.Module):
    def __init__(self, ch):
        super().__init__()
        self.fc = nn.Conv2d(ch, ch, 1)

    def forward(self, x):
        return x * F.hardsigmoid(self.fc(F.adaptive_avg_pool2d(x, 1)))


class CSPLayer(nn.Module):
    def __init__(self, ch, depth, identity, ratio=0.5):
        super().__init__()
        mid = int(ch * ratio)
        self.main_conv = ConvBNAct(ch, mid, 1)
        self.short_conv = ConvBNAct(ch, mid, 1)
        self.final_conv = ConvBNAct(2 * mid, ch, 1)
        self.blocks = nn.Sequential(*(Block(mid, identity) for _ in range(depth)))
        self.attention = ChannelAttention(2 * mid)

    def forward(self, x):
        y = torch.cat((self.blocks(self.main_conv(x)), self.short_conv(x)), dim=1)
        return self.final_conv(self.attention(y))


class SPP(nn.Module):
    """Parallel max pools of 5/9/13.  Written as a chain of 5x5 pools: the same maxima, fewer taps."""

    def __init__(self, ch, pools=3):
        super().__init__()
        mid = ch // 2
        self.pools = pools
        self.conv1 = ConvBNAct(ch, mid, 1)
        self.conv2 = ConvBNAct(mid * (pools + 1), ch, 1)

    def forward(self, x):
        ys = [self.conv1(x)]
        for _ in range(self.pools):
            ys.append(F.max_pool2d(ys[-1], 5, 1, 2))
        return self.conv2(torch.cat(ys, dim=1))


class CSPNeXt(nn.Module):
    def __init__(self, deepen=1.0, widen=1.0):
        super().__init__()
        c0 = int(64 * widen)
        half = int(64 * widen // 2)
        self.stem = nn.Sequential(ConvBNAct(3, half, 3, 2), ConvBNAct(half, half, 3), ConvBNAct(half, c0, 3))
        cin, last = c0, len(STAGE_WIDTH)
        for i, (w, d) in enumerate(zip(STAGE_WIDTH, STAGE_DEPTH), start=1):
            cout, depth = int(w * widen), max(round(d * deepen), 1)
            mods = [ConvBNAct(cin, cout, 3, 2)]
            if i == last:
                mods.append(SPP(cout))
            mods.append(CSPLayer(cout, depth, identity=i != last))
            self.add_module(f"stage{i}", nn.Sequential(*mods))
            cin = cout
        self.out_channels = cin

    def forward(self, x):
        return self.stage4(self.stage3(self.stage2(self.stage1(self.stem(x)))))


class ScaleNorm(nn.Module):
    def __init__(self, dim, eps=1e-5):
        super().__init__()
        self.g = nn.Parameter(torch.ones(1))
        self.scale, self.eps = dim ** -0.5, eps

    def forward(self, x):
        rms = torch.linalg.norm(x, dim=-1, keepdim=True) * self.scale
        return x / rms.clamp(min=self.eps) * self.g


class Scale(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(dim))

    def forward(self, x):
        return x * self.scale


class GAU(nn.Module):
    """Gated attention unit over the K keypoint tokens: squared-ReLU attention, SiLU gates, scaled residual."""

    def __init__(self, dim, s=128, expansion=2):
        super().__init__()
        self.s, self.e = s, dim * expansion
        self.ln = ScaleNorm(dim)
        self.uv = nn.Linear(dim, 2 * self.e + s, bias=False)
        self.gamma = nn.Parameter(torch.rand(2, s))
        self.beta = nn.Parameter(torch.rand(2, s))
        self.o = nn.Linear(self.e, dim, bias=False)
        self.res_scale = Scale(dim)

    def forward(self, x):
        u, v, base = F.silu(self.uv(self.ln(x))).split((self.e, self.e, self.s), dim=-1)
        q = base * self.gamma[0] + self.beta[0]
        k = base * self.gamma[1] + self.beta[1]
        a = F.relu(q @ k.transpose(1, 2) * self.s ** -0.5)
        return self.res_scale(x) + self.o(u * ((a * a) @ v))


class RTMCCHead(nn.Module):
    def __init__(self, cin, keypoints, size_hw, split=2.0, hidden=256):
        super().__init__()
        h, w = size_hw
        tokens = (h // 32) * (w // 32)
        self.final_layer = nn.Conv2d(cin, keypoints, 7, 1, 3)
        self.mlp = nn.Sequential(ScaleNorm(tokens), nn.Linear(tokens, hidden, bias=False))
        self.gau = GAU(hidden)
        self.cls_x = nn.Linear(hidden, int(w * split), bias=False)
        self.cls_y = nn.Linear(hidden, int(h * split), bias=False)
        self.tokens_shape = (-1, keypoints, tokens)  # constant: exports as one Reshape, only the batch is symbolic

    def forward(self, x):
        f = self.gau(self.mlp(self.final_layer(x).reshape(self.tokens_shape)))
        return self.cls_x(f), self.cls_y(f)


class RTMPose(nn.Module):
    """[N,3,H,W] normalised RGB -> simcc_x [N,K,2W], simcc_y [N,K,2H]."""

    def __init__(self, size="s", keypoints=17, size_hw=(256, 192)):
        super().__init__()
        self.size_hw, self.keypoints = size_hw, keypoints
        self.backbone = CSPNeXt(*SIZES[size])
        self.head = RTMCCHead(self.backbone.out_channels, keypoints, size_hw)

    def forward(self, x):
        return self.head(self.backbone(x))


# ---- training -----------------------------------------------------------------------------------------------------
def simcc_targets(kpts, visible, size_hw=(256, 192), sigma=(4.9, 5.66), split=2.0):
    """kpts [N,K,2] in crop pixels, visible [N,K] -> (tx [N,K,2W], ty [N,K,2H], weight [N,K]).

    Unnormalised gaussians round the rounded bin, as in mmpose's SimCCLabel; a key point whose 3-sigma box misses the
    crop gets weight 0.
    """
    h, w = size_hw
    mu = (kpts * split).round()
    outs, ok = [], visible > 0.5
    for axis, n in ((0, int(w * split)), (1, int(h * split))):
        m, s = mu[..., axis], sigma[axis]
        ok = ok & (m - 3 * s < n) & (m + 3 * s + 1 >= 0)
        bins = torch.arange(n, device=kpts.device, dtype=kpts.dtype)
        outs.append(torch.exp(-((bins - m[..., None]) ** 2) / (2 * s * s)))
    wgt = ok.to(kpts.dtype)
    return outs[0] * wgt[..., None], outs[1] * wgt[..., None], wgt


def weights(path, device="cpu"):
    """A checkpoint's state, in float32 where train.py stored it in half precision."""
    return {k: v.float() if v.is_floating_point() else v for k, v in torch.load(path, map_location=device).items()}


def size_of(weights):
    """The key in SIZES of a checkpoint, by the width of its first convolution."""
    width = len(weights["backbone.stem.0.conv.weight"])
    return next(s for s, (_, widen) in SIZES.items() if int(64 * widen // 2) == width)


def network(path, device="cpu"):
    """A checkpoint's network, to answer with."""
    state = weights(path, device)
    net = RTMPose(size_of(state)).to(device).eval()
    net.load_state_dict(state)
    return net


def decode(sx, sy, split=2.0):
    """-> keypoints [N,K,2] in crop pixels, score [N,K] = min of the two maxima."""
    mx, ix = sx.max(-1)
    my, iy = sy.max(-1)
    return torch.stack((ix, iy), -1).float() / split, torch.minimum(mx, my)
