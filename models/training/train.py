#!/usr/bin/env python3
"""Trains RTMPose on packs of person crops, all on one GPU: the pictures live there as uint8 and the augmentation is a
batched affine warp and a few pixel operations, compiled into a handful of kernels.

    python train.py --people PACK.npz [...] --nobody PACK.npz [...] --out DIR --init CKPT --minutes 9 [--of 18]

A run may be cut in parts: --of is the length of the whole schedule in minutes, --state a file from which the next part
goes on (weights, averages, optimiser, time spent); without that file the next part starts at --at minutes from --init.
Writes DIR/ema.pt (averaged weights, float32), DIR/ema_half.pt and DIR/log.txt.  The packs' format: README.md."""
import argparse
import io
import json
import math
import os
import shutil
import sys
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

import rtmpose as R
from augment import CH, CW, FLIP, H, PAD, W, augment, colours, region, warp
from graph import Graph
from teacher import Teacher

SIGMAS = np.array([26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89]) / 1000.0
SHARE = {"ccp": 0.057, "lspet": 0.276, "mpii": 0.133, "coco_train2017": 0.257, "voc2012": 0.067, "tud": 0.048, "nobody": 0.124, "corner": 0.038}   # of each batch
FORBIDDEN = ("flickr8k",)                                                                     # its terms forbid it
VAL = {"ccp": 6, "lspet": 6, "mpii": 8, "coco_train2017": 16, "nobody": 12}                              # percent, by picture


def held_out(src, img):
    return zlib.crc32(img.encode()) % 100 < VAL.get(src, 0)


def text(a):
    return [s.decode() if isinstance(s, bytes) else str(s) for s in a]


def content(a):
    """The photograph's part [x0, y0, x1, y1] of a canvas padded with grey."""
    grey = np.abs(a.astype(np.int16) - PAD).max(-1) <= 7
    rows, cols = np.where(grey.mean(1) < .97)[0], np.where(grey.mean(0) < .97)[0]
    if len(rows) < 8 or len(cols) < 8:
        return [0, 0, CW, CH]
    x0, x1, y0, y1 = cols[0], cols[-1] + 1, rows[0], rows[-1] + 1
    return [x0 + (x0 > 0), y0 + (y0 > 0), x1 - (x1 < CW), y1 - (y1 < CH)]


