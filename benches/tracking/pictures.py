"""People who are found where nobody is: pictures without people, one after another, and a film that pans over them."""

import csv
import itertools
import re
import struct
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np

import play
import score
import sheet
import videos

LIST = Path(__file__).parent / "pictures.csv"
SIZE = (640, 480)
RATE = 10
"""Frames in a second while pictures are shown one after another, as stills."""
SECONDS = 4
"""How long each is shown: with the default 6 boxes of a search a second, most of a search's boxes."""
PAN_RATE = 30
ROOM_MINUTES = 1
"""How long the still room is shown."""
PAN_MINUTES = 5
PAN_SECONDS = 4
"""Time spent on each picture of the film."""
CONFIDENT = 0.4
"""Mean score from which a mode that does not track says that there is somebody."""


def rows():
    with open(LIST) as file:
        return list(csv.DictReader(line for line in file if not line.startswith("#")))


def fetch():
    """Downloads the packages into videos.FOLDER / "packages": Debian's with apt-get, npm's with npm."""
    folder = videos.FOLDER / "packages"
    folder.mkdir(parents=True, exist_ok=True)
    for package in sorted({row["package"] for row in rows()}):
        target = folder / package
        if target.exists():
            continue
        part = folder / "part"
        subprocess.run(["rm", "-rf", part], check=True)
        part.mkdir()
        if "@" in package:
            subprocess.run(["npm", "pack", "--silent", package], cwd=part, check=True, stdout=subprocess.DEVNULL)
            subprocess.run(["tar", "-xzf", next(part.glob("*.tgz")), "-C", part], check=True)
        else:
            # As root apt would step down to a user who may not write here, and warn of it.
            subprocess.run(["apt-get", "-o", "APT::Sandbox::User=root", "download", "-qq", package], cwd=part, check=True)
            subprocess.run(["dpkg", "-x", next(part.glob("*.deb")), part], check=True)
        for archive in [*part.glob("*.deb"), *part.glob("*.tgz")]:
            archive.unlink()
        part.rename(target)


def load(row):
    """A picture of the list as [height][width][3], BGR."""
    folder = videos.FOLDER / "packages" / row["package"]
    if row["part"]:
        data = (folder / "usr/share/gcompris-qt/rcc" / row["file"]).read_bytes()
        start = [match.start() for match in re.finditer(b"RIFF....WEBP", data, re.DOTALL)][int(row["part"])]
        data = data[start : start + 8 + struct.unpack_from("<I", data, start + 4)[0]]
    elif row["package"] == "opencv-doc":
        data = (folder / "usr/share/doc/opencv-doc/examples/data" / row["file"]).read_bytes()
    else:
        data = (folder / "package" / row["file"]).read_bytes()
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise ValueError(f"{row}: not a picture")
    return picture


def cut(picture, index):
    """Six tenths of each side, from the four corners in turn."""
    height, width = picture.shape[:2]
    top = round(height * 0.4) if index & 1 else 0
    left = round(width * 0.4) if index & 2 else 0
    return picture[top : top + round(height * 0.6), left : left + round(width * 0.6)]


def cover(picture, size):
    """Scaled so that it just covers the size, the middle of it."""
    height, width = picture.shape[:2]
    scale = max(size[0] / width, size[1] / height)
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    scaled = cv2.resize(picture, (max(size[0], round(width * scale)), max(size[1], round(height * scale))), interpolation=way)
    top, left = (scaled.shape[0] - size[1]) // 2, (scaled.shape[1] - size[0]) // 2
    return np.ascontiguousarray(scaled[top : top + size[1], left : left + size[0]])


def stills(size=SIZE):
    """Every picture, then a cut of every picture: who is imagined in one must not be carried on into its own cut."""
    everything = [load(row) for row in rows()]
    for picture in everything:
        yield cover(picture, size)
    for index, picture in enumerate(everything):
        yield cover(cut(picture, index), size)


def room(size):
    """A room that nobody is in."""
    (row,) = (row for row in rows() if row["file"].endswith("home-decor-3.jpg"))
    return cover(load(row), size)


