"""From the files of rtmposejson format=openpose to points in space, with Pose2Sim's own steps: calibration, association of the people
that the cameras see, triangulation.

triangulate.py PROJECT MODEL: a folder with Pose2Sim's Config.toml, calibration/ and pose/CAMERA_json/*.json; the skeleton as Pose2Sim
calls it: COCO or BODY_25. Prints the mean distance between the points and where they are seen to be."""

import logging
import os
import re
import sys

import rtoml
from Pose2Sim import Pose2Sim

WORST = 12.0
"""Pixels of 1080 lines. Fails above."""


def main(project, model):
    os.chdir(project)
    with open("Config.toml") as file:
        config = rtoml.loads(file.read())
    config["project"] |= {"project_dir": os.getcwd(), "multi_person": False}
    config["pose"]["pose_model"] = model
    config["triangulation"]["show_interp_indices"] = False
    told = []
    logging.basicConfig(level=logging.INFO, format="%(message)s", filename="pose2sim.log", filemode="w")
    logging.getLogger().addFilter(lambda record: told.append(record.getMessage()) or True)
    Pose2Sim.calibration(config)
    Pose2Sim.personAssociation(config)
    Pose2Sim.triangulation(config)
    (error,) = re.findall(r"Mean reprojection error for all points on frames .* is ([\d.]+) px, .* ([\d.]+) mm", "\n".join(told))
    print(f"Pose2Sim, {model}: mean reprojection error {error[0]} px, {error[1]} mm")
    if float(error[0]) > WORST:
        sys.exit(f"more than {WORST} px")


if __name__ == "__main__":
    main(*sys.argv[1:])
