"""The tests' networks give the answers that tests/networks/README.md promises, and are what make.py writes."""
import importlib.util
import pathlib
import unittest

import numpy as np
import onnxruntime as ort

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "networks"
MEAN = np.array([123.675, 116.28, 103.53])
STD = np.array([58.395, 57.12, 57.375])
RIGHT = ["dots", "colours", "dots-17", "dots-small", "dots-no-conv", "dots-symbolic", "scores", "packed", "packed-3", "nan", "fails"]
PUBLISHED = {f"dots-{k}-{h}x{w}": (k, h, w) for k, h, w in [
    (17, 384, 288), (17, 256, 256), (26, 256, 192), (26, 384, 288), (133, 256, 192), (133, 384, 288), (21, 256, 256), (106, 256, 256)]}
RIGHT += PUBLISHED
RIGHT.append("vitpose")
DETECTORS = ["yolox", "yolox-by-class", "rtmdet-by-class", "yolox-doubles", "yolox-int32", "yolox-one", "yolox-one-hidden", "yolox-any-size", "yolox-body", "rtmdet", "yolox-anchors", "rfdetr", "rtmo",
             "boxes-many", "boxes-bad", "classifier"]
RIGHT += DETECTORS
RIGHT.append("rtmw3d")
FAULTY = ["batch-1", "heatmaps", "float16", "uint8-nchw", "one-channel", "other-names", "short-simcc", "short-simcc-hidden",
          "different-k", "different-k-hidden", "no-size", "zero-size"]


def session(name):
    so = ort.SessionOptions()
    so.intra_op_num_threads = 1
    so.log_severity_level = 4
    return ort.InferenceSession(str(FOLDER / f"{name}.onnx"), so, providers=["CPUExecutionProvider"])


def dot(shape, size, centre, hw=(256, 192)):
    """One dot as coverage 0..1 of each pixel; pixel i is the square from i - 0.5 to i + 0.5."""
    if shape == "square":
        cover = [np.clip(size / 2 + 0.5 - abs(np.arange(n) - c), 0, 1) for n, c in zip(hw, reversed(centre))]
        return np.outer(*cover)
    fine = 8
    at = [(np.arange(n * fine) + 0.5) / fine - 0.5 for n in hw]
    dx, dy = at[1][None, :] - centre[0], at[0][:, None] - centre[1]
    r = np.hypot(dx, dy)
    v = np.clip(2 - 4 * r / size, 0, 1) if shape == "soft" else (r <= size / 2).astype(float)
    return v.reshape(hw[0], fine, hw[1], fine).mean((1, 3))


def picture(dots, hw=(256, 192)):
    """Dots as (coverage, (r, g, b) 0..1) over black, as a float64 RGB picture 0..1."""
    rgb = np.zeros((*hw, 3))
    for v, colour in dots:
        rgb += v[..., None] * (np.array(colour) - rgb)
    return rgb


def normalised(rgb):
    """Pictures 0..1 [..., H, W, 3] as the network's input."""
    return np.ascontiguousarray(np.moveaxis((rgb * 255 - MEAN) / STD, -1, -3), np.float32)


def expected(channel):
    """The answer, computed without the networks: the centroid of what is brighter than 1/16 of the peak, and the peak."""
    r = np.maximum(channel - channel.max() / 16, 0)
    y, x = np.mgrid[: r.shape[0], : r.shape[1]]
    return (x * r).sum() / r.sum(), (y * r).sum() / r.sum(), channel.max()


def decode(simcc_x, simcc_y):
    return np.stack([simcc_x.argmax(-1) / 2, simcc_y.argmax(-1) / 2, simcc_x.max(-1), simcc_y.max(-1)], -1)


def drawn(count, seed, hw=(256, 192), largest=40):
    """`count` pictures with a red, a green and a blue dot each, completely inside; and the centres [count, 3, 2]."""
    rng = np.random.default_rng(seed)
    pictures, centres = [], []
    while len(pictures) < count:
        size = rng.uniform(3, largest, 3)
        centre = np.stack([rng.uniform(size / 2, hw[1] - 1 - size / 2), rng.uniform(size / 2, hw[0] - 1 - size / 2)], -1)
        apart = min(np.hypot(*(centre[i] - centre[j])) - 0.75 * (size[i] + size[j]) for i, j in ((0, 1), (0, 2), (1, 2)))
        if apart < 0:
            continue
        shapes = rng.choice(["disc", "square", "soft"], 3)
        bright = rng.uniform(0.4, 1, 3)
        pictures.append(picture([(dot(shapes[k], size[k], centre[k], hw), bright[k] * np.eye(3)[k]) for k in range(3)], hw))
        centres.append(centre)
    return np.stack(pictures), np.stack(centres)


