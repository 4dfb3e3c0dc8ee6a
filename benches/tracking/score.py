"""How well people were followed, by the truth. Pure arithmetic on what was found."""

from dataclasses import dataclass, field

import numpy as np

NEAR = 0.1
"""A point is right within this share of the person's height (the height of the box of truth)."""
ENOUGH = 6
"""Of the twelve limb points, that many make a person right."""
CONFIDENT = 0.3
SAME_BOX = 0.4
"""Overlap (intersection over union) from which a box is the person's, where truth has only boxes."""
STILL = 0.015
"""A point of truth is still while it moves less than this share of the height in STILL_FRAMES frames."""
STILL_FRAMES = 10


@dataclass
class Followed:
    """One person of truth through a video."""

    judged: int = 0
    """Frames in which the person is wholly there, after `grace` frames from the first of them."""
    right: int = 0
    """Of these, frames in which somebody found is the person, with the id that the person has most of the time."""
    found: int = 0
    """The same with any id, and with left and right exchanged at any joint: what is left of the misses is not the network's."""
    switches: int = 0
    """Changes of the id from one frame in which the person is right to the next."""
    wait: int | None = None
    """Frames from the first wholly there to the first right; None: never."""
    jitter: float | None = None
    """Mean motion from frame to frame of points that are still in truth, in 1/1000 of the person's height."""
    misses: list = field(default_factory=list)
    """Judged frames that are not right."""


@dataclass
class Report:
    people: dict
    """{id of truth: Followed}"""
    doubles: int
    """Found people, summed over frames, who lie on somebody of truth whom another one already is."""
    strangers: int
    """Found people, summed over frames, who lie on nobody of truth."""


def limbs(points):
    """COCO's shoulders to ankles: 12 of the 17 points (and of Halpe's 26 and whole body's 133)."""
    return points[5:17]


def right_points(points, person, sides=True):
    """How many limb points lie where truth has them; without `sides` a left joint may also lie where the right one is."""
    place, near = limbs(points)[:, :2], NEAR * person.box[3]
    straight = np.linalg.norm(place - person.points, axis=1) <= near
    if sides:
        return int(straight.sum())
    exchanged = np.linalg.norm(place.reshape(6, 2, 2)[:, ::-1].reshape(12, 2) - person.points, axis=1) <= near
    return int(np.maximum(straight.reshape(6, 2).sum(1), exchanged.reshape(6, 2).sum(1)).sum())


def overlap(a, b):
    """Intersection over union of two boxes x, y, width, height."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / (a[2] * a[3] + b[2] * b[3] - both)


def covered(points, person):
    """Share of a found person's confident points inside the box of somebody of truth (a tenth wider on each side)."""
    sure = points[points[:, 2] >= CONFIDENT, :2]
    if len(sure) == 0:
        sure = points[:, :2]
    x, y, width, height = person.box
    inside = (np.abs(sure - (x + width / 2, y + height / 2)) <= (0.6 * width, 0.6 * height)).all(1)
    return float(inside.mean())


def extent(points):
    """The box round the confident points."""
    sure = points[points[:, 2] >= CONFIDENT, :2]
    if len(sure) < 2:
        return np.zeros(4)
    low, high = sure.min(0), sure.max(0)
    return np.concatenate([low, high - low])


def alike(points, person, sides=True):
    """How much a found person is that one of truth; 0: is not."""
    if person.points is None:
        share = overlap(extent(points), person.box)
        return share if share >= SAME_BOX else 0.0
    count = right_points(points, person, sides)
    return count / 12 if count >= ENOUGH else 0.0


def pairs(found, people, sides=True):
    """{id of truth: index found}, the most alike first, each once."""
    candidates = sorted(
        (
            (alike(points, person, sides), identity, index)
            for identity, person in people.items()
            for index, points in enumerate(found.points)
        ),
        reverse=True,
    )
    matched = {}
    for likeness, identity, index in candidates:
        if likeness > 0 and identity not in matched and index not in matched.values():
            matched[identity] = index
    return matched


