"""What is not a body: backgrounds, things in front, and what a camera does to a picture.  PyTorch, on the device.
Every function takes the generator that it draws from, so that a batch is a function of its seed."""
import io
import math

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

TILE = 512


class Backgrounds:
    """Tiles of photographs without people, and made-up places."""

    def __init__(self, path, device):
        z = np.load(path)
        off, raw, tiles = z["offset"], z["jpeg"].tobytes(), []
        for i in range(len(off) - 1):
            im = Image.open(io.BytesIO(raw[off[i]:off[i + 1]])).convert("RGB")
            w, h = im.size
            side = min(w, h)
            for x, y in {(0, 0), (w - side, h - side), ((w - side) // 2, (h - side) // 2)}:
                tiles.append(np.asarray(im.resize((TILE, TILE), Image.BILINEAR, box=(x, y, x + side, y + side))))
        self.tiles = torch.from_numpy(np.stack(tiles)).to(device).permute(0, 3, 1, 2).contiguous()
        self.device = device

    def photo(self, g, n, W, H):
        """Cut from a tile: some part of it, mirrored or not, its colours changed, in or out of focus."""
        r = lambda *s: torch.rand(*s, device=self.device, generator=g)
        t = self.tiles[torch.randint(len(self.tiles), (n,), device=self.device, generator=g)].float()
        zoom = .18 + .8 * r(n)
        aspect = W / H
        sx, sy = zoom * aspect, zoom
        ox, oy = (2 * r(n) - 1) * (1 - sx), (2 * r(n) - 1) * (1 - sy)
        theta = torch.zeros(n, 2, 3, device=self.device)
        theta[:, 0, 0], theta[:, 1, 1] = sx * (1 - 2 * (r(n) < .5).float()), sy * torch.where(r(n) < .1, -1., 1.)
        theta[:, 0, 2], theta[:, 1, 2] = ox, oy
        x = F.grid_sample(t, F.affine_grid(theta, (n, 3, H, W), align_corners=False), mode="bilinear", padding_mode="reflection", align_corners=False)
        m = x.mean((2, 3), keepdim=True)
        x = (x - m) * (.6 + .6 * r(n, 1, 1, 1)) + m * (.6 + .7 * r(n, 1, 1, 1))
        grey = x.mean(1, keepdim=True)
        x = grey + (x - grey) * (.4 + .8 * r(n, 1, 1, 1)) * (.9 + .2 * r(n, 3, 1, 1))
        return self.focus(g, x, .45).clamp(0, 255)

    def focus(self, g, x, share):
        """Blurs a share of the pictures, each by one of three amounts."""
        n, _, H, W = x.shape
        parts, at = [], 0
        for f in (3, 6, 12):
            m = int(n * share / 3)
            if m:
                parts.append(F.interpolate(F.interpolate(x[at:at + m], (H // f, W // f), mode="area"), (H, W), mode="bilinear", align_corners=False))
                at += m
        return torch.cat(parts + [x[at:]])

    def colour(self, g, n):
        """Plain colours [n,3,1,1], most of them dull."""
        c = 255 * torch.rand(n, 3, 1, 1, device=self.device, generator=g)
        return c + (c.mean(1, keepdim=True) - c) * torch.rand(n, 1, 1, 1, device=self.device, generator=g) ** .4

    def noise(self, g, n, W, H):
        """Cloudy noise of random roughness in two colours."""
        r = lambda *s: torch.rand(*s, device=self.device, generator=g)
        s, gain, amp = 0, 1., .4 + .45 * r(n, 1, 1, 1)
        for k in (3, 6, 12, 24, 48, 96):
            s = s + gain * F.interpolate(r(n, 1, k, max(2, k * W // H)) - .5, (H, W), mode="bilinear", align_corners=False)
            gain = gain * amp
        a, b = self.colour(g, n), self.colour(g, n)
        t = (.5 + (.2 + r(n, 1, 1, 1)) * s).clamp(0, 1)
        return a + (a.mean(1, keepdim=True) * .4 + b * .6 - a) * t

    def draw(self, g, n, W, H, floor):
        """Backgrounds [n,3,H,W]; floor [n,H,W]: where the floor is seen."""
        r = lambda *s: torch.rand(*s, device=self.device, generator=g)
        pick = r(n, 1, 1, 1)
        photo, made = self.photo(g, n, W, H), self.noise(g, n, W, H)
        flat = self.colour(g, n).expand(-1, -1, H, W)
        x = torch.where(pick < .82, photo, torch.where(pick < .95, made, flat))
        ground = torch.where(r(n, 1, 1, 1) < .5, self.photo(g, n, W, H), self.noise(g, n, W, H) * .35 + .65 * self.colour(g, n))
        x = torch.where((r(n, 1, 1, 1) < .55) & floor[:, None], ground, x)
        other = photo.roll(1, 0)
        for chance in (.3, .2, .12, .06):                        # windows, doors, boards, posts
            on = r(n) < chance
            m = self.box(g, n, W, H, (.04, .5), (.05, .8)) & on[:, None, None]
            fill = torch.where(r(n, 1, 1, 1) < .35, other, self.colour(g, n) * (.7 + .6 * other.mean((1, 2, 3), keepdim=True) / 255))
            x = torch.where(m[:, None], fill, x)
        return x.clamp(0, 255)

    def box(self, g, n, W, H, wide, high, lowest=0.):
        """Masks [n,H,W] of boxes, upright or a little turned, a third of them round."""
        r = lambda *s: torch.rand(*s, device=self.device, generator=g)
        w, h = (wide[0] + (wide[1] - wide[0]) * r(n)) * W / 2, (high[0] + (high[1] - high[0]) * r(n)) * H / 2
        cx, cy = r(n) * W, (lowest + (1 - lowest) * r(n)) * H
        a = torch.where(r(n) < .5, torch.zeros(n, device=self.device), (r(n) - .5) * 1.)
        y, x = torch.meshgrid(torch.arange(H, device=self.device), torch.arange(W, device=self.device), indexing="ij")
        x, y = x[None] - cx[:, None, None], y[None] - cy[:, None, None]
        c, s = a.cos()[:, None, None], a.sin()[:, None, None]
        u, v = (c * x + s * y).abs() / w[:, None, None], (c * y - s * x).abs() / h[:, None, None]
        return torch.where((r(n) < .33)[:, None, None], u * u + v * v < 1, (u < 1) & (v < 1))

    def front(self, g, n, W, H):
        """Things in front of everything: mask [n,H,W] and colours [n,3,H,W]."""
        r = lambda *s: torch.rand(*s, device=self.device, generator=g)
        m = self.box(g, n, W, H, (.08, .45), (.08, .4)) & (r(n) < .14)[:, None, None]
        m |= self.box(g, n, W, H, (.5, 1.6), (.1, .6), .75) & (r(n) < .14)[:, None, None]      # desks, counters, hedges
        m |= self.box(g, n, W, H, (.02, .07), (.8, 2.5)) & (r(n) < .08)[:, None, None]        # posts
        pick = r(n, 1, 1, 1)
        return m, torch.where(pick < .7, self.photo(g, n, W, H), torch.where(pick < .85, self.noise(g, n, W, H), self.colour(g, n).expand(-1, -1, H, W)))


def gaussian(x, sigma):
    """Blurs each picture by its own sigma [n], in pixels, up to 1.5."""
    n, c, h, w = x.shape
    t = torch.arange(-4, 5, device=x.device)[None] / sigma[:, None].clamp(min=.05)
    k = torch.exp(-.5 * t * t)
    k = (k / k.sum(1, keepdim=True)).repeat_interleave(c, 0)
    x = F.pad(x.reshape(1, n * c, h, w), (4, 4, 4, 4), mode="replicate")
    x = F.conv2d(x, k[:, None, None, :], groups=n * c)
    return F.conv2d(x, k[:, None, :, None], groups=n * c).reshape(n, c, h, w)


def moved(x, length, angle):
    """Motion blur [n]: the mean along a line of `length` pixels."""
    n, c, h, w = x.shape
    y, z = torch.meshgrid(torch.arange(-7, 8, device=x.device), torch.arange(-7, 8, device=x.device), indexing="ij")
    along = y[None] * angle.sin()[:, None, None] + z[None] * angle.cos()[:, None, None]
    aside = z[None] * angle.sin()[:, None, None] - y[None] * angle.cos()[:, None, None]
    k = (1 - aside.abs()).clamp(0, 1) * (length[:, None, None] / 2 - along.abs() + .5).clamp(0, 1)
    k = (k / k.sum((1, 2), keepdim=True)).repeat_interleave(c, 0)[:, None]
    return F.conv2d(F.pad(x.reshape(1, n * c, h, w), (7, 7, 7, 7), mode="replicate"), k, groups=n * c).reshape(n, c, h, w)


QUANT = torch.tensor([[16, 11, 10, 16, 24, 40, 51, 61], [12, 12, 14, 19, 26, 58, 60, 55], [14, 13, 16, 24, 40, 57, 69, 56], [14, 17, 22, 29, 51, 87, 80, 62],
                      [18, 22, 37, 56, 68, 109, 103, 77], [24, 35, 55, 64, 81, 104, 113, 92], [49, 64, 78, 87, 103, 121, 120, 101],
                      [72, 92, 95, 98, 112, 100, 103, 99]]).float()


def jpeg(x, quality):
    """What JPEG at a quality [n] of 10 to 95 does to pictures whose sides are multiples of 8 (colour not subsampled)."""
    n, c, h, w = x.shape
    i = torch.arange(8, device=x.device)
    d = torch.cos((2 * i[None] + 1) * i[:, None] * math.pi / 16) * torch.where(i[:, None] == 0, math.sqrt(1 / 8), .5)
    rgb = torch.tensor([[.299, .587, .114], [-.1687, -.3313, .5], [.5, -.4187, -.0813]], device=x.device)
    y = torch.einsum("kc,nchw->nkhw", rgb, x)
    b = y.reshape(n, 3, h // 8, 8, w // 8, 8).permute(0, 1, 2, 4, 3, 5)
    b = d @ (b - torch.tensor([128., 0, 0], device=x.device)[None, :, None, None, None, None]) @ d.T
    q = torch.where(quality < 50, 50 / quality, (100 - quality) / 50).clamp(min=.02)[:, None, None, None, None, None]
    table = (QUANT.to(x.device) * q * torch.tensor([1., 1.5, 1.5], device=x.device)[None, :, None, None, None, None]).clamp(min=1)
    b = d.T @ ((b / table).round() * table) @ d + torch.tensor([128., 0, 0], device=x.device)[None, :, None, None, None, None]
    return torch.einsum("ck,nkhw->nchw", torch.linalg.inv(rgb), b.permute(0, 1, 2, 4, 3, 5).reshape(n, 3, h, w))


def camera(g, x, tall):
    """Focus, motion, exposure, far people's few pixels, noise and JPEG.  x [n,3,H,W]; -> uint8.  The batch is in random order, so
    that fixed slices of it can be handled alike; `tall`: the picture's height in pixels that the person's box fills."""
    n, _, H, W = x.shape
    r = lambda *s: torch.rand(*s, device=x.device, generator=g)
    x = gaussian(x, .25 + .85 * r(n) ** 2)
    m = max(1, n // 7)
    x = torch.cat((moved(x[:m], 2 + 9 * r(m), math.pi * r(m)), x[m:]))
    mid = x.mean((2, 3), keepdim=True)
    x = ((x - mid) * (.7 + .55 * r(n, 1, 1, 1)) + mid * (.65 + .65 * r(n, 1, 1, 1))) * (.93 + .14 * r(n, 3, 1, 1))
    grey = x.mean(1, keepdim=True)
    x = grey + (x - grey) * torch.where(r(n, 1, 1, 1) < .06, torch.zeros(n, 1, 1, 1, device=x.device), .55 + .7 * r(n, 1, 1, 1))
    strength = 14 * r(n, 1, 1, 1) ** 3
    parts, at = [], m                                                   # the slices after the moved ones
    for px, share in ((60, .05), (36, .05), (24, .04), (16, .02)):      # people of about so many pixels
        k = int(n * share)
        if k and at + k <= n:
            f = tall / px
            h, w = max(8, round(H / f / 8) * 8), max(8, round(W / f / 8) * 8)
            small = F.interpolate(x[at:at + k], (h, w), mode="area")
            small = jpeg(small + torch.randn(small.shape, device=x.device, generator=g) * strength[at:at + k], 35 + 60 * r(k))
            parts.append(F.interpolate(small, (H, W), mode="bilinear", align_corners=False)); at += k
    first, last = x[:m], x[at:]
    last = last + torch.randn(last.shape, device=x.device, generator=g) * strength[at:]
    k = len(last) // 2
    if k:
        last = torch.cat((jpeg(last[:k], 25 + 70 * r(k)), last[k:]))
    return torch.cat([first] + parts + [last]).clamp(0, 255).round().to(torch.uint8)
