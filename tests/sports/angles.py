"""From the files of rtmposejson format=openpose to the angles of joints, with Sports2D: its calculation takes points from a TRC file,
which Pose2Sim's reader of OpenPose's files and Sports2D's writer make here.

angles.py VIDEO FOLDER MODEL PERSON SIDE OUT: the video, the folder of its files, the skeleton as Pose2Sim calls it, the id of a person who
walks past, and which side the camera sees, which Sports2D tells itself where feet have points. Prints the range of the knees' angles."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from anytree import RenderTree
from Pose2Sim import skeletons
from Pose2Sim.personAssociation import read_json
from Sports2D import Sports2D
from Sports2D.process import make_trc_with_trc_data, trc_data_from_XYZtime

KINDS = {"COCO": "body", "BODY_25": "body_with_feet"}
"""What Sports2D calls networks with these points."""
POSSIBLE = {"right knee": (-15, 90), "left knee": (-15, 90)}
"""Degrees of flexion between which the knees of somebody who walks are in nine of ten frames."""


def main(video, folder, model, person, side, out):
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    rate = cv2.VideoCapture(video).get(cv2.CAP_PROP_FPS)
    points = [node for _, _, node in RenderTree(getattr(skeletons, model)) if node.id is not None]
    files = sorted(Path(folder).glob("*.json"))
    frames = []
    for file in files:
        ids = [someone["person_id"][0] for someone in json.loads(file.read_text())["people"]]
        numbers = read_json(file)[ids.index(int(person))] if int(person) in ids else [np.nan] * 75
        frames.append([numbers[3 * node.id : 3 * node.id + 2] for node in points])
    places = np.array(frames)
    names = [node.name for node in points]
    x, y = (pd.DataFrame(places[:, :, axis], columns=names) for axis in (0, 1))
    time = pd.Series(np.arange(len(files)) / rate, name="time")
    trc = out / "points_px.trc"
    make_trc_with_trc_data(trc_data_from_XYZtime(x, y, x * 0, time), trc, rate)

    quiet = {"show_realtime_results": False, "save_vid": False, "save_img": False}
    Sports2D.process({
        "base": {"video_input": [str(Path(video).resolve())], "video_dir": str(Path(video).resolve().parent), "load_trc_px": str(trc),
                 "result_dir": str(out), "person_ordering_method": "first_detected", "nb_persons_to_detect": 1,
                 "visible_side": [side], **quiet},
        "pose": {"pose_model": KINDS[model], "backend": "onnxruntime", "device": "cpu"},
        "px_to_meters_conversion": {"to_meters": False, "save_calib": False, "make_c3d": False},
        "post-processing": {"show_graphs": False, "save_graphs": False},
    })
    (written,) = out.glob("*_Sports2D/*angles*.mot")
    start = written.read_text().splitlines().index("endheader") + 1
    angles = pd.read_csv(written, sep="\t", skiprows=start)
    assert len(angles) == len(files), f"{len(angles)} of {len(files)} frames have angles"
    for name, (least, most) in POSSIBLE.items():
        # Sports2D adds half a turn, and keeps it, when an angle jumps by a quarter: when legs cross.
        low, high = np.nanpercentile((angles[name] + 90) % 180 - 90, [5, 95])
        print(f"Sports2D, {model}: {name} from {low:.0f} to {high:.0f} degrees")
        assert least < low and high < most, name


if __name__ == "__main__":
    main(*sys.argv[1:])
