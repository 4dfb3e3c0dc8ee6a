"""The embedded model: its contract, its size, what the card says of it, and that half precision is storage only."""
import hashlib
import importlib.util
import pathlib
import tempfile
import unittest

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, numpy_helper

MODELS = pathlib.Path(__file__).resolve().parents[2] / "models"
FILE = MODELS / "rtmpose-t.onnx"
INT8 = MODELS / "rtmpose-t-int8.onnx"


def session(optimized=None, level=ort.GraphOptimizationLevel.ORT_ENABLE_ALL, file=FILE):
    so = ort.SessionOptions()
    so.intra_op_num_threads = 2
    so.log_severity_level = 3
    so.graph_optimization_level = level
    if optimized:
        so.optimized_model_filepath = optimized
    return ort.InferenceSession(str(file), so, providers=["CPUExecutionProvider"])


class Model(unittest.TestCase):
    def test_size_and_checksum(self):
        card = (MODELS / "README.md").read_text()
        for file, most in ((FILE, 7_000_000), (INT8, 5_000_000)):
            data = file.read_bytes()
            self.assertLess(len(data), most)
            self.assertIn(hashlib.sha256(data).hexdigest(), card)
            self.assertIn(f"{len(data):,} bytes", card)

    def test_contract(self):
        for file in (FILE, INT8):
            self.check_contract(session(file=file))

    def check_contract(self, s):
        self.assertEqual([(v.name, v.type, v.shape) for v in s.get_inputs() + s.get_outputs()],
                         [("input", "tensor(float)", ["batch", 3, 256, 192]),
                          ("simcc_x", "tensor(float)", ["batch", 17, 384]),
                          ("simcc_y", "tensor(float)", ["batch", 17, 512])])

    def test_rows_do_not_depend_on_the_batch(self):
        s = session()
        x = np.random.default_rng(0).standard_normal((8, 3, 256, 192), np.float32)
        eight = s.run(["simcc_x", "simcc_y"], {"input": x})
        self.assertEqual([o.shape for o in eight], [(8, 17, 384), (8, 17, 512)])
        for n in (1, 3):
            for rows in (slice(0, n), slice(8 - n, 8)):
                for o, all_rows in zip(s.run(["simcc_x", "simcc_y"], {"input": x[rows]}), eight):
                    self.assertEqual(o.shape[0], n)
                    np.testing.assert_allclose(o, all_rows[rows], atol=2e-5)
        self.assertTrue(all(np.isfinite(o).all() for o in eight))

    def test_half_is_for_storage_only(self):
        """ONNX Runtime folds every cast when it loads the file: it runs in float32, without casts."""
        stored = onnx.load(FILE)
        halves = {t.name for t in stored.graph.initializer if t.data_type == TensorProto.FLOAT16}
        casts = [n for n in stored.graph.node if n.op_type == "Cast"]
        self.assertEqual({n.input[0] for n in casts}, halves)
        self.assertEqual(len(casts), len(halves))
        self.assertTrue(all(sum(h in n.input for n in stored.graph.node) == 1 for h in halves))
        with tempfile.TemporaryDirectory() as d:
            for level in ("ORT_ENABLE_BASIC", "ORT_ENABLE_EXTENDED", "ORT_ENABLE_ALL"):
                with self.subTest(level):
                    path = f"{d}/{level}.onnx"
                    session(path, getattr(ort.GraphOptimizationLevel, level))
                    g = onnx.load(path).graph
                    self.assertEqual([n.name for n in g.node if n.op_type == "Cast"], [])
                    self.assertNotIn(TensorProto.FLOAT16, {t.data_type for t in g.initializer})
                    self.assertGreater(len(g.node), 50)


class StoreHalf(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        spec = importlib.util.spec_from_file_location("store_half", MODELS / "store_half.py")
        cls.module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(cls.module)

    def test_the_same_network_gives_the_same_bytes(self):
        """Converts the shipped file back to float32 by hand, then with the script again: the result is the shipped file."""
        m = onnx.load(FILE)
        for t in m.graph.initializer:
            if t.data_type == TensorProto.FLOAT16:
                t.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(t).astype(np.float32), t.name.removesuffix(".half")))
        nodes = [n for n in m.graph.node if n.op_type != "Cast"]
        del m.graph.node[:]
        m.graph.node.extend(nodes)
        before = m.SerializeToString(deterministic=True)
        self.assertEqual(self.module.store_half(m).SerializeToString(deterministic=True), FILE.read_bytes())
        self.assertEqual(m.SerializeToString(deterministic=True), before, "the input is left as it was")

    def test_the_rule(self):
        g = onnx.load(FILE).graph
        for t in g.initializer:
            if t.data_type == TensorProto.FLOAT16:
                self.assertGreaterEqual(np.prod(t.dims), self.module.FEW)
            elif t.data_type == TensorProto.FLOAT:
                self.assertLess(np.prod(t.dims), self.module.FEW)
        first = next(n for n in g.node if "input" in n.input)
        self.assertEqual(first.op_type, "Conv")
        self.assertIn(first.input[1], {t.name for t in g.initializer if t.data_type == TensorProto.FLOAT})


if __name__ == "__main__":
    unittest.main()