class Pack:
    """Crops on the device, resized to the canvas, with boxes, key points and the photograph's edges in canvas pixels."""

    def __init__(self, people, nobody, val, device, windows=16, seed=0):
        rng = np.random.default_rng(seed)
        jobs, box, kpts, wgt, gone, src = [], [], [], [], [], []
        for path in people:
            z = dict(np.load(path))
            off, raw = z["offset"], z["jpeg"].tobytes()
            names, ids = text(z["src"]), text(z["img_id"])
            k = z["kpts"] / 32 if z["kpts"].dtype == np.int16 else z["kpts"]
            for i, (s, name) in enumerate(zip(names, ids)):
                if s.startswith(FORBIDDEN) or held_out(s, name) != val:
                    continue
                jobs.append(raw[off[i]:off[i + 1]])
                box.append(z["box"][i]), kpts.append(k[i]), wgt.append(z["weight"][i]), src.append(s)
                gone.append((z["weight"][i] == 0) & s.startswith("coco"))     # COCO leaves what cannot be seen unlabelled

        def load(b):
            im = Image.open(io.BytesIO(b)).convert("RGB")
            a = np.asarray(im.resize((CW, CH), Image.BILINEAR if im.size[0] < CW else Image.BOX))
            return im.size, a, content(a)

        with ThreadPoolExecutor(16) as ex:
            got = list(ex.map(load, jobs))
        size = np.array([g[0] for g in got], np.float32)
        scale = np.array([CW, CH], np.float32) / size
        img, edge = [g[1] for g in got], [g[2] for g in got]
        box, kpts, wgt, gone = (np.array(a, np.float32) for a in (box, kpts, wgt, gone))
        self.people = len(img)
        self.scale, self.box0, self.kpts0, self.wgt0 = scale, box, kpts, wgt
        box, kpts = box * np.tile(scale, 2), kpts * scale[:, None]
        empty, esrc = [], []
        for path in nobody:                                                   # windows of pictures without people
            z = dict(np.load(path))
            off, raw = z["offset"], z["jpeg"].tobytes()
            for i, name in enumerate(text(z["img_id"])):
                if held_out("nobody", name) != val:
                    continue
                im = Image.open(io.BytesIO(raw[off[i]:off[i + 1]])).convert("RGB")
                for _ in range(windows):
                    h = im.size[1] * math.exp(rng.uniform(math.log(.2), math.log(1.3)))
                    w = h * CW / CH
                    x, y = (rng.uniform(min(0, d - s), max(0, d - s)) for d, s in zip(im.size, (w, h)))
                    a = im.transform((CW, CH), Image.EXTENT, (x, y, x + w, y + h), Image.BILINEAR, fillcolor=(0, 0, 0))
                    empty.append(np.asarray(a)), esrc.append("nobody")
        for i in range(self.people if not val else 0):                        # corners of the pictures beside the person
            if src[i] not in ("ccp", "lspet") or i % 3:
                continue
            e, ok = edge[i], wgt[i] > 0
            lo, hi = np.minimum(kpts[i][ok].min(0), box[i, :2]), np.maximum(kpts[i][ok].max(0), box[i, :2] + box[i, 2:])
            m = .08 * (hi - lo).max()
            for x0, x1 in ((e[0], lo[0] - m), (hi[0] + m, e[2])):
                w = x1 - x0
                if w >= 50 and e[3] - e[1] >= w * CH / CW:
                    y = rng.uniform(e[1], e[3] - w * CH / CW)
                    a = Image.fromarray(img[i]).resize((CW, CH), Image.BILINEAR, box=(x0, y, x1, y + w * CH / CW))
                    empty.append(np.asarray(a)), esrc.append("corner")
        n = len(empty)
        if n:
            img += empty; src += esrc; edge += [[0, 0, CW, CH]] * n
            s = rng.uniform(.45, .8, (n, 1)).astype(np.float32)
            eb = np.concatenate(((1 - s) / 2 * CW, (1 - s) / 2 * CH, s * CW, s * CH), 1).astype(np.float32)
            box = np.concatenate((box, eb)); kpts = np.concatenate((kpts, np.full((n, 17, 2), -1e3, np.float32)))
            wgt = np.concatenate((wgt, np.zeros((n, 17), np.float32))); gone = np.concatenate((gone, np.ones((n, 17), np.float32) * 2))
        self.src = src
        to = lambda a: torch.as_tensor(np.asarray(a, np.float32)).to(device)
        self.img = torch.from_numpy(np.stack(img)).to(device).permute(0, 3, 1, 2).contiguous()
        self.box, self.kpts, self.wgt, self.gone, self.edge = to(box), to(kpts), to(wgt), to(gone), to(edge)


def pose_loss(pred, target, weight, absent, beta=10.0):
    """Nats per bin x 100 / points, a sample's mean: KL to the peak where the point is, to no peak at all where it is not,
    and a little for a level other than 0, so that the maximum can serve as a score."""
    loss = 0.0
    for p, t in zip(pred, target):
        q = F.log_softmax(p * beta, -1)
        kl = F.kl_div(q, F.softmax(t * beta, -1), reduction="none").mean(-1)
        flat = (-math.log(p.shape[-1]) - q.mean(-1)) / p.shape[-1]
        level = 5 * p.mean(-1).square() / p.shape[-1]
        loss = loss + (kl * weight + flat * absent + level).sum()
    return loss * 100 / (pred[0].shape[0] * pred[0].shape[1])


