#!/usr/bin/env python3
"""What rtmlib 0.0.16 makes of real pictures, stage by stage, for tests/parity/main.rs to compare with.

    python tests/parity/reference.py OUT --model FILE.onnx --video FILE.mp4 --marks FILE.csv --frames N --boxes N [--pictures FOLDER]

OUT gets frames.csv (width, height) with frames.bin (RGB), and for each size of crop HxW a folder with boxes.csv (frame, kind,
x, y, width, height) and, row by row in that order, little-endian:

    matrices.bin   float64 [2,3], frame to crop
    crops.bin      uint8 [H,W,3], RGB

and for the model's own size also what comes out of it, K points:

    simcc_x.bin, simcc_y.bin   float32 [K,2W], [K,2H]
    mean.bin, min.bin          float32 [K], scores in both modes
    points.bin                 float32 [K,2], pixels of the frame; rtmlib's -1 of missing points left as it is

vitpose/ has what rtmlib's ViTPose makes of pictures with a blurred dot in each channel (--heatmaps FILE.onnx, K points): for
crops, points in pixels of the crop,

    crops.bin              uint8 [256,192,3], RGB
    crop_points.bin        float32 [K,2]
    crop_scores.bin        float32 [K]

and for frames of 640x480 with the box of boxes.csv (x, y, width, height) on each, frames.bin (RGB), frame_points.bin and
frame_scores.bin.

skeletons.csv has rtmlib's definitions of the skeletons, one point or link a line: `point,SKELETON,NAME,NAME OF ITS MIRROR IMAGE`
in their order, and `link,SKELETON,NAME,NAME`.

Boxes of kind `mark` are people's (MARKS), `random` are anywhere, also across the frame's border, `aligned` are random ones
whose crop has its pixels on 1/32 of the frame's, to which OpenCV rounds: there its interpolation is exact.
"""
import argparse
import csv
import pathlib

import cv2
import numpy as np
from rtmlib import RTMPose, ViTPose
from rtmlib.visualization import skeleton as definitions
from rtmlib.tools.pose_estimation.post_processings import _combine_axis_scores
from rtmlib.tools.pose_estimation.pre_processings import bbox_xyxy2cs, get_warp_matrix, top_down_affine

SKELETONS = {
    "coco-17": definitions.coco17,
    "halpe-26": definitions.halpe26,
    "coco-wholebody-133": definitions.coco133,
    "hand-21": definitions.hand21,
    "ap10k-17": definitions.animal17,
}
SIZES = [(192, 256), (288, 384), (256, 256)]  # width, height


def video_frames(path, marks, count):
    """Marked frames, spread over the video, with the boxes of their people."""
    with open(marks) as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    numbers = sorted({int(row["frame"]) for row in rows})
    video = cv2.VideoCapture(str(path))
    for number in numbers[:: max(1, len(numbers) // count)][:count]:
        video.set(cv2.CAP_PROP_POS_FRAMES, number)
        right, bgr = video.read()
        assert right, f"no frame {number} in {path}"
        boxes = [[round(float(row[key])) for key in ("x", "y", "width", "height")] for row in rows if int(row["frame"]) == number]
        yield cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), boxes


def pictures(folder):
    for path in sorted(folder.iterdir()):
        bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
        assert bgr is not None, f"{path} is no picture"
        yield cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), []


