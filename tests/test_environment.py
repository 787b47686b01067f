"""The Pythons that tools/environment.sh finds, and the extras that it installs."""

import os
import shutil
import sys
from pathlib import Path

import pytest
from processes import run

SCRIPT = Path(__file__).resolve().parents[1] / "tools" / "environment.sh"
THIS = "{}.{}".format(*sys.version_info)


def versions(path, pyenv):
    done = run(
        [shutil.which("bash"), str(SCRIPT), "--versions"],
        env={"PATH": str(path), "PYENV_ROOT": str(pyenv)},
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.fixture
def empty(tmp_path):
    folder = tmp_path / "empty"
    folder.mkdir()
    return folder


def test_a_python_on_the_path_is_listed(tmp_path, empty):
    os.symlink(sys.executable, tmp_path / f"python{THIS}")
    assert versions(tmp_path, empty) == [THIS]


def test_a_python_of_pyenv_is_listed(tmp_path, empty):
    folder = tmp_path / "versions" / f"{THIS}.0" / "bin"
    folder.mkdir(parents=True)
    os.symlink(sys.executable, folder / "python")
    assert versions(empty, tmp_path) == [THIS]


def test_a_python_that_does_not_run_or_has_another_version_is_not_listed(tmp_path, empty):
    broken = tmp_path / "python3.9"
    broken.write_text("#!/bin/false\n")
    broken.chmod(0o755)
    os.symlink(sys.executable, tmp_path / "python3.19")
    assert versions(tmp_path, empty) == []


def test_an_extra_without_locked_packages_is_refused_before_anything_is_made(tmp_path, empty):
    place = tmp_path / "environment"
    done = run([shutil.which("bash"), str(SCRIPT), str(place), "test,fuzz"],
               env={"PATH": str(empty)}, text=True)  # fmt: skip
    assert done.returncode == 2 and not place.exists()
    assert done.stderr == (
        "requirements/dev.txt has no packages for fuzz: install them by pip afterwards.\n"
    )
