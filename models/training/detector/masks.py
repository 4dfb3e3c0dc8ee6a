#!/usr/bin/env python3
"""Cuts photographed people out by OpenCV's GrabCut, begun with their skeletons.

    python masks.py masks.npz PACK.npz [...]

writes mask, bits [M, 108 x 144 / 8] over a whole crop, and key [M], the CRC-32 of the crop's JPEG.  A crop has none where the result
does not fit the box and the joints.  About a tenth of a second each; needs OpenCV."""
import sys
import zlib

import cv2
import numpy as np

W, H = 108, 144
BONES = [(5, 7), (7, 9), (6, 8), (8, 10), (5, 6), (11, 12), (5, 11), (6, 12), (11, 13), (13, 15), (12, 14), (14, 16)]
TRUNK = {5, 6, 11, 12}
THICK, THIN = .12, .03                                              # of bones that may be and that are the person, in sides of the box


def skeleton(mask, k, known, value, thick, side):
    """Draws bones, trunk and head on a mask."""
    at = lambda p: tuple(int(round(v)) for v in p)
    line = lambda a, b, t: cv2.line(mask, at(a), at(b), value, max(1, int(round(t * side))))
    for i, j in BONES:
        if known[i] and known[j]: line(k[i], k[j], thick * (1.5 if {i, j} <= TRUNK else 1))
    if known[[5, 6, 11, 12]].all(): cv2.fillConvexPoly(mask, np.array([at(k[i]) for i in (5, 6, 12, 11)], np.int32), value)
    face, shoulders = [i for i in range(5) if known[i]], known[5] and known[6]
    if face or known[[5, 6, 11, 12]].all():
        neck = (k[5] + k[6]) / 2
        head = np.mean([k[i] for i in face], 0) if face else neck + .3 * (neck - (k[11] + k[12]) / 2)
        radius = .5 * np.linalg.norm(head - neck) + .01 * side if shoulders else .05 * side
        cv2.circle(mask, at(head), max(2, int(radius * (1.1 if thick == THICK else .6))), value, -1)
        if shoulders: line(head, neck, .8 * thick)


def cut(jpeg, box, k, weight):
    """The mask [H,W] of a crop's person, or None."""
    img = cv2.imdecode(np.frombuffer(jpeg, np.uint8), 1)
    s = np.array([W / img.shape[1], H / img.shape[0]])
    k, known = np.asarray(k, float) * s, np.asarray(weight) > 0
    x, y, w, h = box * np.tile(s, 2)
    if known[5:].sum() < 9: return None
    side, mask = max(w, h), np.full((H, W), cv2.GC_BGD, np.uint8)
    x0, y0, x1, y1 = (int(round(v)) for v in (x - .04 * w, y - .03 * h, x + 1.04 * w, y + 1.03 * h))
    mask[max(0, y0):y1, max(0, x0):x1] = cv2.GC_PR_BGD
    skeleton(mask, k, known, cv2.GC_PR_FGD, THICK, side), skeleton(mask, k, known, cv2.GC_FGD, THIN, side)
    try:
        cv2.grabCut(cv2.resize(img, (W, H), interpolation=cv2.INTER_AREA), mask, None, np.zeros((1, 65)), np.zeros((1, 65)), 4, cv2.GC_INIT_WITH_MASK)
    except cv2.error:                                               # nothing certain
        return None
    found = cv2.morphologyEx(((mask == cv2.GC_FGD) | (mask == cv2.GC_PR_FGD)).astype(np.uint8), cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
    n, label, stats, _ = cv2.connectedComponentsWithStats(found, connectivity=8)
    if n < 2: return None
    i = 1 + stats[1:, 4].argmax()
    found, (fx, fy, fw, fh, area) = (label == i).astype(np.uint8), stats[i]
    both = max(0, min(fx + fw, x + w) - max(fx, x)) * max(0, min(fy + fh, y + h) - max(fy, y))
    joints = np.clip(k[5:][known[5:]].astype(int), 0, [W - 1, H - 1])
    good = both / (fw * fh + w * h - both) >= .72 and .15 < area / (fw * fh) < .8 and found[joints[:, 1], joints[:, 0]].mean() >= .75
    return found if good else None


def main():
    if len(sys.argv) < 3: sys.exit(__doc__.strip())
    cv2.setNumThreads(1), cv2.setRNGSeed(0)
    mask, key = [], []
    for path in sys.argv[2:]:
        z = dict(np.load(path))
        off, raw = z["offset"], z["jpeg"].tobytes()
        k = z["kpts"] / 32 if z["kpts"].dtype == np.int16 else z["kpts"]
        for i in range(len(off) - 1):
            jpeg = raw[off[i]:off[i + 1]]
            found = cut(jpeg, z["box"][i], k[i], z["weight"][i])
            if found is not None: mask.append(np.packbits(found)), key.append(zlib.crc32(jpeg))
        print(path, len(mask), "masks", flush=True)
    np.savez_compressed(sys.argv[1], mask=np.array(mask), key=np.array(key, np.uint32))


if __name__ == "__main__":
    main()
