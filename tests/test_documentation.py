"""The commands and code of README.md and docs/*.md run, at small sizes and with built-in weights.

Each command is first checked as written: its options exist, and their values are valid. Then the
commands of a text run one after another, in a folder with the files that the text assumes.
"""

import functools
import inspect
import re
import shlex
import shutil
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from packages import save_example
from PIL import Image
from processes import noise

import nst_cli
from nst_cli import cli
from nst_cli.views import figures

ROOT = Path(nst_cli.__file__).resolve().parents[1]
DOCUMENTS = {path.name: path for path in (ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")))}

#: Beginnings of commands that do not run here, each with the reason. All of them are checked.
NOT_RUN = {
    "nst mxnet install": "installs packages",
    "nst gpu install": "installs packages",
    "nst weights fetch": "needs the network",
    "nst weights check FILE": "FILE stands for a file",
    "nst batch configs/methods.toml --dask tcp://HOST:8786": "needs a cluster",
}

#: Options that make a run short: the last of several equal options counts.
SMALL = {
    "stylize": ["--size", "32", "--iterations", "2"],
    "batch": ["--size", "32", "--iterations", "2"],
    "figure": ["--size", "32", "--iterations", "1"],
    "score": ["--size", "32", "--draws", "2"],
    "theorem": ["--size", "32", "--sample", "64"],
}

#: Options that the texts name: of docker, and of the authors' program.
FOREIGN_OPTIONS = {"--gpus", "--remove-noise"}

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(name, *languages):
    """Return the fenced blocks of a document that are in one of some languages."""
    fenced = _FENCE.findall(DOCUMENTS[name].read_text(encoding="utf-8"))
    return [body for language, body in fenced if language in languages]


def spans(name):
    """Return the texts between single backticks in a document, each on one line."""
    text = _FENCE.sub("", DOCUMENTS[name].read_text(encoding="utf-8"))
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", text)]


def lines(name, *programs):
    """Return the lines of shell in the fenced blocks of a document that call some programs."""
    whole = "".join(blocks(name, "", "sh")).replace("\\\n", "").splitlines()
    return [line for line in whole if line.partition(" ")[0] in programs]


def words_of(line):
    return shlex.split(line, comments=True)


def commands(name):
    """Return all commands of a document, without ``nst``, as lists of words."""
    # A table has its commands between backticks; those that write a file are complete.
    tabled = [span for span in spans(name) if span.startswith("nst ") and " -o " in span]
    contained = [
        " ".join(["nst", *re.split(r" nst:[a-z]+ ", line)[1:]])
        for line in lines(name, "docker")
        if line.startswith("docker run")
    ]
    return [words_of(line)[1:] for line in (*lines(name, "nst"), *tabled, *contained)]


ALL = [(name, words) for name in DOCUMENTS for words in commands(name)]


def resolved(words):
    """Return the command that some words name, its name, and the remaining words."""
    command, path, rest = cli.main, ["nst"], list(words)
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        assert rest[0] in command.commands, f"there is no command {' '.join([*path, rest[0]])}"
        path.append(rest.pop(0))
        command = command.commands[path[-1]]
    return command, " ".join(path), rest


def check(words):
    """Fail if the command line does not take these words, or if `Config` refuses their values."""
    command, path, rest = resolved(words)
    try:
        context = command.make_context(path, rest)
    except click.exceptions.Exit:  # --help and --version
        return
    if "preset" in context.params:
        names = {"preset", *nst_cli.config.OPTIONS}
        nst_cli.Config(**{name: context.params[name] for name in names & set(context.params)})


def options_of(command):
    """Return the names of all options of a command, and of those below a group."""
    names = {"-h", "--help"}
    for parameter in command.params:
        names.update(parameter.opts, parameter.secondary_opts)
    return names.union(*map(options_of, getattr(command, "commands", {}).values()))


@pytest.fixture(autouse=True)
def the_example_is_installed(packages):
    """Install the plugin that the texts use."""
    save_example(packages)


# The texts compared with the command line


@pytest.mark.parametrize("name, words", ALL, ids=[f"{n}: {shlex.join(w)}" for n, w in ALL])
def test_the_command_line_takes_a_documented_command(name, words):
    check(words)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_commands_and_options_that_a_text_names_exist(name):
    for span in spans(name):
        words = span.split()
        if words[0] == "nst" or words[0].startswith("--"):
            # Options alone may be those of any command.
            command = resolved(words[1:])[0] if words[0] == "nst" else cli.main
            named = {word.partition("=")[0] for word in words if re.match("--?[a-z]", word)}
            assert named <= options_of(command) | FOREIGN_OPTIONS, span


@pytest.mark.parametrize(
    "line",
    [
        "stylise a.jpg b.jpg -o c.png",
        "stylize a.jpg b.jpg -o c.png --sise 300",
        "stylize a.jpg b.jpg",
        "stylize a.jpg b.jpg -o c.png --method pol",
        "weights find",
        "figure 5",
    ],
)
def test_a_command_that_does_not_exist_fails_the_check(line):
    with pytest.raises((AssertionError, click.UsageError, nst_cli.NstError)):
        check(line.split())


def test_exceptions_from_running_occur_in_the_texts():
    documented = [f"nst {shlex.join(words)}" for _, words in ALL]
    for beginning in NOT_RUN:
        assert any(line.startswith(beginning) for line in documented), beginning


@pytest.mark.parametrize("name", DOCUMENTS)
def test_targets_of_make_that_a_text_names_exist(name):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(" ".join(re.findall(r"^([a-z0-9 -]+):(?!=)", makefile, re.MULTILINE)).split())
    written = [*lines(name, "make"), *(span for span in spans(name) if span.startswith("make "))]
    assert {line.split()[1] for line in written} <= targets


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_between_the_texts_lead_to_files(name):
    text = DOCUMENTS[name].read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    assert [link for link in links if not (DOCUMENTS[name].parent / link).exists()] == []


# The texts executed


@pytest.fixture(scope="module")
def files_of_the_texts(tmp_path_factory):
    """A folder with all files that the texts assume."""
    folder = tmp_path_factory.mktemp("files")
    names = [
        "photo.jpg",
        "painting.jpg",
        "etching.jpg",
        "content.jpg",
        "style.jpg",
        "photos/sea.jpg",
    ]
    names += ["photos/mon/IMG_1.jpg", "paintings/wave.jpg"]
    names += sorted({f"images/{name}" for pair in figures.PAPER_PAIRS for name in pair})
    names += [f"nst_cli/samples/{path.name}" for path in ROOT.glob("nst_cli/samples/*.jpg")]
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        noise(number, 32, 40 + number % 3).save(folder / name)
    for name, picture in (
        ("sky.png", "photo.jpg"),
        ("ground.png", "photo.jpg"),
        ("figure-mask.png", "painting.jpg"),
    ):
        with Image.open(folder / picture) as image:
            Image.new("L", image.size, 255).save(folder / name)
    shutil.copytree(ROOT / "configs", folder / "configs")
    return folder


@pytest.fixture
def scratch(files_of_the_texts, tmp_path, monkeypatch):
    """The working folder: a copy of these files."""
    folder = tmp_path / "work"
    shutil.copytree(files_of_the_texts, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("NST_WEIGHTS", "builtin")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    # Figure 2 has a picture for each method and each of these.
    monkeypatch.setattr(figures, "GAMMAS", (0.2, 5.0))
    # These two have two pictures for each method.
    for name in ("alignments", "judged"):
        monkeypatch.setitem(figures._METHODS, name, ("linear", "gaussian"))
    return folder


def run(words):
    """Run a command at a small size."""
    result = CliRunner().invoke(cli.main, [*_without_sizes(words), *SMALL.get(words[0], [])])
    assert result.exit_code == 0, (shlex.join(words), result.output, result.exception)


def _without_sizes(words):
    """Return words without the options that contradict ``--size``, and their values."""
    sizes = {f"--{name}" for name in nst_cli.config.SIZES} - {"--size"}
    pairs = zip(words, ["", *words])
    return [word for word, before in pairs if word not in sizes and before not in sizes]


def is_run(line):
    return not any(line.startswith(beginning) for beginning in NOT_RUN)


@pytest.mark.parametrize(
    "name", [name for name in DOCUMENTS if any(map(is_run, lines(name, "nst")))]
)
def test_the_commands_of_a_text_run_one_after_another(name, scratch):
    if "nst replay picture.png" in lines(name, "nst"):
        run(words_of("stylize photo.jpg painting.jpg -o picture.png"))
    for line in filter(is_run, lines(name, "nst", "mkdir")):
        program, *words = words_of(line)
        if program == "mkdir":
            Path(*words).mkdir()
        else:
            run(words)


def test_the_commands_in_the_table_of_the_readme_run(scratch):
    for words in commands("README.md"):
        if words[0] == "stylize" and words[1] == "content.jpg":
            run(words)


@pytest.mark.parametrize("block", blocks("batches.md", "toml"))
def test_the_batch_files_of_the_texts_run(block, scratch):
    Path("text.toml").write_text(block, encoding="utf-8")
    run(["batch", "text.toml"])


@pytest.mark.parametrize("name", [name for name in DOCUMENTS if blocks(name, "python")])
def test_the_python_of_a_text_runs(name, scratch, monkeypatch):
    config = functools.partial(_short, nst_cli.Config)
    monkeypatch.setattr(nst_cli, "Config", config)
    for block in blocks(name, "python"):
        exec(compile(block, name, "exec"), {})  # noqa: S102
    assert Path("picture.png").is_file()


def _short(config, **choices):
    return config(**{**choices, "iterations": 2})


def test_the_signature_in_the_text_is_that_of_transfer():
    (documented,) = [span for span in spans("python.md") if span.startswith("transfer(content")]
    parameters = inspect.signature(nst_cli.transfer).parameters.values()
    plain = [parameter.replace(annotation=parameter.empty) for parameter in parameters]
    assert documented == f"transfer{inspect.Signature(plain)}"