class Answers(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.rgb, cls.centres = drawn(24, 1)

    def check(self, got, rgb, centres, points=None, mix=np.eye(3), scale=(1, 1)):
        """Compares got [N,K,4] = x, y, max_x, max_y with the independent answer, and with the places of the drawn dots."""
        for n in range(len(rgb)):
            for k in range(points or 3):
                x, y, peak = expected(np.clip(rgb[n] @ mix[k % 3], 0, None))
                np.testing.assert_allclose(got[n, k, :2], [x, y], atol=0.252, err_msg=f"picture {n} point {k}")
                np.testing.assert_allclose([x, y], centres[n, k % 3], atol=0.04, err_msg=f"picture {n} point {k} as drawn")
                np.testing.assert_allclose(got[n, k, 2:], np.multiply(peak, scale), atol=1e-4)

    def run_on(self, name, rgb):
        return decode(*session(name).run(["simcc_x", "simcc_y"], {"input": normalised(rgb)}))

    def test_a_dot_is_found_to_a_quarter_pixel(self):
        for name in ("dots", "dots-no-conv", "dots-symbolic", "fails"):
            with self.subTest(name):
                rgb = self.rgb * (0.85 if name == "fails" else 1)
                self.check(self.run_on(name, rgb), rgb, self.centres)

    def test_a_colour_is_found_among_others(self):
        mix = 1.5 * np.eye(3) - 0.5
        self.check(self.run_on("colours", self.rgb), self.rgb, self.centres, mix=mix)
        white = picture([(dot("disc", 12, (50, 60)), (1, 1, 1)), (dot("disc", 8, (120, 200)), (0.6, 0.2, 0.2))])[None]
        got = self.run_on("colours", white)[0]
        np.testing.assert_allclose(got[0], [120, 200, 0.4, 0.4], atol=1e-4)
        self.assertLess(abs(got[1:, 2:]).max(), 1e-6)

    def test_17_points(self):
        got = self.run_on("dots-17", self.rgb)
        self.assertEqual(got.shape, (24, 17, 4))
        self.check(got, self.rgb, self.centres, points=17)

    def test_published_sizes(self):
        for seed, (name, (k, h, w)) in enumerate(PUBLISHED.items(), 10):
            with self.subTest(name):
                rgb, centres = drawn(2, seed, (h, w))
                got = self.run_on(name, rgb)
                self.assertEqual(got.shape, (2, k, 4))
                self.check(got, rgb, centres, points=k)

    def test_small(self):
        rgb, centres = drawn(12, 2, (64, 48), 14)
        self.check(self.run_on("dots-small", rgb), rgb, centres)

    def test_scores_differ_and_pass_one(self):
        self.check(self.run_on("scores", self.rgb), self.rgb, self.centres, scale=(1.6, 1.2))

    def test_packed_forms(self):
        image = np.round(self.rgb * 255).astype(np.uint8)
        got, = session("packed").run(["keypoints"], {"image": image})
        self.check(got, image / 255, self.centres, scale=(1.6, 1.2))
        three, = session("packed-3").run(["keypoints"], {"image": image})
        np.testing.assert_array_equal(three, np.concatenate([got[..., :2], got[..., 2:].min(-1, keepdims=True)], -1))

    def test_white_and_grey_dots_are_found_by_every_point(self):
        for level in (1.0, 0.3):
            rgb = picture([(dot("disc", 9, (77.5, 33)), (level,) * 3)])[None]
            np.testing.assert_allclose(self.run_on("dots", rgb)[0], [[77.5, 33, level, level]] * 3, atol=1e-4)

    def test_nothing_scores_nothing(self):
        black = np.zeros((2, 256, 192, 3))
        for name in ("dots", "colours", "dots-17", "scores"):
            self.assertLess(abs(self.run_on(name, black)[..., 2:]).max(), 1e-6, name)

    def test_a_dimmer_background_does_not_matter(self):
        rng = np.random.default_rng(3)
        rgb = picture([(dot("disc", 11, (61, 140.5)), (1, 1, 1))])[None]
        rgb = np.maximum(rgb, 0.06 * rng.random(rgb.shape))
        np.testing.assert_allclose(self.run_on("dots", rgb)[0], [[61, 140.5, 1, 1]] * 3, atol=1e-4)

    def test_black_is_nan(self):
        rgb = np.stack([np.zeros((256, 192, 3)), picture([(dot("disc", 9, (20, 30)), (1, 0, 1))])])
        x, y = session("nan").run(["simcc_x", "simcc_y"], {"input": normalised(rgb)})
        black = [[True] * 3, [False, True, False]]
        for o in (x, y):
            np.testing.assert_array_equal(np.isnan(o).all(-1), black)
            np.testing.assert_array_equal(np.isnan(o).any(-1), black)
        np.testing.assert_allclose(decode(x, y)[1, 0], [20, 30, 0.995, 0.995], atol=1e-4)

    def test_white_fails(self):
        s = session("fails")
        rgb = np.stack([np.zeros((256, 192, 3)), picture([(dot("disc", 9, (20, 30)), (1, 1, 1))])])
        s.run(None, {"input": normalised(rgb[:1])})
        s.run(None, {"input": np.zeros((8, 3, 256, 192), np.float32)})
        with self.assertRaises(Exception):
            s.run(None, {"input": normalised(rgb)})
        s.run(None, {"input": normalised(rgb[:1])})

    def test_rows_do_not_know_each_other(self):
        for name in ("dots", "colours", "dots-17"):
            x = normalised(self.rgb[:8])
            s = session(name)
            whole = s.run(None, {"input": x})
            for n in range(8):
                for w, o in zip(whole, s.run(None, {"input": x[n : n + 1]})):
                    np.testing.assert_allclose(o[0], w[n], atol=1e-6)

    def test_heat_maps_are_highest_at_the_dots(self):
        maps, = session("vitpose").run(None, {"input_0": normalised(self.rgb)})
        self.assertEqual(maps.shape, (len(self.rgb), 17, 64, 48))
        for row, rgb in enumerate(self.rgb):
            for k in range(17):
                channel = rgb[..., k % 3]
                if (channel > 0).sum() < 200:
                    continue
                y, x = np.unravel_index(maps[row, k].argmax(), (64, 48))
                self.assertGreater(channel[4 * y : 4 * y + 4, 4 * x : 4 * x + 4].max(), 0.5 * channel.max())

    def test_faulty_ones_answer_too(self):
        """All except the one of size 0 run: so it is the contract that refuses them."""
        rgb, centres = self.rgb[:1], self.centres[:1]
        self.check(self.run_on("batch-1", rgb), rgb, centres)
        self.check(self.run_on("no-size", rgb), rgb, centres)
        with self.assertRaises(Exception):
            session("batch-1").run(None, {"input": normalised(self.rgb[:2])})
        bytes_in = np.ascontiguousarray(np.moveaxis(np.round(rgb * 255), -1, 1), np.uint8)
        self.check(decode(*session("uint8-nchw").run(None, {"input": bytes_in})), np.round(rgb * 255) / 255, centres)
        session("float16").run(None, {"input": normalised(rgb).astype(np.float16)})
        session("one-channel").run(None, {"input": normalised(rgb)[:, :1]})
        self.check(decode(*session("other-names").run(["x", "y"], {"images": normalised(rgb)})), rgb, centres)
        shapes = {"heatmaps": 2 * [(1, 17, 64, 48)]}
        for tag in ("", "-hidden"):
            shapes |= {"short-simcc" + tag: [(1, 3, 100), (1, 3, 512)], "different-k" + tag: [(1, 17, 384), (1, 16, 512)]}
        for name, want in shapes.items():
            self.assertEqual([o.shape for o in session(name).run(None, {"input": normalised(rgb)})], want, name)


class Files(unittest.TestCase):
    maxDiff = None

    def test_contracts(self):
        def io(name):
            s = session(name)
            return {v.name: (v.type, v.shape) for v in s.get_inputs() + s.get_outputs()}

        f, i = "tensor(float)", "tensor(int64)"
        plain = {"input": (f, ["batch", 3, 256, 192]), "simcc_x": (f, ["batch", 3, 384]), "simcc_y": (f, ["batch", 3, 512])}
        hidden = {"simcc_x": (f, ["batch", "points_x", "bins_x"]), "simcc_y": (f, ["batch", "points_y", "bins_y"])}
        short, differ = {"simcc_x": (f, ["batch", 3, 100])}, {"simcc_x": (f, ["batch", 17, 384]), "simcc_y": (f, ["batch", 16, 512])}
        published = {name: {"input": (f, ["batch", 3, h, w]), "simcc_x": (f, ["batch", k, 2 * w]), "simcc_y": (f, ["batch", k, 2 * h])}
                     for name, (k, h, w) in PUBLISHED.items()}
        want = published | {name: plain for name in ("dots", "colours", "dots-no-conv", "scores", "nan", "fails")} | {
            "dots-17": plain | {"simcc_x": (f, ["batch", 17, 384]), "simcc_y": (f, ["batch", 17, 512])},
            "dots-small": {"input": (f, ["batch", 3, 64, 48]), "simcc_x": (f, ["batch", 3, 96]), "simcc_y": (f, ["batch", 3, 128])},
            "dots-symbolic": plain | hidden,
            "rtmw3d": published["dots-133-384x288"] | {"simcc_z": (f, ["batch", 133, 576])},
            "packed": {"image": ("tensor(uint8)", ["batch", 256, 192, 3]), "keypoints": (f, ["batch", 3, 4])},
            "packed-3": {"image": ("tensor(uint8)", ["batch", 256, 192, 3]), "keypoints": (f, ["batch", 3, 3])},
            "batch-1": {name: (kind, [1] + shape[1:]) for name, (kind, shape) in plain.items()},
            "heatmaps": {"input": plain["input"], "heatmaps": (f, ["batch", 17, 64, 48]), "tags": (f, ["batch", 17, 64, 48])},
            "vitpose": {"input_0": plain["input"], "output_0": (f, ["batch", 17, 64, 48])},
            **{name: {"input": (f, [batch, 3, *size]), "dets": (f, [batch, found, 5]), "labels": (kind, [batch, found])}
               for name, batch, size, kind, *rest in (("yolox", "batch", (64, 96), i), ("yolox-int32", "batch", (64, 96), "tensor(int32)"),
                                               ("yolox-by-class", "batch", (64, 96), i), ("rtmdet-by-class", "batch", (64, 96), i),
                                               ("yolox-doubles", "batch", (64, 96), i),
                                               ("yolox-one", 1, (64, 96), i),
                                               ("yolox-any-size", "batch", ("height", "width"), i), ("rtmdet", "batch", (64, 96), i),
                                               ("boxes-many", "batch", (64, 96), i, 10_000), ("boxes-bad", "batch", (64, 96), i, 12)) for found in (rest or ["found"])},
            # ONNX Runtime finds out that `dets` has a batch of 1.
            "yolox-one-hidden": {"input": (f, ["batch", 3, 64, 96]), "dets": (f, [1, "found", 5]), "labels": (i, ["batch", "found"])},
            **{name: {"images": (f, ["batch", 3, 64, 96]), "output": (f, ["batch", 126, 7])} for name in ("yolox-anchors", "yolox-body")},
            "rfdetr": {"input": (f, ["batch", 3, 64, 96]), "dets": (f, ["batch", 5, 4]), "labels": (f, ["batch", 5, 3])},
            "rtmo": {"input": (f, ["batch", 3, 64, 96]), "dets": (f, ["batch", "found", 5]), "keypoints": (f, ["batch", "found", 17, 3])},
            "classifier": {"input": (f, ["batch", 3, 224, 224]), "logits": (f, ["batch", 10])},
            "float16": plain | {"input": ("tensor(float16)", ["batch", 3, 256, 192])},
            "uint8-nchw": plain | {"input": ("tensor(uint8)", ["batch", 3, 256, 192])},
            "one-channel": plain | {"input": (f, ["batch", 1, 256, 192])},
            "other-names": dict(zip(("images", "x", "y"), plain.values())),
            "short-simcc": plain | short,
            "short-simcc-hidden": plain | hidden,
            "different-k": plain | differ,
            "different-k-hidden": plain | hidden,
            "no-size": {"input": (f, ["batch", 3, "height", "width"]), "simcc_x": (f, ["batch", 3, "bins_x"]), "simcc_y": (f, ["batch", 3, "bins_y"])},
            "zero-size": {"input": (f, ["batch", 3, 0, 0]), "simcc_x": (f, ["batch", 3, 0]), "simcc_y": (f, ["batch", 3, 0])},
        }
        self.assertEqual({name: io(name) for name in RIGHT + FAULTY}, want)

    def test_the_script_makes_these_files(self):
        spec = importlib.util.spec_from_file_location("make", FOLDER / "make.py")
        make = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(make)
        made = make.networks()
        self.assertEqual(sorted(made), sorted(f"{n}.onnx" for n in RIGHT + FAULTY))
        self.assertEqual(sorted(made), sorted(p.name for p in FOLDER.glob("*.onnx")))
        for name, data in made.items():
            self.assertEqual(data, (FOLDER / name).read_bytes(), f"{name}: run tests/networks/make.py")
            self.assertLess(len(data), 10_000)


if __name__ == "__main__":
    unittest.main()
