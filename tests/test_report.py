"""The page of a folder: what it shows, and how it reports faults."""

import base64
import html.parser
import io
import json
import os
import re
import shlex
import shutil

import pytest
from PIL import Image
from test_cli import SMALL_OPTIONS, content_of, error_of, noise, nst, save_pair
from test_log import line

from nst_cli import Config, files
from nst_cli.errors import OutputError, ReportError
from nst_cli.views import report
from nst_cli.views.report import svg, thumbnails
from nst_cli.views.report.svg import thinned

LOSSES = {"total": 60.0, "content/relu4_2": 10.0, "poly/relu1_1": 20.0, "poly/relu2_1": 30.0}


def save_run(folder, name, *, content="content.png", style="style.png", log=(1,), **choices):
    """Save a picture, a sidecar as nst stylize writes it, and a log; `log` holds its scales.

    The inputs are saved in the folder if they are missing.
    """
    folder.mkdir(exist_ok=True)
    for seed, source in enumerate((content, style)):
        if not (folder / source).exists():
            noise(len(source) + seed, 30, 40).save(folder / source)
    # Pictures differ, because a page embeds equal ones once.
    noise(sum(name.encode()), 24, 32).save(folder / name)
    steps = sum(log)
    document = {
        "program": "nst",
        "versions": {"nst": "0.1.0"},
        "config": Config(**choices).to_dict(),
        **{
            role: {"path": str(folder / source), "sha256": files.sha256(folder / source)}
            for role, source in (("content", content), ("style", style))
        },
        "init": None,
        "weights": {"source": "vgg19.params", "sha256": "0" * 64},
        "device": "cpu(0)",
        "precision": "float32",
        "threads": 1,
        "width": 32,
        "height": 24,
        "steps": steps,
        "stop_reason": "iterations",
        "beta": {"poly": 0.1},
        "losses": LOSSES,
    }
    (folder / f"{name}.json").write_text(json.dumps(document))
    lines, step = [], 0
    for scale, count in enumerate(log, 1):
        for _ in range(count):
            step += 1
            scaled = {key: value * scale * 100 / step for key, value in LOSSES.items()}
            lines.append(line(step, scale, **scaled))
    if lines:
        (folder / f"{name}.jsonl").write_text("".join(lines))


def rewrite(sidecar, **changes):
    document = json.loads(sidecar.read_text())
    sidecar.write_text(json.dumps({**document, **changes}))


class Page(html.parser.HTMLParser):
    """A parsed page: its tags, its scripts, and the words of each run."""

    def __init__(self, path):
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.tags, self.runs, self.words, self._open = [], [], [], None
        self.feed(self.source)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._open = tag
        if tag == "article":
            self.runs.append({**dict(attrs), "words": []})

    def handle_data(self, data):
        if self._open in ("script", "style"):
            return
        self.words.append(data)
        if self.runs:
            self.runs[-1]["words"].append(data)

    def named(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]

    def run(self, name):
        (card,) = [r for r in self.runs if json.loads(r["data-values"])["name"] == name]
        return {**card, "text": " ".join(card["words"])}


def page_of(folder):
    path, notes = report.make(folder)
    return Page(folder.joinpath(path)), notes


