#!/usr/bin/env python3
"""Measures an ONNX file on packs of person crops, on the CPU: mean OKS, AP and the AUCs, with 95 % bootstrap intervals.

    python evaluate.py FILE.onnx --people PACK.npz [...] [--nobody PACK.npz] [--against OTHER.onnx] [--part held-out]

FILE is plain (`input`, simcc_x, simcc_y) or as examples/adapt.rs writes it (`image`, keypoints).  With --against it also gives
the share of points that are equal in both, their mean distance in crop pixels, and the largest difference of a score.

The crop is the plugin's: the box x 1.25, grown to 3:4, bilinear, black outside.  AP is over OKS .50 to .95 for people
with a given box, so not comparable with published tables.  The bootstrap draws pictures, 2,000 times.  With --nobody it
gives the AUC of the mean score, person against windows of pictures without people; with --part held-out it uses only the
pictures of training packs that train.py holds out (thresholds are chosen there).  --reliability compares scores with the share of
points that lie near their labels.  Needs numpy, Pillow and onnxruntime."""
import argparse
import io
import json
import os
import zlib

import numpy as np
import onnxruntime as ort
from PIL import Image

W, H = 192, 256
MEAN, STD = np.array([123.675, 116.28, 103.53], np.float32), np.array([58.395, 57.12, 57.375], np.float32)
SIGMAS = np.array([26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89]) / 1000
VAL = {"ccp": 6, "lspet": 6, "mpii": 8, "coco_train2017": 16, "nobody": 12}                    # as in train.py


def held_out(src, img):
    return zlib.crc32(img.encode()) % 100 < VAL.get(src, 0)


def text(a):
    return [s.decode() if isinstance(s, bytes) else str(s) for s in a]


def session(path):
    so = ort.SessionOptions()
    so.intra_op_num_threads, so.log_severity_level = 2, 3
    return ort.InferenceSession(path, so, providers=["CPUExecutionProvider"])


def crop(im, box):
    """Picture, box (x y w h) -> crop, bytes [H,W,3], and what takes network pixels back: x0, y0, pixels per pixel."""
    cx, cy, w, h = box[0] + box[2] / 2, box[1] + box[3] / 2, box[2] * 1.25, box[3] * 1.25
    w = max(w, h * W / H)
    s = w / W
    x0, y0 = cx - W / 2 * s, cy - H / 2 * s
    # the sample at network pixel i is the picture at x0 + i s, as in the plugin; Pillow samples at pixel centres
    a = im.transform((W, H), Image.AFFINE, (s, 0, x0 + .5 - .5 * s, 0, s, y0 + .5 - .5 * s), Image.BILINEAR, fillcolor=(0, 0, 0))
    return np.asarray(a), (x0, y0, s)


def run(ses, crops):
    """[(crop, back)] -> key points [n,17,2] in picture pixels, scores [n,17], key points in crop pixels."""
    pts, sc, px = [], [], []
    for i in range(0, len(crops), 16):
        x = np.stack([c[0] for c in crops[i:i + 16]])
        back = np.array([c[1] for c in crops[i:i + 16]])
        if ses.get_inputs()[0].name == "image":              # the form that examples/adapt.rs writes
            k, = ses.run(["keypoints"], {"image": x})
            p, s = k[..., :2], k[..., 2:].min(-1)
        else:
            sx, sy = ses.run(["simcc_x", "simcc_y"], {"input": ((x.astype(np.float32) - MEAN) / STD).transpose(0, 3, 1, 2)})
            p, s = np.stack((sx.argmax(-1), sy.argmax(-1)), -1) / 2, np.minimum(sx.max(-1), sy.max(-1))
        pts.append(p * back[:, None, 2:] + back[:, None, :2]), sc.append(s), px.append(p)
    return np.concatenate(pts), np.concatenate(sc), np.concatenate(px)


def people(path, part):
    z = dict(np.load(path))
    off, raw, ids = z["offset"], z["jpeg"].tobytes(), text(z["img_id"])
    src = text(z["src"]) if "src" in z else [os.path.basename(path)] * len(ids)
    keep = [i for i in range(len(ids)) if part == "all" or held_out(src[i], ids[i])]
    k = z["kpts"] / 32 if z["kpts"].dtype == np.int16 else z["kpts"]
    crops = [crop(Image.open(io.BytesIO(raw[off[i]:off[i + 1]])).convert("RGB"), z["box"][i]) for i in keep]
    return dict(crops=crops, kpts=k[keep].astype(float), weight=z["weight"][keep].astype(float), box=z["box"][keep].astype(float),
                img=np.array(ids)[keep], src=np.array(src)[keep])


