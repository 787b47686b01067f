"""Transfers between files in this process, on a small random network."""

import json
from pathlib import Path

import numpy
import pytest
from PIL import Image

from nst_cli import Config, engine, images, transfer
from nst_cli.errors import (
    EngineError,
    ImageError,
    IncompleteError,
    NonFiniteError,
    OutputError,
    WeightsError,
)
from nst_cli.runs import runner, sidecar
from nst_cli.synthesis import Result
from nst_cli.weights import Weights

IDENTITY = {"source": "a file", "sha256": "0" * 64}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch, small_network):
    """The working folder, with a content of 48 x 32 and a style of 30 x 60 pixels."""
    monkeypatch.chdir(tmp_path)
    save("content.png", 1, 32, 48)
    save("style.png", 2, 60, 30)
    return tmp_path


def save(name, seed, height, width, channels=3):
    values = numpy.random.RandomState(seed).randint(0, 256, (height, width, channels))
    Image.fromarray(values.astype(numpy.uint8)).save(name)


def choices(**others):
    defaults = {
        "size": 24,
        "style_layers": "relu1_1,relu2_1",
        "content_layers": "relu2_1",
        "device": "cpu",
        "iterations": 3,
        "stop_eps": 0,
        "denoise": 0,
    }
    return Config(**{**defaults, **others})


def prepare(content="content.png", style="style.png", output="out.png", **others):
    return runner.prepare(content, style, output, choices(**others))


def pixels_in(path):
    with Image.open(path) as picture:
        return numpy.asarray(picture)


def document_in(path):
    return json.loads(Path(path).read_text(), parse_constant=pytest.fail)


def written(folder):
    return {path.name for path in folder.iterdir()} - {"content.png", "style.png"}


# Names


@pytest.mark.parametrize(
    ("output", "step", "name"),
    [
        ("out.png", 1, "out-00001.png"),
        ("a.b/out.x.jpg", 100, "a.b/out.x-00100.jpg"),
        ("out.png", 123456, "out-123456.png"),
    ],
)
def test_a_picture_on_the_way_is_named_by_its_step_before_the_ending(output, step, name):
    assert runner.step_name(output, step) == name


def test_the_sidecars_of_two_pictures_that_differ_in_their_ending_differ():
    names = {runner.sidecar_of(f"a.b/out{ending}") for ending in (".png", ".jpg", ".tif")}
    assert len(names) == 3
    assert all(name.startswith("a.b/out") and name.endswith(".json") for name in names)


# Preparing


def test_squeezed_the_style_has_the_contents_size():
    job = prepare(style_fit="squeeze")
    assert job.content.shape == job.style.shape == (1, 3, 16, 24)


def test_kept_the_style_has_its_own_aspect_and_the_long_edge_asked_for():
    job = prepare(style_fit="keep", size=36)
    assert (job.content.shape, job.style.shape) == ((1, 3, 24, 36), (1, 3, 36, 18))


def test_a_style_too_elongated_to_be_kept_may_be_squeezed():
    save("thin.png", 3, 8, 300)
    with pytest.raises(ImageError, match=r"thin\.png: its 300 x 8 pixels"):
        prepare(style="thin.png", style_fit="keep")
    assert prepare(style="thin.png", style_fit="squeeze").style.shape == (1, 3, 16, 24)


@pytest.mark.parametrize("size", [24, 48, 90])
def test_the_content_is_resized_to_the_long_edge_asked_for_from_above_or_below(size):
    job = prepare(size=size)
    assert job.content.shape == (1, 3, size * 2 // 3, size)
    assert (job.provenance["width"], job.provenance["height"]) == (size, size * 2 // 3)


def test_the_start_picture_and_the_alpha_are_resized_to_the_contents_size():
    save("start.png", 3, 50, 50)
    save("clear.png", 4, 32, 48, channels=4)
    job = prepare(content="clear.png", init="start.png")
    assert job.init.shape == job.content.shape == (1, 3, 16, 24)
    assert job.alpha.shape == (16, 24)
    assert prepare().init is None and prepare().alpha is None


def test_white_is_256_less_the_means_in_the_papers_preset():
    Image.new("RGB", (48, 32), "white").save("white.png")
    job = prepare(content="white.png")
    numpy.testing.assert_allclose(job.content[0, :, 0, 0], 256 - numpy.array(images.MEANS), 1e-6)


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        ({"output": "none/out.png"}, OutputError, "none"),
        ({"output": "content.png"}, OutputError, "overwrite content.png"),
        ({"content": "none.png"}, ImageError, "none.png"),
        ({"style": "none.png"}, ImageError, "none.png"),
        ({"init": "none.png"}, ImageError, "none.png"),
        ({"init": "start.png", "output": "start.png"}, OutputError, "overwrite start.png"),
        ({"device": "gpu:99"}, EngineError, "99"),
    ],
)
def test_mistakes_are_reported_before_the_network_is_run(monkeypatch, wrong, error, words):
    save("start.png", 3, 50, 50)
    monkeypatch.setattr(runner, "transfer", lambda *_, **__: pytest.fail("it was run"))
    with pytest.raises(error, match=words) as caught:
        runner.run(prepare(**wrong))
    assert "\n" not in str(caught.value)


