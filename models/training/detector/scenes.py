#!/usr/bin/env python3
"""Pictures of 416 x 416 with people in known boxes, put together on the device from patches: photographed people with what is round
them, the same cut out, rendered people, and windows of pictures without people.

    python scenes.py sheet.png --people PACK.npz [...] --nobody PACK.npz [--masks MASKS.npz] [--rendered bodies.npz] [--few 8]

writes a sheet to look at.  Lengths are in pixels; boxes are x0 y0 x1 y1."""
import argparse
import io
import math
import random

import numpy as np
import torch
import torch.nn.functional as F

from network import SIDE, cells
from patches import ATLAS, CH, CW, LEVELS, NOBODY, PLAIN, RECT, WEIGHT, extents, held_out, load, picture, text

MOST = 32                                                           # patches in a scene, and boxes
SHAPES = ((16 / 9, .4), (4 / 3, .25), (3 / 2, .08), (1, .07), (9 / 16, .1), (3 / 4, .1))
MODES = (("nobody", .2), ("near", .2), ("some", .2), ("street", .2), ("mosaic", .12), ("many", .08))


def choose(r, table):
    return r.choices([t[0] for t in table], [t[1] for t in table])[0]


class Layout:
    """Draws which patch goes where."""

    def __init__(self, patches, seed):
        self.p, self.r = patches, random.Random(seed)

    def person(self, shares, whole=False):
        of = self.p.whole if whole else self.p.of
        shares = [s if of[k] else 0 for k, s in enumerate(shares)]
        if not any(shares): shares = [len(o) for o in of[:3]]
        return self.r.choice(of[self.r.choices(range(3), shares)[0]])

    def seen(self, i, sx, sy, tx, ty, flip, rect, w, h):
        """Box and area of a photographed person of whom the picture or its rectangle shows a part: as wide as the joints in it."""
        p = self.p
        b = p.box[i]
        if p.kind[i] != RECT: return [*b, p.area[i]]
        x0, x1 = -tx / sx, (w - tx) / sx
        if flip: x0, x1 = CW - x1, CW - x0
        v = max(x0, rect[0]), max(-ty / sy, rect[1]), min(x1, rect[2]), min((h - ty) / sy, rect[3])
        tall = min(v[3], b[3]) - max(v[1], b[1])
        if tall > .9 * (b[3] - b[1]) and v[0] <= b[0] and v[2] >= b[2]: return [*b, p.area[i]]
        k = p.joints[i][p.known[i]]
        k = k[(k[:, 0] > v[0]) & (k[:, 0] < v[2]) & (k[:, 1] > v[1]) & (k[:, 1] < v[3])]
        if len(k) < 2: return [*b, 1e6]                              # an arm, a foot: neither somebody nor nobody
        m = .1 * max(b[3] - b[1], b[2] - b[0])
        return [max(b[0], k[:, 0].min() - m), b[1], min(b[2], k[:, 0].max() + m), b[3], p.area[i]]

    def item(self, i, size, x, foot=None, top=None, near=False):
        """Patch i so that the larger side of its box has `size` pixels, its middle at x, its lower or upper end where it is told."""
        p, r = self.p, self.r
        b, e, kind = p.box[i], p.edge[i], p.kind[i]
        flip = r.random() < .5
        sy = size / max(b[3] - b[1], b[2] - b[0])
        sx = sy * math.exp(r.uniform(-.1, .1))
        rect, feather = [0, 0, CW, CH], 1.
        if kind == RECT:
            far = (lambda: 1.) if near else (lambda: r.random() ** 1.5)
            rect = [b[0] - far() * (b[0] - e[0]), b[1] - far() * (b[1] - e[1]), b[2] + far() * (e[2] - b[2]), b[3] + far() * (e[3] - b[3])]
            feather = r.choice((.5, .5, 3., 8.)) * max(.3, min(1., size / 150))
        if not near and r.random() < .1:                             # ends below the waist or the chest
            rect[3] = b[1] + r.uniform(.35, .9) * (b[3] - b[1])
        mx = (b[0] + b[2]) / 2
        tx = x - sx * ((CW - mx) if flip else mx)
        ty = foot - sy * b[3] if top is None else top - sy * b[1]
        return self.put(i, sx, sy, tx, ty, flip, rect, feather)

    def put(self, i, sx, sy, tx, ty, flip, rect, feather, oval=False):
        r, light = self.r, math.exp(self.r.uniform(-.45, .25))
        blur = r.choice((-.7, -.4, -.4, 0., .6))
        level = min(3, max(0, round(-math.log2(max(sx, 1e-3)) + blur)))
        return [i, sx, sy, tx, ty, float(flip), *rect, feather, float(oval), *(light * r.uniform(.9, 1.1) for _ in range(3)), level, *self.seen(i, sx, sy, tx, ty, flip, rect, self.w, self.h)]

    def thing(self, w, h, wide):
        """A window of a picture without people, as a rectangle or an oval."""
        p, r = self.p, self.r
        i = r.choice(p.of[NOBODY])
        s = wide / CW * math.exp(r.uniform(-.1, .7))
        a, b = r.uniform(.3, 1) * CW, r.uniform(.2, 1) * CH
        x0, y0 = r.uniform(0, CW - a), r.uniform(0, CH - b)
        return self.put(i, s, s, r.uniform(-.2, 1) * w - s * x0, r.uniform(-.2, 1) * h - s * y0, r.random() < .5, [x0, y0, x0 + a, y0 + b], r.choice((.5, .5, 3., 8.)), r.random() < .3)

    def scene(self):
        """-> width and height of the picture within the square, and its patches, the farthest first."""
        r, p = self.r, self.p
        shape = choose(r, SHAPES) * math.exp(r.uniform(-.06, .06))
        w, h = (SIDE, round(SIDE / shape)) if shape >= 1 else (round(SIDE * shape), SIDE)
        self.w, self.h = w, h
        log = lambda a, b: math.exp(r.uniform(math.log(a), math.log(b)))
        mode, out, front = choose(r, MODES), [], []
        things = r.choice((0, 0, 1, 2, 4)) if mode != "nobody" else r.choice((0, 0, 2, 4, 8))
        if mode == "near":
            n = r.choice((1, 1, 1, 2, 2, 3))
            for k in range(n):
                x = (k + r.uniform(.2, .8)) / n * w
                i = self.person((.65, .1, .25))
                out.append(self.item(i, log(.75, 2.1) * h * (1 if n == 1 else .8), x, top=r.uniform(.01, .35) * h, near=r.random() < .7))
            if n > 1 or r.random() < .5: things = 0
        elif mode == "some":
            base, foot = log(.22, .95) * h, r.uniform(.65, 1.1)
            for k in range(r.randint(1, 6)):
                out.append((self.item(self.person((.4, .3, .3)), base * log(.6, 1.2), r.uniform(0, 1) * w, foot=(foot + r.uniform(-.12, .12)) * h, near=r.random() < .3)))
        elif mode == "street":
            horizon, big = r.uniform(-.4, .4) * h, log(30, 170)
            n, groups = r.randint(4, 28), []
            kinds = r.choice(((.2, .35, .45), (.0, .5, .5), (.5, .3, .2)))
            for k in range(n):
                if groups and r.random() < .4:
                    g = r.choice(groups)
                    x, foot = g[0] + r.gauss(0, .45) * g[2], g[1] + r.gauss(0, .06) * g[2]
                else:
                    x, foot = r.uniform(-.02, 1.02) * w, horizon + (1.08 * h - horizon) * math.sqrt(r.uniform(.02, 1))
                tall = max(10., big * (foot - horizon) / (h - horizon)) * math.exp(r.gauss(0, .07))
                groups.append((x, foot, tall))
            for x, foot, tall in sorted(groups, key=lambda g: g[1]):
                out.append(self.item(self.person(kinds, True), tall, x, foot=foot))
            things = min(things, MOST - n)
        elif mode == "mosaic":
            rows, cols = r.choice(((1, 1), (1, 1), (1, 2), (1, 2), (2, 2), (2, 3), (3, 4), (3, 5), (1, 3), (4, 6)))
            if shape < 1: rows, cols = cols, rows
            empty = r.choice((.1, .3, .5, 1.))
            for a in range(rows):
                for b in range(cols):
                    out.append(self.tile(r.choice(p.of[NOBODY]) if r.random() < empty else self.person((1, 0, 0)), b * w / cols, a * h / rows, w / cols, h / rows))
            things = 0
        elif mode == "many":
            n = r.randint(5, 26)
            sizes = sorted(log(14, 200) for _ in range(n))
            out = [self.item(self.person((.3, .35, .35)), s, r.uniform(0, 1) * w, foot=r.uniform(.1, 1.15) * h) for s in sizes]
        before = [self.thing(w, h, log(20, 260)) for _ in range(things)]
        if mode in ("near", "some", "street", "many") and r.random() < .2:
            front = [self.thing(w, h, log(20, .4 * w)) for _ in range(r.choice((1, 1, 2)))]
        if mode == "some": out.sort(key=lambda o: o[2])
        return w, h, (before + out + front)[-MOST:]

    def tile(self, i, x, y, w, h):
        """Patch i so that it fills a part of the picture."""
        p, r = self.p, self.r
        b, e = p.box[i], p.edge[i] + np.array([1, 1, -1, -1])
        s = max(w / (e[2] - e[0]), h / (e[3] - e[1])) * r.choice((1., 1., 1.2, 1.5))
        rw, rh = w / s, h / s
        mid = lambda k, side: min(max((b[k] + b[k + 2]) / 2 - side / 2, e[k]), e[k + 2] - side)
        x0, y0, flip = mid(0, rw), mid(1, rh), r.random() < .5
        if rh < (b[3] - b[1]) and r.random() < .6: y0 = min(max(b[1] - .05 * rh, e[1]), e[3] - rh)     # the head rather than the feet
        return self.put(i, s, s, x - s * ((CW - x0 - rw) if flip else x0), y - s * y0, flip, [x0, y0, x0 + rw, y0 + rh], .01)


