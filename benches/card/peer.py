"""The peer: rtmlib with ONNX Runtime's CUDA provider on the same frames, one whole frame a call, in one or several
processes.  Arguments name=value: model, frames (1280x720 NV12, one after another), processes, seconds.
Prints one line for benches/gpu.  Needs rtmlib, onnxruntime-gpu, opencv."""
import multiprocessing
import sys
import time


def work(options, barrier, counts, index):
    import cv2
    import numpy as np
    from rtmlib import RTMPose

    pose = RTMPose(options["model"], model_input_size=(192, 256), backend="onnxruntime", device=options.get("provider", "cuda"))
    raw = np.memmap(options["frames"], np.uint8, "r").reshape(-1, 1080, 1280)
    frames = [cv2.cvtColor(frame, cv2.COLOR_YUV2BGR_NV12) for frame in raw]
    for frame in frames[:5]:
        pose(frame, bboxes=[[0, 0, 1280, 720]])
    barrier.wait()
    end, count = time.monotonic() + float(options.get("seconds", 2)), 0
    while time.monotonic() < end:
        pose(frames[(count + index * 37) % len(frames)], bboxes=[[0, 0, 1280, 720]])
        count += 1
    counts[index] = count


def main():
    options = dict(argument.split("=", 1) for argument in sys.argv[1:])
    processes, started = int(options.get("processes", 1)), time.monotonic()
    context = multiprocessing.get_context("spawn")
    barrier, counts = context.Barrier(processes + 1), context.Array("q", processes)
    workers = [context.Process(target=work, args=(options, barrier, counts, index)) for index in range(processes)]
    [worker.start() for worker in workers]
    barrier.wait(timeout=120)
    start = time.monotonic() - started
    [worker.join() for worker in workers]
    rate = sum(counts) / float(options.get("seconds", 2))
    print(f"MEASURED part=rtmlib crops-per-second={rate:.0f} start-s={start:.2f}")


if __name__ == "__main__":
    main()