def follow(found, truth, grace=0, breaks=()):
    """The Report of a video.

    `found[frame]` is a play.Found; `truth[frame]` {id: truth.Person}. The first `grace` frames of a person are not judged,
    nor are those after a frame in `breaks`, at which the same person may also come back with another id.
    """
    matched = [pairs(found[frame], truth.get(frame, {})) for frame in range(len(found))]
    anyhow = [pairs(found[frame], truth.get(frame, {}), sides=False) for frame in range(len(found))]
    doubles = strangers = 0
    for frame, match in enumerate(matched):
        if frame not in truth:
            continue
        # Who is found with a wrong pose, and alone on somebody, is that person, who is not right then.
        taken = set(match) | set(anyhow[frame])
        for index, points in enumerate(found[frame].points):
            if index in match.values() or index in anyhow[frame].values():
                continue
            shares = ((covered(points, person), identity) for identity, person in truth[frame].items())
            share, identity = max(shares, default=(0, None))
            if share < 0.5:
                strangers += 1
            elif identity in taken:
                doubles += 1
            else:
                taken.add(identity)
    identities = sorted({identity for people in truth.values() for identity in people})
    people = {identity: _person(identity, found, truth, matched, anyhow, grace, breaks) for identity in identities}
    return Report({i: p for i, p in people.items() if p.judged}, doubles, strangers)


def _person(identity, found, truth, matched, anyhow, grace, breaks):
    whole = [f for f in sorted(truth) if f < len(found) and identity in truth[f] and truth[f][identity].whole]
    result = Followed()
    if not whole:
        return result
    starts = [whole[0], *(frame for frame in sorted(breaks) if frame > whole[0])]
    pieces = [[f for f in whole if start <= f < end] for start, end in zip(starts, [*starts[1:], len(found)])]
    for piece in filter(None, pieces):
        ids = {f: int(found[f].ids[matched[f][identity]]) for f in piece if identity in matched[f]}
        values = list(ids.values())
        main = max(set(values), key=values.count) if values else None
        result.switches += sum(a != b for a, b in zip(values, values[1:]))
        if piece is pieces[0] and ids:
            result.wait = min(ids) - piece[0]
        for f in piece:
            if f < piece[0] + grace:
                continue
            result.judged += 1
            result.found += identity in anyhow[f]
            if f in ids and ids[f] == main:
                result.right += 1
            else:
                result.misses.append(f)
    result.jitter = _jitter(identity, found, truth, matched, whole)
    return result


def _jitter(identity, found, truth, matched, frames):
    steps = []
    for frame in frames:
        if identity not in matched[frame] or frame + 1 >= len(found) or identity not in matched[frame + 1]:
            continue
        later = truth.get(frame + STILL_FRAMES, {}).get(identity)
        person = truth[frame][identity]
        if later is None or later.points is None or person.points is None:
            continue
        now = limbs(found[frame].points[matched[frame][identity]])[:, :2]
        then = limbs(found[frame + 1].points[matched[frame + 1][identity]])[:, :2]
        height = person.box[3]
        still = np.linalg.norm(later.points - person.points, axis=1) <= STILL * height
        # A point that jumps to another limb is wrong, not trembling.
        right = (np.linalg.norm(np.stack([now, then]) - person.points, axis=2) <= NEAR * height).all(0)
        steps.extend(np.linalg.norm(then - now, axis=1)[still & right] / height)
    return 1000 * float(np.mean(steps)) if len(steps) >= 20 else None


def longest_run(frames):
    """The longest run of frames with one id, and how many frames have anybody."""
    longest, lengths = 0, {}
    for ids in frames:
        lengths = {i: lengths.get(i, 0) + 1 for i in ids}
        longest = max([longest, *lengths.values()])
    return longest, sum(bool(ids) for ids in frames)
