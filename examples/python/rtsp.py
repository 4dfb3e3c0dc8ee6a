#!/usr/bin/env python3
"""Streaming cameras on one machine: RTSP in, key points drawn, RTSP out.

    ./rtsp.py cameras video.mp4 video.mp4
    ./rtsp.py annotate rtsp://127.0.0.1:8554/camera-1 rtsp://127.0.0.1:8554/camera-2
    ./rtsp.py watch rtsp://127.0.0.1:8555/camera-1

Run each in its own terminal. `cameras` serves video files as camera streams, again and again. `annotate` reads these streams, or
those of real cameras, finds people's key points with one model for all, draws them and serves the result. It tries to reach a
lost camera until it is back; its stream is black meanwhile. `watch` measures how long a frame takes from the camera to itself, on
the same machine: `cameras` writes the time into a corner of each frame.

Needs python3-gst-1.0, gir1.2-gst-rtsp-server-1.0 and numpy. Frames are sent as JPEG, which GStreamer's good plugins encode.
"""
import argparse
import re
import signal
import statistics
import sys
import time

import gi
import numpy as np

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

LOOPBACK = "127.0.0.1"
STALL = 5  # seconds without a frame after which a camera has failed
LONGEST_RETRY = 30  # seconds
# RTP supports JPEG only with these colours.
JPEG = "videoconvert ! video/x-raw,format=I420 ! jpegenc ! rtpjpegpay name=pay0"


def say(text):
    """Prints a line without the passwords of addresses, which GStreamer's messages hold too."""
    text = re.sub(r"(://[^:/@\s]+):\S*@", r"\1:***@", text)
    print(re.sub(r"(?i)\b(pass\w*|pwd|token)=[^&\s]*", r"\1=***", text), flush=True)


# The time code: milliseconds and a checksum as 5 rows of 8 blocks, most significant bit first. Grey, so that models for people
# ignore it.
BLOCK, CORNER, ONE = 12, 16, 96


def milliseconds():
    """A clock that all processes of this machine share."""
    return time.monotonic_ns() // 1_000_000 % 2**32


def time_code(ms):
    """The blocks as a picture of grey."""
    code = np.frombuffer(ms.to_bytes(4, "big"), np.uint8)
    code = np.append(code, (code.sum() + 1) % 256).astype(np.uint8)
    return np.kron(np.unpackbits(code).reshape(5, 8) * np.uint8(ONE), np.ones((BLOCK, BLOCK), np.uint8))


def write_time_code(picture, ms):
    rows, columns = 5 * BLOCK, 8 * BLOCK
    picture[CORNER:CORNER + rows, CORNER:CORNER + columns] = time_code(ms)[:, :, None]


def read_time_code(picture):
    """Milliseconds; None where there is no readable code, as in a black picture."""
    middles = CORNER + BLOCK // 2 + BLOCK * np.arange(8)
    height, width, _ = picture.shape
    if height <= middles[4] or width <= middles[7]:
        return None
    bits = picture[np.ix_(middles[:5], middles)].mean(axis=2) > ONE / 2
    code = np.packbits(bits)
    return int.from_bytes(code[:4].tobytes(), "big") if code[4] == (code[:4].sum() + 1) % 256 else None


def picture_of(sample):
    """The pixels of an appsink's RGB sample, [height][width][3]; a copy."""
    size = sample.get_caps().get_structure(0)
    width, height = size.get_value("width"), size.get_value("height")
    with sample.get_buffer().map(Gst.MapFlags.READ) as memory:
        # Rows of RGB begin at multiples of four bytes.
        rows = np.frombuffer(memory.data, np.uint8).reshape(height, -1)
        return rows[:, :3 * width].reshape(height, width, 3).copy()


class Server:
    """An RTSP server on one address, which tells who can reach it."""

    def __init__(self, options):
        if options.address != LOOPBACK:
            say(f"warning: every machine that can reach {options.address} can watch, without a password")
        self.server = GstRtspServer.RTSPServer(address=options.address, service=str(options.port))
        if not self.server.attach(None):
            sys.exit(f"error: port {options.port} of {options.address} cannot be used: choose another with --port")
        self.address = f"rtsp://{options.address}:{self.server.get_bound_port()}"

    def add(self, name, elements, configure=None):
        """Serves the elements of a launch line, one instance for all who watch."""
        factory = GstRtspServer.RTSPMediaFactory(shared=True, launch=f"( {elements} ! {JPEG} )")
        if configure:
            factory.connect("media-configure", lambda _, media: configure(media))
        self.server.get_mount_points().add_factory(f"/{name}", factory)
        say(f"{self.address}/{name}")


