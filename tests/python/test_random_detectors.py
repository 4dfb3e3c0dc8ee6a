"""models/random_detectors.py: networks of the published sizes, which the elements take for what they are."""
import json
import math
import pathlib
import subprocess
import sys
import tempfile
import unittest

import onnx

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from plugin import ROOT, environment  # noqa: E402

sys.path.insert(0, str(ROOT / "models"))
import random_detectors  # noqa: E402

# Published: millions of parameters and, where known, 10^9 multiply-adds. YOLOX's README has operations (1.08:
# two for each multiply-add, batch norms and activations counted), RTMPose's (projects/rtmpose) multiply-adds,
# RTMO's paper (table 2) parameters.
PUBLISHED = {"yolox-nano-coco": (0.91, 0.54), "rtmdet-nano": (0.99, 0.31), "rtmo-s": (9.9, None)}
SIZE = (640, 480)


class RandomDetectors(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = folder.name
        cls.environment = environment(cls.folder)
        cls.networks = {}
        for name in random_detectors.NETWORKS:
            model, cls.networks[name] = random_detectors.build(name, people=2)
            pathlib.Path(cls.folder, f"{name}.onnx").write_bytes(model.SerializeToString(deterministic=True))

    def launch(self, line, fails=False):
        done = subprocess.run(["gst-launch-1.0", "-q", *line.split()], env=self.environment, capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode != 0, fails, done.stderr)
        return done.stderr

    def test_they_are_as_large_as_the_published_ones(self):
        for name, (parameters, macs) in PUBLISHED.items():
            with self.subTest(name):
                net = self.networks[name]
                self.assertAlmostEqual(net.parameters / 1e6, parameters, delta=0.02 * parameters)
                if macs:
                    self.assertAlmostEqual(net.macs / 1e9, macs, delta=0.05 * macs)
                # The file contains all that was counted: weights of convolutions and matrices, and their
                # biases.
                graph = onnx.load(f"{self.folder}/{name}.onnx").graph
                sizes = {t.name: math.prod(t.dims) for t in graph.initializer}
                stored = sum(sizes[value] for node in graph.node if node.op_type in ("Conv", "MatMul") for value in node.input[1:] if value in sizes)
                self.assertAlmostEqual(stored / 1e6, parameters, delta=0.03 * parameters)

    def test_the_same_weights_every_time(self):
        model, _ = random_detectors.build("rtmdet-nano", people=2)
        self.assertEqual(model.SerializeToString(deterministic=True), pathlib.Path(self.folder, "rtmdet-nano.onnx").read_bytes())

    def test_the_elements_find_the_people_they_answer_with(self):
        source = f"videotestsrc num-buffers=3 ! video/x-raw,format=NV12,width={SIZE[0]},height={SIZE[1]}"
        for name, net in self.networks.items():
            with self.subTest(name):
                file, lines = f"{self.folder}/{name}.onnx", f"{self.folder}/{name}.jsonl"
                pose = f"rtmposebatch execution-provider=cpu model-file={file}"
                if name != "rtmo-s":
                    pose = f"rtmposedetect execution-provider=cpu model-file={file} ! rtmposebatch execution-provider=cpu"
                self.launch(f"{source} ! {pose} ! rtmposejson location={lines} ! fakesink")
                frames = [json.loads(line)["people"] for line in pathlib.Path(lines).read_text().splitlines()]
                self.assertEqual([len(people) for people in frames], [2, 2, 2])
                places, strides = random_detectors.cells(net, net.strides)
                scale = SIZE[0] / net.size[1]
                expected = [[box[0] * scale, box[1] * scale, box[2] * scale, box[3] * scale]
                            for _, box in random_detectors.people_of(net, 2, places, strides)]
                for people in frames:
                    boxes = [[b["x"], b["y"], b["x"] + b["width"], b["y"] + b["height"]] for b in (person["box"] for person in people)]
                    for box, right in zip(sorted(boxes), expected):
                        for side, right_side in zip(box, right):
                            self.assertAlmostEqual(side, right_side, delta=1.1)

    def test_each_file_is_told_as_its_kind(self):
        for name, kind in (("yolox-nano", "YOLOX"), ("yolox-nano-coco", "YOLOX"), ("rtmdet-nano", "RTMDet")):
            with self.subTest(name):
                said = self.launch(f"videotestsrc num-buffers=1 ! rtmposebatch execution-provider=cpu model-file={self.folder}/{name}.onnx ! fakesink", fails=True)
                self.assertIn(kind, said)
                self.assertIn("rtmposedetect", said)
        said = self.launch(f"videotestsrc num-buffers=1 ! rtmposedetect execution-provider=cpu model-file={self.folder}/rtmo-s.onnx ! fakesink", fails=True)
        self.assertIn("RTMO", said)
        self.assertIn("rtmposebatch", said)


if __name__ == "__main__":
    unittest.main()
