"""People where they are, with the embedded network: in a picture, at one frame a second, with a detector that misses some."""
import pathlib
import sys
import tempfile
import unittest

import cv2
import numpy as np
import onnx
from onnx import helper, numpy_helper

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benches" / "tracking"))
import play  # noqa: E402

SIZE = (640, 360)


def still():
    """A frame of the demo's video, which shows two people."""
    video = cv2.VideoCapture(str(ROOT / ".deps/video/demo.mp4"))
    video.set(cv2.CAP_PROP_POS_MSEC, 2000)
    there, frame = video.read()
    assert there
    return cv2.resize(frame, SIZE, interpolation=cv2.INTER_AREA)


def found(frames, rate, properties=""):
    return play.play(play.pictures(frames, rate), properties)[0]


def ids(frames):
    return [sorted(frame.ids.tolist()) for frame in frames]


class Pictures(unittest.TestCase):
    def test_both_people_are_found_in_one_picture(self):
        self.assertEqual(ids(found([still()], 30)), [[1, 2]])

    def test_a_model_that_is_not_there_ends_the_measurement(self):
        with self.assertRaisesRegex(RuntimeError, "/not/there.onnx cannot be read"):
            found([still()], 30, "model-file=/not/there.onnx")

    def test_a_picture_that_is_empty_has_nobody(self):
        self.assertEqual(ids(found([np.full((360, 640, 3), 90, np.uint8)], 30)), [[]])

    def test_slides_show_their_own_people(self):
        empty = np.full((360, 640, 3), 90, np.uint8)
        seen = found([still(), empty, np.ascontiguousarray(still()[:, ::-1]), empty], 1)
        self.assertEqual([len(frame.ids) for frame in seen], [2, 0, 2, 0])

    def test_looks_two_seconds_apart_keep_the_ids(self):
        seen = found([still()] * 120, 30, "inference-interval=60")
        self.assertEqual(ids(seen), [[1, 2]] * 120)


def without_calibration(out):
    """Writes the embedded model with the scores for which the tracker's thresholds are (models/training/calibrate.py)."""
    model = onnx.load(str(ROOT / "models/rtmpose-t.onnx"))
    (factor,) = (tensor for tensor in model.graph.initializer if tensor.name == "score_factor")
    factor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(factor) / np.float32(1.28), factor.name))
    helper.set_model_props(model, {})
    onnx.save(model, out)


class Scores(unittest.TestCase):
    def test_people_are_found_and_tracked_alike_whatever_the_unit_of_scores_is(self):
        with tempfile.TemporaryDirectory() as folder:
            without_calibration(f"{folder}/plain.onnx")
            files = ROOT / "models/rtmpose-t.onnx", f"{folder}/plain.onnx"
            seen, plain = (found([still()] * 12, 30, f"model-file={file} precision=fp32") for file in files)
        self.assertEqual(ids(seen), [[1, 2]] * 12)
        self.assertEqual(ids(plain), [[1, 2]] * 12)
        for frame, other in zip(seen, plain):
            np.testing.assert_allclose(frame.points[..., :2], other.points[..., :2], atol=0.01)
            np.testing.assert_allclose(frame.points[..., 2], 1.28 * other.points[..., 2], rtol=1e-4, atol=1e-5)


if __name__ == "__main__":
    unittest.main()
