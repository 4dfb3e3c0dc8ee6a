"""Half people, as before a webcam: views of the upper bodies of people in the videos, shaken, noisy and in other lights."""

import itertools
import sys

import cv2
import numpy as np

import play
import score
import sheet
import truth
import videos

PEOPLE = {
    "front": {
        "single-cam02": [(10, 2), (80, 2)],
        "sports2d": [(20, 2), (100, 2)],
        "multi-cam03": [(0, 3), (60, 3)],
        "multi-cam04": [(0, 3), (60, 3)],
    },
    "side": {"sports2d": [(70, 1), (150, 1)]},
    "face hidden": {"single-cam01": [(45, 2)], "single-cam02": [(0, 1)]},
    "behind": {"single-cam03": [(0, 1)], "single-cam04": [(0, 1)], "multi-cam01": [(50, 3)], "multi-cam02": [(50, 3)]},
}
"""{what the camera sees of them: {video: [(frame, id of truth)]}}; hidden by a camera that she holds, and by the video's makers."""
CUTS = {"chest": 0.45, "waist": 0.85, "hips": 1.15}
"""Where the picture ends, from the shoulders (0) to the hips (1)."""
LIGHTS = {"as it was": (1.0, 0), "dim": (0.6, 0), "bright": (1.35, 20)}
"""Gain, and what is added."""
ROOM = (0.15, 1.0)
"""What the picture shows above the head, as shares of the trunk's length, in turn: a face that fills it, and somebody at a desk."""
SIZE = (640, 480)
RATE = 30
SECONDS = 4
NOISE = 6.0
"""Standard deviation of each value, of 255."""
SWAY = 0.02
"""How far the picture is shaken, as a share of its height; and turned, in radians."""
ENOUGH = 0.6
"""Share of the limb points in the picture that make somebody right."""


def views():
    """(name, Clip, {frame: points of truth in it}) of each view: x, y of the limb points, NaN outside of the picture; their reach."""
    number = 0
    chosen = ((side, video, one) for side, there in PEOPLE.items() for video, people in there.items() for one in people)
    for side, video, (frame, identity) in chosen:
        shown, person = videos.still(video, frame), truth.load(video)[frame][identity]
        for cut, share in CUTS.items():
            # Each cut in each light.
            light = list(LIGHTS)[(number + number // 3) % len(LIGHTS)]
            picture, points, near = window(shown, person, share, ROOM[(number + number // 3) % 2])
            turns = list(sway())
            places = [place(points, turn) for turn in turns]
            frames = shaken(picture, turns, LIGHTS[light], number)
            number += 1
            yield f"{video} {identity} at {frame}", side, cut, light, play.pictures(frames, RATE), places, near


def window(picture, person, share, room):
    """The part of the picture with somebody's upper body, at SIZE; the limb points in it, and how near is right there."""
    shoulders, hips = person.points[:2].mean(0), person.points[6:8].mean(0)
    trunk = np.linalg.norm(hips - shoulders)
    bottom = shoulders[1] + share * (hips[1] - shoulders[1])
    # A head and its neck are about seven tenths of a trunk.
    top = max(0.0, shoulders[1] - (0.7 + room) * trunk)
    height = bottom - top
    width = height * SIZE[0] / SIZE[1]
    left = np.clip(shoulders[0] - width / 2, 0, max(0, picture.shape[1] - width))
    scale = SIZE[1] / height
    matrix = np.float32([[scale, 0, -left * scale], [0, scale, -top * scale]])
    shown = cv2.warpAffine(picture, matrix, SIZE, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return shown, (person.points - (left, top)) * scale, score.NEAR * person.box[3] * scale


def sway():
    """How the picture lies in each frame. It only moves down: what was cut off stays out of the picture."""
    width, height = SIZE
    for number in range(SECONDS * RATE):
        phase = 2 * np.pi * number / RATE
        angle = SWAY * np.sin(0.3 * phase)
        turn = cv2.getRotationMatrix2D((width / 2, height), np.degrees(angle), 1.0)
        turn[:, 2] += SWAY * height * np.array([np.sin(0.7 * phase), 1 + np.sin(0.45 * phase)])
        yield turn


def shaken(picture, turns, light, seed):
    """The picture's frames."""
    noise = np.random.default_rng(seed)
    gain, more = light
    for turn in turns:
        frame = cv2.warpAffine(picture, turn, SIZE, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        frame = frame.astype(np.float32) * gain + more + noise.normal(0, NOISE, frame.shape)
        yield np.clip(frame, 0, 255).astype(np.uint8)


def place(points, turn):
    """Where the points are in a frame; NaN outside of the picture."""
    at = points @ turn[:, :2].T + turn[:, 2]
    outside = ((at < 0) | (at >= SIZE)).any(1)
    return np.where(outside[:, None], np.nan, at)


def is_right(points, at, near):
    """Whether somebody found is the person whose limb points are at these places."""
    inside = ~np.isnan(at[:, 0])
    off = np.linalg.norm(score.limbs(points)[inside, :2] - at[inside], axis=1)
    return bool(inside.any()) and float((off <= near).mean()) >= ENOUGH


def measure(properties, out):
    """Prints a line for each side and cut, and writes a contact sheet with a frame of each view."""
    tiles, results = [], []
    for name, side, cut, light, clip, places, near in views():
        clip.frames = list(clip.frames)
        found, _ = play.play(clip, properties)
        right = [any(is_right(points, at, near) for points in frame.points) for frame, at in zip(found, places)]
        ids = {int(i) for frame in found for i in frame.ids}
        first = right.index(True) if any(right) else None
        kept = float(np.mean(right[first:])) if first is not None else 0.0
        results.append((side, cut, first is not None and first < RATE, kept, len(ids)))
        words = "never" if first is None else f"after {first / RATE:.2f} s, right in {100 * kept:.1f} % from then on"
        print(f"{name}, {side}, {cut}, {light}: {words}, ids {sorted(ids)}", file=sys.stderr, flush=True)
        tiles.append(tile(clip.picture(len(places) // 2), found[len(places) // 2], f"{name}, {cut}"))
    sheet.tile_up(out / "halves.png", tiles, 6)
    print("\n| half people | cut at | views | found within 1 s, % | right in frames after, % | views with more than one id |")
    print("|---|---|---|---|---|---|")
    for side, cut in itertools.product([*PEOPLE, "front, side"], [*CUTS, "all"]):
        chosen = [one for one in results if one[0] in side.split(", ") and cut in (one[1], "all")]
        there = [one for one in chosen if one[2]]
        kept = f"{100 * np.mean([one[3] for one in there]):.1f}" if there else "-"
        several = sum(one[4] > 1 for one in chosen)
        print(f"| {side} | {cut} | {len(chosen)} | {100 * len(there) / len(chosen):.1f} | {kept} | {several} |", flush=True)


def tile(picture, found, name):
    picture = picture.copy()
    for points, identity in zip(found.points, found.ids):
        sheet.skeleton(picture, points, int(identity), 3)
    picture = cv2.resize(picture, (240, 180), interpolation=cv2.INTER_AREA)
    cv2.putText(picture, name, (3, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.35, (0, 255, 0), 1)
    return picture
