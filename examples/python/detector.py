#!/usr/bin/env python3
"""Your own detector upstream of rtmposebatch: boxes from OpenCV's HOG are attached to the frames as regions.

    ./detector.py 'filesrc location=video.mp4 ! decodebin ! videoconvert' 'rtmposebatch ! rtmposeoverlay ! autovideosink'

Frames leave the first line through an appsink. In every --every-th frame, the detector's boxes are attached as
GstVideoRegionOfInterestMeta of type person; all frames go through an appsrc into the second line. rtmposebatch tracks people
through frames without a region, so the detector need not be fast. A pad probe would not do: a buffer there has other owners, so
it is not writable, and metadata cannot be added. Needs python3-gst-1.0, python3-numpy and OpenCV 4 (python3-opencv).
"""
import argparse
import sys

import cv2
import gi
import numpy as np

gi.require_version("Gst", "1.0")
gi.require_version("GstVideo", "1.0")
from gi.repository import GLib, Gst, GstVideo  # noqa: E402


EVERYTHING = (Gst.BufferCopyFlags.FLAGS | Gst.BufferCopyFlags.TIMESTAMPS | Gst.BufferCopyFlags.META
              | Gst.BufferCopyFlags.MEMORY)


class Hog:
    """OpenCV's people detector: standing people of about 100 pixels and more."""

    def __init__(self):
        self.hog = cv2.HOGDescriptor()
        self.hog.setSVMDetector(cv2.HOGDescriptor_getDefaultPeopleDetector())

    def __call__(self, picture):
        """(x, y, width, height, confidence) of each person, in pixels."""
        boxes, weights = self.hog.detectMultiScale(picture, winStride=(8, 8), scale=1.05)
        return [(*map(int, box), float(weight)) for box, weight in zip(boxes, np.ravel(weights))]


def with_regions(sample, boxes):
    """The sample's frame as a buffer of our own, with the boxes as regions of people."""
    buffer = sample.get_buffer()
    # The copy shares the pixels and has its own metadata. Not `buffer.copy()`, which returns the same buffer in Python.
    copy = buffer.copy_region(EVERYTHING, 0, buffer.get_size())
    for x, y, width, height, confidence in boxes:
        region = GstVideo.buffer_add_video_region_of_interest_meta(copy, "person", max(x, 0), max(y, 0), width, height)
        detection = Gst.Structure.new_empty("detection")
        detection.set_value("confidence", confidence)
        region.add_param(detection)
    return copy


def picture_of(sample):
    """The frame as [height][width] of brightness."""
    size = sample.get_caps().get_structure(0)
    width, height = size.get_value("width"), size.get_value("height")
    with sample.get_buffer().map(Gst.MapFlags.READ) as memory:
        # Rows of GRAY8 and of I420's first plane begin at multiples of four bytes.
        stride = (width + 3) // 4 * 4
        return np.frombuffer(memory.data, np.uint8, stride * height).reshape(height, stride)[:, :width].copy()


def play(source, rest, detect, every):
    """Plays the first line through the detector into the second. What went wrong, or None at the end of the stream."""
    front = Gst.parse_launch(f"{source} ! video/x-raw,format=I420 ! appsink name=frames sync=false max-buffers=4")
    back = Gst.parse_launch(f"appsrc name=frames format=time block=true max-buffers=4 ! {rest}")
    frames, into = front.get_by_name("frames"), back.get_by_name("frames")
    for pipeline in (front, back):
        pipeline.set_state(Gst.State.PLAYING)
    try:
        number = 0
        while True:
            sample = frames.emit("try-pull-sample", Gst.SECOND // 10)
            wrong = error(front, 0) or error(back, 0)
            if wrong:
                return wrong
            if sample:
                into.set_property("caps", sample.get_caps())
                boxes = detect(picture_of(sample)) if number % every == 0 else []
                into.emit("push-buffer", with_regions(sample, boxes))
                number += 1
            elif frames.get_property("eos"):
                break
        into.emit("end-of-stream")
        return error(back, Gst.CLOCK_TIME_NONE)
    finally:
        for pipeline in (front, back):
            pipeline.set_state(Gst.State.NULL)


def error(pipeline, timeout):
    """The text of the error that the pipeline posts within the timeout; None at the end of its stream."""
    kinds = Gst.MessageType.EOS | Gst.MessageType.ERROR
    message = pipeline.get_bus().timed_pop_filtered(timeout, kinds)
    return message.parse_error()[0].message if message and message.type == Gst.MessageType.ERROR else None


def main():
    Gst.init(None)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="launch line that produces the frames")
    parser.add_argument("rest", help="launch line that begins with rtmposebatch")
    parser.add_argument("--every", type=int, default=5, help="run the detector on every n-th frame (default: %(default)s)")
    options = parser.parse_args()
    try:
        wrong = play(options.source, options.rest, Hog(), max(options.every, 1))
    except GLib.Error as wrong_line:
        wrong = wrong_line.message
    if wrong:
        sys.exit(f"error: {wrong}")


if __name__ == "__main__":
    main()
