"""Methods from other packages: declared, listed, used, recorded, replayed; and broken ones."""

import importlib.util
import inspect
import json
import re
import shutil
import site
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
from click.testing import CliRunner
from packages import DECLARATION, EXAMPLE, forget, save_example, save_package
from processes import PATIENCE, TINY, environment, error_of, noise, nst, run
from test_losses import (
    M,
    N,
    assert_gradients_agree,
    central_differences,
    device_array,
    evaluate,
    random_map,
    rows,
    target_of,
)

from nst_cli import Config, doctor, images, plugins, transfer
from nst_cli.cli import main
from nst_cli.errors import ConfigError, PluginError, SidecarError
from nst_cli.runs import cluster, plan, sidecar
from nst_cli.synthesis import memory
from nst_cli.synthesis.losses import LinearMMD, style_loss

FUSION = "robust=0.5,poly=0.5"
TINY_OPTIONS = [
    word for key, value in TINY.items() for word in (f"--{key.replace('_', '-')}", str(value))
]


@pytest.fixture
def example(packages):
    """The folder with the example of the documentation."""
    save_example(packages)
    return packages


def nst_here(*arguments):
    """Run the command line in this process; return its exit code, its output and its errors."""
    # From version 8.2 on, Click always keeps the two apart.
    mixes = "mix_stderr" in inspect.signature(CliRunner).parameters
    runner = CliRunner(**({"mix_stderr": False} if mixes else {}))
    done = runner.invoke(main, list(map(str, arguments)), prog_name="nst")
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout, done.stderr


def help_of(command):
    code, out, err = nst_here(command, "--help")
    assert (code, err) == (0, "")
    return " ".join(out.split())


# The example


