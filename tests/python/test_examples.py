"""The examples for applications: three probes that must print the same, true numbers, an application that draws, and the
lines of rtmposejson against their schema. The plugin is that of GST_PLUGIN_PATH; the Rust example is the release build's."""
import json
import pathlib
import re
import shlex
import sys
import tempfile
import unittest

import jsonschema
import numpy as np

from examples import ALLOWED, DOTS, HEIGHT, MILLISECONDS, ROOT, WIDTH, limited, pose, run, source, write_video

sys.path.insert(0, str(ROOT / "examples/python"))
import pose_app  # noqa: E402

LINE = re.compile(r"(\d+) ms, person (\d+), id (-?\d+), (\S+), score ([\d.]+): (.*)")


class Examples(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        cls.video = write_video(cls.folder / "dots.rgb")

    def c_probe(self):
        flags = run("pkg-config", "--cflags", "--libs", "gstreamer-1.0")
        program = self.folder / "pose_probe"
        if not program.exists():
            run("cc", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror",
                ROOT / "examples/c/pose_probe.c", "-o", program, *shlex.split(flags))
        return [program]

    def probes(self):
        return {"C": self.c_probe(), "Python": [sys.executable, ROOT / "examples/python/pose_probe.py"],
                "Rust": [ROOT / "target/release/examples/probe"]}

    def test_probes_print_the_same_true_numbers(self):
        line = f"{source(self.video)} ! {pose('dots-17')} ! fakesink"
        printed = {language: run(*program, line) for language, program in self.probes().items()}
        self.assertEqual(printed["C"], printed["Python"])
        self.assertEqual(printed["C"], printed["Rust"])
        lines = printed["C"].splitlines()
        self.assertEqual(len(lines), len(DOTS))
        for text, ms, dot in zip(lines, MILLISECONDS, DOTS):
            time, person, id_, skeleton, score, points = LINE.fullmatch(text).groups()
            self.assertEqual((time, person, id_, skeleton), (str(ms), "0", "-1", "coco-17"))
            self.assertAlmostEqual(float(score), 1, delta=0.02)
            points = np.array([point.split(",") for point in points.split()], float)
            self.assertEqual(points.shape, (17, 2))
            self.assertLessEqual(np.abs(points - dot).max(), ALLOWED + 0.05)

    def test_probes_say_what_is_wrong(self):
        for language, program in self.probes().items():
            with self.subTest(language):
                self.assertIn("usage", run(*program, status=1))
                self.assertIn("name=pose", run(*program, "videotestsrc ! fakesink", status=1))
                error = run(*program, "videotestsrc ! rtmposebatch name=pose model-file=/nowhere.onnx ! fakesink", status=1)
                self.assertIn("The model file /nowhere.onnx cannot be read", error)

    def test_the_application_draws_the_points_it_reads(self):
        out = self.folder / "drawn.rgb"
        printed = run(sys.executable, ROOT / "examples/python/pose_app.py", f"{source(self.video)} ! {pose('dots-17')}",
                      "--sink", f"video/x-raw,format=RGB ! filesink location={out}")
        self.assertEqual(printed, "0 ms: 0 of 1 people raise a hand\n")
        pictures = np.fromfile(out, np.uint8).reshape(-1, HEIGHT, WIDTH, 3)
        self.assertEqual(len(pictures), len(DOTS))
        for picture, dot in zip(pictures, DOTS):
            green = np.argwhere((picture == pose_app.GREEN).all(axis=2))
            self.assertEqual(len(green), 25)
            self.assertLessEqual(np.abs(green.mean(axis=0)[::-1] - dot).max(), ALLOWED + 0.5)

    def test_the_application_says_what_is_wrong(self):
        for line, sink, words in [("videotestsrc ! rtmposebatch model-file=/nowhere.onnx", "fakesink", "/nowhere.onnx"),
                                  ("videotestsrc", "filesink location=/nowhere/file", "/nowhere/file")]:
            error = run(sys.executable, ROOT / "examples/python/pose_app.py", line, "--sink", sink, status=1)
            self.assertIn(words, error)

    def test_a_raised_hand_is_a_wrist_above_its_shoulder(self):
        points = np.tile([10.0, 10.0, 1.0], (17, 1))
        self.assertEqual(pose_app.raised_hands(points), [])
        points[10, 1] = 5  # right wrist, above the right shoulder
        self.assertEqual(pose_app.raised_hands(points), [10])
        picture = np.zeros((20, 20, 3), np.uint8)
        pose_app.draw(picture, points, [10])
        self.assertEqual(picture[5, 10].tolist(), list(pose_app.RED))
        points[6, 2] = 0.1  # the shoulder was not found
        self.assertEqual(pose_app.raised_hands(points), [])


class Json(unittest.TestCase):
    schema = json.loads((ROOT / "docs/rtmposejson.schema.json").read_text())

    def lines(self, line):
        """The lines of a pipeline, each valid."""
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / "lines"
            limited(["gst-launch-1.0", "-q", *shlex.split(line), "!", "rtmposejson", "!", "filesink", f"location={file}"], check=True)
            lines = [json.loads(line) for line in file.read_text().splitlines()]
        for line in lines:
            jsonschema.validate(line, self.schema, cls=jsonschema.Draft202012Validator)
        return lines

    def test_lines_of_every_kind_are_as_the_schema_says(self):
        jsonschema.Draft202012Validator.check_schema(self.schema)
        with tempfile.TemporaryDirectory() as folder:
            video = write_video(pathlib.Path(folder) / "dots.rgb")
            inferred = self.lines(f"{source(video)} ! {pose('dots-17')} inference-interval=2")
            self.assertEqual([line["status"] for line in inferred], ["inferred", "carried"] * 2)
            for line, dot in zip(inferred[::2], DOTS[::2]):
                (person,) = line["people"]
                nose = person["keypoints"][0]
                self.assertEqual(nose["name"], "nose")
                self.assertLessEqual(abs(nose["x"] - dot[0]), ALLOWED)
                self.assertLessEqual(abs(nose["y"] - dot[1]), ALLOWED)
            nobody = self.lines(f"{source(video)} ! {pose('dots-17')} inference-region=roi-list")
            self.assertEqual([(line["status"], line["people"]) for line in nobody], [("inferred", [])] * len(DOTS))
            unnamed = self.lines(f"{source(video)} ! {pose('dots')}")
            self.assertEqual({point["name"] for line in unnamed for point in line["people"][0]["keypoints"]}, {None})
            self.assertEqual([line["status"] for line in self.lines(source(video))], ["not-inferred"] * len(DOTS))

    def test_the_schema_refuses_what_is_wrong(self):
        line = {"version": 1, "frame": 0, "pts": 0, "running_time": None, "utc": None, "width": 4, "height": 4, "status": "inferred",
                "sources": ["pose"], "people": []}
        validator = jsonschema.Draft202012Validator(self.schema)
        self.assertTrue(validator.is_valid(line))
        self.assertTrue(validator.is_valid({**line, "utc": "2026-03-01T12:00:00.120000000Z"}))
        person = {"source": "pose", "skeleton": "coco-17", "id": None, "score": 1.0,
                  "box": {"x": 0, "y": 0, "width": 1, "height": 1}, "keypoints": []}
        for wrong in ({"version": 2}, {"pts": -1}, {"width": 0}, {"frame": -1}, {"utc": "today"}, {"sources": [1]}, {"status": "maybe"}, {"people": None},
                      {"status": "not-inferred", "people": [person]}, {"people": [{**person, "score": "high"}]}):
            self.assertFalse(validator.is_valid({**line, **wrong}), wrong)


if __name__ == "__main__":
    unittest.main()
