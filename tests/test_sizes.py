"""The size of the finished picture, from every option that sets it."""

import json

import click
import numpy
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from nst_cli import Config, cli
from nst_cli.config import override
from nst_cli.errors import ConfigError, EngineError, ImageError
from nst_cli.runs import batch, cluster, forecast, plan, precheck, replay, runner, sidecar, sizes
from nst_cli.runs.inputs import read_inputs
from nst_cli.runs.styles import Style
from nst_cli.synthesis import memory
from nst_cli.weights import Weights

SMALL = {
    "style_layers": "relu1_1,relu2_1", "content_layers": "relu2_1", "device": "cpu",
    "iterations": 2, "stop_eps": 0, "denoise": 0, "weights": "builtin",
}  # fmt: skip
OPTIONS = [
    word for name, value in SMALL.items() for word in (f"--{name.replace('_', '-')}", str(value))
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working folder, with a content of 60 x 40 and a style of 60 x 60 pixels."""
    monkeypatch.chdir(tmp_path)
    save("content.png", 40, 60)
    save("style.png", 60, 60)
    return tmp_path


def save(name, height, width):
    values = numpy.random.RandomState(height).randint(0, 256, (height, width, 3))
    Image.fromarray(values.astype(numpy.uint8)).save(name)


def size_in(path):
    with Image.open(path) as picture:
        return picture.size


def make(output="out.png", **choices):
    job = runner.prepare("content.png", "style.png", output, Config(**SMALL, **choices))
    return runner.run(job)


def nst(*arguments):
    return CliRunner().invoke(cli.main, arguments)


CASES = [
    ({}, (600, 400)),
    ({"size": 24}, (24, 16)),
    ({"size": "keep"}, (60, 40)),
    ({"width": 45}, (45, 30)),
    ({"height": 20}, (30, 20)),
    ({"width": 90, "height": 30}, (45, 30)),
    ({"width": 30, "height": 90}, (30, 20)),
    ({"scale": 0.5}, (30, 20)),
    ({"scale": 2}, (120, 80)),
    ({"preset": "fast", "width": 45}, (45, 30)),
    # Halves are rounded up.
    ({"width": 49}, (49, 33)),
]


@pytest.mark.parametrize(("choices", "size"), CASES)
def test_each_option_gives_the_finished_picture_its_size(choices, size):
    width, height = size
    assert sizes.finished_size((40, 60, 3), Config(**choices)) == (height, width)


def test_a_factor_counts_as_it_is_written():
    assert sizes.finished_size((45, 25), Config(scale=0.7)) == (32, 18)


@pytest.mark.parametrize(("choices", "size"), CASES[1:8])
def test_a_picture_is_made_at_its_size_and_made_again(folder, choices, size):
    make(**choices)
    assert size_in("out.png") == size
    assert sidecar.read("out.png").config() == Config(**SMALL, **choices)
    recipe = replay.read("out.png")
    runner.run(replay.prepare(recipe, "again.png"))
    assert replay.compare(recipe, "again.png").identical


@pytest.mark.parametrize(("choices", "size"), CASES)
def test_a_config_with_a_size_survives_its_sidecar(choices, size):
    config = Config(**choices)
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("choices", "edge"),
    [({"size": "keep"}, 60), ({"width": 45}, 45), ({"height": 20}, 30), ({"scale": 0.5}, 30)],
)
def test_a_style_that_keeps_its_shape_has_the_long_edge_of_the_picture(folder, choices, edge):
    config = Config(**SMALL, style_fit="keep", **choices)
    assert read_inputs("content.png", "style.png", config).style.shape[2:] == (edge, edge)
    squeezed = read_inputs("content.png", "style.png", Config(**SMALL, **choices))
    assert squeezed.style.shape == squeezed.content.shape


@pytest.mark.parametrize(
    "choices",
    [
        {"size": 600, "width": 300},
        {"size": "keep", "scale": 2},
        {"width": 300, "scale": 2},
        {"height": 300, "scale": 2},
        {"width": 300, "height": 200, "size": 100},
    ],
)
@pytest.mark.parametrize("preset", ["paper", "fast"])
def test_two_sizes_contradict_each_other_whatever_the_preset(choices, preset):
    with pytest.raises(ConfigError, match="contradict each other") as error:
        Config(preset=preset, **choices)
    assert all(name in str(error.value) for name in choices) and error.value.field is None


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--size 600 --width 300", ("size 600", "width 300", "contradict")),
        ("--scale 0", ("--scale", "above 0")),
        ("--scale 1e9", ("--scale", "at most 1000")),
        ("--scale keep", ("--scale", "'keep'", "not a number")),
        ("--width keep", ("--width", "'keep'", "not a number")),
        ("--width 15", ("--width", "from 16")),
        ("--height 20.5", ("--height", "whole number")),
        ("--size large", ("--size", "'large'", "keep")),
        ("--scal 2", ("--scal",)),
    ],
)
def test_an_invalid_size_is_a_usage_error_of_one_line(folder, words, expected):
    done = nst("stylize", "content.png", "style.png", "-o", "out.png", *words.split())
    line = done.output.strip().splitlines()[-1]
    assert done.exit_code == 2 and all(word in line for word in expected)
    assert line.startswith("Error: ")


def test_the_number_of_scales_is_no_factor(folder):
    config = Config(scales=2)
    assert (config.size, config.scale) == (600, None)
    assert Config(scale=2).scales == 1


# Advice


@pytest.mark.parametrize(
    ("choices", "option"),
    [
        ({"size": 40}, "--size 93 "),
        ({"size": "keep"}, "--size 93 "),
        ({"width": 40}, "--width 93 "),
        ({"height": 16, "width": 40}, "--width 93 --height 38 "),
        ({"scale": 0.25}, "--scale 0.775 "),
    ],
)
def test_the_advice_for_a_side_too_small_is_in_the_users_own_option(choices, option):
    own = (10, 60) if choices == {"size": "keep"} else (20, 120)
    with pytest.raises(ImageError) as error:
        sizes.finished_size(own, Config(**choices), "thin.png")
    assert f"use {option}or more" in str(error.value) and "thin.png" in str(error.value)
    words = option.split()
    advised = {name.strip("-"): float(value) for name, value in zip(words[::2], words[1::2])}
    assert min(sizes.finished_size(own, Config(**advised))) == 16


@given(
    own=st.tuples(st.integers(1, 400), st.integers(1, 400)),
    choices=st.one_of(
        st.fixed_dictionaries({"width": st.integers(16, 60)}),
        st.fixed_dictionaries({"height": st.integers(16, 60)}),
        st.fixed_dictionaries({"width": st.integers(16, 60), "height": st.integers(16, 60)}),
        st.fixed_dictionaries({"scale": st.floats(0.01, 3)}),
    ),
)
@settings(derandomize=True, deadline=None, max_examples=200)
def test_the_shape_is_kept_and_advice_works_for_any_content(own, choices):
    try:
        size = sizes.finished_size(own, Config(**choices))
    except ImageError as error:
        if "crop it first" not in str(error):
            words = str(error).partition("use ")[2].removesuffix(" or more.").split()
            advised = {name.strip("-"): float(v) for name, v in zip(words[::2], words[1::2])}
            assert advised.keys() == choices.keys()
            assert min(sizes.finished_size(own, Config(**advised))) >= 16
        return
    assert abs(size[0] * own[1] - size[1] * own[0]) <= max(*own, *size)
    if "scale" not in choices:
        limits = choices.get("height", 10**6), choices.get("width", 10**6)
        assert all(side <= limit for side, limit in zip(size, limits))
        assert any(side == limit for side, limit in zip(size, limits))


@pytest.mark.parametrize(
    ("choices", "option"),
    [({"size": 4000}, "--size"), ({"width": 4000}, "--width"), ({"scale": 50.0}, "--scale")],
)
def test_the_advice_for_too_little_memory_is_in_the_users_own_option(monkeypatch, choices, option):
    monkeypatch.setattr(memory, "available", lambda device: 2 << 30)
    choices = {**choices, "tile": "off"}
    size = sizes.finished_size((60, 80), Config(**choices))
    with pytest.raises(EngineError, match=f"4000 x 3000 pixels.*; {option} [0-9.]+ would fit"):
        forecast.check_memory(Config(**choices), size, size)


# Reading a large JPEG


@pytest.mark.parametrize(
    ("choices", "expected"),
    [({"scale": 0.25}, (100, 75)), ({"width": 80}, (80, 60)), ({"size": 40}, (40, 30))],
)
def test_a_jpeg_beyond_the_limit_is_decoded_smaller_for_every_option(folder, choices, expected):
    save("content.jpg", 300, 400)
    limited = {**SMALL, **choices, "max_pixels": 20_000}
    inputs = read_inputs("content.jpg", "style.png", Config(**limited))
    assert inputs.pictures["content"].pixels.shape[1] < 400
    assert inputs.content.shape[2:] == expected[::-1]


def test_the_size_does_not_depend_on_a_smaller_decoding(folder):
    save("content.jpg", 601, 799)
    config = Config(**SMALL, scale=0.125, max_pixels=20_000)
    inputs = read_inputs("content.jpg", "style.png", config)
    assert inputs.pictures["content"].pixels.shape[:2] == (76, 100)
    assert inputs.content.shape[2:] == sizes.finished_size((601, 799), config) == (75, 100)


def test_a_jpeg_to_be_kept_at_its_size_is_not_decoded_smaller(folder):
    save("content.jpg", 300, 400)
    with pytest.raises(ImageError, match="--max-pixels 120000"):
        read_inputs("content.jpg", "style.png", Config(**SMALL, size="keep", max_pixels=20_000))


# Batches


def test_a_size_nearer_to_the_run_takes_the_place_of_any_other():
    assert override({"size": 9, "gamma": 1}, {"width": 5}) == {"gamma": 1, "width": 5}
    assert override({"width": 9, "height": 8}, {"height": 5}) == {"height": 5}
    assert override({"width": 9}, {"gamma": 2}) == {"width": 9, "gamma": 2}
    assert override({"width": 9}, {"scale": None}) == {"width": 9, "scale": None}


def test_a_batch_takes_every_size_and_the_command_line_overrides_it(folder):
    (folder / "runs.toml").write_text(
        """
        output = "{number}-{size}-{width}-{scale}.png"
        [defaults]
        size = 24
        content = "content.png"
        style = "style.png"
        [[run]]
        [[run]]
        width = 45
        [[grid]]
        scale = [0.5, 2]
        """
    )
    runs = plan.read("runs.toml").runs
    assert [run.output for run in runs] == [
        "001-24-auto-auto.png", "002-auto-45-auto.png", "003-auto-auto-0.5.png",
        "004-auto-auto-2.png",
    ]  # fmt: skip
    runs = plan.read("runs.toml", {"height": 32}).runs
    assert {(run.config.size, run.config.height, run.config.scale) for run in runs} == {
        (None, 32, None)
    }


def test_a_batch_orders_by_the_finished_size(folder):
    save("tall.png", 60, 40)
    config = {**SMALL, "scale": 0.5}
    runs = [
        plan.Run(content, "style.png", f"{number}.png", Config(**config))
        for number, content in enumerate(("content.png", "tall.png", "content.png", "tall.png"))
    ]
    ordered = [run.content for run in batch._ordered(runs)]
    assert ordered in (sorted(ordered), sorted(ordered, reverse=True))


def test_a_picture_of_another_size_option_is_made_again(folder):
    make(size="keep")
    (run,) = [plan.Run("content.png", "style.png", "out.png", Config(**SMALL, size="keep"))]
    assert batch.make([run])[0].state == "skipped"
    run = plan.Run("content.png", "style.png", "out.png", Config(**SMALL, width=40))
    assert batch.make([run])[0].state == "done"
    assert size_in("out.png") == (40, 27)


def test_the_check_before_a_batch_limits_pictures_by_the_finished_size(folder):
    save("content.jpg", 300, 400)
    limited = {**SMALL, "max_pixels": 20_000}
    runs = [
        plan.Run("content.jpg", "style.png", "a.png", Config(**limited, scale=0.25)),
        plan.Run("content.jpg", "style.png", "b.png", Config(**limited, size="keep")),
    ]
    assert [run.output for run in precheck.check(runs)] == ["b.png"]


def test_a_worker_of_a_cluster_makes_the_same_picture(folder):
    config = Config(**SMALL, scale=0.5, bits=16)
    batch.make([plan.Run("content.png", "style.png", "out.png", config)])
    pictures = {
        role: (f"{role}.png", (folder / f"{role}.png").read_bytes())
        for role in ("content", "style")
    }
    parcel = cluster.Parcel(pictures, (Style("style.png"),), config, ".png", Weights().sha256, {})
    result = cluster.work(parcel)
    assert result.picture == (folder / "out.png").read_bytes()


# Commands


def test_the_steps_to_save_are_counted_at_the_finished_size(folder):
    # 60 x 40 pixels are too few for two scales, 240 x 160 are not.
    config = Config(**{**SMALL, "iterations": 3}, scales="auto", scale=10)
    assert runner._max_steps("content.png", config) > 3
    assert runner._max_steps("content.png", Config(**{**SMALL, "iterations": 3}, scale=1)) == 3


def test_the_command_line_makes_each_size(folder):
    done = nst("stylize", "content.png", "style.png", "-o", "out.png", "-q", "--scale", "0.5",
               *OPTIONS)  # fmt: skip
    assert done.exit_code == 0, done.output
    assert size_in("out.png") == (30, 20)
    done = nst("stylize", "content.png", "style.png", "-o", "out.png", "-q", "--width", "90",
               "--height", "30", "--dry-run", *OPTIONS)  # fmt: skip
    assert "size    45 x 30" in done.output


@pytest.mark.parametrize("command", ["score", "theorem"])
def test_other_commands_keep_the_content_at_its_size(folder, command):
    make()
    arguments = {
        "score": ["out.png", "--content", "content.png", "--style", "style.png", "--draws", "2",
                  "--method", "bn", "--content-layers", "relu2_1"],
        "theorem": ["content.png", "style.png", "--picture", "out.png", "--sample", "16"],
    }[command]  # fmt: skip
    done = nst(command, *arguments, "--size", "keep", "--style-layers", "relu1_1", "--weights",
               "builtin", "--device", "cpu", "--json", "numbers.json", "-q")  # fmt: skip
    assert done.exit_code == 0, done.output
    assert '"width": 60' in (folder / "numbers.json").read_text()


def test_a_speed_is_measured_at_a_number_of_pixels():
    done = nst("bench", "--size", "keep")
    assert done.exit_code == 2 and "'keep'" in done.output


def test_click_takes_no_option_for_the_beginning_of_another():
    context = click.Context(cli.main.commands["stylize"])
    parser = cli.main.commands["stylize"].make_parser(context)
    choices, *_ = parser.parse_args(["--scale", "2", "a", "b"])
    assert choices["scale"] == "2" and not choices.get("scales")
    with pytest.raises(click.NoSuchOption):
        parser.parse_args(["--heigh", "2"])
