"""Sidecars: writing, checks of untrusted ones, and recognition of nst's own files."""

import json
import os

import numpy
import pytest
from PIL import Image
from processes import noise

from nst_cli import Config, files, images
from nst_cli.errors import OutputError, SidecarError
from nst_cli.runs import sidecar
from nst_cli.runs.provenance import PictureFile, parse

PIXELS = numpy.zeros((8, 8, 3), numpy.uint8)


def document(folder=".", **choices):
    """Return the document of a finished run, with paths as the user typed them."""
    start = {"path": os.path.join(folder, "start.png"), "sha256": "3" * 64}
    return {
        "program": "nst",
        "versions": {"nst": "0.1.0"},
        "config": Config(**choices).to_dict(),
        "content": {"path": os.path.join(folder, "content.png"), "sha256": "1" * 64},
        "style": {"path": os.path.join(folder, "style.png"), "sha256": "2" * 64},
        "init": start if "init" in choices else None,
        "weights": {"source": choices.get("weights", "builtin"), "sha256": "4" * 64},
        "steps": 3,
        "stop_reason": "iterations",
        "beta": {"poly": 0.1},
        "losses": {"total": 1.0},
    }


def save(path, what=None, *, metadata=True, sidecar_too=True):
    """Save a picture as nst makes it."""
    what = what or document()
    images.write(path, PIXELS, metadata=sidecar.carried(what) if metadata else None)
    if sidecar_too:
        sidecar.write(path, what)
    return path


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


# Writing


def test_a_sidecar_is_read_as_written_with_the_size_and_checksum_of_its_picture():
    save("a.png", document(gamma=7))
    description = sidecar.read("a.png")
    assert description.config() == Config(gamma=7)
    assert description.picture == (PictureFile(files.sha256("a.png"), os.path.getsize("a.png")))
    assert sidecar.describes(description, "a.png")
    assert sidecar.read_carried("a.png").picture is None


def test_paths_are_relative_to_the_sidecar(folder):
    (folder / "out" / "deep").mkdir(parents=True)
    save("out/deep/a.png", document("photos", init="photos/start.png", weights="w/vgg.params"))
    description = sidecar.read("out/deep/a.png")
    assert description.content.path == "../../photos/content.png"
    assert description.init.path == description.choices["init"] == "../../photos/start.png"
    assert description.weights.path == description.choices["weights"] == "../../w/vgg.params"
    save("b.png", document(str(folder / "photos")))
    assert sidecar.read("b.png").content.path == "photos/content.png"


def test_a_path_that_shares_only_the_root_is_absolute():
    save("a.png", document("/elsewhere"))
    assert sidecar.read("a.png").content.path == "/elsewhere/content.png"


def test_a_path_from_a_linked_folder_leads_to_the_file(folder):
    (folder / "disk" / "out").mkdir(parents=True)
    (folder / "out").symlink_to(folder / "disk" / "out")
    (folder / "content.png").touch()
    save("out/a.png")
    path = os.path.join("disk/out", sidecar.read("out/a.png").content.path)
    assert os.path.samefile(path, "content.png")


def test_writing_the_sidecar_of_a_missing_picture_is_a_one_line_error():
    with pytest.raises(OutputError, match=r"a\.png\.json: a\.png: No such file"):
        sidecar.write("a.png", document())


def test_the_metadata_of_a_picture_have_names_and_no_folders():
    what = document("/home/somebody/photos", init="x", weights="/home/somebody/vgg19.params")
    text = json.dumps(sidecar.carried(what))
    assert "somebody" not in text and '"content.png"' in text and '"vgg19.params"' in text


# Untrusted sidecars


