#!/usr/bin/env python3
"""Renders people with exact key points, on the device, as many as are asked for.

    python render.py bodies.npz pictures.npz sheet.png [--count 100] [--seed 0] [--points]

writes a sheet to look at and says how fast it was.  train.py --rendered uses `Renderer` itself.  A batch is a function of
its seed.  Needs PyTorch; nvcc with a GPU, g++ without (about a second a crop)."""
import argparse
import math
import os
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import bodies as B
import dress
import layout
import picture
import raster
import scene

CW, CH = scene.CANVAS
FINE = 2                                                            # drawn at twice the size, then averaged
SUN, SUN_REACH = 256, 1.35                                          # the shadow map's side in pixels, and half its side in metres
# how far in front of a key point the body's own surface may lie (metres, of an adult) for the point to count as seen
DEPTH = [.03, .04, .04, .05, .05, .11, .11, .075, .075, .06, .06, .17, .17, .09, .09, .075, .075]
SEEN, BEHIND_ITSELF, HIDDEN = 2, 1, 0
WEIGHT = {SEEN: 1.0, BEHIND_ITSELF: .8, HIDDEN: .4}


class Renderer:
    def __init__(self, bodies, pictures, device, lib=None):
        self.device = torch.device(device)
        self.bodies, self.backgrounds = B.Bodies(bodies, self.device), picture.Backgrounds(pictures, self.device)
        self.raster = raster.Raster(self.bodies.mesh, self.device, lib)

    def to(self, a):
        return torch.from_numpy(np.ascontiguousarray(a, np.float32)).to(self.device, non_blocking=True)

    def pose(self, s):
        """The people of a scene, standing in the world: vertices, normals [n,V,3], which are there [n,V], key points [n,17,3], scale [n]."""
        b, o = self.bodies, {k: self.to(v) for k, v in s["outline"].items()}
        params = self.to(s["params"])
        rest, joints = b.shapes(torch.from_numpy(s["body"]).to(self.device))
        G, P = b.skeleton(joints, self.to(s["pose"]))
        worn = dress.outline(b, rest, joints, params, o)
        T = b.transforms(joints, G, P)
        bare = torch.einsum("kv,nvd->nkd", b.point, b.skin(rest, T))
        v, m = b.skin(worn, T), (T[..., :3] * b.normal[:, None]).sum(-1)
        ground = v[..., 2].amin(1)
        tv, tm, on = dress.things(b, G, P, joints, o, P[:, b.at["root"], 2] - ground)
        sv, sm = b.skirt(G, P, joints, o["skirt"].clamp(min=.05), o["skirt_flare"], o["skirt_wide"])
        there = torch.cat((torch.ones_like(v[..., 0]), on.float().repeat_interleave(len(b.ball), 1), (o["skirt"] > 0).float()[:, None].expand(-1, sv.shape[1])), 1)
        v, m = torch.cat((v, tv, sv), 1), torch.cat((m, tm, sm), 1)
        turn = B.axis_rotation(2, self.to(s["yaw"]))
        shift = torch.cat((self.to(s["spot"]), (self.to(s["lifted"]) - ground)[:, None]), 1)
        origin = P[:, b.at["root"]] * torch.tensor([1., 1., 0.], device=self.device)
        place = lambda x: (x - origin[:, None]) @ turn.transpose(1, 2) + shift[:, None]
        tall = joints[:, b.at["head"], 2] - joints[:, b.at["foot.L"], 2]
        return place(v), m @ turn.transpose(1, 2), there, place(bare), tall / 1.5, params

    def scene(self, rng, crops):
        """Draws a scene and brings it into the cameras' axes: all that the kernels need."""
        s = scene.draw(rng, crops, self.bodies.female, self.bodies.age)
        v, m, there, points, scale, params = self.pose(s)
        crop = torch.from_numpy(s["crop"]).to(self.device)
        first, R, d = torch.from_numpy(s["first"]).to(self.device), self.to(s["R"]), self.to(s["distance"])
        near = torch.from_numpy(s["near"]).to(self.device)
        body = v[first, :self.bodies.V]
        low, high = body.amin(1), body.amax(1)
        target = (low + high) / 2
        heads = points[first, :7].mean(1) - torch.tensor([0., 0., .12], device=self.device)
        target = torch.where(near[:, None], heads, target)
        ahead = torch.zeros(crops, 3, device=self.device)
        ahead[:, 2] = d
        see = lambda x: (x - target[crop][:, None]) @ R[crop].transpose(1, 2) + ahead[crop][:, None]
        v, m, points = see(v), m @ R[crop].transpose(1, 2), see(points)
        # the crop: the main person's box, or that of the upper body
        mv, f = v[first, :self.bodies.V], self.bodies.field
        part = ~near[:, None] | ((f[None, :, 0] > self.to(s["upper"])[:, None]) & (f[None, :, 2] < .05))
        flat = mv[..., :2] / mv[..., 2:].clamp(min=.1)
        lo = torch.where(part[..., None], flat, torch.full_like(flat, 1e9)).amin(1)
        hi = torch.where(part[..., None], flat, torch.full_like(flat, -1e9)).amax(1)
        j = self.to(s["jitter"])
        lo, hi = lo + j[:, :2] * (hi - lo), hi + j[:, 2:] * (hi - lo)
        camera = torch.stack(scene.window(lo, hi), 1)
        box = torch.cat((scene.project(torch.cat((lo, torch.ones_like(lo[:, :1])), 1)[:, None], camera)[:, 0], (hi - lo) * camera[:, :1]), 1)
        edge = torch.tensor([0., 0., CW, CH], device=self.device).repeat(crops, 1)
        edge[:, 3] = torch.where(torch.from_numpy(s["cut"]).to(self.device), (box[:, 1] + box[:, 3]).clamp(max=CH), edge[:, 3])
        # light
        up, sun = R[:, :, 2], (R @ self.to(s["sun"])[..., None])[..., 0]
        a = torch.linalg.cross(sun, up + .1 * R[:, :, 0])
        a = a / a.norm(dim=1, keepdim=True)
        c = torch.linalg.cross(sun, a)
        k = SUN / 2 / SUN_REACH
        rows = torch.stack((a * k, c * k, sun), 1)
        middle = (rows @ ahead[..., None])[..., 0]
        offset = torch.tensor([SUN / 2, SUN / 2, 4.], device=self.device) - middle
        light = torch.cat((rows, offset[..., None]), 2)
        height = target[:, 2] - (R.transpose(1, 2) @ ahead[..., None])[:, 2, 0]     # of the camera
        values = dict(camera=camera * FINE, floor=torch.cat((up, -height[:, None]), 1), sun=sun, sun_colour=self.to(s["sun_colour"]),
                      sh=self.to(s["sh"]), light=light.reshape(crops, 12), shadow=self.to(s["shadow"])[:, None], ao=self.to(s["ao"])[:, None])
        table = torch.cat([values[name] for name, _ in layout.CROP], 1)
        ok = (there > 0) & (v[..., 2] > .06)
        at = v[..., :2] / v[..., 2:].clamp(min=.06) * (FINE * camera[crop, None, :1]) + FINE * camera[crop, None, 1:]
        screen = torch.cat((at, torch.where(ok, 1 / v[..., 2].clamp(min=.06), torch.zeros_like(at[..., 0]))[..., None]), -1)
        lit = torch.einsum("nij,nvj->nvi", light[crop][..., :3], v) + light[crop][:, None, :, 3]
        lit = torch.cat((lit[..., :2], torch.where(there > 0, lit[..., 2], torch.zeros_like(there))[..., None]), -1)
        return dict(s=s, screen=screen, lit=lit, normal=m, crop=crop, place=torch.from_numpy(s["place"]).to(self.device), first=first, params=params, table=table,
                    points=points, scale=scale, camera=camera, box=box, edge=edge, crops=crops)

    def draw(self, t):
        """The kernels: what each pixel sees, the shadow map, colours."""
        seen = self.raster.cover(t["screen"], t["crop"], t["place"], t["crops"], CW * FINE, CH * FINE)
        sun = self.raster.cover(t["lit"], t["crop"], t["place"], t["crops"], SUN, SUN)
        return seen, sun, self.raster.shade(seen, sun, t["screen"], t["normal"], t["first"], t["params"], t["table"])

    def visible(self, t, seen, who, front):
        """For each key point of the main person: SEEN, BEHIND_ITSELF or HIDDEN (by others, by things, by what is in front)."""
        p = t["points"][t["first"]]
        at = scene.project(p, t["camera"])
        x, y = (at[..., 0] * FINE).long().clamp(0, CW * FINE - 1), (at[..., 1] * FINE).long().clamp(0, CH * FINE - 1)
        pick = lambda a: a.flatten(1).gather(1, y * CW * FINE + x)
        depth = 1 / pick(raster.nearness(seen)).clamp(min=1e-3)
        allow = torch.tensor(DEPTH, device=self.device) * t["scale"][t["first"]][:, None]
        before, owner = depth < p[..., 2] - allow, pick(who)
        v = torch.where(before, torch.where(owner == 0, BEHIND_ITSELF, HIDDEN), SEEN)
        covered = front.flatten(1).gather(1, (y // FINE) * CW + x // FINE)
        return at, torch.where(covered, HIDDEN, v)

    @torch.no_grad()
    def batch(self, seed, crops):
        """-> img uint8 [n,3,CH,CW], kpts [n,17,2] in its pixels, seen [n,17], wgt [n,17], box [n,4], edge [n,4]: as train.py's Pack holds them."""
        rng = np.random.default_rng(seed)
        g = torch.Generator(device=self.device).manual_seed(int(rng.integers(1 << 40)))
        t = self.scene(rng, crops)
        seen, sun, (rgb, who, lit) = self.draw(t)
        alpha = F.avg_pool2d((who >= 0).float()[:, None], FINE)
        rgb, lit = F.avg_pool2d(rgb, FINE), F.avg_pool2d(lit[:, None], FINE)
        c = t["table"]
        y, x = torch.meshgrid(torch.arange(CH, device=self.device), torch.arange(CW, device=self.device), indexing="ij")
        k = t["camera"][:, :, None, None]
        fl = c[:, layout.CROP_AT["floor"]][:, :, None, None]
        floor = (fl[:, 0] * (x - k[:, 1]) / k[:, 0] + fl[:, 1] * (y - k[:, 2]) / k[:, 0] + fl[:, 2]) * fl[:, 3] > 0
        back = self.backgrounds.draw(g, crops, CW, CH, floor)
        img = rgb + (1 - alpha) * back * lit
        mask, things = self.backgrounds.front(g, crops, CW, CH)
        img = torch.where(mask[:, None], things, img)
        at, vis = self.visible(t, seen, who, mask)
        img = picture.camera(g, img, CH / scene.PAD / scene.GROW)
        wgt = torch.tensor([WEIGHT[HIDDEN], WEIGHT[BEHIND_ITSELF], WEIGHT[SEEN]], device=self.device)[vis]
        return dict(img=img, kpts=at, seen=vis, wgt=wgt, box=t["box"], edge=t["edge"], activity=t["s"]["activity"][t["s"]["first"]])


def sheet(batch, path, points, across=10):
    from PIL import Image, ImageDraw
    img = batch["img"].cpu().numpy().transpose(0, 2, 3, 1)
    n = len(img)
    out = Image.new("RGB", (across * CW, math.ceil(n / across) * CH))
    colour = {SEEN: (60, 255, 60), BEHIND_ITSELF: (255, 230, 0), HIDDEN: (255, 40, 40)}
    for i in range(n):
        im = Image.fromarray(img[i])
        if points:
            d = ImageDraw.Draw(im)
            x, y, w, h = batch["box"][i].tolist()
            d.rectangle((x, y, x + w, y + h), outline=(120, 120, 255))
            for (a, b), s in zip(batch["kpts"][i].tolist(), batch["seen"][i].tolist()):
                d.ellipse((a - 2, b - 2, a + 2, b + 2), fill=colour[s])
        out.paste(im, (i % across * CW, i // across * CH))
    out.save(path, quality=90)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("bodies"); ap.add_argument("pictures"); ap.add_argument("sheet"); ap.add_argument("--count", type=int, default=100)
    ap.add_argument("--seed", type=int, default=0); ap.add_argument("--points", action="store_true"); ap.add_argument("--speed", type=int, default=0, help="crops a batch to time")
    a = ap.parse_args()
    dev = "cuda" if torch.cuda.is_available() else "cpu"
    t = time.time()
    r = Renderer(a.bodies, a.pictures, dev)
    print(f"ready in {time.time() - t:.1f} s on {dev}")
    t = time.time()
    sheet(r.batch(a.seed, a.count), a.sheet, a.points)
    print(f"{a.count} crops in {time.time() - t:.2f} s, the first")
    if a.speed:
        r.batch(1, a.speed)
        torch.cuda.synchronize()
        t = time.time()
        for i in range(10):
            r.batch(2 + i, a.speed)
        torch.cuda.synchronize()
        print(f"{10 * a.speed / (time.time() - t):.0f} crops/s in batches of {a.speed}; memory {torch.cuda.max_memory_allocated() / 2 ** 30:.1f} GiB")


if __name__ == "__main__":
    main()
