#!/usr/bin/env python3
"""What rendered people are worth: trains the same network from the same start (random weights of one seed) for the same number of
steps with different shares of rendered people, one after the other in one process, and measures each on the held-out pictures.

    python compare.py --people people.npz --nobody nobody.npz --rendered bodies.npz pictures.npz --shares 0 1 .5 --steps 2500 --out OUT

The arguments are train.py's; --shares takes the place of --share.  Writes OUT/share-S.pt (averaged weights, half precision) and
OUT/log.txt.  With share 0 nobody is rendered, with 1 no photograph of a person is drawn."""
import json
import os
import shutil
import sys
import tempfile
import time

import torch

import train


def main():
    ap = train.arguments()
    ap.description = __doc__
    ap.add_argument("--shares", type=float, nargs="+", required=True)
    a, start = ap.parse_args(), time.time()
    if not a.steps or not a.rendered:
        sys.exit("compare.py needs --steps and --rendered")
    a.relabel, fast, out = 2, a.compile, a.out                       # labels are not revised: the arms differ in their pictures alone
    say, dev = train.teller(out, start), train.device()
    tr, va, pool = train.packs(a, dev, say)
    aug = torch.compile(train.augment, dynamic=False) if dev == "cuda" and fast != "no" else train.augment
    a.compile = "no"
    results = {}
    for share in a.shares:
        t = time.time()
        a.share, a.out = share, tempfile.mkdtemp(prefix="arm-")
        say(f"share {share:g}: {a.steps} steps of {a.batch}")
        results[f"{share:g}"] = train.fit(a, tr, va, pool if share else None, dev, say, start, aug)
        shutil.copy(os.path.join(a.out, "ema_half.pt"), os.path.join(out, f"share-{share:g}.pt"))
        say(f"share {share:g}: {time.time() - t:.0f} s", json.dumps(results))


if __name__ == "__main__":
    main()