def broken(change):
    what = document(init="start.png")
    change(what)
    return what


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda d: d.clear(), "'program'"),
        (lambda d: d.update(program="other"), "'program'"),
        (lambda d: d.update(config=None), "'config'"),
        (lambda d: d.update(config={}), "'init' of 'config'"),
        (lambda d: d["config"].update(weights="a\0b"), "'weights' of 'config'"),
        (lambda d: d["config"].update(init="random"), "'init'"),
        (lambda d: d.update(init=None), "'init'"),
        (lambda d: d.update(content="a.png"), "'content'"),
        (lambda d: d.update(content={"path": "a.png"}), "sha256 of 'content'"),
        (lambda d: d["content"].update(path=5), "path or sha256 of 'content'"),
        (lambda d: d["content"].update(path="\ud800"), "path or sha256 of 'content'"),
        (lambda d: d["style"].update(sha256="2" * 63), "path or sha256 of 'style'"),
        (lambda d: d["style"].update(sha256="2" * 64 + "\n"), "path or sha256 of 'style'"),
        (lambda d: d.update(weights="w"), "'weights'"),
        (lambda d: d.update(steps="3"), "'steps'"),
        (lambda d: d.update(steps=True), "'steps'"),
        (lambda d: d.update(steps=-1), "'steps'"),
        (lambda d: d.update(steps=10**400), "'steps'"),
        (lambda d: d.update(stop_reason=4), "'stop_reason'"),
        (lambda d: d.update(losses=[1]), "'losses'"),
        (lambda d: d["losses"].update(total=float("nan")), "'total' of 'losses'"),
        (lambda d: d["losses"].update(total=10**400), "'total' of 'losses'"),
        (lambda d: d["beta"].update(poly="1"), "'poly' of 'beta'"),
        (lambda d: d.update(file=[]), "'file'"),
        (lambda d: d.update(file={"sha256": "1" * 64, "size": True}), "'file'"),
        (lambda d: d.update(versions={"a": [[[[[[[[1]]]]]]]]}), "nested too deeply"),
        (lambda d: d.update(threads=float("inf")), "not finite"),
    ],
)
def test_a_field_of_a_wrong_type_or_out_of_range_is_named_in_one_line(change, named):
    with pytest.raises(SidecarError) as caught:
        parse(broken(change))
    assert named in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [None, 5, "text", [], [1]])
def test_json_that_is_not_an_object_is_not_a_sidecar(value):
    with pytest.raises(SidecarError, match="not a JSON object"):
        parse(value)


def test_an_error_says_that_an_option_is_of_another_version():
    what = document()
    what["config"]["wobble"] = 3
    with pytest.raises(SidecarError, match="unknown to this version of nst: .*'wobble'"):
        parse(what).config()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not JSON"),
        (b"\0" * 100, "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"steps": ' + b"9" * 100_000 + b"}", "Cannot read a.png.json"),
        (b'"' + b"x" * (1 << 20) + b'"', "more than 1 MiB"),
    ],
)
def test_a_file_that_cannot_be_a_sidecar_is_a_one_line_error(folder, content, words):
    (folder / "a.png.json").write_bytes(content)
    with pytest.raises(SidecarError, match=words) as caught:
        sidecar.read("a.png")
    assert "a.png.json" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda p: os.symlink("/dev/zero", p)])
def test_a_pipe_a_folder_or_a_device_is_refused_as_a_sidecar_without_waiting(make):
    make("a.png.json")
    with pytest.raises(SidecarError, match="not a regular file|it is a folder"):
        sidecar.read("a.png")
    assert not sidecar.is_sidecar("a.png.json")


@pytest.mark.parametrize(
    ("path", "leads_to"),
    [
        ("content.png", "out/content.png"),
        ("../content.png", "content.png"),
        ("../photos/../content.png", "content.png"),
        ("../../content.png", None),
        ("/etc/passwd", None),
        ("../../../../../../../../etc/passwd", None),
    ],
)
def test_a_path_never_leads_out_of_the_folders_that_the_user_named(folder, path, leads_to):
    (folder / "out").mkdir()
    assert sidecar.lead_to("out/a.png", path) == leads_to


def test_a_path_may_lead_into_a_folder_that_the_user_named(folder, monkeypatch):
    (folder / "one").mkdir()
    (folder / "two").mkdir()
    monkeypatch.chdir("one")
    picture, content = str(folder / "two" / "a.png"), str(folder / "content.png")
    assert sidecar.lead_to(picture, "../content.png") is None
    assert sidecar.lead_to(picture, "../content.png", folder) == content


# Recognition of nst's own files


def foreign(folder):
    noise(1, 8, 8).save("a.png")


def with_metadata(folder):
    save("a.png", sidecar_too=False)


def with_sidecar_alone(folder):
    save("a.png", metadata=False)


def with_an_older_sidecar(folder):
    save("a.png", document(gamma=1))
    save("a.png", document(gamma=2), sidecar_too=False)


