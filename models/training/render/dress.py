"""What people look like: skin, hair, clothes and things, drawn at random.  `draw` needs numpy alone; `outline` (PyTorch) moves
the vertices that clothes and hair push outward and places the things."""
import numpy as np

import layout

SKIN = np.array([(255, 226, 200), (243, 198, 158), (226, 174, 126), (200, 140, 92), (150, 94, 56), (96, 58, 36), (58, 36, 26)]) / 255
HAIR = np.array([(12, 10, 9), (35, 24, 18), (70, 46, 30), (110, 75, 45), (175, 140, 90), (205, 180, 130), (120, 55, 28), (130, 128, 126), (205, 203, 200)]) / 255
HAIR_SHARE = np.array([.3, .2, .16, .08, .08, .05, .04, .06, .03])
THINGS = ("hair", "hat", "brim", "bag", "held", "seat")              # the parts of layout.PARTS, in order


def linear(rgb):
    return np.asarray(rgb) ** 2.2


def cloth(rng, n):
    """Colours of cloth, linear: nearly half near grey, the rest of any hue, seldom a loud one."""
    h, s, v = rng.random(n), rng.beta(1.4, 2.2, n) * .9 + .05, rng.uniform(.1, .9, n)
    grey = rng.random(n) < .45
    s, v = np.where(grey, rng.uniform(0, .15, n), s), np.where(grey, rng.beta(.7, .9, n) * .88 + .05, v)
    k = (np.array([5, 3, 1])[None] + h[:, None] * 6) % 6
    return linear(v[:, None] * (1 - s[:, None] * np.clip(np.minimum(k, 4 - k), 0, 1)))


