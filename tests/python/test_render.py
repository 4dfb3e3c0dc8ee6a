"""The renderer's parts that need numpy alone: joint limits, mirrored poses, the camera, the contract of the bodies' file, and, where there
is a g++, the rasteriser against exact integers.  What needs PyTorch or a GPU is in models/training/render/check.py."""
import ast
import pathlib
import re
import shutil
import sys
import unittest

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "models/training/render"))
import dress
import extract
import kernels
import layout
import poses
import scene


class Poses(unittest.TestCase):
    def setUp(self):
        self.pose, self.activity = poses.draw(np.random.default_rng(5), 4000)

    def test_every_angle_is_inside_its_joints_limits(self):
        self.assertTrue((self.pose >= poses.LOW).all() and (self.pose <= poses.HIGH).all())
        self.assertEqual(set(self.activity), set(range(len(poses.NAMES))))
        self.assertTrue((self.pose.std(0) > 1).all(), "an angle that never changes")

    def test_a_mirrored_pose_is_one_too_and_mirrored_again_is_the_first(self):
        m = poses.mirror(self.pose)
        self.assertTrue((m >= poses.LOW).all() and (m <= poses.HIGH).all())
        np.testing.assert_array_equal(poses.mirror(m), self.pose)
        np.testing.assert_array_equal(m[:, poses.AT["l_knee"]], self.pose[:, poses.AT["r_knee"]])
        np.testing.assert_array_equal(m[:, poses.AT["spine_side"]], -self.pose[:, poses.AT["spine_side"]])

    def test_neither_side_is_preferred(self):
        for name in ("knee", "arm_lift", "hip_out"):
            left, right = (self.pose[:, poses.AT[s + name]] for s in ("l_", "r_"))
            self.assertLess(abs(left.mean() - right.mean()), .1 * left.std(), name)

    def test_a_seed_gives_the_same_poses_and_another_seed_others(self):
        np.testing.assert_array_equal(poses.draw(np.random.default_rng(5), 4000)[0], self.pose)
        self.assertFalse(np.array_equal(poses.draw(np.random.default_rng(6), 4000)[0], self.pose))


class Scenes(unittest.TestCase):
    def setUp(self):
        rng = np.random.default_rng(8)
        self.s = scene.draw(rng, 300, rng.random(50), rng.random(50))

    def test_a_camera_keeps_lengths_and_stands_above_the_floor(self):
        R, d = self.s["R"], self.s["distance"]
        np.testing.assert_allclose(R @ R.transpose(0, 2, 1), np.broadcast_to(np.eye(3), R.shape), atol=1e-9)
        self.assertTrue((np.linalg.det(R) > .99).all())
        height = .9 - d * R[:, 2, 2]                                   # looking at a point .9 above the floor from distance d
        self.assertTrue((height > 0).all(), height.min())

    def test_the_world_is_upright_in_the_picture(self):
        upright = scene.look(np.radians([0., 20.]), np.zeros(2))
        up = upright @ np.array([0, 0, 1.])
        self.assertTrue((up[:, 1] < 0).all() and np.allclose(up[:, 0], 0))
        right = upright @ np.array([1., 0, 0])
        np.testing.assert_allclose(right, [[1, 0, 0]] * 2, atol=1e-12)

    def test_the_crop_is_the_box_grown_to_the_canvas_shape(self):
        low, high = np.array([[-.3, -.5], [-.6, -.1]]), np.array([[-.1, .4], [.5, .1]])
        f, x, y = scene.window(low, high)
        camera = np.stack((f, x, y), 1)
        ends = scene.project(np.concatenate((np.stack((low, high), 1), np.ones((2, 2, 1))), 2), camera)
        np.testing.assert_allclose(ends.mean(1), [[scene.CANVAS[0] / 2, scene.CANVAS[1] / 2]] * 2)
        part = (ends[:, 1] - ends[:, 0]) / np.array(scene.CANVAS)
        np.testing.assert_allclose(part.max(1), 1 / (scene.PAD * scene.GROW))       # a tall box by its height, a wide one by its width
        self.assertEqual(list(part.argmax(1)), [1, 0])

    def test_persons_are_ordered_by_crop_the_main_one_first(self):
        s = self.s
        np.testing.assert_array_equal(np.bincount(s["crop"]), s["count"])
        self.assertTrue((np.diff(s["crop"]) >= 0).all() and (s["place"][s["first"]] == 0).all())
        self.assertTrue((s["spot"][s["first"]] == 0).all())

    def test_half_of_the_people_are_among_others_and_some_are_seen_from_near(self):
        self.assertGreater((self.s["count"] > 1).mean(), .45)
        self.assertTrue(.15 < self.s["near"].mean() < .3, self.s["near"].mean())

    def test_few_clothes_are_loud(self):
        rgb = dress.cloth(np.random.default_rng(2), 4000) ** (1 / 2.2)
        saturation = 1 - rgb.min(1) / rgb.max(1)
        self.assertLess((saturation > .8).mean(), .05)
        self.assertGreater((saturation < .16).mean(), .4)
        self.assertGreater(rgb.std(0).min(), .15, "hardly any colour")

    def test_every_parameter_of_the_shader_is_set_once(self):
        self.assertEqual(self.s["params"].shape[1], layout.PERSON_SIZE)
        self.assertTrue(np.isfinite(self.s["params"]).all())
        with self.assertRaisesRegex(ValueError, "hem"):
            layout.fill({"hem": slice(0, 1)}, 1, 3)
        for table, size in ((layout.PERSON_AT, layout.PERSON_SIZE), (layout.CROP_AT, layout.CROP_SIZE)):
            self.assertEqual(sorted(i for s in table.values() for i in range(s.start, s.stop)), list(range(size)))