def test_broken_weights_are_reported_before_mxnet_is_loaded(monkeypatch):
    def fail(self):
        raise WeightsError(f"{self.path} is broken.")

    monkeypatch.setattr(Weights, "load", fail)
    monkeypatch.setattr(engine, "context", lambda device: pytest.fail("MXNet was loaded"))
    with pytest.raises(WeightsError, match="a file is broken"):
        prepare()


def test_preparing_writes_nothing(folder):
    prepare()
    assert written(folder) == set()


def test_the_builtin_weights_and_transparency_lost_are_noted():
    save("clear.png", 4, 32, 48, channels=4)
    assert prepare().notes == ()
    assert prepare(content="clear.png").notes == ()
    (note,) = prepare(weights="builtin").notes
    assert "built-in" in note
    (note,) = prepare(content="clear.png", output="out.jpg").notes
    assert "out.jpg" in note and "transparency" in note


# Running


def test_what_tiles_change_is_noted_and_in_the_sidecar():
    assert not prepare(tile=1).notes
    job = prepare(tile=1, size=80, method="gaussian=0.2,energy=0.3,poly=0.5")
    by_fourier, by_sample = job.notes
    assert "gaussian uses random Fourier features" in by_fourier
    assert "energy sees at most 65536 positions" in by_sample
    runner.run(job)
    expected = {
        "megabytes": 1, "by_fourier": ["gaussian"], "by_sample": ["energy"], "scales": [1],
    }  # fmt: skip
    assert document_in("out.png.json")["tiling"] == expected
    runner.run(prepare(size=24, output="small.png", tile=1))
    assert "tiling" not in document_in("small.png.json")


def test_the_picture_is_the_image_that_the_transfer_made(folder):
    job = prepare()
    outcome = runner.run(job)
    image = transfer(job.content, job.style, job.config).image
    numpy.testing.assert_array_equal(outcome.result.image, image)
    numpy.testing.assert_array_equal(pixels_in("out.png"), images.to_pixels(image, "truncate"))
    assert (outcome.path, outcome.sidecar) == ("out.png", runner.sidecar_of("out.png"))
    assert written(folder) == {outcome.path, outcome.sidecar}


def test_the_denoised_picture_varies_less():
    runner.run(prepare(output="plain.png", init="content.png"))
    runner.run(prepare(output="smooth.png", init="content.png", denoise=0.1))
    plain, smooth = (
        numpy.abs(numpy.diff(pixels_in(name).astype(float), axis=0)).sum()
        for name in ("plain.png", "smooth.png")
    )
    assert 0 < smooth < plain


@pytest.mark.parametrize("kind", ["direct", "winograd"])
def test_the_record_names_the_convolutions_that_were_used(kind):
    deep = {"style_layers": "relu2_2", "content_layers": "relu2_2"}
    assert prepare(convolution=kind, **deep).provenance["convolution"] == kind
    # Down to relu2_1 there is no Winograd convolution.
    assert prepare(convolution=kind).provenance["convolution"] == "direct"


def test_all_choices_come_back_from_the_sidecar_and_from_the_picture():
    config = choices(
        size=36,
        method="bn=0.3,poly=0.7",
        alpha=0.5,
        beta="bn=900,poly=0.2",
        gamma=2.5,
        c=3.0,
        layer_weights="relu1_1=0.1",
        pooling="max",
        style_fit="keep",
        stop_eps=1e-9,
        lr=0.01 / 3,
        tv_weight=0.0,
        denoise=0.01,
        init="content.png",
        seed=2**32 - 1,
    )
    outcome = runner.run(runner.prepare("content.png", "style.png", "out.jpg", config))
    document = document_in(outcome.sidecar)
    assert Config.from_dict(document["config"]) == config
    assert images.read_metadata("out.jpg") == sidecar.carried(document)
    assert document["weights"] == IDENTITY
    assert document["beta"] == outcome.result.beta == {"bn": 900, "poly": 0.2}
    assert document["losses"] == outcome.result.losses


def test_a_run_repeated_from_its_sidecar_gives_the_same_bytes():
    first = runner.run(prepare(seed=3, method="gaussian"))
    document = document_in(first.sidecar)
    before = [Path(path).read_bytes() for path in (first.path, first.sidecar)]
    paths = (document["content"]["path"], document["style"]["path"], "out.png")
    again = runner.run(runner.prepare(*paths, Config.from_dict(document["config"])))
    assert [Path(path).read_bytes() for path in (again.path, again.sidecar)] == before


def test_no_iterations_give_the_start_picture_and_its_losses():
    outcome = runner.run(prepare(iterations=0, init="content", size=48))
    assert (outcome.result.steps, document_in(outcome.sidecar)["steps"]) == (0, 0)
    # The authors' factor of 256 and truncation may add 1.
    difference = pixels_in("out.png").astype(int) - pixels_in("content.png")
    assert difference.min() >= 0 and difference.max() <= 1
    assert outcome.result.losses["total"] > 0