def random_box(rng, width, height):
    """A box with its middle in the frame; it may be larger than the frame or cross its border."""
    w, h = (int(v) for v in np.exp(rng.uniform(np.log(24), np.log(1.5 * height), 2)))
    return [int(rng.integers(0, width)) - w // 2, int(rng.integers(0, height)) - h // 2, w, h]


def aligned_box(rng, width, height, size):
    """A box for which a crop pixel is 5n/32 frame pixels: the longer side of the padded box is 5n/32 times the crop's, and the
    middle is a whole pixel."""
    longest = max(1, int(height * 1.5 / (size[1] / 8)))
    n = 2 * int(rng.integers(1, max(2, longest // 2 + 1)))
    w, h = size[0] * n // 8, size[1] * n // 8
    # One side determines the size; the other is shorter and grows.
    if rng.random() < 0.5:
        w = max(2, int(w * rng.uniform(0.3, 1)) // 2 * 2)
    else:
        h = max(2, int(h * rng.uniform(0.3, 1)) // 2 * 2)
    return [int(rng.integers(0, width)) - w // 2, int(rng.integers(0, height)) - h // 2, w, h]


def boxes_of(frames, count, size, seed):
    """Rows (frame, kind, box): every mark, and `count` others."""
    rng = np.random.default_rng(seed)
    rows = [(index, "mark", box) for index, (_, marks) in enumerate(frames) for box in marks]
    for number in range(count):
        index = number % len(frames)
        height, width = frames[index][0].shape[:2]
        if number % 4 == 3:
            rows.append((index, "aligned", aligned_box(rng, width, height, size)))
        else:
            rows.append((index, "random", random_box(rng, width, height)))
    return sorted(rows, key=lambda row: row[0])


def xyxy(box):
    x, y, w, h = box
    return np.array([x, y, x + w, y + h])


def geometry(rgb, box, size):
    """rtmlib's matrix and crop of one box, made like RTMPose.preprocess does."""
    centre, scale = bbox_xyxy2cs(xyxy(box), padding=1.25)
    crop, scale = top_down_affine(size, scale, centre, rgb)
    return get_warp_matrix(centre, scale, 0, output_size=size), crop


def dots(rng, width, height, inside):
    """A blurred dot in each channel, within a box, over faint noise."""
    x, y, w, h = inside
    picture = rng.uniform(0, 12, (height, width, 3))
    across, down = np.meshgrid(np.arange(width), np.arange(height))
    for channel in range(3):
        cx, cy = x + rng.uniform(0.02, 0.98) * w, y + rng.uniform(0.02, 0.98) * h
        deviation = rng.uniform(0.03, 0.08) * min(w, h)
        picture[..., channel] += rng.uniform(90, 240) * np.exp(-((across - cx) ** 2 + (down - cy) ** 2) / (2 * deviation**2))
    return picture.clip(0, 255).astype(np.uint8)


def vitpose(out, model, count):
    rng = np.random.default_rng(7)
    pose = ViTPose(model, model_input_size=(192, 256), backend="onnxruntime", device="cpu")
    names = ["crops", "crop_points", "crop_scores", "frames", "frame_points", "frame_scores"]
    files = {name: open(out / f"{name}.bin", "wb") for name in names}
    for _ in range(count):
        crop = dots(rng, 192, 256, (0, 0, 192, 256))
        normalised = (crop - np.array(pose.mean)) / np.array(pose.std)
        points, scores = pose.postprocess(pose.inference(normalised), np.array([96.0, 128.0]), np.array([192.0, 256.0]))
        files["crops"].write(crop.tobytes())
        files["crop_points"].write(points[0].astype("<f4").tobytes())
        files["crop_scores"].write(scores[0].astype("<f4").tobytes())
    with open(out / "boxes.csv", "w") as index:
        for _ in range(count):
            w, h = int(rng.integers(60, 200)), int(rng.integers(90, 300))
            x, y = int(rng.integers(-20, 640 - w + 20)), int(rng.integers(-20, 480 - h + 20))
            frame = dots(rng, 640, 480, (max(x, 0), max(y, 0), min(x + w, 640) - max(x, 0), min(y + h, 480) - max(y, 0)))
            points, scores = pose(frame, [[x, y, x + w, y + h]])
            print(x, y, w, h, sep=",", file=index)
            files["frames"].write(frame.tobytes())
            files["frame_points"].write(points[0].astype("<f4").tobytes())
            files["frame_scores"].write(scores[0].astype("<f4").tobytes())
    for file in files.values():
        file.close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--video", required=True)
    parser.add_argument("--marks", required=True)
    parser.add_argument("--frames", type=int, required=True)
    parser.add_argument("--boxes", type=int, required=True)
    parser.add_argument("--heatmaps", required=True)
    parser.add_argument("--pictures", type=pathlib.Path)
    options = parser.parse_args()
    cv2.setNumThreads(1)

    frames = list(video_frames(options.video, options.marks, options.frames))
    if options.pictures:
        frames += list(pictures(options.pictures))
    options.out.mkdir(parents=True, exist_ok=True)
    with open(options.out / "frames.csv", "w") as index, open(options.out / "frames.bin", "wb") as data:
        for rgb, _ in frames:
            print(rgb.shape[1], rgb.shape[0], sep=",", file=index)
            data.write(np.ascontiguousarray(rgb).tobytes())

    with open(options.out / "skeletons.csv", "w") as file:
        for name, skeleton in SKELETONS.items():
            for point in sorted(skeleton["keypoint_info"].values(), key=lambda point: point["id"]):
                print("point", name, point["name"], point["swap"], sep=",", file=file)
            for link in skeleton["skeleton_info"].values():
                print("link", name, *link["link"], sep=",", file=file)

    (options.out / "vitpose").mkdir(exist_ok=True)
    vitpose(options.out / "vitpose", options.heatmaps, max(20, options.boxes // 10))
    pose = RTMPose(options.model, model_input_size=SIZES[0], backend="onnxruntime", device="cpu")
    for number, size in enumerate(SIZES):
        # After the crop the code is the same for all sizes, so the others get fewer boxes.
        rows = boxes_of(frames, options.boxes if number == 0 else options.boxes // 10, size, number)
        folder = options.out / f"{size[1]}x{size[0]}"
        folder.mkdir(exist_ok=True)
        names = ["matrices", "crops"] + (["simcc_x", "simcc_y", "mean", "min", "points"] if number == 0 else [])
        files = {name: open(folder / f"{name}.bin", "wb") for name in names}
        with open(folder / "boxes.csv", "w") as index:
            for frame, kind, box in rows:
                rgb = frames[frame][0]
                print(frame, kind, *box, sep=",", file=index)
                matrix, crop = geometry(rgb, box, size)
                files["matrices"].write(matrix.astype("<f8").tobytes())
                files["crops"].write(crop.tobytes())
                if number:
                    continue
                normalised, centre, scale = pose.preprocess(rgb, xyxy(box))
                assert ((normalised * pose.std + pose.mean).round() == crop).all(), "not the crop that rtmlib uses"
                x, y = pose.inference(normalised)
                points, mean = pose.postprocess([x, y], centre, scale)
                smaller = _combine_axis_scores(x.max(-1), y.max(-1), method="min")
                for name, array in (("simcc_x", x), ("simcc_y", y), ("mean", mean), ("min", smaller), ("points", points)):
                    files[name].write(array[0].astype("<f4").tobytes())
        for file in files.values():
            file.close()


if __name__ == "__main__":
    main()
