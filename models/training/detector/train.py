#!/usr/bin/env python3
"""Trains the person detector on scenes put together as it goes (scenes.py), all on one GPU.

    python train.py --people PACK.npz [...] --nobody PACK.npz --masks MASKS.npz --rendered bodies.npz --init init.pt --minutes 12 --out out

--init is a checkpoint of RTMPose-t, whose backbone it begins with.  Writes out/ema.pt (averaged weights), out/ema_half.pt and
out/log.txt."""
import argparse
import copy
import json
import math
import os
import time

import numpy as np
import torch
import torch.nn.functional as F

import scenes
from augment import colours
from network import Detector, boxes, cells
from train import device, halves, teller                            # ../train.py


def overlap(a, b):
    """Intersection over union, and over the box round both minus its empty share (GIoU, Rezatofighi and others, CVPR 2019), of boxes
    [...,4]."""
    area = lambda t: (t[..., 2] - t[..., 0]).clamp(min=0) * (t[..., 3] - t[..., 1]).clamp(min=0)
    lo, hi = torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])
    both = (hi - lo).clamp(min=0).prod(-1)
    union = area(a) + area(b) - both + 1e-6
    around = (torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])).clamp(min=0).prod(-1) + 1e-6
    return both / union, both / union - (around - union) / around


@torch.no_grad()
def assign(answer, found, box, state, free, at, stride, top=13):
    """Which cell answers for whom, as RTMDet does it (Lyu and others, 2022, with its soft labels): of the cells in a box, or next to
    its middle, those that cost least; as many as their overlaps add up to.

    answer [B,A,5], found [B,A,4], box [B,G,4], state [B,G], free [B,A] -> target box [B,A,4], target score [B,A], somebody [B,A],
    weight of each cell's score [B,A]."""
    G = box.shape[1]
    c = (at + .5) * stride[:, None]
    inside = (c[None, None] > box[:, :, None, :2]).all(-1) & (c[None, None] < box[:, :, None, 2:]).all(-1)
    mid = (box[..., :2] + box[..., 2:]) / 2
    away = (c[None, None] - mid[:, :, None]).norm(dim=-1) / stride
    someone = (state == 1)[..., None]
    valid = (inside | (away < 1)) & someone
    iou = overlap(box[:, :, None], found[:, None])[0]
    score = answer[:, None, :, 4]
    cost = F.binary_cross_entropy_with_logits(score.expand_as(iou), iou, reduction="none") * (iou - score.sigmoid()).square()
    cost = cost - 3 * (iou + 1e-7).log() + 10 ** (away - 3).clamp(max=4)
    cost = torch.where(valid, cost, torch.full_like(cost, 1e8))
    k = torch.where(valid, iou, torch.zeros_like(iou)).topk(top, dim=-1).values.sum(-1).int().clamp(min=1)
    best, index = cost.topk(top, dim=-1, largest=False)
    take = (torch.arange(top, device=k.device) < k[..., None]) & (best < 1e7)
    match = torch.zeros_like(valid).scatter_(-1, index, take)
    least, who = torch.where(match, cost, torch.full_like(cost, 1e8)).min(1)      # a cell answers for one
    pos = least < 1e7
    target = box.gather(1, who[..., None].expand(-1, -1, 4))
    quality = torch.where(pos, iou.gather(1, who[:, None])[:, 0], torch.zeros_like(least))
    doubt = (inside & (state == 2)[..., None]).any(1)
    weight = torch.where(pos, torch.ones_like(free), torch.where(doubt, torch.zeros_like(free), free))
    return target, quality, pos, weight


def loss_of(answer, box, state, free, at, stride):
    """Quality focal loss (Li and others, 2020) of the scores, and GIoU of the boxes; -> loss, and its two parts."""
    found = boxes(answer, at, stride)
    target, quality, pos, weight = assign(answer, found.detach(), box, state, free, at, stride)
    s = answer[..., 4]
    score = F.binary_cross_entropy_with_logits(s, quality, reduction="none") * (quality - s.sigmoid()).square() * weight
    giou = overlap(found, target)[1]
    total = quality.sum().clamp(min=8)
    where = torch.where(pos, (1 - giou) * quality, torch.zeros_like(giou)).sum() / total
    whether = score.sum() / total
    return whether + 2 * where, whether.detach(), where.detach()


