"""The videos, and what is made of them."""

from pathlib import Path

import play
import truth

FOLDER = Path(__file__).parents[2] / ".deps" / "tracking"
DEMO = FOLDER.parent / "video" / "demo.mp4"

FILES = {
    **{f"single-cam0{camera}": FOLDER / "single" / f"cam0{camera}.mp4" for camera in (1, 2, 3, 4)},
    "sports2d": DEMO,
    **{f"multi-cam0{camera}": FOLDER / "multi" / f"cam0{camera}.mp4" for camera in (1, 2, 3, 4)},
    "vtest": FOLDER / "vtest.avi",
}
SINGLE = [name for name in FILES if name.startswith("single")]

LOOP_SECONDS = 60
CUTS = (15, 45)
"""Seconds at which the loop jumps by half the video."""
EMPTY = (25, 35)
"""Seconds between which the loop shows nobody."""


def load(name):
    """A video as it is: its Clip and its people. Frames after the last mark are left out (vtest)."""
    clip, people = play.decode(FILES[name]), truth.load(name)
    del clip.frames[max(people) + 1 :]
    return clip, people


def loop(clip, people, empty):
    """The video forward and backward for LOOP_SECONDS, with hard cuts and a stretch of `empty`, a frame of nobody.

    Returns the Clip, its people and the frames at which somebody may come back with another id.
    """
    order, breaks = loop_order(len(clip.frames), clip.rate)
    frames = [empty if index is None else clip.frames[index] for index in order]
    loop_people = {frame: people.get(index, {}) for frame, index in enumerate(order) if index is not None}
    return play.Clip(clip.caps, frames, clip.rate), loop_people, breaks


def loop_order(count, rate):
    """The video's frame shown in each frame of the loop (None: nobody), and the first frames after a cut or the emptiness."""
    there_and_back = [*range(count), *range(count - 2, 0, -1)]
    order, breaks, position = [], [], 0
    for frame in range(round(LOOP_SECONDS * rate)):
        second = frame / rate
        if second in CUTS:
            position += count // 2
            breaks.append(frame)
        if EMPTY[0] <= second < EMPTY[1]:
            order.append(None)
            continue
        if second == EMPTY[1]:
            breaks.append(frame)
        order.append(there_and_back[position % len(there_and_back)])
        position += 1
    return order, breaks
