"""examples/python/rtsp.py end to end, each part a process of its own: two cameras, one network, pictures served again, of the
camera's present by the time code, a camera that is cut off and comes back."""
import pathlib
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import numpy as np

from examples import ROOT, run

sys.path.insert(0, str(ROOT / "examples/python"))
import rtsp  # noqa: E402
from rtsp import Gst  # noqa: E402

PROGRAM = ROOT / "examples/python/rtsp.py"
CLIP = ROOT / ".deps/video/demo.mp4"
WIDTH, HEIGHT, DOT = 640, 360, (420, 200)
TIMEOUT = 60


class Program:
    """One of the program's commands, and the lines that it prints."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen([sys.executable, PROGRAM, *map(str, arguments)], text=True,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.lines, self.printed = queue.Queue(), []
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            self.lines.put(line.rstrip())
        self.lines.put(None)

    def line(self, *words):
        """The next line that has these words."""
        end = time.monotonic() + TIMEOUT
        while True:
            line = self.lines.get(timeout=end - time.monotonic())
            self.printed.append(line)
            if line is None:
                raise AssertionError(f"{words} did not come: {self.printed}")
            if all(word in line for word in words):
                return line

    def end(self, number=signal.SIGINT):
        """Ends the program; returns its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(TIMEOUT)


def later(code, other):
    """Whether a time code is later. Time codes begin anew after 49 days."""
    return 0 < (code - other) % 2**32 < 2**31


class Viewer:
    """Watches an address; `wait` returns the first picture, with its time code, that a test accepts."""

    def __init__(self, address):
        self.changed, self.last, self.count = threading.Condition(), None, 0
        self.codes = []
        self.watching = rtsp.Watch(address, self.on_picture)

    def on_picture(self, picture, code):
        with self.changed:
            self.last, self.count = (picture, code), self.count + 1
            # The server repeats a picture while the camera has no newer one.
            if code is not None and self.codes[-1:] != [code]:
                self.codes.append(code)
            self.changed.notify_all()

    def wait(self, accepts):
        with self.changed:
            seen = self.count
            found = self.changed.wait_for(lambda: self.count > seen and accepts(*self.last), TIMEOUT)
            assert found, f"no such picture: {self.watching.figures()}"
            return self.last

    def wait_for_pictures(self, count):
        """The time codes of this number of further pictures of the camera."""
        with self.changed:
            seen = len(self.codes)
            found = self.changed.wait_for(lambda: len(self.codes) >= seen + count, TIMEOUT)
            assert found, self.watching.figures()
            return self.codes[seen:seen + count]

    def wait_for_now(self):
        """Waits for a picture that the camera took after this call, so that no buffered picture counts."""
        now = rtsp.milliseconds()
        self.wait(lambda _, code: code is not None and later(code, now))

    def close(self):
        self.watching.pipeline.stop()


def dot_video(file):
    """A second of a red disc on black."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    disc = (x - DOT[0]) ** 2 + (y - DOT[1]) ** 2 <= 20 ** 2
    picture = disc[:, :, None] * np.array([255, 0, 0], np.uint8)
    raw = file.with_suffix(".rgb")
    raw.write_bytes(picture.tobytes() * 15)
    run("gst-launch-1.0", "filesrc", f"location={raw}", "!", "rawvideoparse", "format=rgb", f"width={WIDTH}",
        f"height={HEIGHT}", "framerate=15/1", "!", "videoconvert", "!", "video/x-raw,format=I420", "!", "matroskamux", "!",
        "filesink", f"location={file}")
    return file


def whitest(picture):
    """The whiteness of the whitest pixel around the dot's centre; red counts as not white."""
    x, y = DOT
    return picture[y - 5:y + 6, x - 5:x + 6].min(axis=2).max()


class TimeCode(unittest.TestCase):
    def test_what_is_written_is_read(self):
        for ms in (0, 1, 255, 123_456_789, 2**32 - 1):
            picture = np.zeros((100, 160, 3), np.uint8)
            rtsp.write_time_code(picture, ms)
            self.assertEqual(rtsp.read_time_code(picture), ms)
        self.assertIsNone(rtsp.read_time_code(np.zeros((100, 160, 3), np.uint8)), "black is no time")
        self.assertIsNone(rtsp.read_time_code(np.zeros((20, 20, 3), np.uint8)))
        picture[rtsp.CORNER:rtsp.CORNER + rtsp.BLOCK, rtsp.CORNER:rtsp.CORNER + rtsp.BLOCK] = 0
        self.assertIsNone(rtsp.read_time_code(picture), "a block that was painted over shows")


