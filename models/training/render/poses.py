"""Poses of people: joint angles drawn by activity, inside joint limits.  Only numpy.

A pose is a row of angles in degrees, one for each name in DOF.  The zero pose stands upright, arms hanging, palms inward,
looking along +y; x is the person's right, z is up.  Angles are anatomical, so that left and right mean the same: a bend is positive
in the direction in which the joint bends, away from the body is positive, inward rotation is positive.  An arm's direction is given by how far it
is lifted from hanging (`lift`) and towards where (`toward`: 0 to the front, 90 to its own side, negative across the body)."""
import numpy as np

# name: lowest and highest angle; a leading * stands for one on each side
LIMITS = {
    "root_pitch": (-180, 180), "root_roll": (-180, 180),             # forward, then to the right; the camera does the third turn
    "spine_bend": (-30, 80), "spine_side": (-35, 35), "spine_twist": (-40, 40),
    "neck_bend": (-50, 50), "neck_side": (-35, 35), "neck_twist": (-70, 70),
    "*shrug": (-10, 30),
    "*arm_lift": (0, 178), "*arm_toward": (-45, 150), "*arm_twist": (-85, 85), "*elbow": (0, 148), "*forearm_twist": (-80, 80),
    "*wrist": (-60, 65), "*fingers": (0, 80),
    "*hip": (-25, 125), "*hip_out": (-22, 60), "*hip_twist": (-40, 35), "*knee": (0, 148), "*ankle": (-25, 50),
}
DOF = [side + name[1:] if name[0] == "*" else name for name in LIMITS for side in (("l_", "r_") if name[0] == "*" else ("",))]
AT = {name: i for i, name in enumerate(DOF)}
LOW, HIGH = (np.array([LIMITS["*" + d[2:] if d[:2] in ("l_", "r_") else d][i] for d in DOF], np.float32) for i in (0, 1))
# the mirrored pose: each column's source and sign
MIRROR = np.array([AT[{"l_": "r_", "r_": "l_"}[d[:2]] + d[2:]] if d[:2] in ("l_", "r_") else AT[d] for d in DOF])
SIGN = np.array([-1 if d in ("root_roll", "spine_side", "spine_twist", "neck_side", "neck_twist") else 1 for d in DOF], np.float32)

ARMS = {  # lift, toward, twist, elbow: what a single arm does
    "hangs": (10, 70, 10, 15), "hip": (42, 105, 65, 95), "crossed": (32, 12, 68, 105), "phone": (45, 45, 15, 140), "reads": (30, 8, 25, 100),
    "pocket": (20, 110, 25, 45), "waves": (85, 80, -60, 95), "points": (85, 45, 0, 12), "up": (158, 45, 0, 22), "out": (88, 88, 0, 12),
    "behind": (28, 140, 60, 60), "claps": (48, 5, 35, 75), "chin": (42, 5, 22, 135), "types": (25, 12, 18, 82), "carries": (15, 60, 15, 80),
    "head": (125, 75, 35, 135),
}


def mirror(pose):
    """The same pose seen in a mirror: left and right change places."""
    return pose[:, MIRROR] * SIGN


def clip(pose):
    """Into the joint limits; an arm behind the body is not lifted far."""
    pose = np.clip(pose, LOW, HIGH)
    for s in "lr":
        lift, toward = AT[s + "_arm_lift"], AT[s + "_arm_toward"]
        pose[:, lift] = np.where(pose[:, toward] > 115, np.minimum(pose[:, lift], 60), pose[:, lift])
    return pose


class Sheet:
    """Poses being drawn: sets columns by name."""

    def __init__(self, rng, n):
        self.rng, self.n = rng, n
        self.a = np.zeros((n, len(DOF)), np.float32)

    def set(self, name, mean, sd=6.0):
        """A normal draw around mean (a number or one for each pose); `*name` draws both sides, each for itself."""
        for d in (("l_" + name[1:], "r_" + name[1:]) if name[0] == "*" else (name,)):
            self.a[:, AT[d]] = mean + sd * self.rng.standard_normal(self.n)

    def uniform(self, name, low, high):
        for d in (("l_" + name[1:], "r_" + name[1:]) if name[0] == "*" else (name,)):
            self.a[:, AT[d]] = self.rng.uniform(low, high, self.n)

    def arms(self, choice, sd=10.0, same=0.5):
        """Each arm does one of `choice` (a dict: name -> chance); both the same in `same` of the poses."""
        names = list(choice)
        p = np.array([choice[k] for k in names], float)
        pick = self.rng.choice(len(names), (self.n, 2), p=p / p.sum())
        pick[:, 1] = np.where(self.rng.random(self.n) < same, pick[:, 0], pick[:, 1])
        table = np.array([ARMS[k] for k in names], np.float32)
        for side, s in enumerate("lr"):
            for col, name in enumerate(("arm_lift", "arm_toward", "arm_twist", "elbow")):
                self.a[:, AT[f"{s}_{name}"]] = table[pick[:, side], col] + sd * self.rng.standard_normal(self.n)

    def rest(self):
        """Small things that every pose has."""
        self.set("spine_bend", 3, 6), self.set("spine_side", 0, 4), self.set("spine_twist", 0, 5)
        self.set("neck_bend", 5, 12), self.set("neck_side", 0, 7), self.set("neck_twist", 0, 20)
        self.set("*shrug", 2, 4), self.set("*forearm_twist", 0, 25), self.set("*wrist", 0, 12), self.uniform("*fingers", 5, 60)
        self.set("*hip", 3, 4), self.set("*hip_out", 5, 4), self.set("*hip_twist", -5, 8), self.set("*knee", 5, 5), self.set("*ankle", 0, 4)


