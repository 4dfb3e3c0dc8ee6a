"""pip in the scripts: a user's pip.conf does not change what a venv gets."""
import pathlib
import re
import subprocess
import tempfile
import unittest
import zipfile

ROOT = pathlib.Path(__file__).resolve().parents[2]


def wheel(folder):
    """A package without code."""
    file = folder / "empty-1.0-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("empty-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: empty\nVersion: 1.0\n")
        archive.writestr("empty-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("empty-1.0.dist-info/RECORD", "")
    return file


class Pip(unittest.TestCase):
    def test_a_pip_conf_that_asks_for_the_users_folder_is_not_followed(self):
        with tempfile.TemporaryDirectory() as home:
            home = pathlib.Path(home)
            settings = home / ".config/pip/pip.conf"
            settings.parent.mkdir(parents=True)
            settings.write_text("[install]\nuser = true\n")
            install = f"install --dry-run --no-index --no-deps {wheel(home)}"
            run = lambda command: subprocess.run(
                ["bash", "-c", f". scripts/lib.sh; {command}"], cwd=ROOT, env={"HOME": str(home), "PATH": "/usr/bin:/bin"}, capture_output=True, text=True
            )
            self.assertIn("Can not perform a '--user' install", run(f'"$PYTHON" -m pip {install}').stderr)
            done = run(f'pip_of "$PYTHON" {install}')
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("Would install empty-1.0", done.stdout)

    def test_scripts_call_pip_in_one_way(self):
        called = re.compile(r"-m pip\b|bin/pip\b")
        scripts = [file for file in (ROOT / "scripts").iterdir() if file.is_file()]
        lines = [f"{file.name}: {line.strip()}" for file in scripts for line in file.read_text(errors="replace").splitlines() if called.search(line)]
        self.assertEqual(len(lines), 1, lines)
        self.assertIn("lib.sh: pip_of()", lines[0])


if __name__ == "__main__":
    unittest.main()
