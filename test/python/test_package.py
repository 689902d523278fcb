"""The package as pip installs it, outside of a checkout, has every file that its code reads."""

from __future__ import annotations

import pathlib
import shutil
import subprocess
import sys
import zipfile

ROOT = pathlib.Path(__file__).parents[2]


def test_a_wheel_has_every_file_of_the_package(tmp_path):
    source = tmp_path / "python"
    shutil.copytree(ROOT / "python", source, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "build"))
    command = [sys.executable, "-I", "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet", "--no-deps"]
    command += ["--no-build-isolation", "--wheel-dir", str(tmp_path), str(source)]
    made = subprocess.run(command, check=False, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    (wheel,) = tmp_path.glob("kitty_kv-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if name.startswith("kitty_kv/")}
        points = archive.read(next(name for name in archive.namelist() if name.endswith("entry_points.txt"))).decode()
    # What the checkout was copied with is what git has: built files are ignored above.
    wanted = {str(path.relative_to(source)) for path in (source / "kitty_kv").rglob("*") if path.is_file()}
    assert names == wanted
    assert "kitty-lm-eval = kitty_kv.eval.harness:main" in points
