#!/usr/bin/env python3
"""Recognises what people do, from their key points: counts squats, and reports raised arms and people lying on the floor.

    ./postures.py 'filesrc location=video.mp4 ! decodebin ! videoconvert ! videoflip video-direction=auto !
        rtmposebatch name=pose smoothing=one-euro ! fakesink'

Prints a line for each event. It relies on three things in the metadata. Scores: a posture is judged only from points that were
found; if they were not, the posture is unknown, which is not 'no'. Ids: squats are counted per person, so people without an id
are ignored; a person who returns with the same id continues the count. Smoothing: jitter would cross a threshold again and
again, so use one-euro; each posture also has two thresholds. A person who is not found raises no alarm, for example behind a
sofa. Needs python3-gst-1.0 and numpy.
"""
import sys

import numpy as np

import pose_probe
from pose_probe import Gst, people_of

FOUND = 0.3  # points with a lower score count as not found
LYING_SECONDS = 5.0  # a person who lies on the floor for this long is reported
FORGOTTEN = 2.0  # seconds after which a posture ends that can no longer be judged
GONE = 60.0  # seconds after which the squats of a person who left are forgotten
BODIES = "coco-17", "halpe-26", "coco-wholebody-133"  # all begin with coco-17's points
NOSE, SHOULDERS, WRISTS, HIPS, KNEES, ANKLES = 0, (5, 6), (9, 10), (11, 12), (13, 14), (15, 16)


def middle(points, pair):
    """Mean place of those of two points that were found; None where neither was."""
    found = [points[index, :2] for index in pair if points[index, 2] >= FOUND]
    return np.mean(found, axis=0) if found else None


def squat_depth(points):
    """How high the hips are above the knees, in lengths of the shins: about 1 for who stands, 0 with level thighs, from whatever side
    the camera looks. None for whoever's legs are not found, or lie."""
    hips, knees, ankles = (middle(points, pair) for pair in (HIPS, KNEES, ANKLES))
    if hips is None or knees is None or ankles is None:
        return None
    shin = np.linalg.norm(ankles - knees)
    # y grows downwards. In a squat, the shins lean but stay upright.
    return (knees[1] - hips[1]) / shin if shin > 0 and ankles[1] - knees[1] > 0.5 * shin else None


def arm_height(points):
    """How high the higher wrist is above the nose, in lengths of the trunk; None where these are not found, or the trunk does not stand."""
    shoulders, hips = middle(points, SHOULDERS), middle(points, HIPS)
    wrists = [points[index, 1] for index in WRISTS if points[index, 2] >= FOUND]
    if shoulders is None or hips is None or not wrists or points[NOSE, 2] < FOUND:
        return None
    trunk = np.linalg.norm(hips - shoulders)
    return (points[NOSE, 1] - min(wrists)) / trunk if hips[1] - shoulders[1] > 0.7 * trunk else None


def flatness(points):
    """1 for a body that lies along the picture, 0 for one that stands: the larger of what trunk and legs rise, so that who bends down
    or sits does not lie. None where trunk or legs are not found. Who lies along the camera's axis looks short, not flat."""
    shoulders, hips = middle(points, SHOULDERS), middle(points, HIPS)
    feet = middle(points, ANKLES)
    feet = middle(points, KNEES) if feet is None else feet
    if shoulders is None or hips is None or feet is None:
        return None
    parts = hips - shoulders, feet - hips
    lengths = [np.linalg.norm(part) for part in parts]
    return 1 - max(abs(part[1]) / length for part, length in zip(parts, lengths)) if min(lengths) > 0 else None


class Switch:
    """On from one threshold, off again only from the other: what jitters around one of them switches once."""

    def __init__(self, on, off):
        self.on, self.off, self.state, self.judged = on, off, False, None

    def see(self, seconds, value):
        """True when it goes on, False when it goes off, else None."""
        before = self.state
        if value is not None:
            self.judged = seconds
            self.state = bool(value > (self.off if before else self.on))
        elif self.judged is not None and seconds - self.judged > FORGOTTEN:
            self.state = False
        return self.state if self.state != before else None


class Somebody:
    def __init__(self):
        self.squats, self.seen = 0, -FORGOTTEN
        self.begin()

    def begin(self):
        """Forgets all postures, and no squat."""
        self.squatting, self.raising, self.flat = Switch(-0.4, -0.75), Switch(0.05, -0.1), Switch(0.55, 0.35)
        self.lies_since, self.told = None, False

    def see(self, seconds, points):
        """What is new at this time."""
        if not 0 <= seconds - self.seen <= FORGOTTEN:
            self.begin()
        self.seen = seconds
        depth = squat_depth(points)
        if self.squatting.see(seconds, None if depth is None else -depth) is False and depth is not None:
            self.squats += 1
            yield f"squat {self.squats}"
        raised = self.raising.see(seconds, arm_height(points))
        if raised is not None:
            yield "raises an arm" if raised else "lowers the arm"
        flat = self.flat.see(seconds, flatness(points))
        if flat is not None:
            self.lies_since = seconds if flat else None
        if self.told and not self.flat.state:
            self.told = False
            yield "lies no longer"
        if self.lies_since is not None and not self.told and seconds - self.lies_since >= LYING_SECONDS:
            self.told = True
            yield f"lies on the floor for {LYING_SECONDS:.0f} s"


class Postures:
    def __init__(self):
        self.people = {}

    def see(self, seconds, points, ids, skeleton):
        """The events of a frame: (id, what). People without an id are nobody's squats."""
        if skeleton in BODIES:
            for body, identity in zip(points, ids):
                if identity >= 0:
                    for event in self.people.setdefault(int(identity), Somebody()).see(seconds, body):
                        yield int(identity), event
        self.people = {identity: one for identity, one in self.people.items() if seconds - one.seen < GONE}


def main(arguments):
    postures = Postures()

    def on_frame(_pad, info):
        buffer = info.get_buffer()
        found = people_of(buffer)
        if found and buffer.pts != Gst.CLOCK_TIME_NONE:
            points, _, ids, skeleton = found
            seconds = buffer.pts / Gst.SECOND
            for identity, event in postures.see(seconds, points, ids, skeleton):
                print(f"{seconds:.2f} s: person {identity} {event}", flush=True)
        return Gst.PadProbeReturn.OK

    pose_probe.main(arguments, on_frame)


if __name__ == "__main__":
    main(sys.argv[1:])
