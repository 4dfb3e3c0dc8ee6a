"""Scenes: who stands where, the camera, the light.  Only numpy; what depends on the posed bodies is done in render.py.
The world: z up, the floor at 0, the main person at the origin, looking along +y turned by its yaw.  The camera's axes: x right, y down, z ahead."""
import numpy as np

import dress
import poses

CANVAS = (216, 288)                                                 # width and height of a crop, as train.py holds them
PAD, GROW = 1.25, 1.2                                               # a crop is the box x 1.25, grown to 3:4, x 1.2


def look(elevation, roll):
    """World to camera [n,3,3] for cameras that look along +y, from above by elevation, turned by roll (radians)."""
    e, r, z, o = elevation, roll, np.zeros(len(roll)), np.ones(len(roll))
    right, down, ahead = (np.stack(v, 1) for v in ((o, z, z), (z, -np.sin(e), -np.cos(e)), (z, np.cos(e), -np.sin(e))))
    c, s = np.cos(r)[:, None], np.sin(r)[:, None]
    return np.stack((c * right + s * down, c * down - s * right, ahead), 1)


def project(points, camera):
    """Points [n,k,3] in the camera's axes and camera [n,3] (focal length, centre x, centre y) -> pixels [n,k,2].  Arrays or tensors."""
    f, c = camera[:, None, :1], camera[:, None, 1:]
    return points[..., :2] / points[..., 2:] * f + c


def window(low, high, canvas=CANVAS):
    """Focal length and centre (three of [n]) of the picture of `canvas` pixels that is the crop of a box (low, high [n,2], at focal
    length 1).  Arrays or tensors."""
    size, mid = (high - low) * PAD, (low + high) / 2
    aspect = canvas[0] / canvas[1]
    wide = size[:, 0] >= size[:, 1] * aspect
    f = canvas[0] / GROW / (size[:, 0] * wide + size[:, 1] * aspect * ~wide)
    return f, canvas[0] / 2 - f * mid[:, 0], canvas[1] / 2 - f * mid[:, 1]


def light(rng, n, R):
    """Sun and sky for cameras R: towards the sun in the world, its colour, harmonics in the camera's axes."""
    up = R[:, :, 2]                                                 # the world's up in the camera's axes
    az, el = rng.uniform(0, 2 * np.pi, n), np.radians(rng.uniform(15, 80, n))
    sun = np.stack((np.cos(az) * np.cos(el), np.sin(az) * np.cos(el), np.sin(el)), 1)
    strength = np.where(rng.random(n) < .35, rng.uniform(0, .25, n), rng.uniform(.3, 1.3, n))
    warm = rng.normal(0, .12, n)
    tint = lambda k: np.stack((1 + k, np.ones(n), 1 - k), 1)
    base = rng.uniform(.35, .95, n) * np.where(strength < .25, 1.15, .8)
    sh = np.zeros((n, 9, 3))
    sh[:, 0] = base[:, None] * tint(-.5 * warm + rng.normal(0, .05, n))
    lead = up * rng.uniform(.0, .6, n)[:, None] + rng.normal(0, .22, (n, 3))
    for i, a in ((1, 1), (2, 2), (3, 0)):                           # y, z, x, as the kernel has them
        sh[:, i] = base[:, None] * lead[:, a, None] * tint(rng.normal(0, .08, n))
    sh[:, 4:] = base[:, None, None] * rng.normal(0, .05, (n, 5, 3))
    return sun, strength[:, None] * tint(warm), sh.reshape(n, 27)


def draw(rng, crops, bodies_female, bodies_age, people=(.48, .3, .14, .08)):
    """A batch of scenes, as arrays.  Persons are ordered by crop, the main one first."""
    count = rng.choice(len(people), crops, p=people) + 1
    first = np.cumsum(count) - count
    n = int(count.sum())
    crop = np.repeat(np.arange(crops), count)
    place = np.arange(n) - first[crop]
    main = place == 0
    body = rng.integers(0, len(bodies_female), n)
    pose, activity = poses.draw(rng, n)
    is_ = lambda *names: np.isin(activity, [poses.NAMES.index(k) for k in names])
    yaw = np.where(is_("lie"), rng.uniform(0, 2 * np.pi, n), np.pi + rng.vonmises(0, .7, n))          # mostly towards the camera, at -y
    others = rng.random(n) < .4
    yaw = np.where(others, rng.uniform(0, 2 * np.pi, n), yaw)
    # the camera
    near = rng.random(crops) < .24                                  # webcams and close portraits: the upper body alone
    near &= ~is_("lie", "jump")[first]
    d = np.where(near, np.exp(rng.uniform(np.log(.65), np.log(1.8), crops)), np.exp(rng.uniform(np.log(2.2), np.log(16), crops)))
    el = np.radians(np.where(rng.random(crops) < .12, rng.uniform(20, 65, crops), rng.normal(4, 9, crops)))
    el = np.where(near, np.radians(rng.normal(0, 9, crops)), el)
    el = np.maximum(el, -np.arcsin(np.minimum(.7 / d, .6)))         # not from under the floor
    roll = np.radians(np.where(rng.random(crops) < .15, rng.normal(0, 14, crops), rng.normal(0, 2.5, crops)))
    # the others: beside, before or behind, seldom in the way
    # the camera stands at -y
    across, ahead = rng.uniform(.35, 1.3, n) * rng.choice([-1, 1], n), rng.normal(.6, .9, n)
    ahead = np.maximum(ahead, -.45 * d[crop] + .2)
    spot = np.where(main[:, None], 0, np.stack((across, ahead), 1))
    lifted = np.where(is_("jump"), rng.uniform(0, .7, n), 0)
    params, outline = dress.draw(rng, bodies_female[body], bodies_age[body], is_("sit"), is_("lie"))
    R = look(el, roll)
    sun, sun_colour, sh = light(rng, crops, R)
    return dict(R=R, sun=sun, sun_colour=sun_colour, sh=sh, count=count, first=first, crop=crop, place=place, body=body, pose=pose, activity=activity, yaw=yaw, spot=spot, lifted=lifted, params=params,
                outline=outline, near=near, upper=rng.uniform(.05, .62, crops), cut=near & (rng.random(crops) < .85), distance=d,
                jitter=rng.normal(0, .025, (crops, 4)), shadow=rng.uniform(.15, .65, crops), ao=rng.uniform(.4, 1., crops))
