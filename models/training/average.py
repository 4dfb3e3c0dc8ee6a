#!/usr/bin/env python3
"""The mean of checkpoints' weights, of runs from one start (Wortsman and others, Model soups, ICML 2022).

    python average.py A.pt B.pt [...] OUT.pt"""
import sys

import torch

import rtmpose as R


def main():
    if len(sys.argv) < 4: sys.exit(__doc__.strip())
    *paths, out = sys.argv[1:]
    first, *others = (R.weights(path) for path in paths)
    torch.save({k: torch.stack([v, *(o[k] for o in others)]).mean(0) if v.is_floating_point() else v for k, v in first.items()}, out)


if __name__ == "__main__":
    main()
