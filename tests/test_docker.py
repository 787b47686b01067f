"""The Dockerfile, which no test can build: that it agrees with what it is built from."""

import re
from pathlib import Path

from nst_cli.engine.gpu import library

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docker" / "Dockerfile").read_text()


def copied():
    """Return the paths that the image gets from the repository."""
    lines = re.findall(r"^COPY (?!--from)(.+)$", TEXT, re.MULTILINE)
    return [path for line in lines for path in line.split()[:-1]]


def test_what_the_image_copies_is_there_and_is_sent_to_the_builder():
    ignored = (ROOT / "docker" / "Dockerfile.dockerignore").read_text().splitlines()
    sent = {line[1:] for line in ignored if line.startswith("!")}
    assert "*" in ignored
    assert set(copied()) == sent
    assert all((ROOT / path).exists() for path in copied())


def test_the_image_has_what_setup_reads():
    read = re.findall(r"^(?:license_files|long_description) = (?:file: )?(\S+)$",
                      (ROOT / "setup.cfg").read_text(), re.MULTILINE)  # fmt: skip
    assert len(read) == 2
    assert {*read, "setup.cfg", "setup.py", "pyproject.toml", "nst_cli"} == set(copied())


def test_the_gpu_image_says_where_its_cuda_build_is_and_installs_it_by_the_command():
    assert f"ENV {library.VARIABLE}=" in TEXT
    assert "nst gpu install --no-card" in TEXT
