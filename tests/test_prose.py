"""The check of wording, tools/prose.py."""

import prose
import pytest


def reports(tmp_path, text, name="module.py"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return [report.partition(": ")[2] for report in prose.problems(path)]


@pytest.mark.parametrize(
    "text, words",
    [
        ("# The user is told the path.\n", "is told"),
        ("# The user is\n# told the path.\n", "is told"),
        ("def test_a_missing_file_is_not_there():\n    pass\n", "is not there"),
        ('"""Images are brought to the size."""\n', "brought to"),
        ('"""Of each block those that it has."""\n', "Of each"),
        ("print('They are others than before')\n", "are others"),
    ],
)
def test_a_phrase_is_reported_in_comments_names_and_strings(tmp_path, text, words):
    (report,) = {report for report in reports(tmp_path, text) if words in report}
    assert report.startswith(f"{words!r}: write ")


def test_a_report_names_the_file_and_the_line(tmp_path):
    path = tmp_path / "page.md"
    path.write_text("One line.\n\nWhoever has a card may try it.\n", encoding="utf-8")
    (report,) = prose.problems(path)
    assert report.startswith(f"{path}:3: 'Whoever'")


@pytest.mark.parametrize(
    "code, name",
    [
        ("found = 1", "found"),
        ("def path(which):\n    return which", "which"),
        ("from .. import bench as room", "room"),
        ("def made():\n    return 1", "made"),
        ("for own in ():\n    pass", "own"),
    ],
)
def test_a_name_that_says_nothing_is_reported_where_it_is_defined(tmp_path, code, name):
    assert reports(tmp_path, f"{code}\n") == [f"{name!r}: write a name that says what it is"]


@pytest.mark.parametrize(
    "text",
    [
        "# There is another file, which shows what was found.\n",
        "print('The number of steps; also those of it', there := 1)\n",
        "def test_layers_found_in_a_file_are_listed():\n    weights_path = 1\n",
    ],
)
def test_plain_words_are_not_reported(tmp_path, text):
    assert reports(tmp_path, text) == []


def test_the_exit_code_is_1_if_a_file_has_something_to_report(tmp_path, capsys):
    plain, obscure = tmp_path / "a.md", tmp_path / "b.md"
    plain.write_text("It shows the path.\n")
    obscure.write_text("It tells the path.\n")
    assert prose.main([str(plain)]) == 0 and capsys.readouterr().out == ""
    assert prose.main([str(plain), str(obscure)]) == 1
    assert "'tells'" in capsys.readouterr().out


def test_the_texts_of_the_project_are_checked_by_default():
    texts = {path.relative_to(prose.ROOT).as_posix() for path in prose.texts()}
    assert {"README.md", "Makefile", "setup.cfg", "docs/using.md", "nst_cli/config.py"} <= texts
    assert {"tests/test_config.py", "tests/help/nst.txt", ".ci/run", "docker/Dockerfile"} <= texts
    assert not {"LICENSE", "tools/prose.py", "docs/pictures/poly.jpg"} & texts