class Rtsp(unittest.TestCase):
    def program(self, *arguments):
        program = Program(*arguments)
        self.addCleanup(program.process.stdout.close)
        self.addCleanup(program.process.wait)
        self.addCleanup(program.process.kill)
        return program

    def viewer(self, address):
        viewer = Viewer(address)
        self.addCleanup(viewer.watching.pipeline.pipeline.set_state, Gst.State.NULL)
        return viewer

    def test_cameras_are_annotated_and_served_again_also_after_a_cut(self):
        Gst.init(None)
        with tempfile.TemporaryDirectory() as folder:
            self.play(dot_video(pathlib.Path(folder) / "dot.mkv"))

    def play(self, dots):
        first_address = self.program("cameras", CLIP, "--port", 0).line("rtsp://127.0.0.1:")
        second = self.program("cameras", dots, "--port", 0)
        second_address = second.line("rtsp://127.0.0.1:")
        port = second_address.split(":")[2].split("/")[0]
        annotate = self.program(
            "annotate", first_address, second_address, "--port", 0, "--pose",
            f"execution-provider=cpu inference-region=full-frame model-file={ROOT}/tests/networks/colours.onnx")
        addresses = [annotate.line(f"/camera-{number}") for number in (1, 2)]
        annotate.line(": playing")
        annotate.line(": playing")

        raw, viewers = self.viewer(second_address), [self.viewer(address) for address in addresses]
        self.assertLess(whitest(raw.wait(lambda _, code: code is not None)[0]), 60, "the camera draws nothing")
        raw.close()
        picture, _ = viewers[1].wait(lambda picture, code: code is not None and whitest(picture) > 110)
        self.assertEqual(picture.shape, (HEIGHT, WIDTH, 3))
        for viewer in viewers:
            self.goes_on(viewer, 20)
            print(f"  RTSP in, key points, RTSP out: {viewer.watching.figures()}", file=sys.stderr)

        # The second camera is cut off: its picture turns black, the first camera's continues.
        second.end(signal.SIGKILL)
        annotate.line("camera-2:", "again in 1 s")
        viewers[1].wait(lambda picture, code: code is None and picture.max() < 40)
        self.goes_on(viewers[0], 10)

        # The second camera comes back, also for viewers who have watched all the time.
        second = self.program("cameras", dots, "--port", port)
        annotate.line("camera-2: playing")
        viewers[1].wait(lambda picture, code: code is not None and whitest(picture) > 110)
        self.goes_on(viewers[1], 10)

        for viewer in viewers:
            self.assertIsNone(viewer.watching.error)
            viewer.close()
        self.assertEqual(annotate.end(), 0)
        frames = sum(int(annotate.line(f"camera-{number}:", "frames").split()[1]) for number in (1, 2))
        crops = int(annotate.line("model:").split()[1])
        self.assertGreaterEqual(frames, sum(len(viewer.codes) for viewer in viewers), "each picture that was seen was a frame")
        # One network for both cameras. A frame that comes too late has no crop.
        self.assertTrue(0 < crops <= frames + 2, f"{crops} crops of {frames} frames")

    def goes_on(self, viewer, count):
        """Pictures come in the camera's order and are current, however slow the machine is."""
        codes = viewer.wait_for_pictures(count)
        for code, following in zip(codes, codes[1:]):
            self.assertTrue(later(following, code), codes)
        for _ in range(3):
            viewer.wait_for_now()

    def test_what_cannot_work_is_said(self):
        self.assertIn("/nowhere.onnx", run(sys.executable, PROGRAM, "annotate", "rtsp://127.0.0.1:9/", "--pose",
                                           "model-file=/nowhere.onnx", status=1))
        self.assertIn("/nowhere.mp4", run(sys.executable, PROGRAM, "cameras", "/nowhere.mp4", "--port", 0, status=1))
        camera = self.program("cameras", CLIP, "--port", 0, "--address", "0.0.0.0")
        camera.line("warning: every machine that can reach 0.0.0.0 can watch")
        port = camera.line("rtsp://0.0.0.0:").split(":")[2].split("/")[0]
        self.assertIn("--port", run(sys.executable, PROGRAM, "cameras", CLIP, "--port", port, "--address", "0.0.0.0", status=1))
        self.assertEqual(camera.end(signal.SIGTERM), 0)

    def test_passwords_are_not_told(self):
        annotate = self.program(
            "annotate", "rtsp://viewer:se:cr@t@127.0.0.1:9/live", "rtsp://127.0.0.1:9/?pwd=secret&channel=1", "--port", 0,
            "--seconds", 3, "--pose", f"execution-provider=cpu model-file={ROOT}/tests/networks/dots-small.onnx")
        annotate.line("camera-1:", "again in")
        annotate.line("model:")
        for secret in ("se:cr", "cr@t", "secret"):
            self.assertFalse([line for line in annotate.printed if secret in line])


if __name__ == "__main__":
    unittest.main()
