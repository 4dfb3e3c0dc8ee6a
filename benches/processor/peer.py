"""rtmlib and OpenCV beside rtmposebatch.  Arguments: rtmlib | warp-affine | rtmlib-crop, then name=value: model, threads.
Reads numbers of frames, works so many, writes seconds, processor seconds and MiB (see work.rs).  Frames and crops are
those of work.rs, decoded to BGR in advance, which rtmlib would have to do as well.  Needs rtmlib, onnxruntime, opencv."""
import sys
import time

import cv2
import numpy as np


def frames():
    y, x = np.mgrid[:720, :1280]
    for i in range(32):
        nv12 = np.full((1080, 1280), 128, np.uint8)
        nv12[:720] = (x // 4 + y // 3 + i * 7) % 220 + 16
        yield cv2.cvtColor(nv12, cv2.COLOR_YUV2BGR_NV12)


def boxes():
    """x, y, width, height of crops wholly inside the frame."""
    for k in range(60):
        zoom = .5 * 5.6 ** (k / 59)
        w, h = 192 * zoom, 256 * zoom
        yield (1280 - w) * (k * .618 % 1), (720 - h) * ((k * .382 + .1) % 1), w, h


def pose(options, pictures):
    import onnxruntime as ort
    from rtmlib import RTMPose

    net = RTMPose(options["model"], model_input_size=(192, 256), backend="onnxruntime", device="cpu")
    so = ort.SessionOptions()
    so.intra_op_num_threads = int(options["threads"])        # all else as rtmlib has it
    net.session = ort.InferenceSession(options["model"], so, providers=["CPUExecutionProvider"])

    def work(count):
        for i in range(count):
            net(pictures[i % 32], bboxes=[[0, 0, 1280, 720]])
    return work


def warp(pictures):
    cv2.setNumThreads(1)
    mats = [np.array([[192 / w, 0, -x * 192 / w], [0, 192 / w, -y * 192 / w]]) for x, y, w, _ in boxes()]

    def work(count):
        for i in range(count):
            cv2.warpAffine(pictures[0], mats[i % 60], (192, 256), flags=cv2.INTER_LINEAR)
    return work


def crop(pictures):
    """rtmlib's crop, normalising and transposing."""
    from rtmlib import RTMPose
    cv2.setNumThreads(1)
    net = RTMPose.__new__(RTMPose)
    net.model_input_size, net.mean, net.std = (192, 256), (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
    inside = [[x + .1 * w, y + .1 * h, x + .9 * w, y + .9 * h] for x, y, w, h in boxes()]

    def work(count):
        for i in range(count):
            image, _, _ = net.preprocess(pictures[0], inside[i % 60])
            np.ascontiguousarray(image.transpose(2, 0, 1), dtype=np.float32)
    return work


def memory(kept):
    line = next(line for line in open("/proc/self/status") if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024 - kept / 2 ** 20


def main():
    options = dict(argument.split("=", 1) for argument in sys.argv[2:])
    pictures = list(frames())
    work = {"rtmlib": lambda: pose(options, pictures), "warp-affine": lambda: warp(pictures), "rtmlib-crop": lambda: crop(pictures)}[sys.argv[1]]()
    kept = sum(p.nbytes for p in pictures)
    for line in sys.stdin:
        started, before = time.perf_counter(), time.process_time()
        work(int(line))
        print("BLOCK", time.perf_counter() - started, time.process_time() - before, memory(kept), flush=True)


if __name__ == "__main__":
    main()
