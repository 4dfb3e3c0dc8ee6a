"""rtmposejson's formats for other tools, with their readers: pycocotools, and a reader of OpenPose's files that is as strict as the
tools are which read them."""

import contextlib
import io
import json
import pathlib
import re
import shlex
import tempfile
import unittest

import numpy as np
from examples import ALLOWED, DOTS, HEIGHT, WIDTH, limited, pose, source, write_video
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

ARRAYS = ["pose_keypoints_2d", "face_keypoints_2d", "hand_left_keypoints_2d", "hand_right_keypoints_2d"]


def read_openpose(folder):
    """The people of each frame, as Pose2Sim (personAssociation.read_json, triangulation.extract_files_frame_f) reads them. The
    last number in a file's name is the frame; all frames are there. x, y and score are each third number of a person's array,
    from 0, 1 and 2 on."""
    files = sorted(folder.glob("*.json"), key=lambda file: int(re.split(r"(\d+)", file.name)[-2]))
    assert [int(re.split(r"(\d+)", file.name)[-2]) for file in files] == list(range(len(files)))
    frames = []
    for file in files:
        text = json.loads(file.read_text())
        assert text["version"] == 1.3
        people = []
        for person in text["people"]:
            assert all(isinstance(number, (int, float)) for name in ARRAYS for number in person[name])
            people.append({name: np.array([person[name][i::3] for i in range(3)]).T for name in ARRAYS})
            people[-1]["id"] = person["person_id"][0]
        frames.append(people)
    return frames


class Formats(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.video = write_video(self.folder / "dots.rgb")

    def write(self, network, properties):
        line = f"{source(self.video)} ! {pose(network)} ! rtmposejson {properties} ! fakesink"
        limited(["gst-launch-1.0", "-q", *shlex.split(line)], check=True)

    def test_openposes_files_are_read(self):
        # Numbers of points of the body, the face and a hand. All points of a network are at the dot.
        for network, counts in {"dots-17": (18, 0, 0), "dots-26-256x192": (25, 0, 0), "dots-133-256x192": (25, 70, 21)}.items():
            folder = self.folder / network
            folder.mkdir()
            self.write(network, f"format=openpose location={folder}/%012d_keypoints.json")
            frames = read_openpose(folder)
            self.assertEqual(len(frames), len(DOTS), network)
            for people, dot in zip(frames, DOTS):
                (person,) = people
                self.assertEqual([len(person[name]) for name in ARRAYS], [*counts, counts[2]], network)
                for name in ARRAYS:
                    points = person[name][:68]
                    self.assertTrue((abs(points[:, :2] - dot) <= ALLOWED).all(), f"{network}: {name}")
                    self.assertTrue(((points[:, 2] > 0.9) & (points[:, 2] <= 1)).all(), f"{network}: {name}")

    def test_pycocotools_reads_cocos_list(self):
        results = self.folder / "results.json"
        self.write("dots-17", f"format=coco location={results}")
        truth = {
            "images": [{"id": number, "width": WIDTH, "height": HEIGHT} for number in range(len(DOTS))],
            "categories": [{"id": 1, "name": "person"}],
            "annotations": [
                {"id": number + 1, "image_id": number, "category_id": 1, "iscrowd": 0, "num_keypoints": 17, "area": WIDTH * HEIGHT,
                 "bbox": [0, 0, WIDTH, HEIGHT], "keypoints": [*dot, 2] * 17}
                for number, dot in enumerate(DOTS)
            ],
        }  # fmt: skip
        with contextlib.redirect_stdout(io.StringIO()):
            coco = COCO()
            coco.dataset = truth
            coco.createIndex()
            evaluation = COCOeval(coco, coco.loadRes(str(results)), "keypoints")
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        self.assertEqual(evaluation.stats[0], 1.0, "average precision at OKS .50 to .95")


if __name__ == "__main__":
    unittest.main()
