"""Contact sheets for people to look at: frames of a video with the skeletons that were found in them."""

import cv2
import numpy as np

import score

BONES = [
    (5, 6), (5, 7), (7, 9), (6, 8), (8, 10), (5, 11), (6, 12), (11, 12), (11, 13), (13, 15), (12, 14), (14, 16),
    (0, 5), (0, 6),
]  # fmt: skip
COLOURS = [(80, 80, 255), (80, 255, 80), (255, 120, 60), (60, 220, 255), (255, 80, 255), (255, 255, 80)]


def write(path, clip, found, truth, tiles=36, height=320, width=2000):
    """Evenly spread frames. Boxes: white = truth, thick red = truth that was missed. Numbers: ids."""
    step = -(-len(found) // tiles)
    pictures = []
    for frame in range(0, len(found), step):
        picture = clip.picture(frame).copy()
        people = truth.get(frame, {})
        matched = score.pairs(found[frame], people)
        thick = max(1, picture.shape[0] // 300)
        for identity, person in people.items():
            missed = person.whole and identity not in matched
            _box(picture, person.box, (0, 0, 255) if missed else (255, 255, 255), 2 * thick if missed else thick)
        for index, points in enumerate(found[frame].points):
            skeleton(picture, points, int(found[frame].ids[index]), thick)
        scale = height / picture.shape[0]
        small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        cv2.putText(small, str(frame), (3, height - 5), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 255, 0), 1)
        pictures.append(small)
    tile_up(path, pictures, max(1, width // pictures[0].shape[1]))


def tile_up(path, pictures, columns):
    """Writes pictures of one size side by side."""
    pictures = pictures + [np.zeros_like(pictures[0])] * (-len(pictures) % columns)
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.vstack([np.hstack(pictures[i : i + columns]) for i in range(0, len(pictures), columns)]))


def _box(picture, box, colour, thick):
    x, y, width, height = (round(value) for value in box)
    cv2.rectangle(picture, (x, y), (x + width, y + height), colour, thick)


def skeleton(picture, points, identity, thick):
    """The bones between confident points, and the id where there is one."""
    colour = COLOURS[identity % len(COLOURS)] if identity >= 0 else (200, 200, 200)
    place = [tuple(int(value) for value in point[:2]) for point in points]
    for a, b in BONES:
        if points[a, 2] >= 0.3 and points[b, 2] >= 0.3:
            cv2.line(picture, place[a], place[b], colour, 2 * thick, cv2.LINE_AA)
    if identity >= 0:
        at = place[int(np.argmin(points[:, 1]))]
        cv2.putText(picture, str(identity), at, cv2.FONT_HERSHEY_SIMPLEX, 0.6 * thick, colour, 2 * thick)