def test_the_documentation_has_the_files_of_the_example():
    text = (EXAMPLE.parents[1] / "docs" / "plugins.md").read_text(encoding="utf-8")
    shown = dict(
        re.findall(r"^`([\w./]+)`:\n\n```\w+\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    )
    files = (path for path in EXAMPLE.rglob("*") if path.suffix in (".py", ".toml"))
    assert shown == {
        path.relative_to(EXAMPLE).as_posix(): path.read_text(encoding="utf-8") for path in files
    }


def test_the_example_is_the_penalised_difference_of_the_means(example):
    features, style, knee = random_map(0), random_map(1, N, 5, 4), 0.5
    means = rows(features).mean(0) - rows(style).mean(0)
    expected = M / N * knee**2 * (numpy.sqrt(1 + (means / knee) ** 2) - 1).sum()
    value, _ = evaluate(style_loss("robust", knee=knee), features, style)
    assert value == pytest.approx(expected, rel=1e-9)


def assert_is_gradient(loss):
    """Compare the gradient of a loss with central differences."""
    features, target = random_map(0), target_of(loss, random_map(1, N, 5, 4))
    grad = loss(device_array(features), target).grad.asnumpy()
    assert_gradients_agree(grad, central_differences(lambda f: loss(f, target).value, features))


def test_the_gradient_of_the_example_agrees_with_central_differences(example):
    assert_is_gradient(style_loss("robust", knee=0.5))


def test_the_example_in_parts_is_the_whole(example):
    loss, features = style_loss("robust", knee=0.5), random_map(0)
    target = target_of(loss, random_map(1, N, 5, 4))
    parts = [device_array(part) for part in (features[:, :, :1], features[:, :, 1:])]
    head = loss.head(loss.sums(parts[0]) + loss.sums(parts[1]), target)
    grad = numpy.concatenate([loss.gradient(part, head).asnumpy() for part in parts], axis=2)
    whole = loss(device_array(features), target)
    numpy.testing.assert_allclose(head.value.asnumpy(), whole.value.asnumpy(), rtol=1e-12)
    numpy.testing.assert_allclose(grad, whole.grad.asnumpy(), rtol=1e-12)


def test_the_example_with_a_high_knee_is_linear(example):
    features, style = random_map(0), random_map(1, N, 5, 4)
    for one, other in zip(
        evaluate(style_loss("robust", knee=1e6), features, style),
        evaluate(LinearMMD(), features, style),
    ):
        numpy.testing.assert_allclose(one, other, rtol=1e-9)


# Listing


def test_the_command_line_and_the_methods_of_nst_need_no_list_of_packages():
    code = (
        "import sys, nst_cli.cli; from nst_cli import Config, plugins; "
        "Config(method='bn=0.5,poly=0.5', beta='bn=1,poly=2', loss_options=''); "
        "print(plugins.installed.cache_info().misses, {'mxnet', 'numpy'} & set(sys.modules))"
    )
    done = run([sys.executable, "-c", code], env=environment(), text=True)
    assert (done.stdout, done.stderr) == ("0 set()\n", "")


def test_the_help_lists_the_methods_of_plugins_and_their_options(example):
    for command in ("stylize", "batch"):
        text = help_of(command)
        assert (
            "Methods of plugins: robust Channel means; large differences pull no harder than "
            "small ones. From nst-robust 1.0, beta 60000. robust.knee Difference of means from "
            "which the pull stays the same. [default: 10.0]"
        ) in text


def test_without_plugins_the_help_has_no_section_for_them(packages):
    assert "Methods of plugins" not in help_of("stylize")


def test_listing_and_help_import_no_loss(example):
    help_of("stylize")
    Config(method=FUSION)
    assert "nst_robust" in sys.modules and "nst_robust.loss" not in sys.modules


def test_an_unknown_method_is_answered_with_the_similar_name_of_a_plugin(example):
    with pytest.raises(ConfigError, match="Unknown method 'robist': did you mean 'robust'"):
        Config(method="robist")


def test_doctor_lists_the_methods_of_plugins(example, monkeypatch):
    monkeypatch.setattr(doctor, "try_network", lambda device: "fast")
    save_package(example, "nst-broken", {"broken": "nst_broken:METHOD"}, {})
    lines = [finding for finding in doctor.examine() if finding[0] == "plugin"]
    problem = (
        "The method 'broken' of nst-broken 1.0 cannot be used: nst_broken:METHOD: AttributeError: "
        "module 'nst_broken' has no attribute 'METHOD'."
    )
    assert lines == [
        ("plugin", problem, False),
        ("plugin", "the method robust of nst-robust 1.0", True),
    ]


# Options


def test_a_config_has_every_option_of_its_methods_and_no_other(example):
    assert Config(method=FUSION).loss_options == "robust.knee=10.0"
    assert Config(method="robust", loss_options="robust.knee=3").loss_options == "robust.knee=3.0"
    assert Config(method="poly", loss_options="robust.knee=3").loss_options == ""
    assert Config(method="robust").loss_choices("robust") == {"knee": 10.0}
    assert Config(method="poly", c=2).loss_choices("poly") == {"c": 2.0}


def test_a_table_of_options_equals_their_text_and_survives_a_sidecar(example):
    one = Config(
        method=FUSION, loss_options={"robust": {"knee": 3}}, beta={"robust": 2, "poly": 1}
    )
    assert one == Config(
        method=FUSION, loss_options="robust.knee=3", beta="robust=2,poly=1"
    ) and hash(one)
    assert Config.from_dict(json.loads(json.dumps(one.to_dict()))) == one


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("knee=3", "'knee=3' is not of the form method.key=value; an example is"),
        ("robust.knie=3", "The method 'robust' has no option 'knie': did you mean 'knee'?"),
        ("robust.knee=-1", "robust.knee is -1; it must be above 0."),
        ("robust.knee=", "robust.knee is '', which is not a number."),
        ("robust.knee=1,robust.knee=2", "loss_options has robust.knee twice."),
        ("robist.knee=3", "the unknown method 'robist': did you mean 'robust'?"),
        ("poly.c=3", "'poly' is one of nst's own"),
        ({"robust": 3}, "'robust' is not a table of options"),
        ({"robust": {"knee": [1, 2]}}, "robust.knee is '1,2', which is not a number."),
        (3, "loss_options is 3; an example is"),
    ],
)
def test_an_invalid_option_is_an_error_of_the_option_for_them(example, options, message):
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        Config(method="robust", loss_options=options)
    assert caught.value.field == "loss_options" and "\n" not in str(caught.value)


