"""Patches for scenes.py, on the device: photographed people with what is around them, the same cut out, rendered people, and windows of
pictures without people.  Lengths are in pixels; boxes are x0 y0 x1 y1."""
import io
import os
import sys
import zlib

import numpy as np
import torch
import torch.nn.functional as F

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, ".."), os.path.join(HERE, "..", "render")]
import picture
from augment import CH, CW
from train import FORBIDDEN, Pack, held_out, text                    # ../train.py

LEVELS = ((0, 0), (CW, 0), (CW, CH // 2), (CW, CH * 3 // 4))         # left, top of a patch at 1, 1/2, 1/4 and 1/8 of its size
ATLAS = CW * 3 // 2                                                 # width of a patch with its smaller copies
RECT, CUT, DRAWN, NOBODY = range(4)
UNKNOWN, DOUBTFUL, PLAIN = 100, 101, 102                            # owners of pixels that are nobody's: what is round a photographed person, ...
WEIGHT = {UNKNOWN: 0., DOUBTFUL: .3}                                # ... and what a person found there costs


class Patches:
    """Patches of CW x CH on the device as colours times coverage, and the coverage: uint8 [N,4,CH,ATLAS].  On the host: box, edge
    (of the photograph) [N,4], area (covered pixels of the person), kind, round (owner of the pixels round the person)."""

    def __init__(self, people, nobody, val, device, masks=None, windows=16):
        pack = Pack(people, [nobody], val, device, windows)
        self.device, n, m = device, pack.people, len(pack.src)
        self.joints, self.known = pack.kpts[:n].cpu().numpy(), pack.wgt[:n].cpu().numpy() > 0
        img, edge, box = pack.img, pack.edge.cpu().numpy(), pack.box.cpu().numpy()
        box = np.concatenate((box[:, :2], box[:, :2] + box[:, 2:]), 1)
        box = np.concatenate((np.maximum(box[:, :2], edge[:, :2]), np.minimum(box[:, 2:], edge[:, 2:])), 1)
        src = np.array(pack.src)
        parts = [self.layers(img[i:i + 256], self.window(edge[i:i + 256])) for i in range(0, m, 256)]
        area = (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])
        kind = np.where(np.arange(m) < n, RECT, NOBODY)
        round_ = np.where(np.arange(m) >= n, PLAIN, np.where(np.isin(src, ("ccp", "lspet")), DOUBTFUL, UNKNOWN))
        all_ = [(box, edge, area, kind, round_)]
        if masks:
            z = np.load(masks)
            at, bits = {int(k): i for i, k in enumerate(z["key"])}, z["mask"]
            row = np.array([(i, at[k]) for i, k in enumerate(self.sums(people, val)) if k in at], int).reshape(-1, 2)
            for c in range(0, len(row), 256):
                i, j = row[c:c + 256].T
                a = torch.from_numpy(np.unpackbits(bits[j], 1)[:, :CW * CH // 4].reshape(-1, 1, CH // 2, CW // 2)).to(device).float()
                a = F.interpolate(a, (CH, CW), mode="bilinear", align_corners=False) * self.window(edge[i])
                b, s = self.extent(a[:, 0])
                parts.append(self.layers(img[torch.from_numpy(i).to(device)], a))
                all_.append((b, edge[i], s, np.full(len(i), CUT), np.full(len(i), PLAIN)))
        self.parts, self.all = parts, all_

    def render(self, bodies, back, count, seed, chunk=256):
        """Adds rendered people, each alone with its own coverage (render.py)."""
        from render import FINE, Renderer
        r = Renderer(bodies, back, self.device)
        with torch.no_grad():
            for i in range(0, count, chunk):
                rng = np.random.default_rng((seed, i))
                t = r.scene(rng, min(chunk, count - i))
                rgb, who, _ = r.draw(t)[2]
                mine = (who == 0).float()[:, None]
                e = t["edge"].cpu().numpy()
                w = self.window(e)
                a = F.avg_pool2d(mine, FINE) * w
                b, s = self.extent(a[:, 0])
                body = t["box"].cpu().numpy()
                lo, hi = body[:, :2] - .03 * body[:, 2:], body[:, :2] + 1.03 * body[:, 2:]
                b = np.concatenate((np.maximum(b[:, :2], lo), np.minimum(b[:, 2:], hi)), 1)
                ok = (s > .14 * (b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1])) & (b[:, 3] - b[:, 1] > 60) & (b[:, 2] - b[:, 0] > 25)
                self.parts.append(self.layers(None, a, F.avg_pool2d(rgb * mine, FINE) * w)[torch.from_numpy(ok).to(self.device)])
                self.all.append((b[ok], e[ok], s[ok], np.full(ok.sum(), DRAWN), np.full(ok.sum(), PLAIN)))

    def ready(self):
        self.atlas = torch.cat(self.parts)
        self.box, self.edge, self.area, self.kind, self.round = (np.concatenate(a) for a in zip(*self.all))
        del self.parts, self.all
        size = self.box[:, 2:] - self.box[:, :2]
        good = (size.min(1) > 12) & (self.area > 400)
        self.of = [np.where((self.kind == k) & (good | (k == NOBODY)))[0].tolist() for k in range(4)]
        b = self.box
        whole = good & (b[:, 3] < CH - 12) & (b[:, 1] > 4) & (size[:, 1] > 1.3 * size[:, 0])      # standing, not cut: for streets
        self.whole = [np.where((self.kind == k) & whole)[0].tolist() for k in range(3)]
        return self

    def count(self):
        return dict(zip(("photographed", "cut out", "rendered", "nobody"), map(len, self.of)), whole=list(map(len, self.whole)))

    @staticmethod
    def sums(people, val):
        """The checksum of each crop's bytes, in Pack's order."""
        out = []
        for path in people:
            z = np.load(path)
            off, raw = z["offset"], z["jpeg"].tobytes()
            for i, (s, name) in enumerate(zip(text(z["src"]), text(z["img_id"]))):
                if not s.startswith(FORBIDDEN) and held_out(s, name) == val:
                    out.append(zlib.crc32(raw[off[i]:off[i + 1]]))
        return out

    def window(self, edge):
        """Coverage [n,1,CH,CW] of the photograph's part."""
        e = torch.as_tensor(edge, device=self.device, dtype=torch.float32)[:, :, None, None]
        y, x = torch.arange(CH, device=self.device)[:, None] + .5, torch.arange(CW, device=self.device)[None] + .5
        return ((x > e[:, 0]) & (x < e[:, 2]) & (y > e[:, 1]) & (y < e[:, 3])).float()[:, None]

    def layers(self, img, alpha, colours=None):
        """A patch and its smaller copies."""
        x = torch.cat((img.float() * alpha if colours is None else colours, 255 * alpha), 1)
        out = torch.zeros(len(x), 4, CH, ATLAS, dtype=torch.uint8, device=self.device)
        for i, (left, top) in enumerate(LEVELS):
            if i: x = F.avg_pool2d(x, 2)
            out[:, :, top:top + x.shape[2], left:left + x.shape[3]] = x.round().clamp(0, 255).byte()
        return out

    @staticmethod
    def extent(a):
        """Box and number of the pixels that are more than half covered, of [n,H,W]."""
        m = a > .5
        b, _ = extents(m)
        return b.cpu().numpy(), m.sum((1, 2)).float().cpu().numpy()


def extents(m):
    """Box [n,4] and whether there is any, of masks [n,H,W]."""
    cols, rows = m.any(1).float(), m.any(2).float()
    first = lambda a: a.argmax(1).float()
    last = lambda a: a.shape[1] - a.flip(1).argmax(1).float()
    return torch.stack((first(cols), first(rows), last(cols), last(rows)), 1), cols.amax(1) > 0


def part_of(pack, val):
    """A pack of pictures without people, in memory: the held-out ones, or the others."""
    z = np.load(pack)
    off, raw, names = z["offset"], z["jpeg"].tobytes(), text(z["img_id"])
    keep = [i for i, name in enumerate(names) if held_out("nobody", name) == val]
    jpeg = [raw[off[i]:off[i + 1]] for i in keep]
    f = io.BytesIO()
    np.savez(f, jpeg=np.frombuffer(b"".join(jpeg), np.uint8), offset=np.cumsum([0] + [len(j) for j in jpeg]))
    f.seek(0)
    return f


def load(people, nobody, masks, rendered, val, device, count, seed=0):
    """Patches and backgrounds of the training part or of the held-out part."""
    p = Patches(people, nobody, val, device, masks, 6 if val else 16)
    if rendered and count:
        p.render(rendered, part_of(nobody, val), count, seed)
    return p.ready(), picture.Backgrounds(part_of(nobody, val), device)