def nobody(path, part, windows=12, seed=0):
    """Random boxes in pictures without people."""
    z, rng, crops, img = dict(np.load(path)), np.random.default_rng(seed), [], []
    off, raw = z["offset"], z["jpeg"].tobytes()
    for i, name in enumerate(text(z["img_id"])):
        if part != "all" and not held_out("nobody", name):
            continue
        im = Image.open(io.BytesIO(raw[off[i]:off[i + 1]])).convert("RGB")
        for _ in range(windows):
            h = im.size[1] * np.exp(rng.uniform(np.log(.2), np.log(.95)))
            w = min(h * rng.uniform(.3, 1.1), im.size[0])
            crops.append(crop(im, (rng.uniform(0, im.size[0] - w), rng.uniform(0, im.size[1] - h), w, h))), img.append(name)
    return dict(crops=crops, img=np.array(img))


def oks_of(p, k):
    m = p["weight"] > 0
    d2 = ((k - p["kpts"]) ** 2).sum(-1)
    area = p["box"][:, 2] * p["box"][:, 3] * .53
    return (np.exp(-d2 / (2 * area[:, None] * (2 * SIGMAS) ** 2 + 1e-9)) * m).sum(1) / np.maximum(m.sum(1), 1)


def ap_of(oks, score):
    o, aps = oks[np.argsort(-score, kind="stable")], []
    for t in np.arange(.5, .96, .05):
        tp = np.cumsum(o >= t)
        pr, rc = tp / np.arange(1, len(o) + 1), tp / len(o)
        pr = np.maximum.accumulate(pr[::-1])[::-1]
        at = np.searchsorted(rc, np.linspace(0, 1, 101))
        aps.append(np.mean(np.append(pr, 0)[np.minimum(at, len(pr))]))
    return float(np.mean(aps))


def reliability(score, right, bins=10):
    """Whether a score is the chance to be right: rows of lowest score, share of the points, mean score, share that is right; and the
    expected calibration error (Guo and others, ICML 2017), the mean difference between both, weighted by the share of points.
    Scores over 1 count as 1."""
    score = score.clip(0, 1)
    at = np.minimum((score * bins).astype(int), bins - 1)
    rows = [(b / bins, float(np.mean(at == b)), float(score[at == b].mean()), float(right[at == b].mean())) for b in range(bins) if (at == b).any()]
    return rows, sum(share * abs(mean - part) for _, share, mean, part in rows)


def auc_of(good, bad):
    if not len(good) or not len(bad):
        return float("nan")
    both = np.concatenate((good, bad))
    order = both.argsort(kind="stable")
    rank = np.empty(len(both)); rank[order] = np.arange(1, len(both) + 1)
    return float((rank[:len(good)].sum() - len(good) * (len(good) + 1) / 2) / (len(good) * len(bad)))


