#!/usr/bin/env python3
"""An application that reads key points: reports raised hands, and draws on the frames itself.

    ./pose_app.py --sink autovideosink 'filesrc location=video.mp4 ! decodebin ! videoconvert !
        videoflip video-direction=auto ! rtmposebatch'

The launch line must end with frames that carry key points. An appsink turns them into numpy arrays; the program draws on
them and sends them through an appsrc into --sink. A wrist above the shoulder on its side is a raised hand: the point turns
red, and the number of people with a raised hand is printed whenever it changes. Needs python3-gst-1.0 and numpy.
"""
import argparse
import sys

import gi
import numpy as np

from pose_probe import people_of

gi.require_version("Gst", "1.0")
from gi.repository import GLib, Gst  # noqa: E402

FOUND = 0.3  # points with a lower score count as not found
GREEN, RED = (0, 255, 0), (255, 0, 0)
# coco-17 and all skeletons that begin with it: (shoulder, wrist) of the left and of the right side.
ARMS = (5, 9), (6, 10)
BODIES = "coco-17", "halpe-26", "coco-wholebody-133"


def raised_hands(points):
    """Indices of the wrists that are above their shoulder; y grows downwards."""
    return [wrist for shoulder, wrist in ARMS
            if min(points[shoulder, 2], points[wrist, 2]) >= FOUND and points[wrist, 1] < points[shoulder, 1]]


def draw(picture, points, raised):
    """A square of five pixels on every point that was found."""
    height, width, _ = picture.shape
    for index, (x, y, score) in enumerate(points):
        if score >= FOUND and -2 < x < width + 2 and -2 < y < height + 2:
            column, row = round(float(x)), round(float(y))
            rows, columns = slice(max(row - 2, 0), row + 3), slice(max(column - 2, 0), column + 3)
            picture[rows, columns] = RED if index in raised else GREEN


class App:
    def __init__(self, source, sink):
        self.input = Gst.parse_launch(
            f"{source} ! videoconvert ! video/x-raw,format=RGB ! appsink name=frames sync=false max-buffers=4")
        self.output = Gst.parse_launch(f"appsrc name=frames format=time block=true max-buffers=4 ! videoconvert ! {sink}")
        self.appsink, self.appsrc = (pipeline.get_by_name("frames") for pipeline in (self.input, self.output))
        self.hands = None

    def run(self):
        """What went wrong, or None at the end of the stream."""
        pipelines = self.input, self.output
        for pipeline in pipelines:
            pipeline.set_state(Gst.State.PLAYING)
        try:
            while True:
                sample = self.appsink.emit("try-pull-sample", Gst.SECOND // 10)
                error = self.error(self.input, 0) or self.error(self.output, 0)
                if error:
                    return error
                if sample:
                    self.appsrc.set_property("caps", sample.get_caps())
                    self.appsrc.emit("push-buffer", self.drawn(sample))
                elif self.appsink.get_property("eos"):
                    break
            self.appsrc.emit("end-of-stream")
            return self.error(self.output, Gst.CLOCK_TIME_NONE)
        finally:
            for pipeline in pipelines:
                pipeline.set_state(Gst.State.NULL)

    def drawn(self, sample):
        """The frame with its points drawn, as a new buffer with the same times."""
        buffer = sample.get_buffer()
        size = sample.get_caps().get_structure(0)
        width, height = size.get_value("width"), size.get_value("height")
        with buffer.map(Gst.MapFlags.READ) as memory:
            # Rows of RGB begin at multiples of four bytes.
            rows = np.frombuffer(memory.data, np.uint8).reshape(height, -1).copy()
        picture = rows[:, :3 * width].reshape(height, width, 3)
        found = people_of(buffer)
        if found:
            hands = 0
            for points in found[0]:
                raised = raised_hands(points) if found[3] in BODIES else []
                hands += bool(raised)
                draw(picture, points, raised)
            if hands != self.hands:
                self.hands = hands
                print(f"{buffer.pts // Gst.MSECOND} ms: {hands} of {len(found[0])} people raise a hand", flush=True)
        rows[:, :3 * width] = picture.reshape(height, -1)
        drawn = Gst.Buffer.new_wrapped(rows.tobytes())
        drawn.pts, drawn.duration = buffer.pts, buffer.duration
        return drawn

    @staticmethod
    def error(pipeline, timeout):
        """The text of the error that the pipeline posts within the timeout; None at the end of its stream."""
        kinds = Gst.MessageType.EOS | Gst.MessageType.ERROR
        message = pipeline.get_bus().timed_pop_filtered(timeout, kinds)
        return message.parse_error()[0].message if message and message.type == Gst.MessageType.ERROR else None


def main():
    Gst.init(None)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="launch line that ends with rtmposebatch")
    parser.add_argument("--sink", default="autovideosink", help="elements that receive the drawn frames (default: %(default)s)")
    options = parser.parse_args()
    try:
        error = App(options.source, options.sink).run()
    except GLib.Error as wrong_line:
        error = wrong_line.message
    if error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