def test_values_may_be_words_lists_and_flags(packages):
    options = """
    options = {
        "kernels": Option((0.5, 1.0), number_list, "Numbers."),
        "mode": Option("soft", one_of(("soft", "hard")), "A word."),
        "both": Option(False, one_of(("true", "false")), "A flag."),
    }
    """
    source = DECLARATION.format(package="nst_mine").replace(
        'A method of a test."', f'", {options.strip()}'
    )
    save_package(packages, "nst-mine", {"mine": "nst_mine:METHOD"}, {"__init__": source})
    assert Config(method="mine").loss_options == (
        "mine.kernels=0.5,1.0,mine.mode=soft,mine.both=false"
    )
    config = Config(method="mine", loss_options="mine.mode=hard,mine.kernels=1,2,mine.both=true")
    assert config.loss_choices("mine") == {"kernels": (1.0, 2.0), "mode": "hard", "both": "true"}
    table = {"mine": {"kernels": [1, 2], "mode": "hard", "both": True}}
    assert Config(method="mine", loss_options=table) == config


def test_a_batch_file_may_have_a_table_of_options_and_a_list_of_tables(example, tmp_path):
    file = tmp_path / "batch.toml"
    file.write_text(
        "output = '{number}-{loss_options}.png'\n[defaults]\nmethod = {robust = 1, poly = 1}\n"
        "[[run]]\ncontent = 'a.png'\nstyle = 'b.png'\nloss_options.robust.knee = 3\n"
        "[grid]\ncontent = 'a.png'\nstyle = 'b.png'\n"
        "loss_options = [{robust.knee = 1}, 'robust.knee=2']\n"
    )
    runs = plan.read(file).runs
    assert [one.config.loss_options for one in runs] == [
        f"robust.knee={knee}.0" for knee in (3, 1, 2)
    ]
    assert runs[0].output == str(tmp_path / "001-robust.knee=3.0.png")


# Runs


@pytest.fixture
def finished(example, tmp_path, monkeypatch):
    """The working folder, with a picture that a fusion with the example made."""
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("content.png", "style.png")):
        noise(number, 24, 24).save(name)
    choices = ("--method", FUSION, "--loss-options", "robust.knee=3", *TINY_OPTIONS)
    done = nst_here(
        "stylize", "content.png", "style.png", "-o", "x.png", "--log", "x.jsonl", "-q", *choices
    )
    assert done[:2] == (0, "x.png\n")
    return tmp_path


def test_sidecar_metadata_and_log_have_the_method_and_its_package(finished):
    document = json.loads(Path("x.png.json").read_text())
    assert document["plugins"] == {"robust": {"package": "nst-robust", "version": "1.0"}}
    assert document["config"]["loss_options"] == "robust.knee=3.0"
    assert document["beta"] == {"robust": 60000.0, "poly": 0.1}
    assert images.read_metadata("x.png")["plugins"] == document["plugins"]
    for line in Path("x.jsonl").read_text().splitlines():
        assert {"robust/relu1_1", "poly/relu1_1"} <= set(json.loads(line)["losses"])


def test_the_picture_depends_on_the_option(finished):
    config = Config(method="robust", **TINY)
    content, style = (numpy.random.RandomState(n).rand(1, 3, 16, 16) * 99 for n in (0, 1))
    one, other, same = (
        transfer(content, style, Config(**{**config.to_dict(), "loss_options": options})).losses
        for options in ("robust.knee=0.1", "robust.knee=100", "robust.knee=0.1")
    )
    assert one != other and one == same


def test_a_replay_is_identical(finished):
    assert nst_here("replay", "x.png", "-q") == (
        0,
        "x-replay.png\n",
        "Identical, byte for byte.\n",
    )
    assert Path("x-replay.png.json").read_text() == Path("x.png.json").read_text()


def test_a_replay_mentions_that_a_plugin_has_another_version(finished):
    save_example(finished / "packages", version="1.1")
    forget()
    code, _, err = nst_here("replay", "x.png", "-q")
    assert code == 0
    assert err.startswith("Note: the package of robust was nst-robust 1.0, is nst-robust 1.1.\n")


def test_a_replay_with_a_version_that_has_other_options_says_so(finished):
    file = finished / "packages" / "nst_robust" / "__init__.py"
    file.write_text(file.read_text().replace('"knee"', '"elbow"'))
    del sys.modules["nst_robust"]
    forget()
    message = (
        "Error: Cannot replay x.png: an option is unknown to this version of a plugin: The method "
        "'robust' has no option 'knee': choose from elbow.\n"
    )
    assert nst_here("replay", "x.png", "-q") == (1, "", message)


