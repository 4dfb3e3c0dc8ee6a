"""What train.py does to a crop: a batched affine warp and pixel operations, compiled into a handful of kernels."""
import math

import torch
import torch.nn.functional as F

import rtmpose as R

W, H = 192, 256          # network input
CW, CH = 216, 288        # crop canvas held on the GPU
PAD = 114                # grey beyond the photograph's edge in the packs
FLIP = [0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15]


def region(box, pad=1.25):
    """Box [N,4] -> centre [N,2] and padded size [N,2] with the network's aspect."""
    c = box[:, :2] + box[:, 2:] / 2
    w, h = box[:, 2] * pad, box[:, 3] * pad
    w = torch.maximum(w, h * W / H)
    return c, torch.stack((w, w * H / W), 1)


def warp(img, edge, c, size, rot, flip):
    """Samples [N,3,H,W]; output pixel (u,v) comes from c + R(rot) ((u,v) - (W,H)/2) * size/(W,H), mirrored where flip."""
    n, dev = len(img), img.device
    v, u = torch.meshgrid(torch.arange(H, device=dev, dtype=torch.float32), torch.arange(W, device=dev, dtype=torch.float32), indexing="ij")
    du = (u - W / 2)[None] * (1 - 2 * flip.float())[:, None, None]
    dv = (v - H / 2)[None].expand(n, -1, -1)
    k = (size[:, 0] / W)[:, None, None]
    cs, sn = rot.cos()[:, None, None], rot.sin()[:, None, None]
    x = c[:, 0, None, None] + (cs * du - sn * dv) * k
    y = c[:, 1, None, None] + (sn * du + cs * dv) * k
    grid = torch.stack(((2 * x + 1) / CW - 1, (2 * y + 1) / CH - 1), -1)
    out = F.grid_sample(img.float(), grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    e = edge[:, :, None, None]
    return out, ((x > e[:, 0] - .5) & (x < e[:, 2] - .5) & (y > e[:, 1] - .5) & (y < e[:, 3] - .5))[:, None].float()


def project(kpts, c, size, rot, flip):
    """Canvas pixels -> network pixels, the inverse of warp."""
    d = (kpts - c[:, None]) / (size[:, None, :1] / W)
    cs, sn = rot.cos()[:, None], rot.sin()[:, None]
    u = (cs * d[..., 0] + sn * d[..., 1]) * (1 - 2 * flip.float())[:, None] + W / 2
    v = -sn * d[..., 0] + cs * d[..., 1] + H / 2
    return torch.stack((u, v), -1)


def colours(dev):
    """The network's mean and standard deviation [1,3,1,1]."""
    return (torch.tensor(c, device=dev)[None, :, None, None] for c in (R.MEAN, R.STD))


def augment(img, kp, wt, gone, box, edge, hard, mean, std):
    """-> normalised input [N,3,H,W], key points in network pixels, weight of each, weight of its absence.  Makes no tensor from numbers of
    Python, so that a CUDA graph can hold it."""
    dev, n = img.device, len(img)
    r = lambda *s: torch.rand(*s, device=dev)
    # half body: the box shrinks to the upper or the lower joints; half of the time the picture ends there as well (webcam)
    upper = torch.arange(17, device=dev) < 11
    up = r(n) < .75
    take = torch.where(up[:, None], upper, ~upper) & (wt > 0)
    half = (r(n) < .32 * hard) & (take.sum(1) >= 4)
    lo = torch.where(take[..., None], kp, torch.full_like(kp, 1e9)).amin(1)
    hi = torch.where(take[..., None], kp, torch.full_like(kp, -1e9)).amax(1)
    hb = torch.cat((lo - .15 * (hi - lo) - 3, 1.3 * (hi - lo) + 6), 1)
    box = torch.where(half[:, None], hb, box)
    cut, far_end = half & (r(n) < .5), box[:, 1] + box[:, 3]
    edge = torch.stack((edge[:, 0], torch.where(cut & ~up, torch.maximum(edge[:, 1], box[:, 1]), edge[:, 1]), edge[:, 2],
                        torch.where(cut & up, torch.minimum(edge[:, 3], far_end), edge[:, 3])), 1)
    # or the picture ends somewhere in the person, and the box with it
    side, trunc = r(n), (r(n) < .15 * hard) & ~half
    t = .15 + .35 * r(n)
    x0, y0, x1, y1 = box[:, 0], box[:, 1], box[:, 0] + box[:, 2], box[:, 1] + box[:, 3]
    x0 = torch.where(trunc & (side < .3), x0 + t * box[:, 2], x0)
    x1 = torch.where(trunc & (side >= .3) & (side < .6), x1 - t * box[:, 2], x1)
    y1 = torch.where(trunc & (side >= .6), y1 - t * box[:, 3], y1)
    box = torch.stack((x0, y0, x1 - x0, y1 - y0), 1)
    edge = torch.stack((torch.where(trunc & (side < .3), torch.maximum(edge[:, 0], x0), edge[:, 0]), edge[:, 1],
                        torch.where(trunc & (side >= .3) & (side < .6), torch.minimum(edge[:, 2], x1), edge[:, 2]),
                        torch.where(trunc & (side >= .6), torch.minimum(edge[:, 3], y1), edge[:, 3])), 1)
    c, size = region(box)
    s = .65 + .7 * r(n)
    far = r(n) < .18
    s = torch.where(far, torch.exp(math.log(1.2) + r(n) * math.log(3.4 / 1.2)), s)       # small people, as in whole frames
    rot = (r(n) * 2 - 1) * torch.where(r(n) < .35, math.radians(80) * hard, math.radians(25))
    rot = torch.where(r(n) < .4, torch.zeros_like(rot), rot)
    shift = (r(n, 2) * 2 - 1) * torch.where(far[:, None], .33, .12) * size * s[:, None]
    flip = r(n) < .5
    size, c = size * s[:, None], c + shift
    x, inside = warp(img, edge, c, size, rot, flip)
    e = edge[:, None]
    seen = (kp[..., 0] >= e[..., 0] - 2) & (kp[..., 0] < e[..., 2] + 2) & (kp[..., 1] >= e[..., 1] - 2) & (kp[..., 1] < e[..., 3] + 2)
    k = project(kp, c, size, rot, flip)
    k = torch.where(flip[:, None, None], k[:, FLIP], k)
    wt, gone, seen = (torch.where(flip[:, None], a[:, FLIP], a) for a in (wt, gone, seen))
    vis = (k[..., 0] >= 0) & (k[..., 0] < W) & (k[..., 1] >= 0) & (k[..., 1] < H)
    out = (k[..., 0] < -6) | (k[..., 0] > W + 6) | (k[..., 1] < -6) | (k[..., 1] > H + 6) | ~seen
    # absent: beyond the crop or the picture (known position), unlabelled in COCO, or nobody there
    absent = torch.where((wt > 0) & out, torch.full_like(wt, .25), torch.where(gone > 1.5, torch.full_like(wt, .5), .1 * gone))
    wt = wt * (vis & seen)
    # what lies outside the photograph: black (as at inference), the packs' grey, one colour, or another photograph, blurred
    mode = r(n)[:, None, None, None]
    other = F.interpolate(F.adaptive_avg_pool2d(img.roll(1, 0).float(), (12, 9)), (H, W), mode="bilinear", align_corners=False)
    fill = torch.where(mode < .55, torch.zeros_like(x), torch.where(mode < .75, torch.full_like(x, PAD), torch.where(mode < .85, 255 * r(n, 3, 1, 1).expand_as(x), other)))
    x = x * inside + (1 - inside) * fill
    # occluders: up to three rectangles, flat, noisy or cut from another picture of the batch
    patch = x.roll(n // 2 + 1, 0)
    yy, xx = torch.arange(H, device=dev)[None, :, None], torch.arange(W, device=dev)[None, None, :]
    for prob in (.45, .3, .15):
        on = r(n) < prob * hard
        w, h = (.08 + .34 * r(n)) * W, (.08 + .3 * r(n)) * H
        a, b = r(n) * W - w / 2, r(n) * H - h / 2
        msk = (on[:, None, None] & (xx >= a[:, None, None]) & (xx < (a + w)[:, None, None]) & (yy >= b[:, None, None]) & (yy < (b + h)[:, None, None]))[:, None]
        flat = 255 * r(n, 3, 1, 1) + 25 * torch.randn_like(x) * (r(n, 1, 1, 1) < .5)
        x = torch.where(msk, torch.where(r(n, 1, 1, 1) < .6, patch, flat), x)
    # colour
    m = x.mean((2, 3), keepdim=True)
    x = (x - m) * (.6 + .8 * r(n, 1, 1, 1)) + m * (.6 + .8 * r(n, 1, 1, 1))
    x = x * (.88 + .24 * r(n, 3, 1, 1))
    grey = x.mean(1, keepdim=True)
    sat = torch.where(r(n, 1, 1, 1) < .08, torch.zeros(n, 1, 1, 1, device=dev), .6 + .8 * r(n, 1, 1, 1))
    x = grey + (x - grey) * sat
    # lost resolution (fixed slices: the batch is in random order), then noise
    parts, at = [], 0
    for f, share in ((2, .10), (3, .09), (4, .07), (6, .05), (8, .02)):
        m = int(n * share)
        if m:
            parts.append(F.interpolate(F.avg_pool2d(x[at:at + m], f), (H, W), mode="bilinear", align_corners=False)); at += m
    x = torch.cat(parts + [x[at:]])
    x = x + torch.randn_like(x) * (12 * r(n, 1, 1, 1) * (r(n, 1, 1, 1) < .3))
    return ((x.clamp(0, 255) - mean) / std).contiguous(memory_format=torch.channels_last), k, wt, absent