class Training(unittest.TestCase):
    def test_the_same_pictures_are_held_out_from_training_and_measured(self):
        """Reads the source, because train.py needs PyTorch."""
        folder = pathlib.Path(kernels.HERE).parent
        tables = [re.search(r"^VAL = (\{.*?\})", (folder / f).read_text(), re.M)[1] for f in ("train.py", "evaluate.py")]
        self.assertEqual(*map(ast.literal_eval, tables))
        share = re.search(r"^SHARE = (\{.*?\})", (folder / "train.py").read_text(), re.M)[1]
        self.assertAlmostEqual(sum(ast.literal_eval(share).values()), 1)


class File(unittest.TestCase):
    def arrays(self):
        V, J, K, M = 5, 3, 2, 4
        z = dict(mean=np.zeros((V + J, 3)), basis=np.zeros((K, V + J, 3)), coefficient=np.zeros((M, K)), female=np.zeros(M), age=np.zeros(M), normal=np.zeros((V, 3)),
                 face=np.array([[0, 1, 2], [2, 3, 4]]), parent=np.array([-1, 0, 1]), bone=np.array(["a", "b", "c"]), weight=np.zeros((V, J), np.uint8),
                 point=np.full((17, V), 1 / V), field=np.zeros((V, len(extract.FIELDS))))
        z["weight"][:, 0] = 255
        return z

    def test_a_file_of_bodies_is_taken_or_refused_by_name(self):
        extract.contract(self.arrays())
        for name, wrong in (("basis", np.zeros((2, 7, 3))), ("field", np.zeros((5, 8))), ("face", np.array([[0, 1, 5]])), ("parent", np.array([-1, 2, 1])),
                            ("weight", np.zeros((5, 3), np.uint8)), ("coefficient", None)):
            z = self.arrays()
            if wrong is None:
                del z[name]
            else:
                z[name] = wrong
            with self.assertRaisesRegex(ValueError, name):
                extract.contract(z)

    def test_the_shader_reads_as_many_fields_as_are_written(self):
        source = (pathlib.Path(kernels.HERE) / "raster.cu").read_text()
        self.assertIn(f"j < {len(extract.FIELDS)}; j++", source)


def exact(screen, face, W, H):
    """The nearest triangle at each pixel's centre, and its nearness, computed in integers, one triangle after another."""
    owner, best = np.full((H, W), -1), np.zeros((H, W), np.float32)
    y, x = np.mgrid[:H, :W].astype(np.int64) * 16 + 8
    corner16 = np.rint(screen[:, :2] * np.float32(16)).astype(np.int64)
    for f, (i, j, k) in enumerate(face):
        near = [screen[n][2] for n in (i, j, k)]
        a, b, c = corner16[i], corner16[j], corner16[k]
        cross = lambda u, v, px, py: (v[0] - u[0]) * (py - u[1]) - (v[1] - u[1]) * (px - u[0])
        area = cross(a, b, c[0], c[1])
        if min(near) <= 0 or area == 0:
            continue
        if area < 0:
            b, c, near, area = c, b, [near[0], near[2], near[1]], -area
        hit, value = np.ones((H, W), bool), np.zeros((H, W), np.float32)
        for (u, v), w in zip(((b, c), (c, a), (a, b)), near):
            e = cross(u, v, x, y)
            owns = v[1] < u[1] or (v[1] == u[1] and v[0] > u[0])      # an upper or left edge owns what lies on it
            hit &= (e > 0) | ((e == 0) & owns)
            value += e.astype(np.float32) / np.float32(area) * w
        hit &= value > best
        owner[hit], best[hit] = f, value[hit]
    return owner, best


@unittest.skipUnless(shutil.which("g++"), "no g++: the rasteriser's reference is not built")
class Raster(unittest.TestCase):
    def test_the_reference_covers_what_exact_integers_say(self):
        rng = np.random.default_rng(1)
        V, F, W, H = 60, 80, 40, 30
        screen = np.concatenate((rng.uniform(-10, 50, (V, 2)), rng.uniform(-.1, 1, (V, 1))), 1).astype(np.float32)
        screen[:30, :2] = np.round(screen[:30, :2]) + .5                # corners on pixels' centres: who owns a shared edge
        face = rng.integers(0, V, (F, 3)).astype(np.int32)
        seen, zero = np.zeros((H, W), np.int64), np.zeros(1, np.int32)
        lib, p = kernels.build(), lambda a: kernels.ctypes.c_void_p(a.ctypes.data)
        lib.cover(kernels.ctypes.c_int64(1), p(screen), p(face), p(zero), p(zero), V, F, W, H, p(seen), None)
        owner, best = exact(screen, face, W, H)
        self.assertGreater(len(set(owner.ravel())), 15)
        np.testing.assert_array_equal(np.where(seen == 0, -1, 0xffffffff - (seen & 0xffffffff)), owner)
        np.testing.assert_array_equal((seen >> 32).astype(np.int32).view(np.float32), best)


if __name__ == "__main__":
    unittest.main()