def stand(s):
    s.rest()
    s.arms({"hangs": 4, "hip": 1.2, "crossed": 1, "phone": .6, "reads": 1, "pocket": 1, "waves": .6, "points": .5, "behind": .6, "claps": .8, "chin": .4, "carries": .8})
    # the weight on one leg
    w = s.rng.random(s.n) < .4
    s.a[:, AT["l_knee"]] += w * s.rng.uniform(5, 35, s.n)
    s.a[:, AT["l_hip"]] += w * s.rng.uniform(0, 22, s.n)
    s.a[:, AT["spine_side"]] += w * s.rng.uniform(-8, 3, s.n)


def gait(s, stride, knee, elbow, lean, swing):
    """Walking and running: a phase turns the legs and the arms against each other."""
    s.rest()
    t = s.rng.uniform(0, 2 * np.pi, s.n)
    amp = s.rng.uniform(.5, 1.15, s.n)
    for side, ph in (("l", t), ("r", t + np.pi)):
        s.set(side + "_hip", stride * amp * (.25 + np.sin(ph)), 4)
        s.set(side + "_knee", 8 + knee * amp * np.clip(np.sin(ph - 1.9), 0, 1) ** 1.3 + knee * .25 * np.clip(np.sin(ph + .3), 0, 1), 5)
        s.set(side + "_ankle", 12 * amp * np.clip(-np.sin(ph), 0, 1), 5)
        s.set(side + "_hip_out", 2, 3)
        back = np.sin(ph)                                      # the arm goes back as the leg of its side goes forward
        s.set(side + "_arm_lift", np.abs(swing * amp * back) + 6, 5)
        s.set(side + "_arm_toward", np.where(back > 0, 145, 15), 10)
        s.set(side + "_elbow", elbow, 12)
        s.set(side + "_arm_twist", 15, 10)
    s.set("spine_bend", lean, 5), s.set("spine_twist", 8 * amp * np.sin(t), 4)


def walk(s):
    gait(s, 27, 45, 22, 4, 28)
    busy = s.rng.random(s.n) < .35
    other = Sheet(s.rng, s.n)
    other.arms({"phone": 1, "reads": 1.5, "carries": 2, "pocket": 1, "hangs": 1, "waves": .5}, same=.2)
    cols = [AT[f"{x}_{k}"] for x in "lr" for k in ("arm_lift", "arm_toward", "arm_twist", "elbow")]
    s.a[:, cols] = np.where(busy[:, None], other.a[:, cols], s.a[:, cols])


def run(s):
    gait(s, 48, 105, 88, 12, 50)


def sit(s):
    s.rest()
    low = s.rng.random(s.n) < .2                                # on the floor
    s.set("*hip", np.where(low, 95, 86), 10), s.set("*knee", np.where(low, 90, 84), 20)
    s.uniform("*hip_out", -5, 35), s.set("*hip_twist", -8, 14), s.set("*ankle", 2, 10)
    s.set("spine_bend", 12, 14), s.set("neck_bend", 8, 14)
    crossed = s.rng.random(s.n) < .2
    s.a[:, AT["r_hip_out"]] = np.where(crossed, -18, s.a[:, AT["r_hip_out"]])
    s.a[:, AT["r_hip"]] += crossed * 15
    s.arms({"hangs": .8, "types": 3, "reads": 2, "claps": 1.5, "chin": 1, "crossed": .8, "phone": .7, "points": .4, "waves": .5, "carries": 1, "head": .2})


def lie(s):
    s.rest()
    s.arms({"hangs": 2, "out": 1, "head": 1, "up": 1, "claps": 1, "behind": .3, "chin": .5}, 20, .4)
    s.uniform("*knee", 0, 95), s.uniform("*hip_out", -5, 35)
    for side in "lr":
        s.set(side + "_hip", .55 * s.a[:, AT[side + "_knee"]], 12)
    how = s.rng.integers(0, 3, s.n)                             # on the back, the front, a side
    s.set("root_pitch", np.choose(how, [-90, 90, -90]), 8)
    s.set("root_roll", np.choose(how, [0, 0, 90]) * s.rng.choice([-1, 1], s.n), 12)
    s.set("neck_bend", np.choose(how, [12, -30, 5]), 14), s.set("spine_bend", np.choose(how, [5, -8, 18]), 8)


