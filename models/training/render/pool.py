"""Rendered crops among those of a pack: a pool on the device that train.py draws from and that is renewed as it goes on."""
import time

import torch

from render import Renderer


class Pool:
    """Adds `size` crops to a train.Pack, named `rendered`, and renews `fresh` of them a step, oldest first.  No joint is
    missing; what is hidden has less weight (render.WEIGHT)."""

    def __init__(self, renderer, pack, size, fresh, seed=0, chunk=256):
        self.renderer, self.pack, self.size, self.fresh, self.seed, self.chunk = renderer, pack, size, fresh, seed, min(chunk, size)
        self.first, self.at, self.made, self.owed = len(pack.src), 0, 0, 0
        more = lambda a: torch.cat((a, torch.zeros(size, *a.shape[1:], dtype=a.dtype, device=a.device)))
        pack.img, pack.box, pack.kpts, pack.wgt, pack.gone, pack.edge = (more(a) for a in (pack.img, pack.box, pack.kpts, pack.wgt, pack.gone, pack.edge))
        pack.src += ["rendered"] * size
        while self.made < size:
            self.render()

    def render(self):
        b = self.renderer.batch((self.seed, self.made // self.chunk), self.chunk)
        rows = self.first + (self.at + torch.arange(self.chunk, device=self.pack.img.device)) % self.size
        for name in ("img", "box", "kpts", "wgt", "edge"):
            getattr(self.pack, name)[rows] = b[name]
        self.at, self.made = (self.at + self.chunk) % self.size, self.made + self.chunk

    def step(self):
        """Renders when a chunk's worth is due."""
        self.owed += self.fresh
        if self.owed >= self.chunk:
            self.owed -= self.chunk
            self.render()


def fill(pack, bodies, pictures, size, fresh, seed, say):
    """A full pool, and a line that says how fast it was filled."""
    renderer = Renderer(bodies, pictures, pack.img.device)
    renderer.batch(seed, 4)                                            # the first one is slow
    t = time.time()
    pool = Pool(renderer, pack, size, fresh, seed)
    if pack.img.is_cuda:
        torch.cuda.synchronize()
    say(f"{pool.made} crops rendered: {pool.made / (time.time() - t):.0f} a second")
    return pool
