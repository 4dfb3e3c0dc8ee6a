#!/usr/bin/env python3
"""The mean of checkpoints' weights, of runs from one start (Wortsman and others, Model soups, ICML 2022).

    python average.py A.pt B.pt [...] OUT.pt [--weights .7 .3]"""
import argparse

import torch

import rtmpose as R


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", nargs="+", metavar="CKPT")
    parser.add_argument("out")
    parser.add_argument("--weights", type=float, nargs="+", help="of each checkpoint; they add up to 1 (left out: all the same)")
    a = parser.parse_args()
    shares = a.weights or [1 / len(a.checkpoints)] * len(a.checkpoints)
    if len(shares) != len(a.checkpoints): parser.error(f"{len(a.checkpoints)} checkpoints, but {len(shares)} weights")
    if abs(sum(shares) - 1) > 1e-6: parser.error(f"the weights add up to {sum(shares):g}, not to 1")
    states = [R.weights(path) for path in a.checkpoints]
    torch.save({k: sum(s * state[k] for s, state in zip(shares, states)) if v.is_floating_point() else v for k, v in states[0].items()}, a.out)


if __name__ == "__main__":
    main()
