#!/usr/bin/env python3
"""What rtmlib 0.0.16 makes of whole frames, stage by stage, for tests/parity/detectors.rs to compare with.

    python tests/parity/detectors.py OUT --networks FOLDER --video FILE.mp4 --frames N --drawings N [--pictures FOLDER]

OUT gets, little-endian,

    frames.csv, frames.bin      real pictures: width, height; RGB
    letterbox-HxW.bin           for each size, of each of them: uint8 [H,W,3], RGB
    stretch-HxW.bin             the same, as RF-DETR's are fitted

and drawings with a red, a green and a blue rectangle of any place and size over noise, 640x360:

    drawings.bin                uint8 [360,640,3], RGB
    rtmw3d.csv                  of the whole drawing as one person: drawing, and of each key point x, y, z, and z in bins / 2
    NAME.csv                    for each network of FOLDER, a line for each thing found: drawing, left, top, right, bottom, in
                                rtmlib's order; of rtmo x, y, score of each key point instead
"""
import argparse
import itertools
import pathlib
import types

import cv2
import numpy as np
from rtmlib import RTMO, YOLOX, RTMDet, RTMPose3d
from rtmlib.tools.object_detection.rfdetr import RFDETR

SIZES = [(416, 416), (640, 640), (320, 320), (640, 384)]  # height, width
INPUT = (64, 96)
DRAWING = (360, 640)


def frames_of(path, count):
    video = cv2.VideoCapture(str(path))
    total = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
    for number in np.linspace(0, total - 2, count).astype(int):
        video.set(cv2.CAP_PROP_POS_FRAMES, int(number))
        right, bgr = video.read()
        assert right, f"no frame {number} in {path}"
        yield bgr


def resized(frames):
    """The frames' content, also in other sizes and shapes."""
    for number, bgr in enumerate(frames):
        yield bgr
        height, width = bgr.shape[:2]
        yield cv2.resize(bgr, [(1280, 720), (720, 1280), (641, 479), (96, 64), (333, 217)][number % 5], interpolation=cv2.INTER_AREA)
        yield bgr[: height // 3, : width // 2].copy()


def drawing(rng):
    """A picture, and the number of rectangles in it."""
    count = 0
    height, width = DRAWING
    picture = rng.integers(104, 125, (height, width, 1)).repeat(3, 2).astype(np.uint8)
    # No two rectangles are equally bright: otherwise rounding would decide their order.
    for channel, level in zip(rng.permutation(3), rng.permutation([255, 225, 195])):
        w, h = rng.integers(40, 200), rng.integers(60, 220)
        x, y = rng.integers(0, width - w), rng.integers(0, height - h)
        if rng.random() < 0.85:
            picture[y : y + h, x : x + w] = np.eye(3)[channel] * level
            count += 1
    return picture, count


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--networks", type=pathlib.Path, required=True)
    parser.add_argument("--video", required=True)
    parser.add_argument("--frames", type=int, required=True)
    parser.add_argument("--drawings", type=int, required=True)
    parser.add_argument("--pictures", type=pathlib.Path)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    options.out.mkdir(parents=True, exist_ok=True)

    frames = list(frames_of(options.video, options.frames))
    if options.pictures:
        frames += [cv2.imread(str(path), cv2.IMREAD_COLOR) for path in sorted(options.pictures.iterdir())]
    frames = list(resized(frames))
    with open(options.out / "frames.csv", "w") as index, open(options.out / "frames.bin", "wb") as data:
        for bgr in frames:
            print(bgr.shape[1], bgr.shape[0], sep=",", file=index)
            data.write(np.ascontiguousarray(bgr[..., ::-1]).tobytes())
    for size in SIZES:
        detector = types.SimpleNamespace(model_input_size=size, mean=np.float32(0), std=np.float32(1))
        name = f"{size[0]}x{size[1]}"
        with open(options.out / f"letterbox-{name}.bin", "wb") as data:
            for bgr in frames:
                data.write(np.ascontiguousarray(YOLOX.preprocess(detector, bgr)[0][..., ::-1]).tobytes())
        with open(options.out / f"stretch-{name}.bin", "wb") as data:
            for bgr in frames:
                # Its normalisation first divides by 255.
                stretched = RFDETR.preprocess(detector, bgr)[0] * 255
                data.write(np.ascontiguousarray(stretched.round().astype(np.uint8)[..., ::-1]).tobytes())

    rng = np.random.default_rng(11)
    # rtmlib's RTMO raises an IndexError if there is no box at all. So a frame without people has a box with a
    # score of .2.
    drawings = list(itertools.islice((picture for picture, count in iter(lambda: drawing(rng), None) if count), options.drawings))
    drawings[3] = np.full_like(drawings[0], 114)
    drawings[3][100:200, 100:200, 0] = 165
    with open(options.out / "drawings.bin", "wb") as data:
        for rgb in drawings:
            data.write(rgb.tobytes())
    file = lambda name: str(options.networks / f"{name}.onnx")
    common = dict(backend="onnxruntime", device="cpu")
    detectors = {
        # With a file that suppresses boxes it ignores score_thr: .3 is in its code.
        "yolox": YOLOX(file("yolox"), INPUT, **common),
        "yolox-anchors": YOLOX(file("yolox-anchors"), INPUT, det_mode="multiclass", score_thr=0.3, **common),
        "rtmdet": RTMDet(file("rtmdet"), INPUT, **common),
        "rfdetr": RFDETR(file("rfdetr"), INPUT, det_mode="multiclass", score_thr=0.3, **common),
    }
    for name, detector in detectors.items():
        with open(options.out / f"{name}.csv", "w") as found:
            for number, rgb in enumerate(drawings):
                # RF-DETR takes RGB, the others BGR.
                boxes = detector(rgb if name == "rfdetr" else np.ascontiguousarray(rgb[..., ::-1]))
                boxes = boxes[0] if isinstance(boxes, tuple) else boxes
                for box in np.reshape(boxes, (-1, 4)):
                    print(number, *(f"{value:.6f}" for value in box), sep=",", file=found)
    pose = RTMPose3d(file("rtmw3d"), (288, 384), **common)
    with open(options.out / "rtmw3d.csv", "w") as found:
        for number, rgb in enumerate(drawings):
            points, _, bins, flat = pose(rgb)
            values = np.concatenate([flat[0], points[0, :, 2:], bins[0, :, 2:]], 1).ravel()
            print(number, *(f"{value:.6f}" for value in values), sep=",", file=found)
    # By default it suppresses once more, from an overlap of .45 on, what the file has left; mmpose does not.
    pose = RTMO(file("rtmo"), INPUT, score_thr=0.3, nms_thr=1.0, **common)
    with open(options.out / "rtmo.csv", "w") as found:
        for number, rgb in enumerate(drawings):
            points, scores = pose(np.ascontiguousarray(rgb[..., ::-1]))
            for person, of_person in zip(points, scores):
                values = np.concatenate([person, of_person[:, None]], 1).ravel()
                print(number, *(f"{value:.6f}" for value in values), sep=",", file=found)


if __name__ == "__main__":
    main()
