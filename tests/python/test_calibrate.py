"""models/training/calibrate.py: scores that are chances."""
import pathlib
import subprocess
import sys
import tempfile
import unittest

import numpy as np
import onnx
import onnxruntime

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPT, UNIT = ROOT / "models/training/calibrate.py", "score_unit"


class Calibrate(unittest.TestCase):
    def test_the_factor_multiplies_scores_and_moves_no_point(self):
        with tempfile.TemporaryDirectory() as folder:
            source, out = ROOT / "tests/networks/dots.onnx", pathlib.Path(folder) / "dots.onnx"
            run = lambda *arguments: subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True)
            done = run(source, "1.5", out)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual({entry.key: entry.value for entry in onnx.load(str(out)).metadata_props}, {UNIT: "1.28"})
            picture = np.random.default_rng(1).normal(size=(2, 3, 256, 192)).astype(np.float32)
            answers = [onnxruntime.InferenceSession(str(file)).run(None, {"input": picture}) for file in (source, out)]
            for before, after in zip(*answers):
                np.testing.assert_array_equal(after, before * np.float32(1.5))
            self.assertIn(f"has a {UNIT} already", run(out, "1.5", out).stderr)


if __name__ == "__main__":
    unittest.main()
