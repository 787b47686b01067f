"""The figures: their runs, the place of each in the grid, and the matrix of all alignments."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy
import pictures
import pytest
from PIL import Image
from processes import environment, error_of, nst

from nst_cli import Config, images
from nst_cli.config import METHODS, PAPER_METHODS
from nst_cli.errors import BatchError, ConfigError, OutputError
from nst_cli.views import figures, judged
from nst_cli.views.score import Left

TINY = ("--size", "24", "--iterations", "2", "--weights", "builtin")
LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")


def configs(number, **others):
    layout = figures.figure(number, "out", **others)
    return {(cell.row, cell.column): cell.run.config for cell in layout.cells}


def test_figure_1_uses_the_authors_descent_and_the_others_preset_fast():
    presets = {
        number: {cell.run.config.preset for cell in figures.figure(number, "out").cells}
        for number in (1, 2, 3, 4)
    }
    assert presets == {1: {"paper"}, 2: {"fast"}, 3: {"fast"}, 4: {"fast"}}
    full = figures.figure(2, "out", {"seed": 3}, full=True).cells[0].run.config
    assert (full.preset, full.size, full.seed) == ("paper", Config().size, 3)


def test_figure_1_is_styles_alone_from_noise_with_ever_deeper_layers():
    for (row, column), config in configs(1).items():
        assert (config.method, config.alpha, config.init) == (PAPER_METHODS[row], 0, "random")
        assert config.style_layers == LAYERS[: column + 1]
    assert len(configs(1)) == 20


def test_figure_2_is_each_method_at_five_values_of_gamma():
    choices = {place: (config.method, config.gamma) for place, config in configs(2).items()}
    gammas = (0.1, 0.2, 1, 5, 10)
    assert choices == {(r, c): (PAPER_METHODS[r], gammas[c]) for r in range(4) for c in range(5)}


def test_figure_3_is_six_pairs_by_each_method_with_a_gamma_for_each_pair():
    layout = figures.figure(3, "out")
    assert len({(cell.run.content, cell.run.style) for cell in layout.cells}) == 6
    for cell in layout.cells:
        assert cell.run.config.method == PAPER_METHODS[cell.column]
        assert cell.run.config.gamma == (2, 2, 2, 5, 5, 5)[cell.row]
        beside = [path for _, path in layout.beside[cell.row]]
        assert beside == [cell.run.content, cell.run.style]


def test_figure_4_fuses_two_methods_in_two_rows_each():
    shares = (0.9, 0.7, 0.5, 0.3, 0.1)
    for (row, column), config in configs(4).items():
        one, other = ("bn", "poly") if row < 2 else ("linear", "gaussian")
        share = shares[column]
        assert config.methods == {one: share, other: pytest.approx(1 - share)}
        assert config.gamma == 5


@pytest.mark.parametrize("number", [1, 2, 3, 4, "alignments"])
def test_the_authors_pictures_replace_the_samples(number):
    layout = figures.figure(number, "out", pictures="images")
    for cell in layout.cells:
        assert os.path.dirname(cell.run.content) == os.path.dirname(cell.run.style) == "images"
        assert os.path.basename(cell.run.content) in pictures.PICTURES
        assert os.path.basename(cell.run.style) in pictures.PICTURES


def test_there_is_no_figure_5():
    with pytest.raises(BatchError, match="no figure 5: choose from 1, 2, 3, 4, alignments, judg"):
        figures.figure(5, "out")


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_figure_shows_the_methods_that_are_chosen(number):
    methods = {config.method for config in configs(number, methods=["coral", "remd"]).values()}
    assert methods == {"coral", "remd"}


def test_a_figure_of_one_method_has_both_pictures_beside_its_row():
    (beside,) = figures.figure(2, "out", methods=["coral"]).beside
    assert [label for label, _ in beside] == ["content", "style"]


def test_figure_4_has_methods_of_its_own():
    with pytest.raises(ConfigError, match="Figure 4 fuses methods of its own"):
        figures.figure(4, "out", methods=["bn"])


@pytest.mark.parametrize("name", ["alignments", "judged"])
def test_the_figures_of_all_alignments_are_each_method_on_two_pairs_by_preset_fast(name):
    layout = figures.figure(name, "out")
    runs = [cell.run for cell in layout.cells]
    assert len(runs) == len(set(runs)) == 2 * len(METHODS)
    assert {run.config.preset for run in runs} == {"fast"}
    for pair in {(run.content, run.style) for run in runs}:
        methods = [run.config.method for run in runs if (run.content, run.style) == pair]
        assert methods == list(METHODS)
    assert all(cell.label == cell.run.config.method for cell in layout.cells)
    assert [[label for label, _ in row] for row in layout.beside] == [["content"], ["style"]] * 2
    assert os.path.basename(layout.grid) == f"{name}.png"


def test_the_two_figures_of_all_alignments_share_their_pictures():
    alignments, judged = (figures.figure(name, "out") for name in ("alignments", "judged"))
    assert [cell.run for cell in alignments.cells] == [cell.run for cell in judged.cells]
    assert alignments.grid != judged.grid and alignments.manifest != judged.manifest


def test_each_picture_stands_in_its_row_and_column_of_the_grid(tmp_path):
    layout = figures.figure(2, tmp_path)
    os.mkdir(tmp_path / "fig2")
    colours = {}
    for cell in layout.cells:
        colours[cell.row, cell.column] = (40 * cell.row + 20, 40 * cell.column + 20, 200)
        images.write(cell.run.output, _plain(colours[cell.row, cell.column], 48, 32))
    grid = figures.compose(layout)
    places = {}
    for place, colour in colours.items():
        points = [
            (x, y) for y in range(grid.height) for x in range(0, grid.width, 4)
            if grid.getpixel((x, y)) == colour
        ]  # fmt: skip
        assert len(points) == 48 // 4 * 32
        places[place] = points[0]
    for (row, column), (x, y) in places.items():
        assert all(px > x for (r, c), (px, _) in places.items() if r == row and c > column)
        assert all(py > y + 31 for (r, _), (_, py) in places.items() if r > row)


def _plain(colour, width, height):
    return numpy.full((height, width, 3), colour, numpy.uint8)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("figure")
    return nst(folder, "figure", "4", *TINY, "-o", "f", "--quiet"), folder


def test_a_figure_is_a_grid_its_pictures_and_a_manifest(finished):
    done, folder = finished
    assert (done.returncode, done.stdout, done.stderr) == (0, "f/fig4.png\n", "")
    manifest = json.loads((folder / "f/fig4.json").read_text())
    assert len(manifest["cells"]) == 20 and manifest["pictures"] == "the project's samples"
    first = manifest["cells"][0]
    assert (first["row"], first["column"]) == ("bn + poly", "0.9 : 0.1")
    assert first["config"]["method"] == "bn=0.9,poly=0.1" and first["losses"]["total"] > 0
    assert (folder / "f" / first["picture"]).exists()
    assert Image.open(folder / "f/fig4.png").width > 7 * 24


@pytest.mark.parametrize("name", ["fig4.png", "fig4.json"])
def test_a_grid_or_a_manifest_that_nst_did_not_make_is_not_replaced(tmp_path, name):
    layout = figures.figure(4, tmp_path)
    images.write(tmp_path / "fig4.png", _plain((1, 2, 3), 9, 9))
    os.rename(tmp_path / "fig4.png", tmp_path / name)
    with pytest.raises(OutputError, match=f"{name}: it exists and nst did not make it"):
        figures.check(layout)
    figures.check(layout, overwrite=True)


def test_only_the_missing_picture_of_a_figure_is_made_again(finished):
    _, folder = finished
    cells = json.loads((folder / "f/fig4.json").read_text())["cells"]
    paths = [folder / "f" / cell["picture"] for cell in cells]
    before = {path: path.stat().st_mtime_ns for path in paths}
    paths[3].unlink()
    done = nst(folder, "figure", "4", *TINY, "-o", "f", "--quiet")
    assert done.returncode == 0, done.stderr
    assert [p for p in paths if p.stat().st_mtime_ns != before[p]] == [paths[3]]


def test_a_figure_replaces_its_own_files_and_others_only_with_overwrite(finished, tmp_path):
    _, folder = finished
    shutil.copytree(folder / "f", tmp_path / "f")
    layout = figures.figure(4, tmp_path / "f")
    figures.check(layout)
    for path in (layout.grid, layout.manifest):
        before = Path(path).read_bytes()
        Image.new("RGB", (9, 9)).save(path, "PNG")
        with pytest.raises(OutputError, match=f"{path}.*nst did not make it"):
            figures.check(layout)
        figures.check(layout, overwrite=True)
        Path(path).write_bytes(before)
    Path(layout.manifest).write_text('{"figure": 4}')
    line = error_of(nst(tmp_path, "figure", "4", *TINY, "-o", "f", "--quiet"), 1)
    assert "f/fig4.json" in line


def test_without_a_picture_no_grid_is_made_but_all_other_pictures_are(tmp_path):
    images.write(tmp_path / "tubingen.jpg", _plain((9, 9, 9), 48, 32))
    for name in set(pictures.PICTURES) - {"dog.jpg", "tubingen.jpg"}:
        shutil.copy(tmp_path / "tubingen.jpg", tmp_path / name)
    done = nst(tmp_path, "figure", "3", "--pictures", ".", "-o", "f", *TINY, "--iterations", "1")
    assert (done.returncode, done.stdout) == (1, "")
    assert "Note: Cannot read ./dog.jpg: No such file or directory. 4 runs" in done.stderr
    assert done.stderr.endswith("20 done, 4 failed, of 24 runs.\n")


def test_an_invalid_figure_is_a_one_line_error(tmp_path):
    line = error_of(nst(tmp_path, "figure", "1", "--pictures", "none", *TINY), 1)
    assert "none/brad_pitt.jpg" in line or "none/starry_night.jpg" in line
    (tmp_path / "f").write_text("")
    assert "Cannot make the folder f" in error_of(
        nst(tmp_path, "figure", "1", "-o", "f", *TINY), 1
    )


def test_different_options_make_every_picture_anew(finished, tmp_path):
    _, folder = finished
    shutil.copytree(folder / "f", tmp_path / "f")
    done = nst(tmp_path, "figure", "4", *TINY, "--size", "32", "-o", "f", "--quiet")
    assert done.returncode == 0, done.stderr
    cells = json.loads((tmp_path / "f/fig4.json").read_text())["cells"]
    widths = {Image.open(tmp_path / "f" / cell["picture"]).width for cell in cells}
    assert len(cells) == 20 and widths == {32}


def test_make_passes_its_figure_options_to_the_command():
    root = Path(__file__).parents[1]
    if not shutil.which("make") or not (root / "Makefile").exists():
        pytest.skip("no make, or no Makefile, here")
    done = subprocess.run(
        ["make", "-n", "fig2", "FIGURES=out/large", "FIGURE_OPTIONS=--size 64 --jobs 2"],
        # Run by make itself, this test would pass its state on.
        cwd=root, env=environment(MAKEFLAGS=None, MAKELEVEL=None), text=True, check=True,
        capture_output=True,
    )  # fmt: skip
    words = done.stdout.splitlines()[-1].split()
    assert " ".join(words[-8:]) == "figure 2 -o out/large --size 64 --jobs 2"


@pytest.mark.parametrize("number", [1, 2, 3, 4, "alignments"])
def test_labels_use_only_letters_that_the_font_has(number):
    layout = figures.figure(number, "out")
    labels = (*layout.rows, *layout.columns, *(cell.label for cell in layout.cells))
    assert all(label.isascii() for label in labels)


# All alignments

PAIR = ("--method", "linear,gaussian")


@pytest.fixture(scope="module")
def judged_folder(tmp_path_factory):
    """The figure of two alignments, and the matrix from its pictures."""
    folder = tmp_path_factory.mktemp("judged")
    first = nst(folder, "figure", "alignments", *TINY, *PAIR, "-o", "f", "--quiet")
    times = {path: path.stat().st_mtime_ns for path in (folder / "f/alignments").iterdir()}
    second = nst(folder, "figure", "judged", *TINY, *PAIR, "-o", "f", "--jobs", "1")
    return folder / "f", first, second, times


def test_judging_makes_no_picture_anew(judged_folder):
    folder, first, second, times = judged_folder
    assert (first.returncode, first.stdout) == (0, "f/alignments.png\n"), first.stderr
    assert (second.returncode, second.stdout) == (0, "f/judged.png\n"), second.stderr
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert len(json.loads((folder / "alignments.json").read_text())["cells"]) == 4


def test_the_matrix_is_the_mean_of_the_scores_over_layers_and_pairs(judged_folder):
    folder, *_ = judged_folder
    document = json.loads((folder / "judged.json").read_text())
    assert document["methods"] == ["linear", "gaussian"] and len(document["pairs"]) == 2
    for place, minimised in enumerate(document["methods"]):
        scored = [pair["scores"][place] for pair in document["pairs"]]
        assert all(minimised in Path(one["path"]).name for one in scored)
        cells = [cell for one in scored for cell in one["left"]["linear"].values()]
        values = [cell["value"] for cell in cells if cell["value"] is not None]
        assert document["left"][minimised]["linear"] == pytest.approx(numpy.mean(values))
        ranks = [one["mean_rank"] for one in scored]
        assert document["mean_rank"][minimised] == pytest.approx(numpy.mean(ranks))
    assert document["standard_error"]["linear"]["linear"] is None


def test_the_matrix_is_printed_as_a_table_in_markdown(judged_folder):
    folder, _, second, _ = judged_folder
    document = json.loads((folder / "judged.json").read_text())
    lines = [line for line in second.stderr.splitlines() if line.startswith("| ")]
    assert lines[0] == "| minimised | linear | gaussian | content loss | mean rank |"
    own = f"{document['left']['linear']['linear']:.3f}"
    assert lines[2].startswith(f"| `linear` | **{own}** | ") and len(lines) == 4


def test_the_heat_map_has_a_colour_for_each_number_of_the_matrix():
    lefts = {"linear": {"linear": 0.01, "bn": 1.0}, "bn": {"linear": 20.0, "bn": None}}
    matrix = judged.Matrix(
        left={row: {column: Left(value, None) for column, value in cells.items()}
              for row, cells in lefts.items()},
        content={"linear": 0.5, "bn": None}, mean_rank={"linear": 1.0, "bn": None}, scores=[],
    )  # fmt: skip
    colours = set(map(tuple, numpy.array(judged.draw(matrix)).reshape(-1, 3)))
    values = [value for cells in lefts.values() for value in cells.values()]
    assert {judged._colour(value) for value in values} <= colours
    assert len({judged._colour(value) for value in values}) == 4
    # What is nothing but noise has the colour of the least that the scale shows.
    assert judged._colour(-0.1) == judged._colour(0.0) == judged._colour(0.001)
    assert list(judged.markdown(matrix))[-1] == "| `bn` | 20.00 | **-** | - | - |"


def test_the_heat_map_replaces_its_own_files_only(judged_folder, tmp_path):
    folder, *_ = judged_folder
    shutil.copytree(folder, tmp_path / "f")
    layout = figures.figure("judged", tmp_path / "f")
    figures.check(layout)
    Path(layout.manifest).write_text("{}")
    with pytest.raises(OutputError, match=r"judged\.json: it exists and nst did not make it"):
        figures.check(layout)
