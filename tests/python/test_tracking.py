"""The measure of tracking measures: truth between its marks, the score, and the loop, on numbers worked out by hand."""
import pathlib
import sys
import types
import unittest

import numpy as np

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "benches" / "tracking"
sys.path.insert(0, str(FOLDER))
import looping  # noqa: E402
import score  # noqa: E402
import truth  # noqa: E402

STANDING = np.array([[40, 20], [60, 20], [35, 40], [65, 40], [35, 60], [65, 60], [42, 60], [58, 60], [42, 80], [58, 80], [42, 98], [58, 98]], float)


def person(x=0, whole=True, points=True):
    """A person 100 pixels high."""
    return truth.Person(np.array([30 + x, 0, 40, 100.0]), STANDING + (x, 0) if points else None, whole)


def found(*people):
    """People found at the true places, moved by the shift: (shift, id) of each."""
    points = np.zeros((len(people), 17, 3))
    points[:, :, 2] = 1
    for index, (x, _) in enumerate(people):
        points[index, 5:, :2] = STANDING + (x, 0)
        points[index, :5, :2] = (50 + x, 5)
    return types.SimpleNamespace(points=points, ids=np.array([i for _, i in people]))


class Truth(unittest.TestCase):
    def test_between_two_marks_everything_is_linear(self):
        frames = truth.load("sports2d")
        first, middle, last = (frames[frame][2] for frame in (10, 12, 15))
        np.testing.assert_allclose(middle.points, 0.6 * first.points + 0.4 * last.points)
        np.testing.assert_allclose(middle.box, 0.6 * first.box + 0.4 * last.box)

    def test_marks_too_far_apart_leave_a_gap_and_part_stays_part(self):
        track = [(0, person()), (10, person(whole=False)), (21, person())]
        between = dict(truth._between(track))
        self.assertEqual(sorted(between), [*range(11), 21])
        self.assertEqual([f for f in between if between[f].whole], [0, 21])

    def test_every_file_is_read_and_every_point_lies_near_its_box(self):
        names = sorted(path.stem for path in truth.FOLDER.glob("*.csv"))
        self.assertEqual(len(names), 10)
        for name in names:
            for people in truth.load(name).values():
                for somebody in people.values():
                    self.assertGreater(somebody.box[2:].min(), 0)
                    if somebody.points is not None:
                        x, y, width, height = somebody.box
                        away = np.abs(somebody.points - (x + width / 2, y + height / 2)) - (width / 2, height / 2)
                        self.assertLess(away.max(), 0.05 * height, name)


class Score(unittest.TestCase):
    def test_six_points_within_a_tenth_of_the_height_are_enough(self):
        points = found((0, 1)).points[0]
        points[5 + 6 :, :2] += (0, 11)
        self.assertEqual(score.right_points(points, person()), 6)
        self.assertEqual(score.alike(points, person()), 0.5)
        points[5, :2] += (0, 11)
        self.assertEqual(score.alike(points, person()), 0)

    def test_exchanged_sides_are_found_and_not_right(self):
        frame = found((0, 1))
        frame.points[0, 5:] = frame.points[0, [6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15]]
        self.assertEqual(score.right_points(frame.points[0], person()), 0)
        self.assertEqual(score.right_points(frame.points[0], person(), sides=False), 12)
        one = score.follow([frame], {0: {1: person()}}).people[1]
        self.assertEqual((one.right, one.found), (0, 1))

    def test_where_truth_has_a_box_only_the_boxes_overlap(self):
        points = found((0, 1)).points[0]
        # The points span 30 x 93 of the box's 40 x 100.
        self.assertAlmostEqual(score.alike(points, person(points=False)), 30 * 93 / 4000)
        self.assertEqual(score.alike(points, person(x=30, points=False)), 0)

    def test_an_exchange_of_ids_is_two_switches_and_right_no_more(self):
        people = {frame: {1: person(), 2: person(200)} for frame in range(10)}
        frames = [found((0, 7), (200, 8)) if frame < 6 else found((200, 7), (0, 8)) for frame in range(10)]
        report = score.follow(frames, people)
        for one in report.people.values():
            self.assertEqual((one.judged, one.found, one.right, one.switches, one.wait), (10, 10, 6, 1, 0))
            self.assertEqual(one.misses, [6, 7, 8, 9])

    def test_a_new_id_after_a_break_is_allowed(self):
        people = {frame: {1: person()} for frame in range(10)}
        frames = [found((0, 7 if frame < 5 else 8)) for frame in range(10)]
        self.assertEqual(score.follow(frames, people, breaks=[5]).people[1].right, 10)
        self.assertEqual(score.follow(frames, people, grace=2, breaks=[5]).people[1].judged, 6)
        self.assertEqual(score.follow(frames, people).people[1].switches, 1)

    def test_late_finds_doubles_and_strangers(self):
        people = {frame: {1: person()} for frame in range(10)}
        frames = [found() if frame < 3 else found((0, 1), (4, 2), (500, 3)) for frame in range(10)]
        report = score.follow(frames, people)
        self.assertEqual((report.doubles, report.strangers), (7, 7))
        self.assertEqual((report.people[1].wait, report.people[1].right), (3, 7))

    def test_who_lies_alone_on_somebody_with_a_wrong_pose_is_no_double(self):
        people = {frame: {1: person()} for frame in range(10)}
        wrong = found((0, 1))
        wrong.points[0, 5:, 1] = 60
        report = score.follow([wrong] * 10, people)
        self.assertEqual((report.doubles, report.strangers, report.people[1].right), (0, 0, 0))
        wrong.points = np.repeat(wrong.points, 2, axis=0)
        self.assertEqual(score.follow([wrong] * 10, people).doubles, 10)

    def test_a_person_cut_by_the_edge_is_not_judged_and_no_stranger(self):
        people = {frame: {1: person(whole=False)} for frame in range(10)}
        report = score.follow([found((0, 1))] * 10, people)
        self.assertEqual((report.people, report.strangers), ({}, 0))

    def test_jitter_is_the_motion_of_what_stands_still(self):
        people = {frame: {1: person()} for frame in range(30)}
        frames = [found((frame % 2, 1)) for frame in range(30)]
        self.assertAlmostEqual(score.follow(frames, people).people[1].jitter, 10)

    def test_the_longest_run_is_of_one_id(self):
        self.assertEqual(score.longest_run([{1}, {1, 2}, {2}, {2}, set(), {2}, {2}]), (3, 6))
        self.assertEqual(score.longest_run([set()]), (0, 0))


class Loop(unittest.TestCase):
    def test_a_minute_goes_to_and_fro_with_two_cuts_and_an_emptiness(self):
        shown, breaks = looping.order(100, 60)
        self.assertEqual(len(shown), 3600)
        self.assertEqual(shown[:3] + shown[98:102] + shown[196:200], [0, 1, 2, 98, 99, 98, 97, 2, 1, 0, 1])
        self.assertEqual([f for f, i in enumerate(shown) if i is None], [*range(25 * 60, 35 * 60)])
        self.assertEqual(breaks, [15 * 60, 35 * 60, 45 * 60])
        jumps = [f for f in range(1, 3600) if None not in shown[f - 1 : f + 1] and abs(shown[f] - shown[f - 1]) > 1]
        self.assertEqual(jumps, [15 * 60, 45 * 60])


if __name__ == "__main__":
    unittest.main()