def draw(rng, female, age, activity_sits, lies):
    """-> (parameters [n, layout.PERSON_SIZE], outline: dict of arrays [n] that change the shape).  age as in extract.py."""
    n = len(female)
    u = lambda low, high: rng.uniform(low, high, n)
    some = lambda chance: rng.random(n) < chance
    woman, child, old = female > .5, age < .55, age > .85
    t = rng.beta(1, 1, n) * (len(SKIN) - 1)
    skin = np.stack([np.interp(t, np.arange(len(SKIN)), linear(SKIN[:, c])) for c in range(3)], 1) * rng.uniform(.85, 1.12, (n, 3)).clip(.9, 1.1)
    hair = linear(HAIR[rng.choice(len(HAIR), n, p=HAIR_SHARE)] * rng.uniform(.85, 1.15, (n, 1)))
    hair = np.where((old & some(.6))[:, None], linear(HAIR[-2:][rng.integers(0, 2, n)]), hair)
    hair = np.where(some(.02)[:, None], cloth(rng, n), hair)
    bald = ~woman & ~child & some(.12)
    hairline = np.where(bald, np.where(some(.5), 2., .55), np.where(woman | child, u(-.1, .1), u(0, .25)))

    # clothes: above, below
    kind = np.select([some(1), ], [rng.choice(6, n, p=[.36, .27, .1, .16, .07, .04])])   # t-shirt, long sleeves, tank top, jacket, coat, bare
    kind = np.where((kind == 5) & (woman | some(.3)), 2, kind)
    sleeve = np.choose(kind, [u(.2, .42), u(.94, 1.05), u(.02, .08), u(.95, 1.06), u(.95, 1.06), u(-1, -.5)])
    hem = np.choose(kind, [u(-.08, .12), u(-.1, .12), u(-.05, .12), u(-.18, .05), u(-.3, -.1), u(5, 5)])
    neck = np.choose(kind, [u(.96, 1.06), u(.97, 1.12), u(.86, .97), u(1.0, 1.14), u(1.0, 1.14), u(0, 0)])
    top_thick = np.choose(kind, [u(.004, .022), u(.004, .022), u(.002, .008), u(.012, .035), u(.015, .04), u(0, 0)])
    below = rng.choice(5, n, p=[.55, .2, .11, .09, .05])               # long, short, tight, skirt, swimming things or nearly nothing
    below = np.where((below == 3) & ~woman, 0, below)
    leg_end = np.choose(below, [u(.9, 1.03), u(.2, .52), u(.5, 1.02), u(.1, .2), u(.04, .1)])
    bottom_thick = np.choose(below, [u(.006, .028), u(.008, .032), u(.001, .003), u(.001, .003), u(.001, .002)])
    dress = (below == 3) & some(.45)
    coat = kind == 4
    skirt = np.where(below == 3, np.where(some(.5), u(.25, .5), u(.5, .95)), np.where(coat, u(.25, .7), 0)) * ~lies
    top, top2, bottom, bottom2 = cloth(rng, n), cloth(rng, n), cloth(rng, n), cloth(rng, n)
    jeans = some(.25) & (below < 2)
    bottom = np.where(jeans[:, None], linear(np.array([.22, .3, .45])) * u(.3, 1.8)[:, None], bottom)
    suit = some(.1)
    bottom = np.where(suit[:, None], top, bottom)
    bottom2 = np.where(jeans[:, None], bottom * 1.3, bottom2)
    pattern = lambda plain: np.where(some(plain), np.where(some(.5), 0, 6), rng.integers(1, 6, n))
    top_pattern, bottom_pattern = pattern(.55), np.where(pattern(.82) == 5, 0, pattern(.82))
    top2 = np.where((top_pattern == 6)[:, None], top * .7, top2)
    bottom2 = np.where((bottom_pattern == 6)[:, None], bottom * .7, bottom2)
    whole = dress | coat
    skirt_colour = np.where(whole[:, None], top, bottom)
    bottom2 = np.where((whole & (skirt > 0))[:, None], top, bottom2)   # the tube takes the lower pattern
    bottom_pattern = np.where(whole & (skirt > 0), 0, bottom_pattern)
    barefoot, boots = some(.12) | (below == 4), some(.12)
    shoe_from = np.where(barefoot, 9., np.where(boots, u(.75, .95), u(1.0, 1.03)))
    sock_from = np.where(some(.5) | barefoot, 9., u(.72, 1.0))
    shoe = np.where(some(.3)[:, None], linear(np.ones(3)) * u(.6, .9)[:, None], cloth(rng, n) * .8)

    # things: half sizes in metres and roundness (1 ball, small: box)
    size, place = np.zeros((n, len(THINGS), 3)), np.zeros((n, len(THINGS), 3))
    round_ = np.ones((n, len(THINGS)))
    part = cloth(rng, n * len(THINGS)).reshape(n, len(THINGS), 3)
    put = lambda i, on, s, p, r: (size.__setitem__((on, i), np.stack(s, -1)[on]), place.__setitem__((on, i), np.stack(p, -1)[on]), round_.__setitem__((on, i), r))
    z, o = np.zeros(n), np.ones(n)
    style = rng.choice(5, n, p=[.3, .4, .1, .13, .07])                # none more, long, bun, tail, a lot all round
    style = np.where(woman, style, np.where(some(.08), rng.integers(1, 5, n), 0)) * ~bald
    put(0, style == 1, (u(.075, .1), u(.045, .07), u(.12, .22)), (z, u(-.085, -.07), u(-.12, -.03)), .85)
    put(0, style == 2, (.045 * o, .045 * o, .045 * o), (z, u(-.13, -.1), u(.06, .14)), 1)
    put(0, style == 3, (u(.025, .04), u(.03, .05), u(.09, .16)), (z, u(-.14, -.11), u(-.12, 0)), 1)
    put(0, style == 4, (u(.11, .16), u(.11, .15), u(.1, .15)), (z, u(-.05, -.03), u(.07, .1)), 1)
    part[:, 0] = hair
    hat = some(.14)
    put(1, hat, (u(.08, .09), u(.105, .115), u(.07, .1)), (z, u(-.015, .0), u(.095, .12)), .8)
    put(2, hat & some(.75), (u(.07, .16), u(.07, .16), .008 * o), (z, u(.02, .1), u(.09, .11)), 1)
    part[:, 2] = part[:, 1]
    bag = some(.12)
    put(3, bag, (u(.12, .17), u(.06, .11), u(.16, .25)), (z, u(-.24, -.19), u(-.05, .08)), .3)
    held = some(.2)
    what = rng.integers(0, 4, n)                                       # ball, stick, slab, bag
    put(4, held, (np.choose(what, [u(.03, .13), .012 * o, u(.03, .1), u(.05, .17)]), np.choose(what, [u(.03, .13), .012 * o, .006 * o, u(.03, .09)]),
                  np.choose(what, [u(.03, .13), u(.2, .6), u(.05, .14), u(.08, .2)])), (z, u(-.05, .05), np.choose(what, [-.15 * o, u(-.4, .3), -.1 * o, -.3 * o])), .4)
    round_[:, 4] = np.choose(what, [1 * o, .6 * o, .2 * o, .35 * o])
    size[held & (what == 0), 4] = size[held & (what == 0), 4][:, :1]
    seat = activity_sits & some(.65)
    put(5, seat, (u(.2, .35), u(.18, .3), u(.04, .3)), (z, u(-.06, .05), z), .15)
    outline = dict(top=top_thick, bottom=bottom_thick, flare=np.where(below == 0, u(0, 1.2), 0), shoe=np.where(barefoot, 0, u(.006, .014)),
                   hair=np.where(hairline > 1, 0, np.where(style == 4, .03, u(.006, .026))), wave=u(0, .5), phase=rng.uniform(0, 6.28, (n, 3)),
                   skirt=skirt, skirt_flare=np.where(coat, u(.02, .08), u(.0, .2)), skirt_wide=u(.1, .14) + .5 * bottom_thick,
                   size=size, place=place, round=round_, hand=rng.integers(0, 2, n))
    values = dict(skin=skin, hair=hair, iris=linear(np.array([(45, 28, 18), (70, 60, 40), (60, 90, 120)])[rng.choice(3, n, p=[.6, .2, .2])] / 255),
                  top=top, top2=top2, bottom=bottom, bottom2=bottom2, shoe=shoe, sock=cloth(rng, n), part=part.reshape(n, -1), skirt=skirt_colour,
                  top_pattern=top_pattern, top_scale=u(6, 30), bottom_pattern=bottom_pattern, bottom_scale=u(6, 30),
                  hem=hem, neck=neck, sleeve=sleeve, waist=u(.1, .3), leg_end=leg_end, shoe_from=shoe_from, sock_from=sock_from,
                  glove_from=np.where(some(.04), 1.02, 9.), hairline=hairline, beard=np.where(~woman & ~child & some(.35), u(.3, 1.2), 0), brow=u(.5, 1),
                  bump=u(.2, 1.1), gloss=u(0, 1), zip=u(0, 1), seed=rng.integers(0, 1 << 20, n))
    return layout.fill(layout.PERSON_AT, layout.PERSON_SIZE, n, **values), outline