@torch.no_grad()
def predict(net, p, idx, batch=512, flip=False, scale=1.0):
    """Key points [n,17,2] in canvas pixels and scores [n,17], both on the device; outside the photograph is black."""
    dev, out, sc = p.img.device, [], []
    mean, std = colours(dev)
    for i in idx.split(batch):
        c, size = region(p.box[i])
        size = size * scale
        z = torch.zeros(len(i), device=dev)
        f = z > (-1 if flip else 1)
        x, inside = warp(p.img[i], p.edge[i], c, size, z, f)
        sx, sy = net(((x * inside) - mean) / std)
        k, v = R.decode(sx.float(), sy.float())
        k = k - torch.tensor([W / 2, H / 2], device=dev)
        if flip:
            k = (k * torch.tensor([-1., 1.], device=dev))[:, FLIP]; v = v[:, FLIP]
        out.append(k * (size[:, None, :1] / W) + c[:, None]), sc.append(v)
    return torch.cat(out), torch.cat(sc)


@torch.no_grad()
def relabel(net, p, say):
    """Fills joints that no one labelled (COCO's apart: there that means 'not to be seen') where the network is sure and
    agrees with itself on the mirrored picture, and trusts a label less that it firmly contradicts."""
    idx = torch.arange(p.people, device=p.img.device)
    a, va = predict(net, p, idx)
    b, vb = predict(net, p, idx, flip=True, scale=1.1)
    mid, v = (a + b) / 2, torch.minimum(va, vb)
    side = p.box[idx, 2:].amax(1)[:, None]
    agree = (a - b).norm(dim=-1) < .035 * side
    fill = (p.wgt[idx] == 0) & (p.gone[idx] == 0) & agree & (v > .5)
    doubt = (p.wgt[idx] > 0) & agree & (v > .75) & ((mid - p.kpts[idx]).norm(dim=-1) > .12 * side)
    p.kpts[idx] = torch.where(fill[..., None], mid, p.kpts[idx])
    p.wgt[idx] = torch.where(fill, .5, torch.where(doubt, .3 * p.wgt[idx], p.wgt[idx]))
    say(f"relabelled: {int(fill.sum())} joints filled, {int(doubt.sum())} trusted less, of {p.people * 17}")


def auc(good, bad):
    if not len(good) or not len(bad):
        return None
    r = np.concatenate((good, bad)).argsort().argsort() + 1
    return round(float((r[:len(good)].sum() - len(good) * (len(good) + 1) / 2) / (len(good) * len(bad))), 4)


def evaluate(net, p):
    """On the held-out pictures: mean OKS by set, AUC of the mean score person / nobody."""
    k, v = predict(net, p, torch.arange(len(p.src), device=p.img.device))
    k, v, n = k.cpu().numpy(), v.cpu().numpy(), p.people
    m = p.wgt0 > 0
    d2 = ((k[:n] / p.scale[:, None] - p.kpts0) ** 2).sum(-1)
    area = p.box0[:, 2] * p.box0[:, 3] * .53
    oks = (np.exp(-d2 / (2 * area[:, None] * (2 * SIGMAS) ** 2 + 1e-9)) * m).sum(1) / np.maximum(m.sum(1), 1)
    src, some = np.array(p.src), m.sum(1) > 0
    res = {str(s): round(float(oks[(src[:n] == s) & some].mean()), 4) for s in sorted(set(src[:n]))}
    res["all"] = round(float(np.mean(list(res.values()))), 4)
    res["person_auc"] = auc(v[:n].mean(1), v[n:].mean(1))
    c = src[:n] == "coco_train2017"
    res["joint_auc"] = auc(v[:n][c][m[c]], v[:n][c][~m[c]])
    res["score"] = [round(float(np.median(v[:n].mean(1))), 3), round(float(np.median(v[n:].mean(1))), 3) if len(v) > n else None]
    return res


def halves(sd):
    return {k: v.half() if v.is_floating_point() and v.ndim > 1 else v for k, v in sd.items()}


