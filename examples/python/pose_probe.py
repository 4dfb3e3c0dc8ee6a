#!/usr/bin/env python3
"""Reads people's key points in Python, in a probe on a pad.

    ./pose_probe.py 'filesrc location=video.mp4 ! decodebin ! videoconvert ! videoflip video-direction=auto !
        rtmposebatch name=pose ! fakesink'

Prints a line for each person of each frame. Needs python3-gst-1.0 and numpy; docs/metadata.md says what the fields mean.
"""
import sys

import gi
import numpy as np

gi.require_version("Gst", "1.0")
from gi.repository import GLib, Gst  # noqa: E402


def numbers(fields, name, kind):
    """A field's bytes as an array of little-endian numbers."""
    return np.frombuffer(fields.get_value(name).get_data() or b"", kind)


def people_of(buffer):
    """Key points [P][K] of x, y in pixels and score, scores [P], ids [P] and the skeleton; None if the frame was not inferred."""
    meta = buffer.get_custom_meta("RtmPoseMeta")
    if not meta:
        return None
    fields = meta.get_structure()
    shape = fields.get_value("people"), fields.get_value("points"), 3
    # Positions are fractions of the frame.
    points = numbers(fields, "keypoints", "<f4").reshape(shape) * (
        fields.get_value("width"), fields.get_value("height"), 1)
    return points, numbers(fields, "scores", "<f4"), numbers(fields, "ids", "<i8"), fields.get_value("skeleton")


def on_frame(_pad, info):
    buffer = info.get_buffer()
    found = people_of(buffer)
    if found:
        skeleton = found[3]
        for person, (points, score, id_) in enumerate(zip(*found[:3])):
            positions = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in points)
            print(f"{buffer.pts // Gst.MSECOND} ms, person {person}, id {id_}, {skeleton}, "
                  f"score {score:.2f}: {positions}")
    return Gst.PadProbeReturn.OK


def main(arguments, on_frame=on_frame):
    Gst.init(None)
    if len(arguments) != 1:
        sys.exit(f"usage: {sys.argv[0]} 'LAUNCH LINE with rtmposebatch name=pose'")
    try:
        pipeline = Gst.parse_launch(arguments[0])
    except GLib.Error as error:
        sys.exit(f"error: {error.message}")
    pose = pipeline.get_by_name("pose") if isinstance(pipeline, Gst.Bin) else None
    if not pose:
        sys.exit("error: the launch line has no element with name=pose")
    pose.get_static_pad("src").add_probe(Gst.PadProbeType.BUFFER, on_frame)

    pipeline.set_state(Gst.State.PLAYING)
    message = pipeline.get_bus().timed_pop_filtered(
        Gst.CLOCK_TIME_NONE, Gst.MessageType.EOS | Gst.MessageType.ERROR)
    pipeline.set_state(Gst.State.NULL)
    if message.type == Gst.MessageType.ERROR:
        sys.exit(f"error: {message.parse_error()[0].message}")


if __name__ == "__main__":
    main(sys.argv[1:])