class Pipeline:
    """A pipeline that calls back, in the main loop, with the text of its error or with None at its end."""

    def __init__(self, line, ended):
        self.pipeline = Gst.parse_launch(line)
        self.ended = ended
        self.bus = self.pipeline.get_bus()
        self.bus.add_signal_watch()
        self.bus.connect("message::error", lambda _, message: self.ended(message.parse_error()[0].message))
        self.bus.connect("message::eos", lambda *_: self.ended(None))

    def play(self):
        self.pipeline.set_state(Gst.State.PLAYING)

    def stop(self):
        self.bus.remove_signal_watch()
        self.pipeline.set_state(Gst.State.NULL)


class PlayedCamera:
    """A video file as the stream of a camera, with the time written into it."""

    def __init__(self, server, name, options, file):
        self.file, self.watchers = file, []
        size = f"width={options.width},height={options.height},framerate={options.fps}/1,pixel-aspect-ratio=1/1"
        self.pipeline = Pipeline("filesrc name=file ! decodebin ! videoconvert ! videoflip video-direction=auto ! videoscale ! videorate ! "
                                 f"video/x-raw,format=RGB,{size} ! appsink name=frames emit-signals=true max-buffers=2",
                                 self.ended)
        self.pipeline.pipeline.get_by_name("file").set_property("location", file)
        self.pipeline.pipeline.get_by_name("frames").connect("new-sample", self.on_frame)
        server.add(name, f"appsrc name=frames is-live=true do-timestamp=true format=time max-buffers=2 "
                   f"leaky-type=downstream caps=video/x-raw,format=RGB,{size}", self.watch)
        self.pipeline.play()

    def watch(self, media):
        appsrc = media.get_element().get_by_name("frames")
        self.watchers.append(appsrc)
        media.connect("unprepared", lambda _: self.watchers.remove(appsrc))

    def on_frame(self, appsink):
        picture = picture_of(appsink.emit("pull-sample"))
        write_time_code(picture, milliseconds())
        height, width, _ = picture.shape
        rows = np.zeros((height, -(-3 * width // 4) * 4), np.uint8)
        rows[:, :3 * width] = picture.reshape(height, -1)
        for appsrc in list(self.watchers):
            appsrc.emit("push-buffer", Gst.Buffer.new_wrapped(rows.tobytes()))
        return Gst.FlowReturn.OK

    def ended(self, error):
        if error:
            sys.exit(f"error: {self.file}: {error}")
        self.pipeline.pipeline.seek_simple(Gst.Format.TIME, Gst.SeekFlags.FLUSH, 0)


class AnnotatedCamera:
    """A camera's stream with key points drawn, handed to the server by name; opened again whenever it fails."""

    def __init__(self, server, name, options, address):
        self.name, self.address, self.options = name, address, options
        self.pipeline, self.wait, self.frames, self.last_frame, self.total = None, 1, 0, 0, 0
        self.size = f"width={options.width},height={options.height},pixel-aspect-ratio=1/1"
        # Serving continues while the camera is lost: intervideosrc repeats the last frame, then sends black.
        server.add(name, f"intervideosrc channel={name} ! videoscale ! "
                   f"video/x-raw,{self.size},framerate={options.fps}/1")
        GLib.timeout_add(500, self.look)
        self.open()

    def open(self):
        self.frames, self.last_frame = 0, time.monotonic()
        self.pipeline = Pipeline(
            f"rtspsrc name=camera protocols=tcp latency={self.options.latency} ! application/x-rtp,media=video ! "
            f"decodebin ! videoconvert ! rtmposebatch name=pose model-instance-id=cameras {self.options.pose} ! "
            f"rtmposeoverlay ! videoconvert ! videoscale ! video/x-raw,{self.size} ! "
            f"intervideosink channel={self.name} sync=false", self.failed)
        self.pipeline.pipeline.get_by_name("camera").set_property("location", self.address)
        self.pipeline.play()
        return GLib.SOURCE_REMOVE

    def look(self):
        """Frames tell that the camera is there; that none come is a failure that no message tells."""
        if not self.pipeline:
            return GLib.SOURCE_CONTINUE
        stats = self.pipeline.pipeline.get_by_name("pose").get_property("stats")
        frames = stats.get_value("frames-out")
        if frames > self.frames:
            if not self.frames:
                say(f"{self.name}: playing")
            self.frames, self.last_frame, self.wait = frames, time.monotonic(), 1
        elif stats.get_value("frames-in") > frames and not stats.get_value("output-queue"):
            # A frame waits for the model, which takes long on a slow machine: the camera has not failed.
            self.last_frame = time.monotonic()
        elif time.monotonic() - self.last_frame > STALL:
            self.failed(f"no frame for {STALL} s")
        return GLib.SOURCE_CONTINUE

    def failed(self, error):
        if not self.pipeline:
            return
        self.close()
        say(f"{self.name}: {error or 'its stream has ended'}; again in {self.wait} s")
        GLib.timeout_add_seconds(self.wait, self.open)
        self.wait = min(2 * self.wait, LONGEST_RETRY)

    def close(self):
        if self.pipeline:
            self.total += self.pipeline.pipeline.get_by_name("pose").get_property("stats").get_value("frames-out")
            self.pipeline.stop()
            self.pipeline = None


def run_main_loop(seconds=None):
    """Until Ctrl-C, the end of the process or of the seconds."""
    loop = GLib.MainLoop()
    for number in (signal.SIGINT, signal.SIGTERM):
        GLib.unix_signal_add(GLib.PRIORITY_HIGH, number, loop.quit)
    if seconds:
        GLib.timeout_add(int(1000 * seconds), loop.quit)
    loop.run()


def cameras(options):
    server = Server(options)
    played = [PlayedCamera(server, f"camera-{number}", options, file)
              for number, file in enumerate(options.files, start=1)]
    run_main_loop(options.seconds)
    for camera in played:
        camera.pipeline.stop()


def annotate(options):
    # This one, in READY, keeps the model loaded while cameras come and go, and reports its errors first.
    network = Gst.parse_launch(f"rtmposebatch model-instance-id=cameras {options.pose}")
    bus = Gst.Bus()
    network.set_bus(bus)
    if network.set_state(Gst.State.READY) == Gst.StateChangeReturn.FAILURE:
        sys.exit(f"error: {bus.pop_filtered(Gst.MessageType.ERROR).parse_error()[0].message}")
    server = Server(options)
    annotated = [AnnotatedCamera(server, f"camera-{number}", options, address)
                 for number, address in enumerate(options.addresses, start=1)]
    run_main_loop(options.seconds)
    for camera in annotated:
        camera.close()
        say(f"{camera.name}: {camera.total} frames")
    stats = network.get_property("stats")
    say(f"model: {stats.get_value('crops')} crops in {stats.get_value('batches')} batches")
    network.set_state(Gst.State.NULL)


class Watch:
    """Latencies in milliseconds of the pictures of an address that have a time code, and how many have none."""

    def __init__(self, address, on_picture=None):
        self.latencies, self.without, self.error, self.on_picture = [], 0, None, on_picture
        self.pipeline = Pipeline("rtspsrc name=camera protocols=tcp latency=0 ! application/x-rtp,media=video ! decodebin ! "
                                 "videoconvert ! video/x-raw,format=RGB ! appsink name=frames emit-signals=true sync=false",
                                 self.ended)
        self.pipeline.pipeline.get_by_name("camera").set_property("location", address)
        self.pipeline.pipeline.get_by_name("frames").connect("new-sample", self.on_frame)
        self.pipeline.play()

    def ended(self, error):
        self.error = error or "the stream has ended"

    def on_frame(self, appsink):
        picture = picture_of(appsink.emit("pull-sample"))
        code = read_time_code(picture)
        if code is None:
            self.without += 1
        else:
            self.latencies.append((milliseconds() - code) % 2**32)
        if self.on_picture:
            self.on_picture(picture, code)
        return Gst.FlowReturn.OK

    def figures(self):
        latencies = sorted(self.latencies)
        if not latencies:
            return f"no picture with a time code, {self.without} without"
        return (f"{len(latencies)} pictures, {statistics.median_low(latencies)} ms after the camera (median), "
                f"at most {latencies[-1]} ms; {self.without} without a time code")


def watch(options):
    watching = Watch(options.address)

    def report():
        if watching.error:
            sys.exit(f"error: {watching.error}")
        say(watching.figures())
        return GLib.SOURCE_CONTINUE

    GLib.timeout_add(1000, report)
    run_main_loop(options.seconds)
    watching.pipeline.stop()


def main():
    Gst.init(None)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, port, function in (("cameras", 8554, cameras), ("annotate", 8555, annotate), ("watch", None, watch)):
        command = commands.add_parser(name)
        command.set_defaults(function=function)
        command.add_argument("--seconds", type=float, help="seconds after which the program ends")
        if port:
            command.add_argument("--address", default=LOOPBACK, help="address to listen on (default: %(default)s, for this machine "
                                 "only; 0.0.0.0: every machine that can reach this one)")
            command.add_argument("--port", type=int, default=port, help="port (default: %(default)s; 0: any free one)")
            command.add_argument("--width", type=int, default=640, help="of the video, in pixels (default: %(default)s)")
            command.add_argument("--height", type=int, default=360, help="of the video, in pixels (default: %(default)s)")
            command.add_argument("--fps", type=int, default=15, help="frames per second (default: %(default)s)")
        if function is cameras:
            command.add_argument("files", nargs="+", metavar="FILE")
        elif function is annotate:
            command.add_argument("addresses", nargs="+", metavar="ADDRESS", help="rtsp://...")
            command.add_argument("--latency", type=int, default=100, help="milliseconds that packets may be late (default: %(default)s)")
            command.add_argument("--pose", default="", help="properties of rtmposebatch, as in gst-launch-1.0")
        else:
            command.add_argument("address", metavar="ADDRESS", help="rtsp://...")
    options = parser.parse_args()
    try:
        options.function(options)
    except GLib.Error as error:
        sys.exit(f"error: {error.message}")


if __name__ == "__main__":
    main()