def bootstrap(img, stat, rounds, seed=0):
    """95 % interval of stat(rows), drawing pictures with all their rows."""
    rng, names = np.random.default_rng(seed), np.unique(img)
    rows = [np.where(img == n)[0] for n in names]
    v = [stat(np.concatenate([rows[j] for j in rng.integers(0, len(rows), len(rows))])) for _ in range(rounds)]
    return [round(float(q), 3) for q in np.nanpercentile(v, (2.5, 97.5))]


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("file"); ap.add_argument("--people", nargs="+", required=True); ap.add_argument("--nobody")
    ap.add_argument("--against", help="another file, for paired differences"); ap.add_argument("--part", default="all", choices=("all", "held-out"))
    ap.add_argument("--rounds", type=int, default=2000); ap.add_argument("--thresholds", action="store_true"); ap.add_argument("--reliability", action="store_true")
    a = ap.parse_args()
    ses = session(a.file)
    other = session(a.against) if a.against else None
    none = nobody(a.nobody, a.part) if a.nobody else None
    vn = run(ses, none["crops"])[1] if none else None
    joints = []
    for path in a.people:
        pack = people(path, a.part)
        for s in sorted(set(pack["src"])):
            m = pack["src"] == s
            p = {k: (v[m] if k != "crops" else [c for c, y in zip(v, m) if y]) for k, v in pack.items()}
            k, v, px = run(ses, p["crops"])
            some = (p["weight"] > 0).any(1)
            oks, score, img, w = oks_of(p, k)[some], v.mean(1)[some], p["img"][some], p["weight"][some]
            res = dict(set=s, people=len(oks), pictures=len(set(img)), oks=round(float(oks.mean()), 4), oks95=bootstrap(img, lambda r: oks[r].mean(), a.rounds),
                       ap=round(ap_of(oks, score), 4), ap95=bootstrap(img, lambda r: ap_of(oks[r], score[r]), a.rounds))
            if s.startswith("coco"):
                vv = v[some]
                f = lambda r: auc_of(vv[r][w[r] > 0], vv[r][w[r] == 0])
                res["joint_auc"], res["joint_auc95"] = round(f(np.arange(len(vv))), 4), bootstrap(img, f, a.rounds // 4)
            near = np.hypot(*np.moveaxis(k - p["kpts"], -1, 0)) < .1 * p["box"][:, None, 3]
            joints.append((v[some], w, s, near[some]))
            if none:
                both = np.concatenate((np.char.add("p", img), np.char.add("n", none["img"])))
                allv, isp = np.concatenate((score, vn.mean(1))), np.arange(len(both)) < len(score)
                f = lambda r: auc_of(allv[r][isp[r]], allv[r][~isp[r]])
                res["person_auc"], res["person_auc95"] = round(f(np.arange(len(both))), 4), bootstrap(both, f, a.rounds // 4)
                res["windows"], res["pictures_without"] = len(vn), len(set(none["img"]))
            if other:
                k2, v2, px2 = run(other, p["crops"])
                o2, s2 = oks_of(p, k2)[some], v2.mean(1)[some]
                res["other_oks"], res["oks_gain95"] = round(float(o2.mean()), 4), bootstrap(img, lambda r: (oks[r] - o2[r]).mean(), a.rounds)
                moved = np.hypot(*np.moveaxis(px - px2, -1, 0)).ravel()
                res["same_points"], res["moved_mean"] = round(float((moved == 0).mean()), 4), round(float(moved.mean()), 4)
                res["within_1px"], res["score_difference"] = round(float((moved <= 1).mean()), 4), round(float(np.abs(v - v2).max()), 5)
                res["other_ap"], res["ap_gain95"] = round(ap_of(o2, s2), 4), bootstrap(img, lambda r: ap_of(oks[r], score[r]) - ap_of(o2[r], s2[r]), a.rounds)
            print(json.dumps(res), flush=True)
    if a.reliability:
        v, near = (np.concatenate([j[i][j[1] > 0] for j in joints]) for i in (0, 3))
        rows, error = reliability(v, near)
        print(f"of {len(v)} labelled points, from each score: share, mean score, share within a tenth of the box's height")
        for row in rows:
            print("{:.1f}: {:.3f} {:.3f} {:.3f}".format(*row))
        factors = np.arange(.5, 2.01, .01)
        errors = [reliability(v * f, near)[1] for f in factors]
        print(f"expected calibration error {error:.3f}; {min(errors):.3f} with all scores times {factors[int(np.argmin(errors))]:.2f}")
        coco = [j for j in joints if j[2].startswith("coco")]                 # whose unlabelled joints cannot be placed
        if coco:
            v, near = np.concatenate([j[0] for j in coco]), np.concatenate([j[3] & (j[1] > 0) for j in coco])
            print(f"{reliability(v.ravel(), near.ravel())[1]:.3f} over all joints of COCO's people, if unlabelled ones count as wrong")
    if a.thresholds:
        v = np.concatenate([j[0] for j in joints]); w = np.concatenate([j[1] for j in joints])
        print("threshold: people kept (mean score), windows of nobody kept, labelled joints kept, joints of nobody kept")
        for t in np.arange(.1, .65, .05):
            print(f"{t:.2f}: {np.mean(v.mean(1) >= t):.3f} {np.mean(vn.mean(1) >= t) if none else float('nan'):.3f} "
                  f"{np.mean(v[w > 0] >= t):.3f} {np.mean(vn >= t) if none else float('nan'):.3f}")


if __name__ == "__main__":
    main()
