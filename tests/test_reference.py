"""The reference of all options, docs/options.md."""

import re

import reference

from nst_cli.cli.stylize import stylize
from nst_cli.config import OPTIONS


def test_the_reference_in_the_docs_is_the_one_that_the_table_of_options_gives():
    assert reference.PAGE.read_text(encoding="utf-8") == reference.page(), (
        "run: python tools/reference.py"
    )


def test_the_reference_lists_each_field_of_config_under_an_option_of_stylize():
    rows = re.findall(r"^\| `(--[a-z-]+)` \| `(\w+)` \|", reference.page(), re.MULTILINE)
    assert [field for _, field in rows] == list(OPTIONS)
    names = {
        name: parameter.name
        for parameter in stylize.params
        for name in (*parameter.opts, *parameter.secondary_opts)
    }
    assert {option: names.get(option) for option, _ in rows} == dict(rows)