def edited_with_its_metadata(folder):
    save("a.png")
    images.write("a.png", PIXELS + 9, metadata=images.read_metadata("a.png"))


def painted_over(folder):
    save("a.png")
    noise(1, 8, 8).save("a.png")


def cut(folder):
    save("a.png")
    (folder / "a.png").write_bytes((folder / "a.png").read_bytes()[:30])


def with_broken_metadata(folder):
    images.write("a.png", PIXELS, metadata={"program": "nst", "config": 5})


def with_the_sidecar_of_another(folder):
    foreign(folder)
    (folder / "a.png.json").write_text('{"tags": ["holiday"]}')


@pytest.mark.parametrize(
    ("make", "known"),
    [
        (with_metadata, True),
        (with_sidecar_alone, True),
        (with_an_older_sidecar, True),
        (cut, True),
        (foreign, False),
        (edited_with_its_metadata, False),
        (painted_over, False),
        (with_broken_metadata, False),
        (with_the_sidecar_of_another, False),
    ],
)
def test_a_picture_of_nst_is_recognised_by_its_metadata_or_its_sidecar(folder, make, known):
    make(folder)
    assert sidecar.is_picture("a.png") is known


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ('{"program": "nst", "config": 5}', True),
        ('{\n  "program": "nst",\n  "versi', True),
        ('{"tags": ["holiday"]}', False),
        ("[1]", False),
        ('{"program": "other"}', False),
        ('{"width": 4}', False),
        ("", False),
    ],
)
def test_a_sidecar_is_recognised_by_its_first_bytes(folder, text, known):
    noise(1, 8, 8).save("a.png")
    (folder / "a.png.json").write_text(text)
    assert sidecar.is_sidecar("a.png.json") is known


@pytest.mark.parametrize(
    ("text", "known"),
    [("", True), ("{", True), ("\0\0\0", True), ('{"config": {}}', True), ('{"tags": []}', False)],
)
def test_a_damaged_sidecar_is_recognised_beside_a_picture_of_nst(folder, text, known):
    save("a.png")
    (folder / "a.png.json").write_text(text)
    assert sidecar.is_sidecar("a.png.json") is known


# Pictures that are up to date


INPUTS = {"content": "1" * 64, "style": "2" * 64, "weights": "4" * 64}


def test_a_picture_is_up_to_date_if_its_sidecar_says_so():
    save("a.png", document("elsewhere"))
    assert sidecar.is_up_to_date("a.png", Config(), INPUTS)
    assert sidecar.is_up_to_date("a.png", Config(max_pixels=0), INPUTS)
    assert not sidecar.is_up_to_date("a.png", Config(gamma=1), INPUTS)
    assert not sidecar.is_up_to_date("a.png", Config(), {**INPUTS, "style": "5" * 64})
    assert not sidecar.is_up_to_date("a.png", Config(), {**INPUTS, "init": "5" * 64})


def test_a_picture_whose_sidecar_is_of_an_earlier_run_is_not_up_to_date(folder):
    with_an_older_sidecar(folder)
    assert not sidecar.is_up_to_date("a.png", Config(gamma=1), INPUTS)
    assert not sidecar.is_up_to_date("a.png", Config(gamma=2), INPUTS)


def test_a_picture_made_before_an_option_existed_is_still_up_to_date():
    what = document()
    del what["config"]["metadata"]
    save("a.png", what)
    assert sidecar.is_up_to_date("a.png", Config(), INPUTS)
    assert not sidecar.is_up_to_date("a.png", Config(metadata=False), INPUTS)


@pytest.mark.parametrize("text", ["", "{}", '{"program": "nst", "config": {}}', "[[["])
def test_a_picture_with_a_damaged_sidecar_is_not_up_to_date(folder, text):
    save("a.png")
    (folder / "a.png.json").write_text(text)
    assert not sidecar.is_up_to_date("a.png", Config(), INPUTS)


def test_a_missing_picture_is_not_up_to_date():
    save("a.png")
    os.unlink("a.png")
    assert not sidecar.is_up_to_date("a.png", Config(), INPUTS)


def test_pictures_of_every_format_are_recognised(folder):
    for ending in images.ENDINGS:
        save(f"a{ending}", sidecar_too=False)
        assert sidecar.is_picture(f"a{ending}")
    Image.new("RGB", (8, 8)).save("b.jpg")
    assert not sidecar.is_picture("b.jpg")