def test_a_replay_without_the_plugin_names_its_package(finished):
    (finished / "packages" / "nst_robust.dist-info" / "entry_points.txt").write_text("")
    forget()
    message = (
        "Error: Cannot replay x.png: its method robust is from the package nst-robust 1.0, which "
        "is not installed.\n"
    )
    assert nst_here("replay", "x.png", "-q") == (1, "", message)


def test_a_replay_with_a_broken_plugin_says_what_is_broken(finished):
    (finished / "packages" / "nst_robust" / "__init__.py").write_text("import no_such_module")
    for name in ("nst_robust", "nst_robust.loss"):
        del sys.modules[name]
    forget()
    code, out, err = nst_here("replay", "x.png", "-q")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "Cannot replay x.png: The method 'robust' of nst-robust 1.0 cannot be used" in err
    assert "No module named 'no_such_module'" in err


@pytest.mark.parametrize(
    "entry", [[], {"robust": 1}, {"robust": {"package": "a"}}, {"robust": {"package": 1}}]
)
def test_a_sidecar_with_a_malformed_record_of_plugins_is_refused(finished, entry):
    path = Path("x.png.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "plugins": entry}))
    with pytest.raises(SidecarError, match="'plugins'"):
        sidecar.read("x.png")


def test_another_method_replaces_a_picture_whose_plugin_is_gone(finished):
    (finished / "packages" / "nst_robust.dist-info" / "entry_points.txt").write_text("")
    forget()
    choices = ("-o", "x.png", "--method", "linear", "-q", *TINY_OPTIONS)
    assert nst_here("stylize", "content.png", "style.png", *choices)[:2] == (0, "x.png\n")


def test_beta_auto_and_a_dry_run_take_the_method_of_a_plugin(finished):
    choices = ("--method", FUSION, "--beta", "auto", *TINY_OPTIONS)
    done = nst_here("stylize", "content.png", "style.png", "-o", "y.png", "--dry-run", *choices)
    assert done[0] == 0 and "time" in done[1]
    done = nst_here("stylize", "content.png", "style.png", "-o", "y.png", "-q", *choices)
    assert done[:2] == (0, "y.png\n")
    assert set(json.loads(Path("y.png.json").read_text())["beta"]) == {"robust", "poly"}


def test_the_forecast_counts_as_much_memory_as_for_the_largest_of_nst_s_own_methods(example):
    needed = {
        method: memory.memory(Config(method=method, device="cpu"), (300, 400), (300, 400))
        for method in ("robust", "poly", "histogram")
    }
    assert needed["robust"] == needed["histogram"] > needed["poly"]


def test_processes_of_a_batch_have_the_plugin(finished):
    Path("batch.toml").write_text(
        "output = '{method}.png'\n[grid]\ncontent = 'content.png'\nstyle = 'style.png'\n"
        "method = ['robust', 'linear']\n"
    )
    done = nst(
        finished, "batch", "batch.toml", "--jobs", "2", "-q", *TINY_OPTIONS,
        PYTHONPATH=f"{environment()['PYTHONPATH']}:{finished / 'packages'}",
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(done.stdout.split()) == ["linear.png", "robust.png"]


def parcel(**theirs):
    entry = {"package": "nst-robust", "version": "1.0", **theirs}
    return cluster.Parcel({}, (), Config(**TINY), ".png", "", {"robust": entry})


def test_a_worker_of_a_cluster_with_another_version_of_the_plugin_makes_nothing(example):
    with pytest.raises(PluginError) as caught:
        cluster.work(parcel(version="0.9"))
    assert str(caught.value) == (
        "The method 'robust' is from nst-robust 0.9 for the caller; the worker has nst-robust 1.0."
    )


def test_a_worker_of_a_cluster_without_the_plugin_makes_nothing(packages):
    with pytest.raises(PluginError, match="the worker has none that has it"):
        cluster.work(parcel())


# Broken plugins


BROKEN = {
    "no-module": ({}, "nst_bad.missing:METHOD", "ModuleNotFoundError: No module named"),
    "no-import": ({"__init__": "import scipyy"}, "nst_bad:METHOD", "No module named 'scipyy'"),
    "syntax": ({"__init__": "def"}, "nst_bad:METHOD", "SyntaxError: invalid syntax"),
    "raises": ({"__init__": "1 / 0"}, "nst_bad:METHOD", "ZeroDivisionError: division by zero"),
    "exits": ({"__init__": "raise SystemExit('bye')"}, "nst_bad:METHOD", "SystemExit: bye"),
    "no-name": ({}, "nst_bad:METHOD", "module 'nst_bad' has no attribute 'METHOD'"),
    "no-reference": ({}, "nst_bad", "'nst_bad' is not of the form 'module:NAME'"),
    "no-method": ({"__init__": "METHOD = {}"}, "nst_bad:METHOD", "is of type dict; it must be"),
}
DECLARED = {
    "beta": ("beta=3.0", "beta=0", "beta is 0; it must be above 0"),
    "beta-text": ("beta=3.0", "beta='x'", "beta is 'x', which is not a number"),
    "loss": ("nst_bad.loss:Loss", "nst_bad", "loss is 'nst_bad'; it must be of the form"),
    "help": ("help=", "options={}, help=3 or ", "help is 3; it must be a text"),
    "options": ("help=", "options=[], help=", "options is []; it must be a dict"),
    "option": ("help=", "options={'a': 1}, help=", "the option 'a' must be a nst_cli.plugins.Op"),
    "option-name": ("help=", "options={'A b': 1}, help=", "the option 'A b' must have a name"),
    "default": (
        "help=", "options={'a': Option(-1, positive, '')}, help=", "a is -1; it must be above 0"
    ),
    "check": ("help=", "options={'a': Option(1, len, '')}, help=", "TypeError: len() takes"),
}  # fmt: skip


def declared(before, after):
    source = DECLARATION.format(package="nst_bad")
    assert before in source
    return {"__init__": source.replace(before, after)}


@pytest.mark.parametrize(
    ("sources", "reference", "message"),
    [
        *BROKEN.values(),
        *((declared(a, b), "nst_bad:METHOD", message) for a, b, message in DECLARED.values()),
    ],
    ids=[*BROKEN, *DECLARED],
)
def test_a_broken_plugin_is_one_line_and_breaks_nothing_else(
    example, tmp_path, sources, reference, message
):
    save_package(example, "nst-bad", {"bad": reference}, sources, version="2.0")
    text = help_of("stylize")
    assert "The method 'bad' of nst-bad 2.0 cannot be used: " in text
    assert "robust Channel means" in text
    Config(method=FUSION)
    code, out, err = nst_here("stylize", "a.png", "b.png", "-o", "c.png", "--method", "bad")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert err.startswith("Error: The method 'bad' of nst-bad 2.0 cannot be used: ")
    assert message in err


def test_an_error_within_a_package_names_its_file_and_line(packages):
    sources = {"__init__": "import math\n\nmath.sqrt(-1)"}
    save_package(packages, "nst-bad", {"bad": "nst_bad:METHOD"}, sources)
    with pytest.raises(PluginError, match=r"math domain error.* \(.*/nst_bad/__init__.py, line 3"):
        Config(method="bad")


def test_what_a_plugin_prints_is_not_among_the_results(packages, capsys):
    sources = {"__init__": "print('hello')\n" + DECLARATION.format(package="nst_bad")}
    save_package(packages, "nst-bad", {"bad": "nst_bad:METHOD"}, sources)
    Config(method="bad")
    assert capsys.readouterr() == ("", "hello\n")


def test_damaged_metadata_of_a_package_hide_only_its_own_methods(example):
    for name in ("a", "z"):
        save_package(example, f"nst-{name}", {name: "x:Y"}, {})
        info = example / f"nst_{name}.dist-info"
        (info / "entry_points.txt").write_bytes(b"[nst.losses]\n\xff = = [\n]]")
        (info / "METADATA").unlink()
    assert [plugin.name for plugin in plugins.installed()] == ["robust"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("poly", "nst itself uses the name 'poly'"),
        ("auto", "nst itself uses the name 'auto'"),
        ("total", "nst itself uses the name 'total'"),
        ("Mine", "its name must be of lower-case letters"),
        ("a__b", "its name must be of lower-case letters"),
        ("a.b", "its name must be of lower-case letters"),
        ("a" * 31, "its name must be of lower-case letters"),
    ],
)
def test_a_name_that_is_taken_or_malformed_is_a_line_in_the_help(packages, name, message):
    sources = {"__init__": DECLARATION.format(package="nst_bad")}
    save_package(packages, "nst-bad", {name: "nst_bad:METHOD"}, sources)
    assert f"The method {name!r} of nst-bad 1.0 cannot be used: {message}" in help_of("stylize")
    assert Config(method="poly").loss_choices("poly") == {"c": 0.0}
    if name != "poly":
        with pytest.raises((PluginError, ConfigError)):
            Config(method=name)


def test_a_name_of_two_packages_is_refused_and_the_others_are_not(example):
    save_package(example, "nst-one", {"same": "nst_one:METHOD"}, {})
    save_package(example, "nst-two", {"same": "nst_two:METHOD"}, {}, version="3.0")
    with pytest.raises(PluginError) as caught:
        Config(method="same")
    assert str(caught.value) == (
        "The method 'same' of nst-one 1.0 cannot be used: nst-two 3.0 has a method of the same "
        "name; uninstall one of them."
    )
    Config(method=FUSION)


def test_a_package_that_is_on_the_path_twice_counts_once(example, tmp_path, monkeypatch):
    (tmp_path / "first").mkdir()
    save_example(tmp_path / "first", version="2.0")
    monkeypatch.syspath_prepend(tmp_path / "first")
    forget()
    assert [plugin.source for plugin in plugins.installed()] == ["nst-robust 2.0"]


LOSS = """
from dataclasses import dataclass
from nst_cli.engine import nd
from nst_cli.synthesis.losses import Deterministic, LossGrad

@dataclass
class Loss(Deterministic):
    needs = "positions"

    def target(self, features, random=None):
        return features.mean()

    def __call__(self, features, target, weight=1.0, drawn=None):
        difference = features.mean() - target
        grad = nd.ones_like(features) * (2 * weight / features.size) * difference
        return LossGrad(weight * difference**2, grad)
"""


@pytest.fixture
def mine(packages):
    """Return a function that installs the method mine, with some text of its loss replaced."""

    def install(before="", after=""):
        assert before in LOSS
        sources = {
            "__init__": DECLARATION.format(package="nst_mine"),
            "loss": LOSS.replace(before, after) if before else LOSS,
        }
        save_package(packages, "nst-mine", {"mine": "nst_mine:METHOD"}, sources)

    return install


def test_a_loss_without_sums_is_enough(mine):
    mine()
    assert_is_gradient(style_loss("mine"))
    assert style_loss("mine") == style_loss("mine") and hash(style_loss("mine"))


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("class Loss", "class Other", "has no attribute 'Loss'"),
        ("import nd", "import no_such_name", "ImportError: cannot import name 'no_such_name'"),
        ('    needs = "positions"', "", "its attribute 'needs' is none of sums, positions"),
        ('"positions"', '"sums"', "it needs 'sums' and is not a SumLoss"),
        ("(Deterministic)", "", "it has no method 'draw'"),
        ("def target", "def aim", "it has no method 'target'"),
        ("def __call__", "def call", "it cannot be called"),
        ("    needs", "    knee: float\n    needs", "missing 1 required positional argument"),
        ("    needs", "    draws = None\n    needs", "its attribute 'draws' is not True or False"),
    ],
)
def test_what_is_not_a_loss_is_one_line_before_the_run(mine, before, after, message):
    mine(before, after)
    Config(method="mine")
    with pytest.raises(PluginError, match=re.escape(message)) as caught:
        style_loss("mine")
    assert str(caught.value).startswith("The method 'mine' of nst-mine 1.0 cannot be used: ")
    assert "nst_mine.loss:Loss" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("return features.mean()", "1 / 0", "its loss gives no target: ZeroDivisionError"),
        ("nd.ones_like(features)", "1", "the gradient has shape (1,)"),
        ("LossGrad(weight * difference**2", "(features", "the value has shape (1, 64, 16, 16)"),
        ("LossGrad(weight * difference**2", "(3.0", "the value is a float, not an NDArray"),
        ("return LossGrad", "LossGrad", "TypeError: cannot unpack"),
        (
            "- target",
            "- nd.dot(features, nd.ones((7, 8)))",
            "its loss gives no value or gradient: MXNet fa",
        ),
        ("random=None", "", "its loss gives no target: TypeError"),
        ("* difference\n", "* 1\n        grad = grad.astype('float64')\n", "and type float64 on"),
    ],
)
def test_a_loss_that_fails_in_a_run_is_one_line(mine, before, after, message):
    mine(before, after)
    content, style = numpy.zeros((1, 3, 16, 16)), numpy.ones((1, 3, 16, 16))
    with pytest.raises(PluginError, match=re.escape(message)) as caught:
        transfer(content, style, Config(method="mine", **TINY))
    assert str(caught.value).startswith("The method 'mine' of nst-mine 1.0 cannot be used: ")
    assert "\n" not in str(caught.value)