@torch.no_grad()
def people(net, img, mean, std, at, stride, keep=100, least=.02, iou=.45):
    """Boxes [n,keep,4] and scores [n,keep] after suppression; -1: suppressed, or less than `least`."""
    a = net((img.float() - mean) / std)
    score, i = a[..., 4].sigmoid().topk(keep, dim=1)
    b = boxes(a, at, stride).gather(1, i[..., None].expand(-1, -1, 4))
    alike = overlap(b[:, :, None], b[:, None])[0] > iou
    alive = score > least
    for k in range(keep):
        hit = alike[:, k] & alive[:, k, None]
        hit[:, :k + 1] = False
        alive = alive & ~hit
    return b, torch.where(alive, score, torch.full_like(score, -1))


@torch.no_grad()
def evaluate(net, held, mean, std, at, stride, batch=64):
    """On held-out scenes: AP at IoU .5, share found at a score of .3 by height in pixels, and people imagined in a scene without any."""
    score, hit, size, got, none = [], [], [], [], []
    for k in range(0, len(held["img"]), batch):
        img, box, state = (held[n][k:k + batch] for n in ("img", "box", "state"))
        b, s = people(net, img, mean, std, at, stride)
        iou = overlap(b[:, :, None], box[:, None])[0]
        free, skip = state == 1, state == 2
        right, met, who = torch.zeros_like(s, dtype=torch.bool), torch.zeros_like(s, dtype=torch.bool), torch.zeros_like(free)
        for j in range(s.shape[1]):                                  # the surest first, each person once
            v, g = torch.where(free & ~who, iou[:, j], torch.zeros_like(iou[:, j])).max(1)
            ok = (v >= .5) & (s[:, j] > 0)
            right[:, j] = ok
            who.scatter_(1, g[:, None], who.gather(1, g[:, None]) | (ok & (s[:, j] >= .3))[:, None])
            met[:, j] = (torch.where(skip, iou[:, j], torch.zeros_like(iou[:, j])).amax(1) > .3) & ~ok
        use = (s > 0) & ~met
        score.append(s[use]), hit.append(right[use]), size.append((box[..., 3] - box[..., 1])[free]), got.append(who[free])
        none.append(((s >= .3).sum(1)[(state > 0).sum(1) == 0]))
    score, hit, size, got, none = (torch.cat(a).float().cpu().numpy() for a in (score, hit, size, got, none))
    o = np.argsort(-score)
    tp = np.cumsum(hit[o])
    recall, precision = tp / max(1, len(size)), tp / (np.arange(len(tp)) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1] if len(tp) else precision
    ap = float(np.mean([precision[recall >= r][0] if (recall >= r).any() else 0 for r in np.linspace(0, 1, 101)])) if len(tp) else 0.
    share = {f"{a}-{b}": round(float(got[(size >= a) & (size < b)].mean()), 3) for a, b in ((0, 20), (20, 40), (40, 80), (80, 160), (160, 420)) if ((size >= a) & (size < b)).any()}
    at30 = score >= .3
    return dict(ap50=round(ap, 4), found=share, precision=round(float(hit[at30].mean()), 3) if at30.any() else None, imagined=round(float(none.mean()), 3) if len(none) else None, people=len(size))


