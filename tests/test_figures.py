"""The figures of the paper: their runs, and the place of each in the grid."""

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
from nst_cli.config import PAPER_METHODS
from nst_cli.errors import BatchError, OutputError
from nst_cli.views import figures

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


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_the_authors_pictures_replace_the_samples(number):
    layout = figures.figure(number, "out", pictures="images")
    for cell in layout.cells:
        assert os.path.dirname(cell.run.content) == os.path.dirname(cell.run.style) == "images"
        assert os.path.basename(cell.run.content) in pictures.PICTURES
        assert os.path.basename(cell.run.style) in pictures.PICTURES


def test_there_is_no_figure_5():
    with pytest.raises(BatchError, match="no figure 5: choose from 1 to 4"):
        figures.figure(5, "out")


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


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_labels_use_only_letters_that_the_font_has(number):
    layout = figures.figure(number, "out")
    assert all(label.isascii() for label in (*layout.rows, *layout.columns))