FIELDS = ["patch", "sx", "sy", "tx", "ty", "flip", "r0", "r1", "r2", "r3", "feather", "oval", "g0", "g1", "g2", "level"]


class Composer:
    """Makes batches of scenes."""

    def __init__(self, patches, backgrounds, seed):
        self.p, self.back, self.device = patches, backgrounds, patches.device
        self.layout = Layout(patches, seed)
        self.g = torch.Generator(device=self.device).manual_seed(seed)
        self.at, self.stride = cells(device=self.device)
        self.lefts, self.tops = (torch.tensor([float(l[k]) for l in LEVELS], device=self.device) for k in (0, 1))

    @torch.no_grad()
    def batch(self, n):
        """-> img uint8 [n,3,SIDE,SIDE] RGB; box [n,MOST,4]; state [n,MOST]: 1 somebody, 2 to be ignored, 0 nothing; free [n,A]: the
        cost of somebody found at a cell where nobody is."""
        dev, g, p = self.device, self.g, self.p
        scenes = sorted((self.layout.scene() for _ in range(n)), key=lambda s: -len(s[2]))
        count = np.array([len(s[2]) for s in scenes])
        table = np.zeros((n, MOST, len(FIELDS) + 6), np.float32)
        for k, (_, _, items) in enumerate(scenes):
            if items:
                o = np.array(items)
                i = o[:, 0].astype(int)
                table[k, :len(o)] = np.concatenate((o, np.where(p.kind[i] == NOBODY, PLAIN, np.where(p.kind[i] == RECT, p.round[i], 0))[:, None]), 1)
        there = lambda a: (torch.from_numpy(a).pin_memory() if dev == "cuda" else torch.from_numpy(a)).to(dev, non_blocking=True)
        patch, T, size = there(table[..., 0].astype(np.int64)), there(table), there(np.array([s[:2] for s in scenes], np.float32))
        r = lambda *s: torch.rand(*s, device=dev, generator=g)
        pick = r(n, 1, 1, 1)
        x = torch.where(pick < .88, self.back.photo(g, n, SIDE, SIDE), torch.where(pick < .95, self.back.noise(g, n, SIDE, SIDE), self.back.colour(g, n).expand(-1, -1, SIDE, SIDE)))
        v, u = torch.meshgrid(*(torch.arange(SIDE, device=dev) + .5,) * 2, indexing="ij")
        inside = (u < size[:, 0, None, None]) & (v < size[:, 1, None, None])
        owner = torch.full((n, SIDE, SIDE), -1, dtype=torch.int16, device=dev)
        painted = torch.zeros(n, MOST, device=dev)
        for k in range(int(count.max()) if n else 0):
            m = int((count > k).sum())
            f = {name: T[:m, k, j, None, None] for j, name in enumerate(FIELDS)}
            b, kind = T[:m, k, len(FIELDS):len(FIELDS) + 4], T[:m, k, -1, None, None]
            cx, cy = (u - f["tx"]) / f["sx"], (v - f["ty"]) / f["sy"]          # in the patch
            cx = torch.where(f["flip"] > 0, CW - cx, cx)
            near = torch.minimum(torch.minimum(cx - f["r0"], f["r2"] - cx) * f["sx"], torch.minimum(cy - f["r1"], f["r3"] - cy) * f["sy"])
            ex, ey = (2 * cx - f["r0"] - f["r2"]) / (f["r2"] - f["r0"]), (2 * cy - f["r1"] - f["r3"]) / (f["r3"] - f["r1"])
            oval = (1 - (ex * ex + ey * ey).sqrt()) * (f["r2"] - f["r0"]) * f["sx"] / 2
            soft = (torch.where(f["oval"] > 0, oval, near) / f["feather"] + .5).clamp(0, 1)
            level = f["level"].long()
            shrink = torch.exp2(-f["level"])
            ax = self.lefts[level] + torch.minimum((cx * shrink).clamp(min=.5), CW * shrink - .5)
            ay = self.tops[level] + torch.minimum((cy * shrink).clamp(min=.5), torch.floor(CH * shrink) - .5)
            grid = torch.stack((ax * (2 / ATLAS) - 1, ay * (2 / CH) - 1), -1)
            s = F.grid_sample(p.atlas[patch[:m, k]].float(), grid, mode="bilinear", padding_mode="zeros", align_corners=False) * soft[:, None]
            alpha = s[:, 3:] / 255
            x[:m] = s[:, :3] * T[:m, k, 12:15, None, None] + (1 - alpha) * x[:m]
            body = (cx > b[:, 0, None, None]) & (cx < b[:, 2, None, None]) & (cy > b[:, 1, None, None]) & (cy < b[:, 3, None, None]) & (kind != PLAIN)
            solid = (alpha[:, 0] > .5) & inside[:m]
            mine = solid & (body | (kind == 0))
            owner[:m] = torch.where(solid, torch.where(mine, torch.full_like(owner[:m], k), kind.to(torch.int16).expand_as(owner[:m])), owner[:m])
            painted[:m, k] = mine.sum((1, 2)).float()
        box, seen = torch.zeros(n, MOST, 4, device=dev), torch.zeros(n, MOST, device=dev)
        for k in range(int(count.max()) if n else 0):
            m = int((count > k).sum())
            mine = owner[:m] == k
            box[:m, k], seen[:m, k] = extents(mine)[0], mine.sum((1, 2)).float()
        box, state = self.judge(T, size, box, seen, painted)
        cx, cy = ((self.at + .5) * self.stride[:, None]).long().T
        at_cell = owner[:, cy, cx]
        free = torch.ones_like(at_cell, dtype=torch.float32)
        for o, wgt in WEIGHT.items():
            free = torch.where(at_cell == o, torch.full_like(free, wgt), free)
        mix = torch.randperm(n, device=dev, generator=g)                       # camera() treats slices alike
        x, inside, size = x[mix], inside[mix], size[mix]
        x = torch.where(inside[:, None], self.camera(x.clamp(0, 255)), 114.)
        return dict(img=x.clamp(0, 255).round().byte(), box=box[mix], state=state[mix], free=free[mix])

    def judge(self, T, size, seen_box, seen, painted):
        """Boxes [n,k,4] and states [n,k] from what was painted and what of it is still seen."""
        j = len(FIELDS)
        f = {name: T[..., i] for i, name in enumerate(FIELDS)}
        b, area, kind = T[..., j:j + 4], T[..., j + 4], T[..., j + 5]
        x0, x1 = torch.maximum(b[..., 0], f["r0"]), torch.minimum(b[..., 2], f["r2"])
        x0, x1 = torch.where(f["flip"] > 0, CW - x1, x0), torch.where(f["flip"] > 0, CW - x0, x1)
        y0, y1 = torch.maximum(b[..., 1], f["r1"]), torch.minimum(b[..., 3], f["r3"])
        w, h = size[:, None, 0], size[:, None, 1]
        full = torch.stack((f["tx"] + f["sx"] * x0, f["ty"] + f["sy"] * y0, f["tx"] + f["sx"] * x1, f["ty"] + f["sy"] * y1), -1)
        full = torch.stack((full[..., 0].clamp(min=0), full[..., 1].clamp(min=0), torch.minimum(full[..., 2], w), torch.minimum(full[..., 3], h)), -1)
        left = seen / painted.clamp(min=1)                                     # of what lies in the picture
        there = painted / (area * f["sx"] * f["sy"]).clamp(min=1)              # of the whole person
        tight = torch.cat((torch.maximum(full[..., :2], seen_box[..., :2]), torch.minimum(full[..., 2:], seen_box[..., 2:])), -1)
        box = torch.where(((left < .8) | (kind == 0))[..., None], tight, full)
        wide, tall = box[..., 2] - box[..., 0], box[..., 3] - box[..., 1]
        someone = (kind != PLAIN) & (seen > 0) & (wide > 1) & (tall > 1)
        good = (left > .35) & (there > .14) & (tall > 9) & (wide > 3.5) & (seen > 16)
        ignore = (left > .05) | (seen > 60)
        state = torch.where(someone & good, 1, torch.where(someone & ignore, 2, 0))
        return torch.where((state > 0)[..., None], box, torch.zeros_like(box)), state

    def camera(self, x):
        """Focus, light, few pixels, noise, JPEG; x [n,3,SIDE,SIDE] in random order."""
        n, g = len(x), self.g
        r = lambda *s: torch.rand(*s, device=x.device, generator=g)
        x = picture.gaussian(x, .2 + 1. * r(n) ** 3)
        mid = x.mean((2, 3), keepdim=True)
        x = ((x - mid) * (.65 + .6 * r(n, 1, 1, 1)) + mid * (.6 + .75 * r(n, 1, 1, 1))) * (.9 + .2 * r(n, 3, 1, 1))
        grey = x.mean(1, keepdim=True)
        x = grey + (x - grey) * torch.where(r(n, 1, 1, 1) < .08, torch.zeros_like(grey[:, :, :1, :1]), .5 + .8 * r(n, 1, 1, 1))
        parts, at = [], 0
        for side, share in ((320, .1), (256, .08), (192, .06), (128, .03)):     # few pixels
            k = int(n * share)
            if k:
                parts.append(F.interpolate(F.interpolate(x[at:at + k], (side, side), mode="area"), (SIDE, SIDE), mode="bilinear", align_corners=False))
                at += k
        x = torch.cat(parts + [x[at:]])
        mix = torch.randperm(n, device=x.device, generator=g)
        x = x[mix] + torch.randn(x.shape, device=x.device, generator=g) * (14 * r(n, 1, 1, 1) ** 3)
        k = n // 2
        if k: x = torch.cat((picture.jpeg(x[:k].clamp(0, 255), 25 + 70 * r(k)), x[k:]))
        back = torch.empty_like(mix)
        back[mix] = torch.arange(n, device=x.device)
        return x[back]