def crouch(s):
    s.rest()
    one = s.rng.random(s.n) < .45                               # one knee on the ground
    deep = s.rng.uniform(.55, 1, s.n)
    s.set("*hip", 112 * deep, 8), s.set("*knee", 135 * deep, 8), s.uniform("*hip_out", 0, 35), s.set("*ankle", -20, 6)
    s.a[:, AT["r_hip"]] = np.where(one, s.rng.uniform(-5, 25, s.n), s.a[:, AT["r_hip"]])
    s.a[:, AT["r_knee"]] = np.where(one, s.rng.uniform(80, 110, s.n), s.a[:, AT["r_knee"]])
    s.set("spine_bend", 26, 16), s.set("neck_bend", -8, 18)
    s.arms({"hangs": 1, "claps": 2, "types": 2, "points": 2, "chin": .5, "carries": 1, "reads": 1}, 16)


def bend(s):
    s.rest()
    s.set("*hip", 65, 24), s.set("spine_bend", 38, 20), s.set("*knee", 22, 18), s.uniform("*hip_out", 0, 25), s.set("neck_bend", -15, 18)
    s.uniform("*arm_lift", 20, 110), s.set("*arm_toward", 20, 25), s.set("*arm_twist", 10, 20), s.uniform("*elbow", 0, 70)


def jump(s):
    s.rest()
    s.uniform("*knee", 0, 120), s.uniform("*hip_out", -5, 50)
    for side in "lr":
        s.set(side + "_hip", .5 * s.a[:, AT[side + "_knee"]] - 10, 22)
    s.set("*ankle", 25, 14), s.set("spine_bend", 5, 16), s.set("spine_side", 0, 9), s.set("neck_bend", -5, 16)
    s.arms({"up": 3, "out": 2.5, "waves": 1, "hangs": 1, "points": 1, "behind": .5}, 22, .6)
    s.set("root_pitch", 0, 12), s.set("root_roll", 0, 12)


def reach(s):
    s.rest()
    s.arms({"up": 3, "points": 3, "out": 1.5, "waves": 1, "hangs": 1.5, "head": .8}, 15, .35)
    s.set("spine_side", 0, 14), s.set("spine_bend", 4, 14), s.set("*ankle", 12, 14), s.set("neck_bend", -10, 18)
    s.uniform("*hip_out", 0, 25), s.set("*hip", 8, 14), s.set("*knee", 10, 10)


def sport(s):
    """Lunges, kicks, throws, swings, stretches; upside down now and then."""
    s.rest()
    wide = s.rng.uniform(.3, 1, s.n)
    s.set("l_hip", 70 * wide, 22), s.set("l_knee", 70 * wide, 30), s.set("r_hip", 5, 25), s.set("r_knee", 38, 32)
    s.uniform("*hip_out", -5, 55), s.set("*hip_twist", -8, 16), s.set("*ankle", 10, 18)
    s.set("spine_bend", 14, 22), s.set("spine_twist", 0, 22), s.set("spine_side", 0, 15), s.set("neck_twist", 0, 30), s.set("neck_bend", -8, 18)
    s.arms({"up": 2, "out": 2, "points": 2, "waves": 1.5, "claps": 2, "head": 1, "hangs": .7, "carries": 1, "behind": .6}, 25, .3)
    s.set("root_pitch", 4, 18), s.set("root_roll", 0, 15)
    over = s.rng.random(s.n) < .12
    s.a[:, AT["root_pitch"]] = np.where(over, s.rng.uniform(-180, 180, s.n), s.a[:, AT["root_pitch"]])
    for side in "lr":                                           # on the hands
        s.a[:, AT[side + "_arm_lift"]] = np.where(over & (s.rng.random(s.n) < .6), 165, s.a[:, AT[side + "_arm_lift"]])


def free(s):
    """Anything that the joints allow, around their middle."""
    s.rest()
    for d in DOF[2:]:
        low, high = LOW[AT[d]], HIGH[AT[d]]
        s.a[:, AT[d]] = np.where(s.rng.random(s.n) < .6, low + (high - low) * s.rng.beta(2, 2.6, s.n), s.a[:, AT[d]])
    s.set("spine_bend", 12, 18), s.set("root_pitch", 5, 25), s.set("root_roll", 0, 20)


ACTIVITIES = {stand: .19, walk: .13, run: .11, sit: .13, lie: .04, crouch: .07, bend: .06, jump: .06, reach: .07, sport: .10, free: .04}
NAMES = [f.__name__ for f in ACTIVITIES]


def draw(rng, n):
    """-> angles in degrees [n, len(DOF)] and each pose's activity, an index into NAMES.  A function of the generator alone."""
    share = np.array(list(ACTIVITIES.values()))
    which = rng.choice(len(NAMES), n, p=share / share.sum())
    out = np.zeros((n, len(DOF)), np.float32)
    for i, f in enumerate(ACTIVITIES):
        rows = np.where(which == i)[0]
        if len(rows):
            s = Sheet(rng, len(rows))
            f(s)
            out[rows] = s.a
    flip = rng.random(n) < .5
    out = np.where(flip[:, None], mirror(out), out)
    return clip(out), which
