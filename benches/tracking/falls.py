"""People who fall, lie and hang upside down: the videos' people, turned with the picture around them."""

import sys

import cv2
import numpy as np

import play
import score
import sheet
import truth
import videos

PEOPLE = [
    ("single-cam01", 0, 1), ("single-cam02", 0, 1), ("single-cam03", 0, 1), ("single-cam04", 0, 1), ("single-cam02", 10, 2),
    ("sports2d", 120, 1), ("sports2d", 20, 2), ("multi-cam01", 0, 1), ("multi-cam03", 0, 3), ("multi-cam04", 60, 3),
]  # fmt: skip
"""(video, frame, id of truth)"""
SIDE = 640
RATE = 30
STANDING, FALLING, LYING = 0.5, 1.0, 1.5
"""Seconds."""
NOISE = 4.0
ANGLES = (0, 45, 90, 135, 180)
"""At which people are looked for in single pictures."""


def turned(picture, person, degrees):
    """SIDE x SIDE around the person, turned around the middle of the body; the limb points in it, and how near is right."""
    middle = person.points.mean(0)
    scale = SIDE / (1.9 * person.box[3])
    matrix = cv2.getRotationMatrix2D(tuple(map(float, middle)), degrees, scale)
    matrix[:, 2] += SIDE / 2 - middle
    shown = cv2.warpAffine(picture, matrix, (SIDE, SIDE), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)
    return shown, person.points @ matrix[:, :2].T + matrix[:, 2], score.NEAR * person.box[3] * scale


def is_there(points, at, near):
    """Whether half of the limb points are right, left and right exchanged or not."""
    place = score.limbs(points)[:, :2]
    straight = np.linalg.norm(place - at, axis=1) <= near
    crossed = np.linalg.norm(place.reshape(6, 2, 2)[:, ::-1].reshape(12, 2) - at, axis=1) <= near
    return np.maximum(straight.reshape(6, 2).sum(1), crossed.reshape(6, 2).sum(1)).sum() >= score.ENOUGH


def fall(picture, person, way, seed):
    """Frames of somebody who stands, falls and lies, and the limb points in each."""
    noise = np.random.default_rng(seed)
    frames, places = [], []
    for number in range(round((STANDING + FALLING + LYING) * RATE)):
        share = np.clip((number / RATE - STANDING) / FALLING, 0, 1)
        shown, points, near = turned(picture, person, way * 90 * share**2)
        frames.append(np.clip(shown + noise.normal(0, NOISE, shown.shape), 0, 255).astype(np.uint8))
        places.append(points)
    return frames, places, near


def measure(properties, out):
    """Prints how many of those who fall are still found as the same, and who is found in pictures that are turned."""
    print("\n| people who fall | clips | frames right with the same id: standing, % | falling, % | lying, % | clips right at the end |")
    print("|---|---|---|---|---|---|")
    parts, ends, tiles = [], 0, []
    for number, (video, frame, identity) in enumerate(PEOPLE):
        picture, person = videos.still(video, frame), truth.load(video)[frame][identity]
        for way in (1, -1):
            frames, places, near = fall(picture, person, way, number)
            clip = play.pictures(iter(frames), RATE)
            clip.frames = list(clip.frames)
            found, _ = play.play(clip, properties)
            same = None
            right = []
            for one, at in zip(found, places):
                ids = [int(i) for i, points in zip(one.ids, one.points) if is_there(points, at, near)]
                same = ids[0] if same is None and ids else same
                right.append(same in ids)
            edges = [round(STANDING * RATE), round((STANDING + FALLING) * RATE)]
            parts.append([np.mean(part) for part in np.split(np.array(right, float), edges)])
            ends += right[-1]
            words = ", ".join(f"{100 * part:.0f}" for part in parts[-1])
            print(f"{video} {identity}, {'left' if way > 0 else 'right'}: {words} %", file=sys.stderr, flush=True)
            for index in (edges[1] - 6, len(frames) - 1):
                tile = frames[index].copy()
                for points, i in zip(found[index].points, found[index].ids):
                    sheet.skeleton(tile, points, int(i), 3)
                tiles.append(cv2.resize(tile, (200, 200)))
    sheet.tile_up(out / "falls.png", tiles, 8)
    cells = " | ".join(f"{100 * part:.1f}" for part in np.mean(parts, 0))
    print(f"| | {len(parts)} | {cells} | {ends} |", flush=True)
    print("\n| turned by, degrees | pictures | found with boxes of truth, % | found by the search, % |")
    print("|---|---|---|---|")
    for angle in ANGLES:
        all_turned = [turned(videos.still(v, f), truth.load(v)[f][i], angle) for v, f, i in PEOPLE]
        shown = [one[0] for one in all_turned]
        boxes = {n: [(1, *box(points))] for n, (_, points, _) in enumerate(all_turned)}
        shares = []
        for mode, given in (("inference-region=roi-list", boxes), (f"{properties} track-lifetime=0", None)):
            found, _ = play.play(play.pictures(iter(shown), 1), mode, given)
            there = [
                any(is_there(points, at, near) for points in one.points) for one, (_, at, near) in zip(found, all_turned)
            ]
            shares.append(f"{100 * np.mean(there):.0f}")
        print(f"| {angle} | {len(shown)} | {shares[0]} | {shares[1]} |", flush=True)


def box(points):
    """Around the body whose limb points these are: the head lies as far above the shoulders as half the way to the hips."""
    shoulders, hips = points[:2].mean(0), points[6:8].mean(0)
    body = np.vstack([points, shoulders + 0.6 * (shoulders - hips)])
    low, high = body.min(0), body.max(0)
    margin = 0.08 * (high - low)
    return *(low - margin), *(high - low + 2 * margin)