class Whole:
    """Whole photographs with boxes of some of their people: parts of them, mirrored or not, and mosaics of four.  Who else may be in them
    is not known, so that somebody found there costs little.

    A pack of them has jpeg, offset, src, img_id as the others, and box [N,8,4]: x, y, width, height in its pixels, 0: none."""

    def __init__(self, pack, val, device, seed, canvas=448, aside=.1):
        from PIL import Image
        z = np.load(pack)
        off, raw = z["offset"], z["jpeg"].tobytes()
        img, box, size = [], [], []
        for i, (s, name) in enumerate(zip(text(z["src"]), text(z["img_id"]))):
            if held_out(s, name) != val: continue
            im = Image.open(io.BytesIO(raw[off[i]:off[i + 1]])).convert("RGB")
            if max(im.size) > canvas: im = im.resize([max(8, round(d * canvas / max(im.size))) for d in im.size], Image.BOX)
            a = np.full((canvas, canvas, 3), 114, np.uint8)
            a[:im.size[1], :im.size[0]] = np.asarray(im)
            img.append(a), size.append(im.size), box.append(z["box"][i])
        self.img = torch.from_numpy(np.stack(img)).to(device).permute(0, 3, 1, 2).contiguous()
        box = np.array(box, np.float32)
        self.box = torch.from_numpy(np.concatenate((box[..., :2], box[..., :2] + box[..., 2:]), -1)).to(device)
        self.size, self.device, self.canvas, self.aside = torch.tensor(size, dtype=torch.float32).to(device), device, canvas, aside
        self.g = torch.Generator(device=device).manual_seed(seed)
        self.at, self.stride = cells(device=device)

    def parts(self, n, far):
        """Parts of n pictures, letterboxed: img, box [n,8,4], state, free, size; `far`: the share shown whole."""
        dev, g = self.device, self.g
        r = lambda *s: torch.rand(*s, device=dev, generator=g)
        i = torch.randint(len(self.img), (n,), device=dev, generator=g)
        size, box = self.size[i], self.box[i]
        zoom = torch.where(r(n) < far, torch.ones(n, device=dev), torch.exp(-.8 * r(n)))
        part = size * zoom[:, None] * torch.where(r(n, 1) < far, torch.ones(n, 2, device=dev), 1 - .3 * r(n, 2) * (r(n, 2) < .5))
        corner = (size - part) * r(n, 2)
        k = SIDE / part.amax(1)                                               # scene's pixels in one of the picture's
        flip = (r(n) < .5)[:, None, None]
        v, u = torch.meshgrid(*(torch.arange(SIDE, device=dev) + .5,) * 2, indexing="ij")
        w, h = part[:, 0, None, None] * k[:, None, None], part[:, 1, None, None] * k[:, None, None]
        x = torch.where(flip, w - u, u) / k[:, None, None] + corner[:, 0, None, None]
        y = (v / k[:, None, None] + corner[:, 1, None, None]).expand_as(x)
        grid = torch.stack((x, y), -1) * (2 / self.canvas) - 1
        img = F.grid_sample(self.img[i].float(), grid, mode="bilinear", padding_mode="border", align_corners=False)
        there = box[..., 2] > 0
        b = (box - corner.repeat(1, 2)[:, None]) * k[:, None, None]
        b = torch.where(flip, torch.stack((w[..., 0] - b[..., 2], b[..., 1], w[..., 0] - b[..., 0], b[..., 3]), -1), b)
        most = torch.stack((w[..., 0], h[..., 0]), -1).repeat(1, 1, 2)
        cut = torch.minimum(b.clamp(min=0), most)
        side = cut[..., 2:] - cut[..., :2]
        share = side.clamp(min=0).prod(-1) / (b[..., 2:] - b[..., :2]).prod(-1).clamp(min=1)
        good = there & (share > .45) & (side[..., 1] > 9) & (side[..., 0] > 4)
        state = torch.where(good, 1, torch.where(there & (side > 1).all(-1), 2, 0))
        return img, torch.where((state > 0)[..., None], cut, torch.zeros_like(cut)), state, torch.cat((w[..., 0], h[..., 0]), 1)

    @torch.no_grad()
    def batch(self, n, camera, far=.3):
        """n scenes as Composer.batch gives them, a fifth of them mosaics; `camera` is Composer.camera, or None: as they are."""
        dev, q = self.device, (n // 5 if camera else 0)
        img, box, state, size = self.parts(n - q + 4 * q, far)
        free = self.costs(box, size)
        if q:
            half, m = SIDE // 2, n - q
            small = F.interpolate(img[m:], (half, half), mode="area").reshape(q, 2, 2, 3, half, half).permute(0, 3, 1, 4, 2, 5).reshape(q, 3, SIDE, SIDE)
            shift = torch.tensor([[0., 0.], [half, 0.], [0., half], [half, half]], device=dev).repeat(q, 1).repeat(1, 2)[:, None]
            b = torch.where((state[m:] > 0)[..., None], box[m:] / 2 + shift, torch.zeros_like(box[m:])).reshape(q, MOST, 4)
            s = state[m:].reshape(q, MOST)
            s = torch.where((s == 1) & (b[..., 3] - b[..., 1] < 9), 2, s)
            edge = size[m:].reshape(q, 2, 2, 2)
            c = (self.at + .5) * self.stride[:, None]
            row, col = (c[:, 1] >= half).long(), (c[:, 0] >= half).long()
            inner = (c - torch.stack((col, row), -1) * half) * 2
            there = (inner < edge[:, row, col]).all(-1)
            f = torch.where(there & ~self.within(b), torch.full_like(free[:q], self.aside), torch.ones_like(free[:q]))
            img, free, size = torch.cat((img[:m], small)), torch.cat((free[:m], f)), torch.cat((size[:m], torch.full((q, 2), float(SIDE), device=dev)))
            more = torch.zeros(m, MOST - 8, dtype=state.dtype, device=dev)
            box, state = torch.cat((torch.cat((box[:m], more[..., None].expand(-1, -1, 4).float()), 1), b)), torch.cat((torch.cat((state[:m], more), 1), s))
        else:
            more = torch.zeros(n, MOST - 8, dtype=state.dtype, device=dev)
            box, state = torch.cat((box, more[..., None].expand(-1, -1, 4).float()), 1), torch.cat((state, more), 1)
        mix = torch.randperm(n, device=dev, generator=self.g)
        img, box, state, free, size = (a[mix] for a in (img, box, state, free, size))
        v, u = torch.meshgrid(*(torch.arange(SIDE, device=dev) + .5,) * 2, indexing="ij")
        inside = (u < size[:, 0, None, None]) & (v < size[:, 1, None, None])
        img = torch.where(inside[:, None], camera(img) if camera else img, 114.)
        return dict(img=img.clamp(0, 255).round().byte(), box=box, state=state, free=free)

    def within(self, box):
        """Cells [n,A] whose middle lies in a box."""
        c = (self.at + .5) * self.stride[:, None]
        return ((c > box[:, :, None, :2]) & (c < box[:, :, None, 2:])).all(-1).any(1)

    def costs(self, box, size):
        c = (self.at + .5) * self.stride[:, None]
        free = torch.full((len(box), len(c)), self.aside, device=self.device)
        return torch.where(self.within(box) | (c > size[:, None]).any(-1), torch.ones_like(free), free)


def sheet(batch, path, across=8):
    from PIL import Image, ImageDraw
    n = len(batch["img"])
    out = Image.new("RGB", (across * SIDE, math.ceil(n / across) * SIDE))
    at, stride = cells()
    for i in range(n):
        im = Image.fromarray(batch["img"][i].permute(1, 2, 0).cpu().numpy())
        d = ImageDraw.Draw(im)
        for (cx, cy), s, f in zip(at.tolist(), stride.tolist(), batch["free"][i].tolist()):
            if f < 1 and s == 16: d.point(((cx + .5) * s, (cy + .5) * s), fill=(255, 0, 255))
        for b, s in zip(batch["box"][i].tolist(), batch["state"][i].tolist()):
            if s: d.rectangle(b, outline=(0, 255, 0) if s == 1 else (255, 60, 60))
        out.paste(im, (i % across * SIDE, i // across * SIDE))
    out.save(path)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("sheet"); ap.add_argument("--people", nargs="+", required=True); ap.add_argument("--nobody", required=True); ap.add_argument("--masks")
    ap.add_argument("--rendered"); ap.add_argument("--few", type=int, default=8, help="rendered people"); ap.add_argument("--count", type=int, default=32)
    ap.add_argument("--seed", type=int, default=0); ap.add_argument("--held-out", action="store_true"); ap.add_argument("--whole", help="a pack of whole photographs: a third of the sheet")
    a = ap.parse_args()
    dev = "cuda" if torch.cuda.is_available() else "cpu"
    p, back = load(a.people, a.nobody, a.masks, a.rendered, a.held_out, dev, a.few, a.seed)
    print(p.count())
    c = Composer(p, back, a.seed)
    made = [c.batch(a.count)] + ([Whole(a.whole, a.held_out, dev, a.seed).batch(a.count // 2, c.camera)] if a.whole else [])
    sheet({k: torch.cat([m[k] for m in made]) for k in made[0]}, a.sheet)


if __name__ == "__main__":
    main()
