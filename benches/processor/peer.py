"""rtmlib and OpenCV beside the plugin.  Arguments: rtmlib | body | warp-affine | rtmlib-crop | opencv-letterbox, then
name=value: model, detector, threads, spin, side, format.
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


def session(file, options):
    import onnxruntime as ort

    so = ort.SessionOptions()
    so.intra_op_num_threads = int(options["threads"])        # all else as rtmlib has it
    if options.get("spin") == "off":
        so.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(file, so, providers=["CPUExecutionProvider"])


def pose(options, pictures):
    from rtmlib import RTMPose

    net = RTMPose(options["model"], model_input_size=(192, 256), backend="onnxruntime", device="cpu")
    net.session = session(options["model"], options)

    def work(count):
        for i in range(count):
            net(pictures[i % 32], bboxes=[[0, 0, 1280, 720]])
    return work


def body(options, pictures):
    from rtmlib import Body

    net = Body(det=options["detector"], det_input_size=(416, 416), pose=options["model"], pose_input_size=(192, 256), backend="onnxruntime", device="cpu")
    net.det_model.session, net.pose_model.session = session(options["detector"], options), session(options["model"], options)
    people = int(options.get("people", 2))

    def work(count):
        for i in range(count):
            points, _ = net(pictures[i % 32])
            assert len(points) == people, len(points)
    return work


def letterbox(options, pictures):
    """rtmlib's letterbox, then the network's input: float32, channels first."""
    cv2.setNumThreads(1)
    side = int(options["side"])
    nv12 = np.random.default_rng(1).integers(0, 256, (1080, 1280), np.uint8)

    def work(count):
        for i in range(count):
            bgr = cv2.cvtColor(nv12, cv2.COLOR_YUV2BGR_NV12) if options["format"] == "NV12" else pictures[i % 32]
            ratio = min(side / bgr.shape[0], side / bgr.shape[1])
            small = cv2.resize(bgr, (int(bgr.shape[1] * ratio), int(bgr.shape[0] * ratio)), interpolation=cv2.INTER_LINEAR)
            padded = cv2.copyMakeBorder(small, 0, side - small.shape[0], 0, side - small.shape[1], cv2.BORDER_CONSTANT, value=(114, 114, 114))
            np.ascontiguousarray(padded.transpose(2, 0, 1), dtype=np.float32)[None]
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
    work = {"rtmlib": lambda: pose(options, pictures), "body": lambda: body(options, pictures), "warp-affine": lambda: warp(pictures),
            "rtmlib-crop": lambda: crop(pictures), "opencv-letterbox": lambda: letterbox(options, pictures)}[sys.argv[1]]()
    kept = sum(p.nbytes for p in pictures)
    for line in sys.stdin:
        started, before = time.perf_counter(), time.process_time()
        work(int(line))
        print("BLOCK", time.perf_counter() - started, time.process_time() - before, memory(kept), flush=True)


if __name__ == "__main__":
    main()
