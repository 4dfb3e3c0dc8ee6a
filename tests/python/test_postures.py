"""examples/python/postures.py on made-up poses: a body of straight limbs whose joints are where the test puts them."""

import pathlib
import sys
import tempfile
import unittest

import numpy as np
from examples import ROOT, pose, run, source, write_video

sys.path.insert(0, str(ROOT / "examples/python"))
import postures  # noqa: E402
from postures import Postures  # noqa: E402

FRAMES = 30
"""In a second."""


def body(depth=0.0, arm=0.0, lying=0.0, score=1.0):
    """A person whose shins are 40 long. The arguments say how far the hips are from standing (0) to level thighs (1), the
    wrists from the hips (0) to above the head (1), and the body from standing (0) to lying (1)."""
    hips = 40 * depth
    trunk = {"nose": (0, -70), "shoulders": (0, -50), "hips": (0, 0)}
    points = np.zeros((17, 3))
    points[:, 2] = score
    points[:5, :2] = trunk["nose"]
    points[5:7, :2] = trunk["shoulders"]
    points[7:11, :2] = (15, -100 * arm)
    points[11:13, :2] = trunk["hips"]
    points[13:15, :2] = (0, 40 - hips)
    points[15:17, :2] = (0, 80 - hips)
    angle = lying * np.pi / 2
    points[:, :2] = points[:, :2] @ np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) + 200
    return points


class Poses(unittest.TestCase):
    def setUp(self):
        self.postures, self.seconds = Postures(), 0.0

    def play(self, poses, identity=1, skeleton="coco-17"):
        """The events of successive poses, one for each frame; None: no person."""
        events = []
        for one in poses:
            points = np.array([one] if one is not None else []).reshape(-1, 17, 3)
            ids = np.full(len(points), identity)
            events += [what for _, what in self.postures.see(self.seconds, points, ids, skeleton)]
            self.seconds += 1 / FRAMES
        return events

    @staticmethod
    def there_and_back(count=40):
        return 0.5 - 0.5 * np.cos(np.linspace(0, 2 * np.pi, count))

    def squat(self, deep=1.0, noise=0.0):
        shaken = np.random.default_rng(1)
        for depth in deep * self.there_and_back():
            yield body(depth=depth) + shaken.normal(0, noise, (17, 3)) * (1, 1, 0)

    def test_squats_are_counted(self):
        self.assertEqual(self.play(self.squat()), ["squat 1"])
        self.assertEqual(self.play([*self.squat(), *self.squat()]), ["squat 2", "squat 3"])
        self.assertEqual(self.play(self.squat(deep=0.4)), [], "a bow of the knees is none")
        self.assertEqual(self.play(self.squat(noise=1.5)), ["squat 4"], "jitter makes one of one")

    def test_squats_are_somebodys(self):
        self.assertEqual(self.play(self.squat(), identity=1), ["squat 1"])
        self.assertEqual(self.play(self.squat(), identity=2), ["squat 1"])
        self.assertEqual(self.play(self.squat(), identity=-1), [], "nobody's")
        self.assertEqual(self.play(self.squat(), identity=1), ["squat 2"], "the same person is back")
        # The program drops people after a minute.
        self.play([None] * FRAMES)
        self.seconds += postures.GONE
        self.play([None])
        self.assertEqual(self.play(self.squat(), identity=1), ["squat 1"])

    def test_points_that_are_not_found_say_nothing(self):
        self.assertEqual(self.play(one * (1, 1, 0.2) for one in self.squat()), [])
        # In the middle of a squat the legs are hidden for a while.
        poses = list(self.squat())
        for pose in poses[15:25]:
            pose[11:, 2] = 0.1
        self.assertEqual(self.play(poses), ["squat 1"])
        # A person who gets up unseen was not seen to get up.
        self.assertEqual(self.play([body(depth=1.0)] * 5), [])
        self.assertEqual(self.play([body(score=0.1)] * 3 * FRAMES), [])
        self.assertEqual(self.play([body()] * 5), [])

    def test_an_arm_is_raised(self):
        arms = [body(arm=arm) for arm in self.there_and_back()]
        self.assertEqual(self.play(arms), ["raises an arm", "lowers the arm"])
        self.assertEqual(self.play([body(arm=arm * 0.6) for arm in self.there_and_back()]), [], "as high as the shoulders")

    def test_somebody_who_lies_is_told_after_a_while(self):
        falls = [body(lying=share) for share in np.linspace(0, 1, 15)]
        self.assertEqual(self.play(falls + [body(lying=1)] * round(4.5 * FRAMES)), [])
        self.assertEqual(self.play([body(lying=1)] * FRAMES), ["lies on the floor for 5 s"])
        self.assertEqual(self.play([body(lying=1)] * 20 * FRAMES), [], "once")
        self.assertEqual(self.play([body()] * 2), ["lies no longer"])

    def test_who_bends_down_or_is_gone_does_not_lie(self):
        bent = body()
        bent[:5, :2], bent[5:7, :2] = (270, 200), (250, 200)
        self.assertEqual(self.play([bent] * 10 * FRAMES), [])
        # No person is seen for as long.
        self.play([body(lying=1)] * FRAMES)
        self.assertEqual(self.play([None] * 10 * FRAMES + [body(lying=1)] * FRAMES), [])

    def test_other_skeletons_are_left_out(self):
        self.assertEqual(self.play(self.squat(), skeleton="ap10k-17"), [])

    def test_the_program_plays_a_video(self):
        program = ROOT / "examples/python/postures.py"
        self.assertIn("usage", run(sys.executable, program, status=1))
        with tempfile.TemporaryDirectory() as folder:
            video = write_video(pathlib.Path(folder) / "dots.rgb")
            # All points lie in the dot: no posture, and no error.
            line = f"{source(video)} ! {pose('dots-17')} ! fakesink"
            self.assertEqual(run(sys.executable, program, line), "")
        self.assertLessEqual(len(program.read_text().splitlines()), 150)


if __name__ == "__main__":
    unittest.main()
