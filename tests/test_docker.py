"""The Dockerfile: what it copies exists. `make test-wheel` builds nst from those files alone."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_what_the_image_copies_exists_and_is_sent_to_the_builder():
    text = (ROOT / "docker" / "Dockerfile").read_text()
    lines = re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE)
    copied = {path for line in lines for path in line.split()[:-1]}
    ignored = (ROOT / "docker" / "Dockerfile.dockerignore").read_text().splitlines()
    assert "*" in ignored and copied
    assert copied == {line[1:] for line in ignored if line.startswith("!")}
    assert all((ROOT / path).exists() for path in copied)