class Pool:
    """Scenes on the device, of which the oldest are replaced; `part` of them whole photographs."""

    def __init__(self, composer, size, chunk, whole=None, part=0.):
        self.composer, self.size, self.chunk, self.at, self.owed = composer, size, chunk, 0, 0.
        self.whole, self.part = whole, round(part * chunk) if whole else 0
        one = self.make()
        self.rows = {k: torch.zeros(size, *v.shape[1:], dtype=v.dtype, device=v.device) for k, v in one.items()}
        self.place(one)
        while self.at:
            self.place(self.make())

    def make(self):
        made = self.composer.batch(self.chunk - self.part)
        if not self.part: return made
        more = self.whole.batch(self.part, self.composer.camera)
        return {k: torch.cat((made[k], more[k])) for k in made}

    def place(self, made):
        for k, v in made.items():
            self.rows[k][self.at:self.at + self.chunk] = v
        self.at = (self.at + self.chunk) % self.size

    def step(self, fresh):
        self.owed += fresh
        if self.owed >= self.chunk:
            self.owed -= self.chunk
            self.place(self.make())


def fit(a, say, dev, start):
    torch.manual_seed(a.seed), np.random.seed(a.seed)
    data = lambda val, count, seed: scenes.load(a.people, a.nobody, a.masks, a.rendered, val, dev, count, seed)
    p, back = data(True, 0, 0)
    c = scenes.Composer(p, back, 77)
    held = [c.batch(64) for _ in range(a.held // 64)]
    held = {k: torch.cat([h[k] for h in held]) for k in held[0]}
    say("held out", p.count(), len(held["img"]), "scenes, people", int((held["state"] == 1).sum()))
    real = None
    if a.whole:
        w = scenes.Whole(a.whole, True, dev, 78)
        real = [w.batch(32, None, 1.) for _ in range(max(1, a.held // 96))]
        real = {k: torch.cat([h[k] for h in real]) for k in real[0]}
        say("held-out photographs", len(w.img), "drawn", len(real["img"]), "times, people", int((real["state"] == 1).sum()))
    del p, back, c
    p, back = data(False, a.count, a.seed)
    say("patches", p.count(), "torch", torch.__version__, torch.cuda.get_device_name() if dev == "cuda" else dev)
    whole = scenes.Whole(a.whole, False, dev, a.seed + 2) if a.whole else None
    if whole: say("whole photographs", len(whole.img))
    pool = Pool(scenes.Composer(p, back, a.seed + 1), a.pool, a.chunk, whole, a.part)
    say("pool of", a.pool, "scenes; people in each", round(float((pool.rows["state"] == 1).sum()) / a.pool, 2))
    net = Detector().to(dev, memory_format=torch.channels_last)
    if a.init: net.start(a.init)
    ema = copy.deepcopy(net).eval()
    groups = {}
    for name, w in net.named_parameters():
        groups.setdefault((.5 if a.init and name.startswith("backbone.") else 1., a.wd if w.ndim > 1 else 0.), []).append(w)
    opt = torch.optim.AdamW([dict(params=ws, weight_decay=wd, rate=rate) for (rate, wd), ws in groups.items()], lr=a.lr, betas=(.9, .999), fused=True)
    at, stride = cells(device=dev)
    mean, std = colours(dev)
    es, ns = ema.state_dict(), net.state_dict()
    floats = [k for k in es if es[k].is_floating_point()]
    dst, now = [es[k] for k in floats], [ns[k] for k in floats]
    left = start + a.minutes * 60 - 15 - time.time()
    def report(what):
        say(what, json.dumps(evaluate(ema, held, mean, std, at, stride)), *(["whole photographs:", json.dumps(evaluate(ema, real, mean, std, at, stride))] if real else []))
        torch.save(halves(ema.state_dict()), os.path.join(a.out, "ema_half.pt"))

    t0, nxt, it, said = time.time(), a.every, 0, torch.zeros(4, device=dev)
    last, told, skipped = time.time(), 0, torch.zeros((), device=dev)
    say(f"{left:.0f} s of training")
    while True:
        pr = it / a.steps if a.steps else (time.time() - t0) / left
        if pr >= 1 or time.time() - t0 >= left: break
        if not a.frozen: pool.step(a.fresh)
        i = torch.randint(a.pool, (a.batch,), device=dev)
        box, state, free = (pool.rows[k][i] for k in ("box", "state", "free"))
        with torch.no_grad():
            x = pool.rows["img"][i].float()
            x = x * (1 + .15 * (2 * torch.rand(a.batch, 3, 1, 1, device=dev) - 1)) + 12 * (2 * torch.rand(a.batch, 1, 1, 1, device=dev) - 1)
            x = ((x.clamp(0, 255) - mean) / std).contiguous(memory_format=torch.channels_last)
        lr = a.lr * min(1, (it + 1) / a.warm) * max(.01, .5 * (1 + math.cos(math.pi * min(1, pr))))
        for q in opt.param_groups: q["lr"] = lr * q["rate"]
        opt.zero_grad(set_to_none=True)
        with torch.autocast(dev, torch.bfloat16, enabled=dev == "cuda"):
            answer = net(x)
        loss, whether, where = loss_of(answer.float(), box, state, free, at, stride)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(net.parameters(), a.clip)
        bad = (~torch.isfinite(norm)).float()
        opt.found_inf = bad                                            # the fused optimiser then does nothing
        opt.step()
        it += 1
        with torch.no_grad():
            torch._foreach_lerp_(dst, now, 1 - min(.9995, (1 + it) / (20 + it)))
            said += torch.stack((loss.detach(), whether, where, norm)).nan_to_num(0., 0., 0.)
            skipped += bad
        if it in (1, 5, 20) or it % a.tell == 0:
            n = it - told
            v = (said / n).tolist()
            say(f"{time.time() - t0:.0f} of {left:.0f} s, step {it}, {(time.time() - last) / n * 1e3:.1f} ms each, lr {lr:.1e},",
                f"loss {v[0]:.3f} (score {v[1]:.3f}, box {v[2]:.3f}), gradient {v[3]:.2f}, not finite {int(skipped)}")
            said.zero_(); told, last = it, time.time()
        if time.time() - t0 > nxt:
            nxt += a.every
            report(f"averaged weights, step {it}:")
            last, told = time.time(), it; said.zero_()
    torch.save(ema.state_dict(), os.path.join(a.out, "ema.pt"))
    report(f"stopped at step {it}:")
    if dev == "cuda": say(f"memory {torch.cuda.max_memory_allocated() / 2 ** 30:.1f} GiB")
    say("done")


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--people", nargs="+", required=True); ap.add_argument("--nobody", required=True); ap.add_argument("--masks"); ap.add_argument("--rendered")
    ap.add_argument("--whole", help="a pack of whole photographs"); ap.add_argument("--part", type=float, default=.2, help="their share of the scenes")
    ap.add_argument("--count", type=int, default=8192, help="rendered people"); ap.add_argument("--init")
    ap.add_argument("--out", required=True)
    ap.add_argument("--minutes", type=float, default=12, help="wall clock, loading and saving included"); ap.add_argument("--steps", type=int, help="the schedule in steps, not minutes (which stay the limit)")
    ap.add_argument("--batch", type=int, default=96); ap.add_argument("--lr", type=float, default=1.5e-3); ap.add_argument("--wd", type=float, default=.05)
    ap.add_argument("--clip", type=float, default=10.); ap.add_argument("--warm", type=int, default=300); ap.add_argument("--seed", type=int, default=0)
    ap.add_argument("--pool", type=int, default=9216, help="scenes held"); ap.add_argument("--fresh", type=float, default=20, help="of them renewed a step")
    ap.add_argument("--chunk", type=int, default=96, help="scenes made at once"); ap.add_argument("--held", type=int, default=768, help="held-out scenes")
    ap.add_argument("--every", type=float, default=100, help="seconds between evaluations")
    ap.add_argument("--tell", type=int, default=200); ap.add_argument("--frozen", action="store_true", help="the pool stays as it is: a trial")
    a = ap.parse_args()
    start = time.time()
    fit(a, teller(a.out, start), device(), start)


if __name__ == "__main__":
    main()