# Really installed


def pip(python, *arguments):
    """Run pip in an environment of its own."""
    done = run([python, "-m", "pip", "--disable-pip-version-check", *map(str, arguments)])
    assert done.returncode == 0, done.stderr.decode()


def save_broken_project(folder):
    """Save the project of a plugin that imports a package that does not exist; return its path."""
    package = folder / "nst_broken"
    package.mkdir(parents=True)
    project = (EXAMPLE / "pyproject.toml").read_text(encoding="utf-8").replace("robust", "broken")
    (folder / "pyproject.toml").write_text(project, encoding="utf-8")
    (package / "__init__.py").write_text("import no_such_package\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """An environment with the packages of this one, where pip has installed two plugins.

    They are the example, and one that cannot be imported. pip builds them here if it can, and
    otherwise downloads what builds them.
    """
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True, timeout=PATIENCE)
    python = folder / "venv" / "bin" / "python"
    (packages,) = (folder / "venv" / "lib").glob("python*/site-packages")
    here = [path for path in (*site.getsitepackages(), *sys.path) if "site-packages" in path]
    lines = [f"import site; site.addsitedir({path!r})" for path in dict.fromkeys(here)]
    (packages / "here.pth").write_text("\n".join(lines), encoding="utf-8")
    builds = importlib.util.find_spec("wheel") is not None
    # pip builds a package in its folder and leaves files there.
    copied = shutil.copytree(EXAMPLE, folder / "package")
    projects = copied, save_broken_project(folder / "broken")
    pip(python, "install", "--no-deps", *["--no-build-isolation"] * builds, *projects)
    for number, name in enumerate(("content.png", "style.png")):
        noise(number, 24, 24).save(folder / name)
    return folder


@pytest.mark.slow
def test_a_plugin_that_pip_installed_is_used_in_a_fusion_and_replayed_beside_a_broken_one(place):
    def nst_there(*arguments):
        program = (place / "venv" / "bin" / "python", "-m", "nst_cli")
        return run([*map(str, (*program, *arguments))], cwd=place, env=environment(), text=True)

    made = nst_there(
        "stylize", "content.png", "style.png", "-o", "x.png", "--method", FUSION, "-q",
        "--loss-options", "robust.knee=3", *TINY_OPTIONS,
    )  # fmt: skip
    assert made.stdout == "x.png\n", made.stderr
    document = json.loads((place / "x.png.json").read_text())
    assert document["plugins"] == {"robust": {"package": "nst-robust", "version": "1.0"}}
    done = nst_there("replay", "x.png", "-q")
    assert (done.returncode, done.stderr) == (0, "Identical, byte for byte.\n")
    help_text = nst_there("batch", "--help").stdout
    assert "robust.knee" in help_text and "The method 'broken' of nst-broken 1.0" in help_text
    line = error_of(nst_there("stylize", "a", "b", "-o", "c.png", "--method", "broken"), 1)
    assert "cannot be used: nst_broken:METHOD: ModuleNotFoundError: No module named" in line
    pip(place / "venv" / "bin" / "python", "uninstall", "--yes", "nst-robust")
    assert "the package nst-robust 1.0, which is not" in error_of(nst_there("replay", "x.png"), 1)
    message = error_of(nst_there("stylize", "a", "b", "-o", "c.png", "--method", FUSION), 2)
    assert "Unknown method 'robust': choose from linear, poly" in message
