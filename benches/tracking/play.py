"""Plays frames through rtmposebatch, and hands back the people it found in each."""

import itertools
import threading
from dataclasses import dataclass
from fractions import Fraction

import cv2
import gi
import numpy as np

gi.require_version("Gst", "1.0")
gi.require_version("GstVideo", "1.0")
from gi.repository import Gst, GstVideo  # noqa: E402

Gst.init(None)

SECOND = Gst.SECOND


@dataclass
class Clip:
    """BGR frames of one size."""

    caps: Gst.Caps
    frames: list
    """The bytes of each."""
    rate: float
    """Frames in a second."""
    stamps: list | None = None
    """The time of each in seconds (None: it has none), where that does not follow from the rate."""

    @property
    def size(self):
        structure = self.caps.get_structure(0)
        return structure.get_value("width"), structure.get_value("height")

    def picture(self, index):
        """A frame as [height][width][3], BGR."""
        width, height = self.size
        return np.frombuffer(self.frames[index], np.uint8).reshape(height, width, 3)


@dataclass
class Found:
    """What the element says of one frame. Positions are in pixels."""

    inferred: bool
    points: np.ndarray
    """[people][points][3]: x, y, score."""
    boxes: np.ndarray
    """[people][4]: x, y, width, height."""
    scores: np.ndarray
    ids: np.ndarray
    """-1: not tracked."""


def decode(path):
    """A video file."""
    video = cv2.VideoCapture(str(path))
    rate = video.get(cv2.CAP_PROP_FPS)

    def frames():
        while True:
            there, frame = video.read()
            if not there:
                return
            yield frame

    clip = pictures(frames(), round(rate))
    clip.frames = list(clip.frames)
    return clip


def pictures(frames, rate):
    """[height][width][3] BGR pictures of one size as a Clip. A generator is played as it goes, and only once."""
    frames = iter(frames)
    first = next(frames)
    height, width = first.shape[:2]
    if width % 4:
        raise ValueError(f"a width of {width} would need padded rows")
    framerate = Fraction(rate).limit_denominator(1000)
    size = f"width={width},height={height},framerate={framerate.numerator}/{framerate.denominator}"
    caps = Gst.Caps.from_string(f"video/x-raw,format=BGR,{size}")
    return Clip(caps, (frame.tobytes() for frame in itertools.chain([first], frames)), rate)


def play(clip, properties="", boxes=None, before="", behind="", see=None):
    """The people of each frame (a list of Found) and the element's last `stats` as a dictionary.

    `boxes[frame]` is a list of (id, x, y, width, height) that go along as regions of type person. `before` and `behind` are
    elements of a launch line in front of rtmposebatch and behind it; `see` is called with each buffer that comes out.
    """
    pipeline, source, sink, pose = _start(clip, properties, "", before, behind)
    feeder = threading.Thread(target=_feed, args=(source, clip, boxes))
    feeder.start()
    found = []
    while sample := sink.emit("pull-sample"):
        found.append(_read(sample.get_buffer(), clip.size))
        if see:
            see(sample.get_buffer())
    _raise_error(pipeline, properties)
    stats = pose.get_property("stats")
    stats = {stats.nth_field_name(i): stats.get_value(stats.nth_field_name(i)) for i in _simple(stats)}
    feeder.join()
    pipeline.set_state(Gst.State.NULL)
    return found, stats


def play_live(clip, properties=""):
    """The people of each frame of a live stream, whose frames are so far apart that each has its answer before the next comes."""
    pipeline, source, sink, _ = _start(clip, f"overload=block {properties}", "is-live=true")
    found = []
    for index in range(len(clip.frames)):
        source.emit("push-buffer", _buffer(clip, index))
        sample = sink.emit("pull-sample")
        if sample is None:
            break
        found.append(_read(sample.get_buffer(), clip.size))
    _raise_error(pipeline, properties)
    pipeline.set_state(Gst.State.NULL)
    return found


def _start(clip, properties, source_properties, before="", behind=""):
    elements = [
        f"appsrc name=source format=time block=true max-buffers=16 {source_properties}",
        before,
        f"rtmposebatch name=pose {properties}",
        behind,
        "appsink name=sink sync=false max-buffers=16",
    ]
    pipeline = Gst.parse_launch(" ! ".join(element for element in elements if element))
    source, sink, pose = (pipeline.get_by_name(name) for name in ("source", "sink", "pose"))
    source.set_property("caps", clip.caps)
    if pipeline.set_state(Gst.State.PLAYING) == Gst.StateChangeReturn.FAILURE:
        _raise_error(pipeline, properties)
    return pipeline, source, sink, pose


def _simple(structure):
    """The fields that are numbers: others have types that Python may not read."""
    numbers = ("guint", "guint64", "gdouble", "gboolean")
    return [
        i
        for i in range(structure.n_fields())
        if structure.get_field_type(structure.nth_field_name(i)).name in numbers
    ]


def _buffer(clip, index, frame=None):
    buffer = Gst.Buffer.new_wrapped(clip.frames[index] if frame is None else frame)
    stamp = index / clip.rate if clip.stamps is None else clip.stamps[index]
    if stamp is not None:
        buffer.pts = round(stamp * SECOND)
    buffer.duration = round(SECOND / clip.rate)
    return buffer


def _feed(source, clip, boxes):
    for index, frame in enumerate(clip.frames):
        buffer = _buffer(clip, index, frame)
        for identity, x, y, width, height in (boxes or {}).get(index, []):
            region = GstVideo.buffer_add_video_region_of_interest_meta(
                buffer, "person", *(max(0, round(value)) for value in (x, y, width, height))
            )
            region.id = identity
        if source.emit("push-buffer", buffer) != Gst.FlowReturn.OK:
            return
    source.emit("end-of-stream")


def _read(buffer, size):
    meta = buffer.get_custom_meta("RtmPoseMeta")
    if meta is None:
        return Found(False, np.zeros((0, 17, 3)), np.zeros((0, 4)), np.zeros(0), np.zeros(0, int))
    people = meta.get_structure()
    count, points = people.get_value("people"), people.get_value("points")

    def array(name, kind, *shape):
        return np.frombuffer(people.get_value(name).get_data() or b"", kind).reshape(shape).copy()

    found = Found(
        True,
        array("keypoints", "<f4", count, points, 3).astype(float),
        array("boxes", "<f4", count, 4).astype(float),
        array("scores", "<f4", count),
        array("ids", "<i8", count),
    )
    found.points[..., :2] *= size
    found.boxes *= (*size, *size)
    return found


def _raise_error(pipeline, what):
    """The first error on the pipeline's bus, raised."""
    message = pipeline.get_bus().pop_filtered(Gst.MessageType.ERROR)
    if message:
        error, debug = message.parse_error()
        pipeline.set_state(Gst.State.NULL)
        raise RuntimeError(f"{what}: {error.message} ({debug})")