# The command


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of nst stylize with its log, and its page; made by real processes."""
    folder = tmp_path_factory.mktemp("finished")
    save_pair(folder)
    (folder / "tries").mkdir()
    command = "stylize content.png style.png -o tries/a.png --weights builtin --gamma 7 --quiet"
    done = nst(folder, *shlex.split(command), "--log", "tries/a.png.jsonl", *SMALL_OPTIONS)
    assert done.returncode == 0, done.stderr
    return nst(folder, "report", "tries"), folder


def test_the_page_of_a_run_prints_its_path_and_shows_everything(finished):
    done, folder = finished
    assert (done.returncode, done.stdout, done.stderr) == (0, "tries/report.html\n", "")
    page = Page(folder / "tries" / "report.html")
    run = page.run("a.png")
    for word in ("gamma 7", "method poly", "steps 4", "stop all steps done", "relu1_1"):
        assert word in run["text"]
    assert [alt for img in page.named("img") if (alt := img["alt"])] == [
        "a.png, the picture made", "content.png, the content", "style.png, the style",
    ]  # fmt: skip
    titles = re.findall(r"<figcaption>([^<]*)</figcaption>", page.source)
    assert titles == ["By method", "poly by layer"]


def test_the_page_can_be_written_elsewhere(tmp_path):
    save_run(tmp_path / "d", "a.png")
    before = content_of(tmp_path / "d")
    done = nst(tmp_path, "report", "d", "-o", "page.htm")
    assert (done.returncode, done.stdout) == (0, "page.htm\n")
    assert "a.png" in (tmp_path / "page.htm").read_text()
    assert content_of(tmp_path / "d") == before


def test_a_broken_sidecar_is_noted_and_the_page_is_made(tmp_path):
    save_run(tmp_path / "d", "a.png")
    save_run(tmp_path / "d", "b.png")
    (tmp_path / "d" / "b.png.json").write_text('{"steps": ')
    done = nst(tmp_path, "report", "d")
    assert (done.returncode, done.stdout) == (0, "d/report.html\n")
    (note,) = done.stderr.splitlines()
    assert note.startswith("Note: Cannot read d/b.png.json: it is not JSON")
    page = Page(tmp_path / "d" / "report.html")
    assert [json.loads(run["data-values"])["name"] for run in page.runs] == ["a.png"]


def test_a_missing_folder_is_a_one_line_error(tmp_path):
    error = error_of(nst(tmp_path, "report", "no/such"), 1)
    assert "Cannot report on no/such: it does not exist" in error


# Refusals


def test_an_error_for_a_folder_without_sidecars_says_which_files_are_needed(tmp_path):
    noise(1, 8, 8).save(tmp_path / "a.png")
    (tmp_path / "b.png.json").write_text("{}")
    (tmp_path / "c.txt.json").write_text("{}")
    (tmp_path / "c.txt").touch()
    with pytest.raises(ReportError, match=r"picture\.png\.json beside picture\.png"):
        report.make(tmp_path)


def test_a_file_is_not_a_folder(tmp_path):
    (tmp_path / "a.png").touch()
    with pytest.raises(ReportError, match="a.png: it is not a folder"):
        report.make(tmp_path / "a.png")


def test_if_no_sidecar_can_be_read_the_error_names_the_first(tmp_path):
    for name in ("a.png", "b.png"):
        save_run(tmp_path, name)
        (tmp_path / f"{name}.json").write_text("[]")
    with pytest.raises(ReportError, match=r"None of the 2 pictures .* Cannot read .*a\.png\.json"):
        report.make(tmp_path)
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"config": None}, "'config'"),
        ({"steps": "4"}, "'steps'"),
        ({"stop_reason": 4}, "'stop_reason'"),
        ({"content": {"path": "a.png"}}, "sha256 of 'content'"),
        ({"style": {"path": 1, "sha256": ""}}, "path or sha256 of 'style'"),
        ({"losses": {"total": "much"}}, "'total'"),
        ({"losses": {"total": float("inf")}}, "'total'"),
    ],
)
def test_an_error_for_a_sidecar_of_another_program_says_what_it_lacks(tmp_path, change, named):
    save_run(tmp_path, "a.png")
    save_run(tmp_path, "b.png")
    rewrite(tmp_path / "a.png.json", **change)
    page, (note,) = page_of(tmp_path)
    assert "a.png.json" in note and named in note and "\n" not in note
    assert len(page.runs) == 1


def test_a_picture_that_cannot_be_read_is_noted(tmp_path):
    save_run(tmp_path, "a.png")
    save_run(tmp_path, "b.png")
    (tmp_path / "a.png").write_bytes(b"no picture")
    page, (note,) = page_of(tmp_path)
    assert str(tmp_path / "a.png") in note
    assert len(page.runs) == 1


@pytest.mark.parametrize("name", ["page.png", "page", "a.png"])
def test_a_page_must_have_the_ending_of_html(tmp_path, name):
    save_run(tmp_path, "a.png")
    before = content_of(tmp_path)
    with pytest.raises(OutputError, match=r"\.html or \.htm"):
        report.make(tmp_path, tmp_path / name)
    assert content_of(tmp_path) == before


def test_the_page_does_not_overwrite_its_inputs(tmp_path):
    save_run(tmp_path, "a.png")
    (tmp_path / "page.html").symlink_to("a.png.jsonl")
    with pytest.raises(OutputError, match="would overwrite"):
        report.make(tmp_path, tmp_path / "page.html")


# Content of the page


def test_pictures_in_subfolders_are_labelled_by_their_path(tmp_path):
    save_run(tmp_path, "a.png")
    (tmp_path / "one").mkdir()
    save_run(tmp_path / "one" / "two", "b.jpg")
    page, notes = page_of(tmp_path)
    names = [json.loads(run["data-values"])["name"] for run in page.runs]
    assert names == ["a.png", os.path.join("one", "two", "b.jpg")]
    assert notes == []


def test_the_same_folder_gives_the_same_page(tmp_path):
    for gamma in (1, 2):
        save_run(tmp_path, f"{gamma}.png", gamma=gamma)
    first, _ = page_of(tmp_path)
    assert page_of(tmp_path)[0].source == first.source


def test_parameters_that_differ_are_prominent_and_the_rest_is_shown_once(tmp_path):
    save_run(tmp_path, "a.png", gamma=1, size=64)
    save_run(tmp_path, "b.png", gamma=2, size=64, layer_weights="relu1_1=2")
    page, _ = page_of(tmp_path)
    first, second = (json.loads(page.run(name)["data-texts"]) for name in ("a.png", "b.png"))
    assert first == {"method": "poly", "gamma": "1", "layer_weights": "none"}
    assert second == {"method": "poly", "gamma": "2", "layer_weights": "relu1_1=2.0"}
    assert [select.get("data-parameter") for select in page.named("select")[1:3]] == [
        "gamma",
        "layer_weights",
    ]
    head = " ".join(page.words).partition("a.png")[0]
    assert "size 64" in head and "content content.png" in head


def test_values_of_the_preset_are_not_prominent_and_departures_from_it_are(tmp_path):
    save_run(tmp_path, "a.png")
    save_run(tmp_path, "b.png", preset="fast", iterations=20)
    page, _ = page_of(tmp_path)
    assert list(json.loads(page.run("b.png")["data-texts"])) == ["method", "preset", "iterations"]


def test_pictures_with_the_same_name_are_labelled_by_their_path(tmp_path):
    save_run(tmp_path / "one", "a.png")
    save_run(tmp_path / "two", "b.png")
    noise(99, 30, 40).save(tmp_path / "two" / "content.png")
    save_run(tmp_path / "two", "b.png")
    page, _ = page_of(tmp_path)
    named = [json.loads(page.run(name)["data-texts"]) for name in ("one/a.png", "two/b.png")]
    assert [texts["content"] for texts in named] == [
        str(tmp_path / "one" / "content.png"),
        str(tmp_path / "two" / "content.png"),
    ]
    # Their style pictures are equal, so they do not differ.
    assert "style" not in named[0]


def test_every_parameter_is_shown_once(tmp_path):
    save_run(tmp_path, "a.png", preset="fast")
    page, _ = page_of(tmp_path)
    rows = re.findall(r"<th scope='row'>([^<]*)</th><td>([^<]*)</td>", page.source)
    table = dict(rows)
    assert len(table) == len(rows)
    given = {name for name, value in Config().to_dict().items() if value is not None}
    assert {*given, "content sha256", "versions nst", "threads"} <= set(table)
    assert not {"quality", "scale"} & set(table)
    assert (table["precision"], table["precision used"]) == ("auto", "float32")
    assert table["style_layers"] == "relu1_1, relu2_1, relu3_1, relu4_1, relu5_1"


@pytest.mark.parametrize("found_by", ["path from here", "path from the picture", "name beside it"])
def test_the_content_is_shown(tmp_path, monkeypatch, found_by):
    folder = tmp_path / "d"
    save_run(folder, "a.png")
    monkeypatch.chdir(tmp_path)
    path = {
        "path from here": "d/content.png",
        "path from the picture": "../e/content.png",
        "name beside it": "/no/such/content.png",
    }[found_by]
    if found_by == "path from the picture":
        (tmp_path / "e").mkdir()
        shutil.move(folder / "content.png", tmp_path / "e")
    rewrite(folder / "a.png.json", content={"path": path, "sha256": content_sha256(folder)})
    page, _ = page_of(folder)
    assert "content.png, the content" in [img["alt"] for img in page.named("img")]


def content_sha256(folder):
    return json.loads((folder / "a.png.json").read_text())["content"]["sha256"]


@pytest.mark.parametrize("change", ["not found", "changed since"])
def test_a_content_that_has_changed_or_is_missing_is_marked(tmp_path, change):
    save_run(tmp_path, "a.png")
    (tmp_path / "content.png").unlink()
    if change == "changed since":
        noise(7, 9, 9).save(tmp_path / "content.png")
    page, notes = page_of(tmp_path)
    assert f"{change}: {tmp_path / 'content.png'}" in page.run("a.png")["text"]
    alts = [img["alt"] for img in page.named("img")]
    assert alts[:2] == ["a.png, the picture made", "style.png, the style"]
    assert notes == []


def test_pictures_are_scaled_down_to_jpeg_and_each_is_in_the_page_once(tmp_path):
    noise(3, 300, 1200).save(tmp_path / "wide.png")
    for name in ("a.png", "b.png", "c.png"):
        save_run(tmp_path, name, content="wide.png")
    page, _ = page_of(tmp_path)
    sources = [img["src"] for img in page.named("img") if "src" in img]
    assert len(sources) == len(set(sources)) == 5
    pictures = [
        Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/jpeg;base64,"))))
        for uri in sources
    ]
    assert {picture.format for picture in pictures} == {"JPEG"}
    assert sorted({picture.size for picture in pictures}) == [(32, 24), (40, 30), (512, 128)]
    again = [img["data-same"] for img in page.named("img") if "data-same" in img]
    assert len(again) == 4 and set(again) <= {img.get("id") for img in page.named("img")}


def test_transparency_lies_over_white(tmp_path):
    save_run(tmp_path, "a.png")
    Image.new("RGBA", (20, 10), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    thumbnail = thumbnails.Thumbnails().of(tmp_path / "clear.png")
    with Image.open(io.BytesIO(base64.b64decode(thumbnail.uri.partition(",")[2]))) as picture:
        assert picture.getpixel((5, 5)) == (255, 255, 255)


def test_the_page_refers_to_nothing_outside_itself(tmp_path):
    save_run(tmp_path, "a.png", log=(3, 4))
    page, _ = page_of(tmp_path)
    for _, attrs in page.tags:
        for name in ("src", "href", "action", "poster", "data", "srcset"):
            assert attrs.get(name, "data:").startswith("data:")
    without_data = re.sub(r"data:image/jpeg;base64,[^\"]*", "", page.source)
    assert not re.search(r"https?:|//\w|url\(|@import", without_data)
    (policy,) = [m["content"] for m in page.named("meta") if "http-equiv" in m]
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_thirty_pictures_make_a_page_of_a_few_megabytes(tmp_path):
    noise(3, 400, 512).save(tmp_path / "content.png")
    photograph = Image.open(thumbnail_source()).convert("RGB")
    for index in range(30):
        save_run(tmp_path, f"{index}.png", gamma=index + 1, log=(5,))
        photograph.resize((512, 384 - index)).save(tmp_path / f"{index}.png")
    path, _ = report.make(tmp_path)
    assert os.path.getsize(path) < 5e6


def thumbnail_source():
    from nst_cli import samples

    return samples.STYLES[0]


# Untrusted text never becomes markup


HOSTILE = "<img src=x onerror=alert(1)>\"'&{{script}}.png"


def test_html_in_a_name_is_escaped(tmp_path):
    save_run(tmp_path, HOSTILE, content="c" + HOSTILE)
    document = json.loads((tmp_path / f"{HOSTILE}.json").read_text())
    document["config"]["<script>alert(2)</script>"] = "</script><script>alert(3)</script>"
    rewrite(
        tmp_path / f"{HOSTILE}.json",
        config=document["config"],
        stop_reason="<b onclick=alert(4)>",
        losses={"total": 1.0, "<i onclick=alert(5)>/relu1_1": 1.0},
    )
    save_run(tmp_path, "b.png")
    page, _ = page_of(tmp_path)
    assert page.run(HOSTILE)["text"].startswith(HOSTILE)
    assert len(page.named("script")) == 1
    assert not [tag for tag, attrs in page.tags if tag in ("b", "i") and attrs]
    assert not [attrs for _, attrs in page.tags if any(name.startswith("on") for name in attrs)]
    assert page.source.count("<script>") == page.source.count("</script>") == 1


def test_invalid_bytes_in_a_name_are_shown_as_marks(tmp_path):
    save_run(tmp_path, "a.png")
    name = os.fsdecode(b"caf\xe9.png")
    for ending in ("", ".json", ".jsonl"):
        os.rename(tmp_path / f"a.png{ending}", tmp_path / f"{name}{ending}")
    page, _ = page_of(tmp_path)
    assert page.run("caf?.png")["text"].startswith("caf?.png")


# Curves


def test_without_a_log_the_page_says_so(tmp_path):
    save_run(tmp_path, "a.png", log=())
    page, notes = page_of(tmp_path)
    assert "No log: a.png.jsonl does not exist." in page.run("a.png")["text"]
    assert "chart" not in [svg.get("class") for svg in page.named("svg")]
    assert notes == []


def test_a_log_without_steps_is_reported(tmp_path):
    save_run(tmp_path, "a.png", log=())
    (tmp_path / "a.png.jsonl").touch()
    page, _ = page_of(tmp_path)
    assert "The log a.png.jsonl holds no step." in page.run("a.png")["text"]


def test_a_broken_line_is_noted_and_the_steps_before_it_are_drawn(tmp_path):
    save_run(tmp_path, "a.png", log=(3,))
    with open(tmp_path / "a.png.jsonl", "a", encoding="utf-8") as log:
        log.write('{"step": 4, ')
    page, (note,) = page_of(tmp_path)
    assert "a.png.jsonl: line 4 is broken: it is not JSON" in note
    assert "line 4 is broken" in page.run("a.png")["text"]
    assert "chart" in [svg.get("class") for svg in page.named("svg")]


@pytest.mark.parametrize("change", [{"steps": 40}, {"losses": {"total": 1.0}}])
def test_a_log_of_another_run_is_reported(tmp_path, change):
    save_run(tmp_path, "a.png", log=(3,))
    rewrite(tmp_path / "a.png.json", **change)
    page, _ = page_of(tmp_path)
    assert "The log does not match the picture" in page.run("a.png")["text"]


def test_the_curves_end_at_the_losses_of_the_finished_picture(tmp_path):
    save_run(tmp_path, "a.png", log=(4,))
    page, _ = page_of(tmp_path)
    labels = [svg["aria-label"] for svg in page.named("svg") if svg.get("role") == "img"]
    assert labels[0] == (
        "Loss curves of a.png. By method: total from 6e03 to 60, content from 1e03 to 10, "
        "poly from 5e03 to 50."
    )
    assert labels[1].endswith("poly by layer: relu1_1 from 2e03 to 20, relu2_1 from 3e03 to 30.")


def test_each_scale_is_marked_and_its_curves_begin_anew(tmp_path):
    save_run(tmp_path, "a.png", log=(10, 10, 20))
    page, _ = page_of(tmp_path)
    charts = page.source.split('<svg class="chart"')[1:]
    for chart in charts:
        assert re.findall(r">(scale \d)</text>", chart) == ["scale 1", "scale 2", "scale 3"]
        assert chart.count('class="mark"') == 2
    total = re.search(r'class="line total" d="([^"]*)"', charts[0])[1]
    assert total.count("M") == 3


def test_a_run_of_one_scale_has_no_marks(tmp_path):
    save_run(tmp_path, "a.png", log=(10,))
    assert 'class="mark"' not in page_of(tmp_path)[0].source


def test_equal_ratios_of_a_loss_are_equal_distances():
    axis = svg._Axis.logarithmic([1e3, 1e7])
    places = [axis(value) for value in (1e3, 1e4, 1e5, 1e6, 1e7)]
    distances = [low - high for low, high in zip(places, places[1:])]
    assert distances == pytest.approx([distances[0]] * 4) and distances[0] > 30


def test_an_axis_that_passes_zero_is_antisymmetric():
    axis = svg._Axis.logarithmic([-1e6, 1e6], below=1e3)
    assert axis(0) - axis(1e5) == pytest.approx(axis(-1e5) - axis(0)) and axis(0) > axis(1e5)
    assert {"0", "10⁵", "−10⁵"} <= {label for _, label in axis.ticks}


@pytest.mark.parametrize("values", [[5.0], [1, 1e-9], [3e9, 3.001e9], [1e-3, 8e12], [2e5, 9e5]])
def test_every_range_has_ticks_within_the_plot(values):
    axis = svg._Axis.logarithmic(values)
    places = [axis(value) for value, _ in axis.ticks]
    assert 2 <= len(places) <= 12
    assert len({label for _, label in axis.ticks}) == len(places)
    assert svg._TOP - 1e-6 <= min(places)
    assert max(places) <= svg._HEIGHT - svg._BOTTOM + 1e-6


def test_a_long_curve_keeps_its_ends_and_its_peaks():
    piece = [(x, 100 + x % 7) for x in range(5000)]
    piece[1234], piece[4321] = (1234, 1e6), (4321, 1.0)
    drawn = thinned(piece)
    assert len(drawn) <= 2 * 150 + 2
    assert {piece[0], piece[-1], piece[1234], piece[4321]} <= set(drawn)
    assert drawn == sorted(drawn)


def test_a_short_curve_keeps_all_its_points():
    piece = [(x, 1.0) for x in range(300)]
    assert thinned(piece) == piece
