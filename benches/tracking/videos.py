"""The videos, and what is made of them."""

from pathlib import Path

import cv2

import looping
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


def load(name):
    """A video as it is: its Clip and its people. Frames after the last mark are left out (vtest)."""
    clip, people = play.decode(FILES[name]), truth.load(name)
    del clip.frames[max(people) + 1 :]
    return clip, people


def still(name, number):
    """One frame of a video as [height][width][3], BGR."""
    video = cv2.VideoCapture(str(FILES[name]))
    for _ in range(number):
        video.grab()
    return video.read()[1]


def loop(clip, people, empty):
    """The video forward and backward for a minute, with hard cuts and a stretch of `empty`, a frame of nobody.

    Returns the Clip, its people and the frames at which somebody may come back with another id.
    """
    order, breaks = looping.order(len(clip.frames), clip.rate)
    frames = [empty if index is None else clip.frames[index] for index in order]
    loop_people = {frame: people.get(index, {}) for frame, index in enumerate(order)}
    return play.Clip(clip.caps, frames, clip.rate), loop_people, breaks
