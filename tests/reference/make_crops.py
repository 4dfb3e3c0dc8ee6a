#!/usr/bin/env python3
"""Makes crops.csv and crops.bin: what OpenCV cuts out of a picture that tests/pose_reference.rs draws again.

    pip install numpy opencv-python-headless==4.10.0.84
    python3 tests/reference/make_crops.py

crops.csv has one line per crop: name, network width and height, region x, y, width, height in frame pixels,
inference-scale. crops.bin holds the crops in that order, RGB, 8 bits, rows of network width.
"""

import pathlib

import cv2
import numpy as np

FRAME = (321, 243)

# name, network size, region (left, top, width, height), inference-scale
CROPS = [
    ("inside", (48, 64), (100, 60, 70, 110), 1.0),
    ("inside-fractions", (48, 64), (120.37, 71.81, 40.5, 33.25), 1.0),
    ("left", (48, 64), (-40.5, 60, 90, 110), 1.0),
    ("right", (48, 64), (270, 50.25, 90, 120), 1.0),
    ("top", (48, 64), (130, -61, 70, 110), 1.0),
    ("bottom", (48, 64), (90, 190, 70, 110.5), 1.0),
    ("corner", (48, 64), (-20, -30, 60, 80), 1.0),
    ("whole-frame", (48, 64), (0, 0, 321, 243), 1.0),
    ("larger-than-frame", (48, 64), (-300, -400, 900, 1000), 1.0),
    ("outside", (48, 64), (400, 10, 50, 60), 1.0),
    ("tiny", (48, 64), (160.3, 120.6, 3, 2), 1.0),
    ("enlarged", (96, 128), (200, 100, 30, 40), 1.0),
    ("resized-inside", (48, 64), (100, 60, 70, 110), 0.65),
    ("resized-corner", (48, 64), (-20, -30, 60, 80), 0.65),
    ("resized-whole-frame", (48, 64), (0, 0, 321, 243), 0.65),
    ("resized-enlarged", (96, 128), (200, 100, 30, 40), 0.65),
]


def draw():
    """Slopes, a fine and a coarse pattern, in whole numbers only, so that Rust draws exactly the same."""
    y, x = np.mgrid[0 : FRAME[1], 0 : FRAME[0]]

    def wave(n):
        return np.abs(n % 510 - 255)

    red = wave(2 * x + y)
    green = wave(x * x // 64 + 3 * y)
    blue = (x // 8 + y // 8) % 2 * 160 + (x * 7 + y * 13) % 64
    return np.stack([red, green, blue], axis=2).astype(np.uint8)


def cut(picture, network, region, scale):
    """mmpose's TopdownAffine, from the frame or from the resized frame."""
    width, height = network
    x, y, w, h = region
    cx, cy = x + w / 2, y + h / 2
    w, h = w * 1.25, h * 1.25
    if w > h * width / height:
        h = w * height / width
    else:
        w = h * width / height
    if scale < 1:
        size = (round(FRAME[0] * scale), round(FRAME[1] * scale))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR)
        # The same part of the scene: cv2.resize keeps the outer edges of the pixels in place, and the centre of
        # pixel 0 is half a pixel inside the edge.
        rx, ry = size[0] / FRAME[0], size[1] / FRAME[1]
        cx, cy = (cx + 0.5) * rx - 0.5, (cy + 0.5) * ry - 0.5
        w, h = w * rx, h * ry
    sx, sy = width / w, height / h
    matrix = np.array([[sx, 0, width / 2 - sx * cx], [0, sy, height / 2 - sy * cy]])
    return cv2.warpAffine(picture, matrix, network, flags=cv2.INTER_LINEAR)


def main():
    here = pathlib.Path(__file__).parent
    picture = draw()
    lines, crops = [], []
    for name, network, region, scale in CROPS:
        crops.append(cut(picture, network, region, scale).tobytes())
        lines.append(",".join(str(value) for value in (name, *network, *region, scale)))
    (here / "crops.csv").write_text("\n".join(lines) + "\n")
    (here / "crops.bin").write_bytes(b"".join(crops))
    print(f"OpenCV {cv2.__version__}: {len(crops)} crops, {sum(map(len, crops))} bytes")


if __name__ == "__main__":
    main()
