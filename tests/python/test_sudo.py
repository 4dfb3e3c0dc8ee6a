"""With sudo a script goes on as the user who called it: what it is told by variables goes with it."""
import re
import subprocess
import unittest

from examples import ROOT


def told_of():
    """The variables that the Makefile's help and the scripts' heads describe, each with the place."""
    for path in [ROOT / "Makefile", *sorted((ROOT / "scripts").iterdir())]:
        if not path.is_file():
            continue
        text = path.read_text()
        if path.name != "Makefile":
            # Only the comment at the top.
            text = re.match(r"(#.*\n)*", text)[0]
        for name in re.findall(r"\b([A-Z_]{3,})=", text):
            yield name, path.relative_to(ROOT)


class Sudo(unittest.TestCase):
    def test_variables_are_passed_on(self):
        command = ["bash", "-c", '. scripts/lib.sh && echo "$PASSED_ON"', "scripts/lib.sh"]
        passed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip().split(",")
        told = list(told_of())
        self.assertGreater(len(told), 15)
        self.assertEqual([(name, str(path)) for name, path in told if name not in passed], [])


if __name__ == "__main__":
    unittest.main()
