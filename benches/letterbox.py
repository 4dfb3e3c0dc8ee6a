#!/usr/bin/env python3
"""Time for a letterbox of 1280x720 with OpenCV, on one core, as rtmlib makes it: from RGB in memory (resize, border, and what the
network takes: float32, channels first), and from NV12 with the conversion before it.  `cargo bench --bench sampler NV12 RGB` is the
plugin's; run both on the same machine, one after the other.

    .deps/venv/bin/python benches/letterbox.py
"""
import time

import cv2
import numpy as np

SIZE = (1280, 720)


def letterbox(bgr, side):
    ratio = min(side / bgr.shape[0], side / bgr.shape[1])
    small = cv2.resize(bgr, (int(bgr.shape[1] * ratio), int(bgr.shape[0] * ratio)), interpolation=cv2.INTER_LINEAR)
    return cv2.copyMakeBorder(small, 0, side - small.shape[0], 0, side - small.shape[1], cv2.BORDER_CONSTANT, value=(114, 114, 114))


def tensor(padded):
    return np.ascontiguousarray(padded.transpose(2, 0, 1), dtype=np.float32)[None]


def main():
    cv2.setNumThreads(1)
    rng = np.random.default_rng(1)
    bgr = rng.integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
    nv12 = rng.integers(0, 256, (SIZE[1] * 3 // 2, SIZE[0]), dtype=np.uint8)
    ways = {
        "RGB, resize and border": lambda side: letterbox(bgr, side),
        "RGB, and to a tensor": lambda side: tensor(letterbox(bgr, side)),
        "NV12, and to a tensor": lambda side: tensor(letterbox(cv2.cvtColor(nv12, cv2.COLOR_YUV2BGR_NV12), side)),
    }
    print("microseconds, median and the time that the fastest tenth keeps within")
    for name, way in ways.items():
        for side in (416, 640):
            times = []
            for _ in range(300):
                before = time.perf_counter()
                way(side)
                times.append((time.perf_counter() - before) * 1e6)
            times.sort()
            print(f"{name:24} {side}x{side} {times[len(times) // 2]:8.1f} {times[len(times) // 10]:8.1f}")


if __name__ == "__main__":
    main()