def outline(bodies, rest, joints, params, o):
    """Rest vertices [n,V,3] with what is worn.  params and o: tensors, as draw gives them."""
    import torch
    f = bodies.field
    torso, arm, leg, hair = (f[None, :, i] for i in range(4))
    p = lambda name: params[:, layout.PERSON_AT[name]]
    ramp = lambda x, w: (x / w).clamp(0, 1)
    tall = ((joints[:, bodies.at["head"], 2] - joints[:, bodies.at["foot.L"], 2]) / 1.5)[:, None]
    r = bodies.mean[None, :bodies.V]
    ph = o["phase"]
    wave = torch.sin(r[..., 2] * 31 + ph[:, :1]) * torch.sin(r[..., 0] * 23 + r[..., 1] * 17 + ph[:, 1:2])
    loose = 1 + o["wave"][:, None] * wave
    top = ramp(torso - p("hem"), .06) * ramp(p("neck") - torso, .05) * ramp(p("sleeve") - arm, .05) * ramp(1 - leg, .05)
    bottom = ramp(p("leg_end") - leg, .04) * ramp(p("waist") - torso, .06) * (arm < .02)
    shoe = ramp(leg - p("shoe_from"), .03)
    head = ramp(hair - p("hairline").clamp(max=1.5), .25)
    d = torch.maximum(top * (o["top"][:, None] * loose), bottom * (o["bottom"][:, None] * loose * (.6 + .5 * leg + o["flare"][:, None] * leg * leg)))
    d = torch.maximum(d, shoe * o["shoe"][:, None]) + head * o["hair"][:, None] * (1 + .3 * wave)
    return rest + bodies.normal * (d * tall)[..., None]


def things(bodies, G, P, joints, o, seat_drop):
    """Vertices, normals [n, parts x m, 3] and whether each part is there [n, parts]; seat_drop [n]: from the pelvis down to the floor."""
    import torch
    n = len(G)
    scale = ((joints[:, bodies.at["eye.L"]] - joints[:, bodies.at["eye.R"]]).norm(dim=-1) / .062)[:, None]
    tall = ((joints[:, bodies.at["head"], 2] - joints[:, bodies.at["foot.L"], 2]) / 1.5)[:, None]
    at = lambda b: (G[:, bodies.at[b]], P[:, bodies.at[b]])
    left = (o["hand"] == 0)[:, None]
    hand = tuple(torch.where(left.reshape(-1, *[1] * (a.dim() - 1)), a, b) for a, b in zip(at("wrist.L"), at("wrist.R")))
    eye = torch.eye(3, device=G.device).expand(n, 3, 3)
    size, place = o["size"].clone(), o["place"].clone()
    half = (seat_drop / 2 - .03).clamp(min=.02)
    size[:, 5, 2] = torch.where(size[:, 5, 0] > 0, torch.minimum(size[:, 5, 2], half), size[:, 5, 2])
    place[:, 5, 2] = -.09 - size[:, 5, 2]
    vs, ns = [], []
    for i, (frame, origin) in enumerate((at("head"), at("head"), at("head"), at("spine02"), hand, (eye, P[:, bodies.at["root"]]))):
        k = scale if i < 3 else tall
        centre = origin + (frame @ (place[:, i] * k)[..., None])[..., 0]
        v, m = bodies.thing(centre, frame, size[:, i] * k, o["round"][:, i])
        vs.append(v), ns.append(m)
    return torch.cat(vs, 1), torch.cat(ns, 1), o["size"][..., 0] > 0