def test_pictures_on_the_way_are_written_every_few_steps(folder):
    seen = []
    runner.run(prepare(iterations=5), on_step=lambda r: seen.append(r.step), save_every=2)
    assert seen == [1, 2, 3, 4, 5]
    steps = {runner.step_name("out.png", step): step for step in (2, 4)}
    assert written(folder) == {*steps, "out.png", runner.sidecar_of("out.png")}
    for name, step in steps.items():
        document = images.read_metadata(name)
        assert (document["steps"], document["stop_reason"]) == (step, "save-every")
        runner.run(prepare(output="short.png", iterations=step))
        numpy.testing.assert_array_equal(pixels_in(name), pixels_in("short.png"))


# Runs that do not finish


def interrupt_at(step):
    def on_step(record):
        if record.step == step:
            raise KeyboardInterrupt

    return on_step


def test_an_interrupted_run_gives_the_picture_of_its_last_step(folder):
    outcome = runner.run(prepare(iterations=50), on_step=interrupt_at(3))
    document = document_in(outcome.sidecar)
    assert (document["steps"], document["stop_reason"]) == (3, "interrupted")
    assert images.read_metadata("out.png") == sidecar.carried(document)
    assert set(document["losses"]) > {"total"}
    runner.run(prepare(iterations=3, output="whole.png"))
    numpy.testing.assert_array_equal(pixels_in("out.png"), pixels_in("whole.png"))


def test_an_interruption_while_the_picture_is_finished_does_not_lose_it(folder, monkeypatch):
    to_pixels = images.to_pixels

    def interrupted_once(*arguments):
        monkeypatch.setattr(images, "to_pixels", to_pixels)
        raise KeyboardInterrupt

    monkeypatch.setattr(images, "to_pixels", interrupted_once)
    outcome = runner.run(prepare())
    assert (outcome.result.steps, outcome.result.stop_reason) == (3, "interrupted")
    assert document_in("out.png.json")["stop_reason"] == "interrupted"


def test_an_interruption_before_the_first_step_writes_nothing(folder, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "transfer", interrupted)
    with pytest.raises(KeyboardInterrupt):
        runner.run(prepare())
    assert written(folder) == set()


def test_a_run_that_becomes_non_finite_keeps_the_last_good_image():
    options = {"init": "content", "lr": 1e4, "tv_weight": 0, "iterations": 100}
    with pytest.raises(NonFiniteError) as caught:
        runner.run(prepare(**options))
    document = document_in(runner.sidecar_of("out.png"))
    steps = document["steps"]
    assert steps == caught.value.result.steps > 0
    assert (document["stop_reason"], document["losses"]) == ("non-finite", {})
    assert images.read_metadata("out.png") == sidecar.carried(document)
    runner.run(prepare(output="whole.png", **{**options, "iterations": steps}))
    numpy.testing.assert_array_equal(pixels_in("out.png"), pixels_in("whole.png"))


def test_a_run_without_a_finite_step_writes_nothing(folder):
    with pytest.raises(NonFiniteError):
        runner.run(prepare(init="content", gamma=1e30, beta=1e30))
    assert written(folder) == set()


def test_a_sidecar_that_can_no_longer_be_written_is_an_error_that_names_it(folder):
    job = prepare()
    (folder / "out.png.json").mkdir()
    result = Result(job.content, 1, "iterations", {"total": 1.0}, {})
    with pytest.raises(IncompleteError, match=r"out\.png\.json: Is a dir.* out\.png is made") as e:
        runner.write(job, result)
    assert e.value.outcome.path == "out.png"
    assert written(folder) == {"out.png", "out.png.json"}


def test_a_picture_too_large_for_the_memory_is_not_even_resized(monkeypatch):
    monkeypatch.setattr(engine, "free_memory", lambda device: 0)
    monkeypatch.setattr(images, "resize", None)
    with pytest.raises(EngineError, match="Not enough memory for 4000 x"):
        prepare(size=4000)


def test_a_limit_of_pixels_refuses_a_png_and_reads_a_jpeg_smaller():
    with pytest.raises(ImageError, match=r"48 x 32, 1536 pixels, exceeds the limit of 1535"):
        prepare(max_pixels=1535)
    Image.open("content.png").save("content.jpg")
    job = prepare("content.jpg", max_pixels=1535, style="content.jpg")
    assert job.content.shape == (1, 3, 16, 24)
    assert prepare(max_pixels=0).content.shape == (1, 3, 16, 24)


def test_a_start_image_of_another_shape_is_noted():
    save("tall.png", 3, 60, 30)
    save("large.png", 3, 64, 96)
    [note] = [note for note in prepare(init="tall.png").notes if "tall.png" in note]
    assert note == (
        "The start image tall.png has 30 x 60 pixels, and the content's shape is 24 x 16: only "
        "its middle of 30 x 20 is used."
    )
    assert not [note for note in prepare(init="large.png").notes if "large.png" in note]
