"""tools/mutants.py: what it reports of mutants that no test kills."""

import mutants
import pytest

CHANGE = {"path": "a.py", "old": "x + 1", "new": "x - 1", "line": 3}


@pytest.fixture
def reasons(tmp_path):
    path = tmp_path / "mutants.toml"
    path.write_text(
        '[[equivalent]]\npath = "a.py"\nreason = "Why."\nchanges = [["x + 1", "x - 1"]]\n'
    )
    return path


@pytest.mark.parametrize("outcome", ["survived", "pytest failed", "killed, exit code 3"])
def test_what_no_test_kills_is_reported_unless_it_has_a_reason(reasons, outcome):
    other = {**CHANGE, "path": "b.py", "outcome": outcome}
    assert mutants.survivors([{**CHANGE, "outcome": outcome}, other], reasons) == ([other], [])


@pytest.mark.parametrize("outcome", ["killed", "timeout"])
def test_a_reason_for_a_mutant_that_is_killed_is_reported(reasons, outcome):
    left, unused = mutants.survivors([{**CHANGE, "outcome": outcome}], reasons)
    assert left == [] and unused == [("a.py", "x + 1", "x - 1")]


def test_a_mutant_is_the_module_with_its_lines_replaced():
    path = "nst_cli/errors.py"
    source = (mutants.ROOT / path).read_text()
    lines = source.splitlines()
    changed = "\n".join([*lines[:4], "x = 1", "y = 2", *lines[6:]]) + "\n"
    mutant = mutants.described(path, "", source, changed)
    assert (mutant["first"], mutants.source_of(mutant)) == (5, changed)


def test_the_quickest_test_of_each_function_comes_first():
    names = ["a::f[1]", "a::f[2]", "a::g", "b::h[1]"]
    assert mutants.spread(names) == ["a::f[1]", "a::g", "b::h[1]", "a::f[2]"]


def test_each_equivalent_mutant_is_a_line_of_the_code_and_has_a_reason():
    for item in mutants.tomllib.loads(mutants.EQUIVALENT.read_text())["equivalent"]:
        text = "".join((mutants.ROOT / item["path"]).read_text().split())
        assert item["reason"].endswith(".")
        for old, new in item["changes"]:
            assert old != new and "".join(old.split()) in text, old
