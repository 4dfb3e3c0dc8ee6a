"""Programs of this project that write: they make the folder that they are told, or name it before the work begins."""
import json
import os
import pathlib
import struct
import subprocess
import sys
import tempfile
import unittest

from examples import ROOT, run

TINY = ROOT / "tests/networks/dots-small.onnx"
# No user can make a folder there, not even root.
IMPOSSIBLE = pathlib.Path("/proc/nowhere/deep")


def build(*targets):
    """The programs of a debug build, most of which cargo test has built already: their files by name."""
    lines = subprocess.run(["cargo", "build", "--locked", "--offline", "--message-format=json", *targets], cwd=ROOT, check=True,
                           capture_output=True, text=True).stdout.splitlines()
    built = [json.loads(line) for line in lines]
    return {line["target"]["name"]: line["executable"] for line in built if line.get("executable")}


class Outputs(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.programs = build("--bench", "cpu", "--bench", "gpu", "--example", "adapt", "--example", "annotate")

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name, "not", "there")

    def bench(self, name, report, *arguments):
        environment = {**os.environ, "REPORT": str(report), "BENCH": self.programs[name]}
        return subprocess.run([ROOT / "benches" / name, *arguments], env=environment, capture_output=True, text=True, timeout=120)

    def test_benches_make_the_folder_of_their_report(self):
        # Without a file to play nothing is measured, and the report is empty.
        done = self.bench("cpu", self.folder / "cpu", "file")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(json.loads((self.folder / "cpu/cpu.json").read_text()), [])
        # A wrong command ends the program after it has checked its folder and before it measures.
        done = subprocess.run([self.programs["gpu"], "nothing"], env={**os.environ, "REPORT": str(self.folder / "gpu")},
                              capture_output=True, text=True, timeout=60)
        self.assertIn("no command nothing", done.stderr)
        self.assertEqual(list((self.folder / "gpu").iterdir()), [])

    def test_benches_refuse_a_folder_before_they_measure(self):
        for name in ("cpu", "gpu"):
            done = self.bench(name, IMPOSSIBLE)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn(f"REPORT={IMPOSSIBLE}", done.stderr)
            self.assertNotIn("|", done.stdout)

    def test_files_go_into_folders_that_are_made(self):
        writers = {
            "adapted.onnx": [self.programs["adapt"], TINY],
            "half.onnx": [sys.executable, ROOT / "models/store_half.py", TINY],
        }
        for name, command in writers.items():
            run(*command, self.folder / name)
            self.assertGreater((self.folder / name).stat().st_size, 0)
            self.assertIn(str(IMPOSSIBLE.parent), run(*command, IMPOSSIBLE / name, status=1))
        # A file that is not a video ends the program after it has checked its folder and before it writes.
        run(self.programs["annotate"], TINY, "--output", self.folder / "deep/video", status=1)
        self.assertEqual(list((self.folder / "deep").iterdir()), [])
        refused = run(self.programs["annotate"], TINY, "--output", IMPOSSIBLE / "video", status=1)
        self.assertIn(str(IMPOSSIBLE), refused)
        # A photograph larger than the encoders accept: it becomes one frame of video, and a picture.
        photo = self.folder / "photo.jpg"
        run("gst-launch-1.0", "-q", "videotestsrc", "num-buffers=1", "!", "video/x-raw,width=4000,height=3001", "!", "jpegenc",
            "!", "filesink", f"location={photo}")
        run(self.programs["annotate"], photo, "--output", self.folder / "annotated")
        sheet = (self.folder / "annotated.png").read_bytes()
        # Width and height in a PNG's first chunk.
        self.assertEqual(struct.unpack(">II", sheet[16:24]), (800, 600))
        run(sys.executable, ROOT / "tests/networks/make.py", self.folder / "networks")
        self.assertTrue((self.folder / "networks" / TINY.name).exists())


if __name__ == "__main__":
    unittest.main()
