"""The hand-marked truth of the videos: reading it, and what lies between two marks."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent / "truth"

LIMBS = [
    f"{side}_{joint}"
    for joint in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
    for side in ("left", "right")
]
"""The twelve limb points, in the order of COCO's points 5 to 16."""

LONGEST_GAP = 10
"""Frames between two marks of one person that are still interpolated."""


@dataclass
class Person:
    """A person in one frame. All in pixels."""

    box: np.ndarray
    """x, y, width, height."""
    points: np.ndarray | None
    """[12][2]: x, y of LIMBS; None: not marked."""
    whole: bool
    """Judged: neither cut by the frame's edge nor hidden for the most part."""


def load(name):
    """The people of a video's frames: {frame: {id: Person}}."""
    with open(FOLDER / f"{name}.csv") as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    marks = {}
    for row in rows:
        marks.setdefault(int(row["id"]), []).append((int(row["frame"]), _person(row)))
    frames = {}
    for identity, track in marks.items():
        track.sort(key=lambda mark: mark[0])
        for frame, person in _between(track):
            frames.setdefault(frame, {})[identity] = person
    return frames


def _person(row):
    box = np.array([float(row[key]) for key in ("x", "y", "width", "height")])
    points = None
    if row[f"{LIMBS[0]}_x"]:
        points = np.array([[float(row[f"{name}_x"]), float(row[f"{name}_y"])] for name in LIMBS])
    return Person(box, points, row["state"] == "whole")


def _between(track):
    """Every frame of one person's marks: linear between two that are near enough."""
    for (frame, person), (next_frame, next_person) in zip(track, track[1:]):
        yield frame, person
        if next_frame - frame > LONGEST_GAP:
            continue
        for middle in range(frame + 1, next_frame):
            share = (middle - frame) / (next_frame - frame)
            points = None
            if person.points is not None and next_person.points is not None:
                points = (1 - share) * person.points + share * next_person.points
            box = (1 - share) * person.box + share * next_person.box
            yield middle, Person(box, points, person.whole and next_person.whole)
    yield track[-1]
