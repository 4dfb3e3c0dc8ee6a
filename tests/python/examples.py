"""What the tests of the examples share: a video of a dot that moves, and the network that finds it."""
import pathlib
import subprocess

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
WIDTH, HEIGHT, DIAMETER = 320, 240, 21
# The dot's place in each frame; 25 frames a second.
DOTS = (100, 60), (150, 120), (201, 77), (90, 180)
MILLISECONDS = 0, 40, 80, 120
# Half a network pixel, in pixels of the frame: the whole frame, grown by 1.25, on 192x256.
ALLOWED = 0.5 * 1.25 * max(WIDTH / 192, HEIGHT / 256)


def picture(dot):
    """A black picture with a white disc."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    disc = (x - dot[0]) ** 2 + (y - dot[1]) ** 2 <= (DIAMETER / 2) ** 2
    return np.repeat(disc[:, :, None] * np.uint8(255), 3, axis=2)


def write_video(file):
    """The dots' frames as raw RGB."""
    file.write_bytes(b"".join(picture(dot).tobytes() for dot in DOTS))
    return file


def source(file):
    """The start of a launch line that plays such a file."""
    return f"filesrc location={file} ! rawvideoparse format=rgb width={WIDTH} height={HEIGHT} framerate=25/1"


def pose(network):
    """rtmposebatch, named pose, with a network of tests/networks and the whole frame as the person's box."""
    return f"rtmposebatch name=pose execution-provider=cpu inference-region=full-frame model-file={ROOT}/tests/networks/{network}.onnx"


def limited(command, **options):
    """Runs a program, which is ended after a minute of CPU time (longer on a busy machine), or after ten minutes."""
    return subprocess.run(["prlimit", "--cpu=60", *map(str, command)], timeout=600, **options)


def run(*command, status=0):
    """What a program prints on stdout, or on stderr if it is to fail."""
    done = limited(command, capture_output=True, text=True)
    assert (done.returncode != 0) == (status != 0), f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stderr if status else done.stdout