def arguments():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--people", nargs="+", required=True); ap.add_argument("--nobody", nargs="*", default=[])
    ap.add_argument("--out", required=True); ap.add_argument("--init"); ap.add_argument("--state")
    ap.add_argument("--minutes", type=float, default=9, help="wall clock of this part, loading and saving included")
    ap.add_argument("--of", type=float, help="minutes of training in the whole schedule (left out: this part is the last)")
    ap.add_argument("--at", type=float, default=0, help="minutes already spent, where there is no state file")
    ap.add_argument("--size", default="t"); ap.add_argument("--lr", type=float, default=1.8e-3); ap.add_argument("--batch", type=int, default=512)
    ap.add_argument("--wd", type=float, default=.05); ap.add_argument("--clip", type=float, default=5.0); ap.add_argument("--seed", type=int, default=0)
    ap.add_argument("--relabel", type=float, default=.5, help="share of the schedule after which labels are revised"); ap.add_argument("--steps", type=int, help="the schedule in steps, not minutes (which stay the limit)")
    ap.add_argument("--compile", default="auto", choices=("auto", "no", "augment", "all"))
    ap.add_argument("--rendered", nargs=2, metavar=("BODIES", "PICTURES"), help="render people too (render/)")
    ap.add_argument("--share", type=float, nargs="+", default=[.5], help="of the people in a batch, how many are rendered (1: all); two numbers: at the start and at the end")
    ap.add_argument("--pool", type=int, default=16384, help="rendered crops held"); ap.add_argument("--fresh", type=int, default=64, help="of them renewed a step")
    ap.add_argument("--labeller", help="a checkpoint of RTMPose, of any size, that fills in joints before training begins")
    ap.add_argument("--teacher", nargs="+", metavar="CKPT", help="checkpoints of RTMPose, of any size, whose answers are targets beside the labels (teacher.py)")
    ap.add_argument("--teach", type=float, default=.5, help="of the loss on a joint, how much is the teacher's")
    ap.add_argument("--graph", action="store_true", help="replay a step as a CUDA graph: launching its kernels one by one takes longer than they do")
    return ap


def device():
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    return "cuda" if torch.cuda.is_available() else "cpu"


def teller(out, start):
    """A function that prints a line and adds it to the log."""
    os.makedirs(out, exist_ok=True)
    log = open(os.path.join(out, "log.txt"), "a")

    def say(*x):
        t = f"[{time.time() - start:5.0f}s] " + " ".join(str(i) for i in x); print(t, flush=True); log.write(t + "\n"); log.flush()
    return say


def packs(a, dev, say):
    """Training and held-out pictures, and the pool of rendered ones, if any."""
    tr, va = Pack(a.people, a.nobody, False, dev), Pack(a.people, a.nobody, True, dev, windows=6)
    count = lambda p: {s: p.src.count(s) for s in sorted(set(p.src))}
    say("train", count(tr), "held out", count(va), "torch", torch.__version__, torch.cuda.get_device_name() if dev == "cuda" else dev)
    pool = None
    if a.rendered:
        sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "render"))
        from pool import fill
        pool = fill(tr, *a.rendered, a.pool, a.fresh, a.seed, say)
    return tr, va, pool


def chances(tr, share):
    """Each crop's chance to be drawn: its set's share, more for a whole upright person.  With share 1 all people are rendered, and
    nothing is drawn from photographs of people, nor from beside them."""
    y = tr.kpts[..., 1]
    upright = (y[:, [5, 6]].mean(1) < y[:, [11, 12]].mean(1)) & (y[:, [11, 12]].mean(1) < y[:, [13, 14]].mean(1)) & ((tr.wgt > 0).sum(1) >= 10)
    names = np.array(tr.src)
    made = torch.from_numpy(names == "rendered").to(y.device)
    base = torch.where(upright & ~made, 1.5, 1.0)
    shares = dict(SHARE)
    if made.any():
        people = sum(v for k, v in SHARE.items() if k not in ("nobody", "corner"))
        shares = {k: v if k == "nobody" else v * (1 - share) for k, v in SHARE.items()}
        shares["rendered"] = people * share
    prob = torch.zeros(len(names), device=y.device)
    for s in set(tr.src):
        m = torch.from_numpy(names == s).to(y.device)
        prob[m] = base[m] / base[m].sum() * shares.get(s, 0)
    return prob


