#!/usr/bin/env python3
"""A larger RTMPose that answers as a smaller one, to begin its training with (Chen and others, Net2Net, ICLR 2016).

    python grow.py SMALL.pt SIZE LARGE.pt

SIZE: s, for an RTMPose-t. (From m on, the last stage has a second block that passes nothing on: it has no such copy.)
New channels repeat old ones, and what reads a repeated channel splits its weight between the copies, at random, so that they
part in training.  New blocks add 0 to what they pass on."""
import sys

import torch

import rtmpose as R


def repeats(old, new, rng):
    """The old channel that each new one repeats."""
    return torch.cat((torch.arange(old), torch.randint(old, (new - old,), generator=rng)))


class Grower:
    """Writes a small network's layers into a larger one.  `source` and `into` are maps as from `repeats`."""

    def __init__(self, small, large, rng):
        self.small, self.state, self.rng = small, large.state_dict(), rng

    def write(self, name, value):
        assert self.state[name].shape == value.shape, (name, self.state[name].shape, value.shape)
        self.state[name].copy_(value)

    def split(self, weight, source):
        """Repeats inputs; the shares of all copies of an input add up to 1."""
        share = .3 + .4 * torch.rand(len(weight), len(source), generator=self.rng)
        total = torch.zeros(weight.shape[:2]).index_add_(1, source, share)
        share = share / total[:, source]
        return weight[:, source] * share.reshape(*share.shape, *[1] * (weight.ndim - 2))

    def norm(self, name, into):
        for part in ("weight", "bias", "running_mean", "running_var"):
            self.write(f"{name}.{part}", self.small[f"{name}.{part}"][into])

    def conv(self, name, source, into):
        weight = self.small[f"{name}.conv.weight"][into]
        if weight.shape[1] > 1: weight = self.split(weight, source)          # a depthwise one has one input each
        self.write(f"{name}.conv.weight", weight)
        self.norm(f"{name}.bn", into)

    def width(self, name):
        return len(self.small[f"{name}.conv.weight"]), len(self.state[f"{name}.conv.weight"])

    def fresh(self, name):
        return repeats(*self.width(name), self.rng)

    def simple(self, name, source):
        into = self.fresh(name)
        self.conv(name, source, into)
        return into

    def csp(self, name, source, layer):
        """`layer`: that of the large network."""
        main, short = self.simple(f"{name}.main_conv", source), self.simple(f"{name}.short_conv", source)
        old = self.width(f"{name}.main_conv")[0]
        for i, identity in enumerate(block.identity for block in layer.blocks):
            block = f"{name}.blocks.{i}"
            parts = [f"{block}.conv1", f"{block}.conv2.depthwise_conv", f"{block}.conv2.pointwise_conv"]
            if f"{parts[0]}.conv.weight" not in self.small:                   # its answer is SiLU(0) = 0
                if not identity: raise SystemExit(f"{block} has no small twin and adds to nothing: its answer would be 0")
                self.state[f"{parts[2]}.bn.weight"].zero_()
                self.state[f"{parts[2]}.bn.bias"].zero_()
                continue
            inner = self.simple(parts[0], main)
            self.conv(parts[1], inner, inner)
            self.conv(parts[2], inner, main)                                  # the identity adds like to like
        both = torch.cat((main, short + old))
        fc = f"{name}.attention.fc"
        self.write(f"{fc}.weight", self.split(self.small[f"{fc}.weight"][both], both))
        self.write(f"{fc}.bias", self.small[f"{fc}.bias"][both])
        return self.simple(f"{name}.final_conv", both)

    def backbone(self, network):
        at = torch.arange(3)
        for i in range(3): at = self.simple(f"backbone.stem.{i}", at)
        for i in range(1, 5):
            stage, layers = f"backbone.stage{i}", getattr(network, f"stage{i}")
            at = self.simple(f"{stage}.0", at)
            if len(layers) == 3:                                              # the last, with its pools
                old = self.width(f"{stage}.1.conv1")[0]
                pooled = self.simple(f"{stage}.1.conv1", at)
                at = self.simple(f"{stage}.1.conv2", torch.cat([pooled + old * k for k in range(4)]))
            at = self.csp(f"{stage}.{len(layers) - 1}", at, layers[-1])
        return at

    def head(self, source):
        for name, value in self.small.items():
            if name == "head.final_layer.weight": value = self.split(value, source)
            if name.startswith("head."): self.write(name, value)


def grow(small, size, seed=0):
    """A state of R.RTMPose(size) that answers as the state `small` of a smaller one."""
    torch.manual_seed(seed)
    rng = torch.Generator().manual_seed(seed)
    large = R.RTMPose(size)
    work = Grower(small, large, rng)
    work.head(work.backbone(large.backbone))
    return large.state_dict()


def main():
    if len(sys.argv) != 4 or sys.argv[2] not in R.SIZES: sys.exit(__doc__.strip())
    path, size, out = sys.argv[1:]
    small = R.weights(path)
    own, sizes = R.size_of(small), list(R.SIZES)
    if sizes.index(size) <= sizes.index(own): sys.exit(f"{path} is an RTMPose-{own}: SIZE must be a larger one")
    state = grow(small, size)
    nets = R.RTMPose(own).eval(), R.RTMPose(size).eval()
    for net, weights in zip(nets, (small, state)): net.load_state_dict(weights)
    with torch.no_grad():
        crops = torch.randn(4, 3, 256, 192)
        apart = max(float((a - b).abs().max()) for a, b in zip(*(net(crops) for net in nets)))
    assert apart < 1e-3, f"the answers differ by {apart}"
    torch.save(state, out)
    print(f"{out}: RTMPose-{size}, answers within {apart:.1e} of {path}'s")


if __name__ == "__main__":
    main()
