"""Errors arrive from another process as they were raised there."""

import pickle

import pytest

from nst_cli.errors import ConfigError, ImageError, NonFiniteError


@pytest.mark.parametrize(
    "error", [ImageError("no"), ConfigError("no", "size"), NonFiniteError("no", ["last"])]
)
def test_an_error_survives_pickling(error):
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), vars(copy)) == (type(error), "no", vars(error))
