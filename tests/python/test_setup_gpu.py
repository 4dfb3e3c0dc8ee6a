"""`make setup GPU=1`: which build of ONNX Runtime is chosen for which card and driver, with an nvidia-smi of our own."""

import os
import pathlib
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).parents[2]
CHOOSE = '. scripts/lib.sh; . scripts/gpu.sh; choose_gpu_build; echo "$gpu_build: $gpu_found"'


def choose(nvidia_smi, gpu="1", machine="x86_64", model=""):
    """Exit status, output and errors of the choice on a machine of that kind, with that name in its firmware. `nvidia_smi` is a
    shell script, or None if the machine does not have it."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in ("nvidia-smi", nvidia_smi), ("uname", f"echo {machine}"):
            if text is not None:
                script = pathlib.Path(folder, name)
                script.write_text(f"#!/bin/sh\n{text}\n")
                script.chmod(0o755)
        device_model = pathlib.Path(folder, "model")
        device_model.write_text(model + "\0")
        variables = {"PATH": f"{folder}:/usr/bin:/bin", "GPU": gpu, "DEVICE_MODEL": str(device_model)}
        done = subprocess.run(
            ["bash", "-c", CHOOSE], cwd=ROOT, env={**os.environ, **variables}, capture_output=True, text=True
        )
    return done.returncode, done.stdout.strip(), done.stderr


def card(name, capability, driver):
    return f"echo '{name}, {capability}, {driver}'"


class ChooseBuild(unittest.TestCase):
    def test_build_for_a_card(self):
        cards = [
            (card("NVIDIA H100 80GB HBM3", "9.0", "580.159.04"), "cuda13"),
            (card("NVIDIA GeForce RTX 5090", "12.0", "590.44.01"), "cuda13"),
            (card("Tesla T4", "7.5", "580.65.06"), "cuda13"),
            (card("NVIDIA GeForce RTX 3060", "8.6", "550.54.14"), "cuda12"),
            (card("Tesla V100-SXM2-16GB", "7.0", "580.65.06"), "cuda12"),
            (card("NVIDIA GeForce GTX 1080", "6.1", "535.183.01"), "cuda12"),
            (card("NVIDIA B200", "10.0", "580.65.06"), "cuda12"),
        ]
        for script, build in cards:
            with self.subTest(script):
                status, output, errors = choose(script)
                self.assertEqual((status, output.split(":")[0]), (0, build), errors)

    def test_the_oldest_of_several_cards_decides(self):
        cards = card("NVIDIA H100", "9.0", "580.159.04") + "\n" + card("Tesla P40", "6.1", "580.159.04")
        status, output, errors = choose(cards)
        self.assertEqual((status, output.split(":")[0]), (0, "cuda12"), errors)
        self.assertIn("Tesla P40, compute capability 6.1, driver 580.159.04", output)

    def test_what_cannot_run_is_refused_with_a_remedy(self):
        refused = [
            (None, "no NVIDIA driver", "nvidia-driver"),
            ("exit 9", "nvidia-smi fails", "nvidia-driver"),
            ("true", "lists no GPU", "nvidia-driver"),
            (card("Quadro M2000", "5.2", "580.65.06"), "compute capability 5.2", "run on the CPU"),
            (card("Tesla T4", "7.5", "470.82.01"), "driver 470.82.01", "Update the driver"),
        ]
        for script, *words in refused:
            with self.subTest(script):
                status, output, errors = choose(script)
                self.assertEqual((status, output), (1, ""))
                for word in words:
                    self.assertIn(word, errors)

    def test_an_image_without_a_gpu_chooses_by_itself(self):
        self.assertEqual(choose(None, "cuda12")[:2], (0, "cuda12: chosen by GPU=cuda12"))
        self.assertEqual(choose(None, "cuda11")[0], 1)

    def test_arm64_has_one_build(self):
        cards = [
            card("NVIDIA GH200 480GB", "9.0", "580.95.05"),
            card("NVIDIA GB10", "12.1", "580.95.05"),
            card("NVIDIA L4", "8.9", "590.44.01"),
        ]
        for script in cards:
            with self.subTest(script):
                status, output, errors = choose(script, machine="aarch64")
                self.assertEqual((status, output.split(":")[0]), (0, "cuda13"), errors)
        self.assertEqual(choose(None, "cuda13", "aarch64")[:2], (0, "cuda13: chosen by GPU=cuda13"))

    def test_arm64_refuses_what_that_build_has_no_code_for(self):
        hopper = "NVIDIA GH200 480GB"
        refused = [
            ((card("NVIDIA GB200", "10.0", "580.95.05"), "1"), "", "NVIDIA GB200 has compute capability 10.0", "run on the CPU"),
            ((card("NVIDIA T4G", "7.5", "580.95.05"), "1"), "", "NVIDIA T4G has compute capability 7.5", "ort-library"),
            ((card(hopper, "9.0", "580.95.05") + "\n" + card("NVIDIA A100", "8.0", "580.95.05"), "1"), "", "NVIDIA A100"),
            ((card(hopper, "9.0", "550.54.15"), "1"), "", "needs CUDA 13", "driver 550.54.15", "Update the driver"),
            ((None, "1"), "NVIDIA Jetson AGX Orin Developer Kit", "NVIDIA Jetson AGX Orin Developer Kit:", "ort-library"),
            ((card("NVIDIA Thor", "11.0", "580.00"), "1"), "NVIDIA Jetson AGX Thor Developer Kit", "no code for a Jetson"),
            ((None, "1"), "Raspberry Pi 5 Model B Rev 1.0", "no NVIDIA driver"),
            ((None, "cuda12"), "", "no build of ONNX Runtime for CUDA 12 for ARM64"),
        ]
        for (script, gpu), model, *words in refused:
            with self.subTest(script=script, model=model):
                status, output, errors = choose(script, gpu, "aarch64", model)
                self.assertEqual((status, output), (1, ""))
                for word in words:
                    self.assertIn(word, errors)


if __name__ == "__main__":
    unittest.main()
