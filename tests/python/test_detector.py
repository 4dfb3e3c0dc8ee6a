"""examples/python/detector.py: a detector's boxes go along with the frames, and people keep their ids while it misses some."""
import json
import pathlib
import sys
import tempfile
import unittest

import gi
import numpy as np

gi.require_version("Gst", "1.0")
from gi.repository import Gst  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "examples/python"))
import detector  # noqa: E402

Gst.init(None)
VIDEO = f"filesrc location={ROOT / '.deps/video/demo.mp4'} ! decodebin ! videoconvert ! videoscale ! video/x-raw,width=640,height=360"


class Detector(unittest.TestCase):
    def play(self, detect, every, frames=60, source=VIDEO):
        with tempfile.TemporaryDirectory() as folder:
            lines = pathlib.Path(folder) / "people.jsonl"
            rest = f"rtmposebatch ! rtmposejson location={lines} ! fakesink"
            wrong = detector.play(f"{source} ! identity eos-after={frames + 1}", rest, detect, every)
            self.assertIsNone(wrong)
            return [json.loads(line)["people"] for line in lines.read_text().splitlines()]

    def test_boxes_are_the_people_and_ids_outlive_a_detector_that_misses_some(self):
        calls = []

        def detect(picture):
            self.assertEqual((picture.shape, picture.dtype), ((360, 640), np.uint8))
            calls.append(len(calls))
            box = (150, 30, 120, 220, 0.5)
            # The second box is missing in every third call.
            return [box] if len(calls) % 3 == 0 else [box, (400, 20, 60, 120, 0.5)]

        people = self.play(detect, 2)
        self.assertEqual(len(people), 60)
        self.assertEqual(len(calls), 30)
        ids = [[person["id"] for person in frame] for frame in people[::2]]
        self.assertEqual(ids, [[1] if number % 3 == 2 else [1, 2] for number in range(30)])
        for frame in people[::2]:
            box = frame[0]["box"]
            np.testing.assert_allclose([box["x"], box["y"], box["width"], box["height"]], [150, 30, 120, 220], atol=0.01)

    def test_a_line_that_is_wrong_is_told(self):
        wrong = detector.play("filesrc location=/missing.mp4 ! decodebin ! videoconvert", "fakesink", len, 1)
        self.assertEqual(wrong, "Resource not found.")

    def test_hog_finds_somebody_in_the_demo(self):
        people = self.play(detector.Hog(), 10, frames=31)
        self.assertTrue(any(people))


if __name__ == "__main__":
    unittest.main()
