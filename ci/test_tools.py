"""Tests of what ci/test asks for before all else: with a cargo and a rustc that are scripts.

    python3 -B -m unittest discover -s ci
"""

import subprocess
import tempfile
import unittest
from pathlib import Path

TEST = Path(__file__).parent / "test"


def run(version="1.85.0", without=(), rust=True):
    """What ci/test says with a Rust of this version, which lacks these subcommands of cargo."""
    with tempfile.TemporaryDirectory() as folder:
        programs = {"rustc": f"echo 'rustc {version} (0123abc 2026-01-01)'"}
        # Nothing is to be installed.
        programs["dpkg-query"] = "echo install ok installed"
        # No more is asked for: whatever comes next fails, and says so.
        lacks = "|".join(without) or "none"
        programs["cargo"] = f"case $1 in {lacks}) exit 101 ;; fmt | clippy) [ \"$2\" = --version ] && exit ;; esac; exit 99"
        for name, body in programs.items() if rust else ():
            path = Path(folder, name)
            path.write_text(f"#!/bin/sh\n{body}\n")
            path.chmod(0o755)
        known = {"PATH": f"{folder}:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": folder}
        return subprocess.run([TEST, "--quick"], env=known, capture_output=True, text=True, timeout=60, check=False)


class Tools(unittest.TestCase):
    def says(self, ended, text):
        self.assertEqual((ended.returncode, ended.stdout), (1, ""), ended)
        self.assertIn(text, ended.stderr)
        self.assertIn('README.md, "Rust"', ended.stderr)
        self.assertEqual(len(ended.stderr.splitlines()), 1, ended.stderr)

    def test_a_missing_subcommand_is_named_with_its_package(self):
        self.says(run(without=["fmt"]), "cargo fmt is missing: it comes with the package rustfmt")
        self.says(run(without=["clippy"]), "cargo clippy is missing: it comes with the package rust-clippy")

    def test_a_compiler_that_is_too_old_is_named_with_its_version(self):
        for version in ["1.63.0", "1.84.1", "1.9.0"]:
            self.says(run(version), f"Rust {version} is too old, 1.85 or newer is needed")

    @unittest.skipIf(any(Path(folder, "cargo").exists() for folder in ["/usr/bin", "/bin"]), "the system has a cargo")
    def test_none_at_all_is_told(self):
        self.says(run(rust=False), "there is no Rust here, 1.85 or newer")

    def test_a_new_enough_one_is_taken(self):
        for version in ["1.85.0", "1.85.1", "1.100.0", "2.0.0", "1.99.0-nightly"]:
            ended = run(version)
            self.assertNotIn("Rust", ended.stderr, version)
            self.assertIn("== format", ended.stdout, version)


if __name__ == "__main__":
    unittest.main()