def fit(a, tr, va, pool, dev, say, start, aug=augment):
    """Trains and writes the averaged weights; `aug`: the augmentation, perhaps compiled already.  -> what evaluate gives."""
    torch.manual_seed(a.seed + int(a.at * 60)); np.random.seed(a.seed)
    a.graph = a.graph and dev == "cuda"
    shares = a.share if isinstance(a.share, list) else [a.share]
    ends = chances(tr, shares[0]), chances(tr, shares[-1])               # of each crop, at the start and at the end
    prob = ends[0].clone()
    net = R.RTMPose(a.size).to(dev)
    if a.init:
        net.load_state_dict(R.weights(a.init, dev), strict=True)
    ema = R.RTMPose(a.size).to(dev).eval()
    net.to(memory_format=torch.channels_last); ema.to(memory_format=torch.channels_last)
    ema.load_state_dict(net.state_dict())
    wide = lambda n, q: q.ndim > 1 and "gamma" not in n and "beta" not in n
    opt = torch.optim.AdamW([{"params": [q for n, q in net.named_parameters() if wide(n, q)], "weight_decay": a.wd},
                             {"params": [q for n, q in net.named_parameters() if not wide(n, q)], "weight_decay": 0}],
                            lr=torch.tensor(a.lr, device=dev) if a.graph else a.lr, betas=(.9, .999), fused=dev == "cuda", capturable=a.graph)
    spent, it, warm, revised = a.at * 60, 0, 0, False
    if a.state and os.path.exists(a.state):
        st = torch.load(a.state, map_location=dev)
        net.load_state_dict(st["net"]); ema.load_state_dict(st["ema"]); opt.load_state_dict(st["opt"])
        spent, it, warm, revised = st["spent"], st["it"], st["it"], False
        torch.manual_seed(a.seed + it)
        say(f"goes on from {a.state}: {spent:.0f}s, step {it}")
    back = net.backbone
    if a.labeller:
        relabel(R.network(a.labeller, dev), tr, say)
    teacher, taught = (Teacher(a.teacher, dev), a.teach) if a.teacher else (None, 0)

    idx = torch.zeros(a.batch, dtype=torch.long, device=dev)
    mean, std = colours(dev)

    def learn(update):
        with torch.no_grad():
            x, k, wt, absent = aug(tr.img[idx], tr.kpts[idx], tr.wgt[idx], tr.gone[idx], tr.box[idx], tr.edge[idx], hard, mean, std)
            tx, ty, ok = R.simcc_targets(k, wt > 0, (H, W))
            answer = teacher(x) if teacher else None
        with torch.autocast(dev, torch.bfloat16, enabled=dev == "cuda", cache_enabled=False):    # the head, with its squared attention, stays in float32
            f = back(x)
        sx, sy = net.head(f.float())
        weight = wt * ok
        loss = pose_loss((sx, sy), (tx, ty), weight * (1 - taught), absent)
        if teacher: loss = loss + taught * teacher.loss((sx, sy), answer, weight, absent)
        loss.backward()
        if update:
            torch.nn.utils.clip_grad_norm_(net.parameters(), a.clip)
            opt.step()
        return loss.detach()

    def step(update):
        if pool and update: pool.step()
        idx.copy_(torch.multinomial(prob, a.batch, replacement=True))
        if graph and update:
            graph.replay()
            return graph.loss
        opt.zero_grad(set_to_none=True)
        return learn(update)

    def timed(n=8):
        for _ in range(3): step(False)
        torch.cuda.synchronize(); t = time.time()
        for _ in range(n): step(False)
        torch.cuda.synchronize(); return (time.time() - t) / n * 1e3

    hard, graph = torch.ones((), device=dev), None
    if dev == "cuda":
        keep = {k: v.clone() for k, v in net.state_dict().items()}
        best = timed()
        say(f"eager: {best:.1f} ms a step")
        for what in ("augment", "backbone"):
            if a.compile == "no" or (what == "backbone" and a.compile == "augment"):
                continue
            old = aug, back
            try:
                if what == "augment": aug = torch.compile(aug, dynamic=False)
                else: back = torch.compile(net.backbone, dynamic=False)
                t = timed()
                say(f"{what} compiled: {t:.1f} ms a step")
                if t < best: best = t
                else: aug, back = old
            except Exception as e:
                say(f"{what} compiled: {type(e).__name__}: {str(e)[:300]}")
                aug, back = old
        net.load_state_dict(keep)
        if a.graph and aug is augment:
            say("no graph: it cannot hold the augmentation, which is not compiled")
        elif a.graph:
            graph = Graph(lambda: learn(True), opt)
            torch.cuda.synchronize(); t = time.time()
            for _ in range(8): graph.replay()
            torch.cuda.synchronize(); say(f"as a graph: {(time.time() - t) / 8 * 1e3:.1f} ms a step")
            net.load_state_dict(keep); graph.forget()
    es, ns = ema.state_dict(), net.state_dict()
    floats = [k for k in es if es[k].is_floating_point()]
    dst, now = [es[k] for k in floats], [ns[k] for k in floats]
    end, total = start + a.minutes * 60 - 14, (a.of * 60 if a.of else spent + a.minutes * 60 - 14 - (time.time() - start))
    t0, nxt, seen = time.time(), 100, 0.0
    good, brake, mild = {k: v.clone() for k, v in es.items()}, 1.0, False
    while True:
        t = time.time()
        pr = min(1.0, (it - warm) / a.steps if a.steps else (spent + t - t0) / total)     # by steps, if their number is given
        if pr >= 1 or t >= end:
            break
        if not revised and pr >= a.relabel:
            relabel(ema, tr, say); revised = True
        if pr >= .8 and not mild:                                              # milder at the end
            hard.fill_(.5); mild = True; say("milder augmentation from here")
        lr = a.lr * brake * min(1, (it - warm + 1) / 300 if warm == 0 else 1) * .5 * (1 + math.cos(math.pi * pr))
        for q in opt.param_groups:
            if a.graph: q["lr"].fill_(lr)
            else: q["lr"] = lr
        if it % 50 == 0: prob.copy_(torch.lerp(*ends, pr))
        loss = step(True)
        it += 1
        with torch.no_grad():
            torch._foreach_lerp_(dst, now, 1 - min(.9995, (1 + it) / (20 + it)))
        if it % 100 == 0:
            seen = float(loss)
            if math.isfinite(seen):
                if it % 500 == 0: good = {k: v.clone() for k, v in es.items()}
            elif good is None or brake < .2:
                say("the loss is not finite"); break
            else:                                                              # back to the last good average, slower
                brake /= 2; net.load_state_dict(good); ema.load_state_dict(good)
                if graph: graph.forget()
                else: opt.state.clear()
                say(f"step {it}: the loss was not finite; back to a good average, rate x {brake}")
        if t - t0 > nxt:
            nxt += 100
            say(f"{spent + t - t0:.0f}s of {total:.0f} step {it} ({it * a.batch / len(tr.src):.0f} epochs) lr {lr:.1e} loss {seen:.3f}", json.dumps(evaluate(ema, va)))
            torch.save(halves(ema.state_dict()), os.path.join(a.out, "ema_half.pt"))
    spent += time.time() - t0
    result = evaluate(ema, va)
    say(f"stopped at {spent:.0f}s of {total:.0f}, step {it} ({it * a.batch / len(tr.src):.0f} epochs) loss {seen:.3f}", json.dumps(result))
    torch.save(ema.state_dict(), os.path.join(a.out, "ema.pt"))
    torch.save(halves(ema.state_dict()), os.path.join(a.out, "ema_half.pt"))
    if a.state:
        torch.save({"net": net.state_dict(), "ema": ema.state_dict(), "opt": opt.state_dict(), "spent": spent, "it": it}, a.state + ".new")
        shutil.move(a.state + ".new", a.state)
    return result


def main():
    a, start = arguments().parse_args(), time.time()
    say, dev = teller(a.out, start), device()
    fit(a, *packs(a, dev, say), dev, say, start)


if __name__ == "__main__":
    main()
