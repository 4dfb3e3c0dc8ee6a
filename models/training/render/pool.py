"""Rendered crops among those of a pack: a pool on the device that train.py draws from and that is renewed as it goes on."""
import time

import torch

from render import Renderer


class Pool:
    """Adds `size` crops to a train.Pack, named `rendered`, and renews `fresh` of them a step, oldest first.  No joint is
    missing; what is hidden has less weight (render.WEIGHT)."""

    def __init__(self, renderer, pack, size, fresh, seed=0, chunk=256):
        self.renderer, self.pack, self.size, self.fresh, self.seed, self.chunk = renderer, pack, size, fresh, seed, min(chunk, size)
        self.stream, self.drawn = torch.cuda.Stream() if pack.img.is_cuda else None, None
        self.first, self.at, self.made, self.owed = len(pack.src), 0, 0, 0
        more = lambda a: torch.cat((a, torch.zeros(size, *a.shape[1:], dtype=a.dtype, device=a.device)))
        pack.img, pack.box, pack.kpts, pack.wgt, pack.gone, pack.edge = (more(a) for a in (pack.img, pack.box, pack.kpts, pack.wgt, pack.gone, pack.edge))
        pack.src += ["rendered"] * size
        while self.made < size:
            self.draw()
            self.place()

    def draw(self):
        """Renders a chunk; on a GPU beside whatever else runs there."""
        if self.stream:
            self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            self.drawn = self.renderer.batch((self.seed, self.made // self.chunk), self.chunk)

    def place(self):
        """Puts what was drawn in the place of the oldest crops."""
        if self.drawn is None:
            return
        if self.stream:
            torch.cuda.current_stream().wait_stream(self.stream)
        rows = self.first + (self.at + torch.arange(self.chunk, device=self.pack.img.device)) % self.size
        for name in ("img", "box", "kpts", "wgt", "edge"):
            if self.stream:
                self.drawn[name].record_stream(torch.cuda.current_stream())
            getattr(self.pack, name)[rows] = self.drawn[name]
        self.at, self.made, self.drawn = (self.at + self.chunk) % self.size, self.made + self.chunk, None

    def step(self):
        """When a chunk's worth is due, places the chunk drawn last and draws the next."""
        self.owed += self.fresh
        if self.owed >= self.chunk:
            self.owed -= self.chunk
            self.place()
            self.draw()


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