def film(size=SIZE):
    """PAN_MINUTES of windows that glide over the pictures, half of them also nearing, with a hard cut every PAN_SECONDS."""
    everything = rows()
    shots = PAN_MINUTES * 60 // PAN_SECONDS
    steps = PAN_SECONDS * PAN_RATE
    for shot in range(shots):
        picture = cover(load(everything[shot * len(everything) // shots]), (size[0] * 3 // 2, size[1] * 3 // 2))
        height, width = picture.shape[:2]
        # Directions in turn: right, left, down, up.
        ways = [((0, 0.5), (1, 0.5)), ((1, 0.5), (0, 0.5)), ((0.5, 0), (0.5, 1)), ((0.5, 1), (0.5, 0))]
        start, end = (np.array(way) for way in ways[shot % 4])
        for step in range(steps):
            share = step / (steps - 1)
            zoom = 1 - 0.25 * share * (shot // 4 % 2)
            window = np.array(size) * zoom
            corner = (start + share * (end - start)) * (np.array([width, height]) - window)
            matrix = np.float32([[1 / zoom, 0, -corner[0] / zoom], [0, 1 / zoom, -corner[1] / zoom]])
            yield cv2.warpAffine(picture, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def measure(modes, out):
    """Prints a line for each mode, and writes the pictures with somebody in them to a contact sheet."""
    print("\n| mode | pictures and cuts | of them with somebody | % | crops a second | still room, s | crops a second | film, s | crops a second | longest anybody was seen, s | seconds with anybody |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    shown = list(stills())
    for mode, properties in modes.items():
        held = RATE * SECONDS
        found, stats = play.play(play.pictures((p for p in shown for _ in range(held)), RATE), properties)
        wrong = [i for i in range(len(shown)) if any(people(frame) for frame in found[i * held : (i + 1) * held])]
        print(f"{mode}: somebody in pictures {wrong}", file=sys.stderr, flush=True)
        draw(out / f"imagined {mode}.png".replace(" ", "-").replace(",", ""), shown, found, wrong, held)
        still = itertools.repeat(room(SIZE), ROOM_MINUTES * 60 * PAN_RATE)
        stood, room_stats = play.play(play.pictures(still, PAN_RATE), properties)
        panned, pan_stats = play.play(play.pictures(film(), PAN_RATE), properties)
        longest, total = score.longest_run([people(frame) for frame in panned])
        print(
            f"| {mode} | {len(shown)} | {len(wrong)} | {100 * len(wrong) / len(shown):.1f} "
            f"| {stats['crops'] * RATE / len(found):.1f} | {len(stood) / PAN_RATE:.0f} "
            f"| {room_stats['crops'] * PAN_RATE / len(stood):.1f} | {len(panned) / PAN_RATE:.0f} "
            f"| {pan_stats['crops'] * PAN_RATE / len(panned):.1f} | {longest / PAN_RATE:.2f} | {total / PAN_RATE:.1f} |",
            flush=True,
        )


def measure_singly(properties, rates, every, out):
    """The same for pictures that are each looked at by themselves, at so many a second; every so manyth is taken."""
    print("\n| pictures a second | pictures and cuts | of them with somebody | % | crops a picture |")
    print("|---|---|---|---|---|")
    shown = list(stills())[::every]
    for rate in rates:
        found, stats = play.play(play.pictures(iter(shown), rate), properties)
        wrong = [i for i, frame in enumerate(found) if people(frame)]
        print(f"singly, {rate} a second: somebody in pictures {[i * every for i in wrong]}", file=sys.stderr, flush=True)
        draw(out / f"imagined-singly-{rate}.png", shown, found, wrong, 1)
        share, crops = 100 * len(wrong) / len(shown), stats["crops"] / len(shown)
        print(f"| {rate} | {len(shown)} | {len(wrong)} | {share:.1f} | {crops:.0f} |", flush=True)


def people(found):
    """The ids of those whom a frame says are there; without tracking -1 for somebody with a confident mean score."""
    return {int(i) for i, mean in zip(found.ids, found.scores) if i >= 0 or mean >= CONFIDENT}


def draw(path, shown, found, wrong, held):
    """A contact sheet of the pictures with somebody in them; the number is the picture's."""
    tiles = []
    for index in wrong:
        frame = max(found[index * held : (index + 1) * held], key=lambda f: len(people(f)))
        picture = shown[index].copy()
        for points, identity, mean in zip(frame.points, frame.ids, frame.scores):
            if identity >= 0 or mean >= CONFIDENT:
                sheet.skeleton(picture, points, int(identity), 2)
        tile = cv2.resize(picture, (240, 180), interpolation=cv2.INTER_AREA)
        cv2.putText(tile, str(index), (3, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 255, 0), 1)
        tiles.append(tile)
    if tiles:
        sheet.tile_up(path, tiles, 8)


if __name__ == "__main__":
    fetch()
