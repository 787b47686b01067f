"""Replaying pictures, in real processes."""

import json

import numpy
import pytest
from PIL import Image
from processes import SMALL_OPTIONS, content_of, error_of, noise, nst, save_pair

from nst_cli import Config, images
from nst_cli.errors import EngineError, SidecarError
from nst_cli.runs import forecast, provenance, replay, runner
from nst_cli.synthesis import memory

TILED = Config(weights="builtin", size=32, iterations=3, device="cpu", method="energy")


@pytest.fixture(scope="module")
def finished_runs(tmp_path_factory):
    """A folder with inputs and finished pictures."""
    folder = tmp_path_factory.mktemp("finished")
    save_pair(folder)
    noise(7, 24, 32).save(folder / "start.png")
    for name, others in (
        ("x.png", ()),
        ("y.jpg", ("--init", "start.png", "--method", "gaussian")),
    ):
        done = nst(
            folder, "stylize", "content.png", "style.png", "-o", name, "--weights", "builtin",
            *SMALL_OPTIONS, *others,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def folder(finished_runs, tmp_path):
    for name, content in content_of(finished_runs).items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


@pytest.mark.parametrize("name", ["x.png", "y.jpg"])
def test_a_replayed_picture_and_its_sidecar_are_the_same_byte_for_byte(folder, name):
    stem, ending = name.split(".")
    done = nst(folder, "replay", name, "--quiet")
    again = f"{stem}-replay.{ending}"
    assert (done.returncode, done.stdout) == (0, f"{again}\n")
    assert done.stderr == "Identical, byte for byte.\n"
    assert (folder / again).read_bytes() == (folder / name).read_bytes()
    assert (folder / f"{again}.json").read_text() == (folder / f"{name}.json").read_text()


def test_inputs_that_moved_are_read_from_the_paths_given(folder):
    (folder / "content.png").rename(folder / "moved.png")
    line = error_of(nst(folder, "replay", "x.png"), 1)
    assert line.endswith("Cannot read the content content.png: No such file or directory; "
                         "say where it is now with --content.")  # fmt: skip
    done = nst(folder, "replay", "x.png", "--content", "moved.png", "-o", "z.png", "--quiet")
    assert (done.returncode, done.stderr) == (0, "Identical, byte for byte.\n")


@pytest.mark.parametrize("name", ["content", "style", "start"])
def test_an_error_names_an_input_that_differs(folder, name):
    noise(8, 24, 32).save(folder / f"{name}.png")
    before = content_of(folder)
    line = error_of(nst(folder, "replay", "y.jpg"), 1)
    assert f"{name}.png differs from the one the picture was made from" in line
    assert content_of(folder) == before


def with_metadata(path, change):
    """Write a picture again with different metadata."""
    document = images.read_metadata(path)
    change(document)
    images.write(path, numpy.asarray(Image.open(path))[..., :3], metadata=document)


def test_an_error_names_weights_that_differ(folder):
    with_metadata(folder / "x.png", lambda d: d["weights"].update(sha256="0" * 64))
    line = error_of(nst(folder, "replay", "x.png"), 1)
    assert "The weights builtin differ from those" in line and "000000000000…" in line


def test_notes_name_the_differences_in_machine_and_versions(folder):
    def change(document):
        document["versions"]["mxnet"] = "1.8.0"
        document["threads"] = 7

    with_metadata(folder / "x.png", change)
    done = nst(folder, "replay", "x.png", "--quiet")
    assert done.returncode == 0
    notes = done.stderr.splitlines()
    assert notes[0].startswith("Note: mxnet was 1.8.0, is ")
    assert notes[1] == "Note: threads was 7, is 1."


def test_pixels_that_differ_for_no_known_reason_are_an_error(folder):
    document = images.read_metadata(folder / "x.png")
    pixels = numpy.array(Image.open(folder / "x.png"))[..., :3]
    pixels[0, 0, 0] ^= 16
    images.write(folder / "x.png", pixels, metadata=document)
    done = nst(folder, "replay", "x.png", "--quiet")
    assert done.returncode == 1
    assert "They differ by up to " in done.stderr and "the cause is unknown" in done.stderr


def test_a_picture_that_cannot_be_replayed_is_a_one_line_error(folder):
    noise(1, 20, 20).save(folder / "plain.png")
    assert "does not say how it was made" in error_of(nst(folder, "replay", "plain.png"), 1)
    assert "none.png" in error_of(nst(folder, "replay", "none.png"), 1)
    line = error_of(nst(folder, "replay", "x.png", "-o", "x.jpg"), 1)
    assert "must end in .png" in line
    line = error_of(nst(folder, "replay", "x.png", "-o", "x.png"), 1)
    assert "would overwrite x.png" in line
    with_metadata(folder / "x.png", lambda d: d.update(stop_reason="interrupted"))
    assert "(interrupted)" in error_of(nst(folder, "replay", "x.png"), 1)
    assert json.loads((folder / "x.png.json").read_text())["stop_reason"] == "iterations"


@pytest.mark.parametrize("then", [1, 10**12])
def test_a_replay_has_the_tiles_of_the_picture_whatever_memory_is_available(
    folder, monkeypatch, then
):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(memory, "available", lambda device: then)
    made = runner.run(runner.prepare("content.png", "style.png", "tiled.png", TILED))
    assert bool(made.result.tiling) == (then == 1)
    monkeypatch.setattr(memory, "available", lambda device: 10**12 if then == 1 else 1)
    recipe = replay.read("tiled.png")
    again = runner.run(replay.prepare(recipe, "again.png"))
    assert again.result.tiling == made.result.tiling
    assert replay.compare(recipe, "again.png").identical


def test_a_replay_that_does_not_fit_into_memory_is_refused_without_advice_on_the_size(
    folder, monkeypatch
):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(forecast, "available", lambda device: 10**6)
    with pytest.raises(EngineError) as caught:
        replay.prepare(replay.read("x.png"), "again.png")
    assert "Cannot replay x.png, which was made without tiles: Not enough" in str(caught.value)
    assert "--size" not in str(caught.value)


@pytest.mark.parametrize("tiling", [7, {}, {"scales": []}, {"scales": [0]}, {"scales": ["64"]}])
def test_tiles_that_nobody_can_have_had_are_refused(folder, tiling):
    path = folder / "x.png.json"
    document = json.loads(path.read_text())
    with pytest.raises(SidecarError, match="the tiles of each scale"):
        provenance.parse(dict(document, tiling=tiling))
