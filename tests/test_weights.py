"""Reading, checking and finding the network's parameters."""

import errno
import hashlib
import os
import re
import shutil
import struct
from pathlib import Path

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nst_cli import files, weights
from nst_cli.errors import WeightsError
from nst_cli.weights import Weights, params

V1, V2, V3 = 0xF993FAC8, 0xF993FAC9, 0xF993FACA


def header(form, shape, flag=0):
    """Return the header of an array; `form` is a magic number, or None for the oldest format."""
    start = {V1: struct.pack("<I", V1), V2: struct.pack("<Ii", V2, 0)}
    start = {**start, V3: struct.pack("<Ii", V3, 0), None: b""}[form]
    dimensions = struct.pack(f"<I{len(shape)}{'I' if form is None else 'q'}", len(shape), *shape)
    return start + dimensions + struct.pack("<iii", 1, 0, flag)


def names(*texts):
    encoded = [text.encode() for text in texts]
    parts = [struct.pack("<Q", len(name)) + name for name in encoded]
    return struct.pack("<Q", len(encoded)) + b"".join(parts)


def start(count):
    return struct.pack("<QQQ", 0x112, 0, count)


def small(form=V2):
    """Return the bytes of a file with two arrays: a, 2 x 3, and b, 4, counting from 0."""
    return b"".join(
        [
            start(2),
            header(form, (2, 3)) + numpy.arange(6, dtype="<f4").tobytes(),
            header(form, (4,)) + numpy.arange(4, dtype="<f4").tobytes(),
            names("arg:a", "arg:b"),
        ]
    )


def vgg_shapes(last="conv5_4"):
    shapes = {}
    for layer, shape in params.CONVOLUTIONS.items():
        shapes[f"arg:{layer}_weight"], shapes[f"arg:{layer}_bias"] = shape, shape[:1]
        if layer == last:
            return shapes


def write_file(path, shapes, values=None, flag=0):
    """Write a `.params` file of zeros as a sparse file, which takes no time or space.

    `values` replaces the zeros of the arrays it names.
    """
    with open(path, "wb") as stream:
        stream.write(start(len(shapes)))
        for name, shape in shapes.items():
            array = (values or {}).get(name)
            if array is None:
                stream.write(header(V2, shape))
                stream.seek(4 * int(numpy.prod(shape)), 1)
            else:
                stream.write(header(V2, shape, flag) + array.tobytes())
        stream.write(names(*shapes))
    return path


@pytest.fixture(scope="module")
def vgg_file(tmp_path_factory):
    return write_file(tmp_path_factory.mktemp("vgg") / "vgg19.params", vgg_shapes())


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch, tmp_path):
    """Start in an empty working folder, with an empty cache and no variable."""
    monkeypatch.delenv("NST_WEIGHTS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


# The format


@pytest.mark.parametrize("form", [None, V1, V2, V3])
def test_every_version_of_mxnets_format_is_read(form, tmp_path):
    path = tmp_path / "a.params"
    path.write_bytes(small(form))
    arrays = params.read(path)
    assert list(arrays) == ["arg:a", "arg:b"]
    numpy.testing.assert_array_equal(arrays["arg:a"], [[0, 1, 2], [3, 4, 5]])
    numpy.testing.assert_array_equal(arrays["arg:b"], [0, 1, 2, 3])


def test_files_written_by_mxnet_are_read(tmp_path):
    engine = pytest.importorskip("nst_cli.engine")
    path = str(tmp_path / "mx.params")
    device = engine.context("cpu")
    weight = engine.nd.arange(24, ctx=device).reshape((2, 3, 4))
    half = engine.nd.ones((5,), ctx=device, dtype="float16")
    engine.nd.save(path, {"arg:w": weight, "aux:h": half})
    arrays = params.read(path)
    assert sorted(arrays) == ["arg:w", "aux:h"]
    numpy.testing.assert_array_equal(arrays["arg:w"], numpy.arange(24).reshape(2, 3, 4))
    assert arrays["aux:h"].dtype == numpy.float16


def test_arrays_are_views_of_the_file_and_cannot_be_written(tmp_path):
    path = tmp_path / "a.params"
    path.write_bytes(small())
    array = params.read(path)["arg:a"]
    assert not array.flags.owndata
    with pytest.raises(ValueError):
        array[0, 0] = 1


@pytest.mark.parametrize("form", [None, V1, V2, V3])
def test_an_error_names_a_file_truncated_at_any_byte(form, tmp_path):
    path = tmp_path / "cut.params"
    whole = small(form)
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(WeightsError, match="cut.params"):
            params.read(path)


def test_an_error_for_a_truncated_array_names_its_index_shape_and_lengths(tmp_path):
    path = tmp_path / "cut.params"
    path.write_bytes(small()[:128])
    message = r"array 1 of 2, shape \(4,\) \(16 bytes needed, 8 left"
    with pytest.raises(WeightsError, match=message):
        params.read(path)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(small()) - 1), st.integers(0, 255))
def test_a_changed_byte_never_crashes_the_reader(tmp_path_factory, place, value):
    content = bytearray(small())
    content[place] = value
    path = tmp_path_factory.getbasetemp() / "changed.params"
    path.write_bytes(content)
    try:
        arrays = params.read(path)
    except WeightsError as error:
        assert "changed.params" in str(error)
        assert "\n" not in str(error)
    else:
        assert sum(array.nbytes for array in arrays.values()) <= len(content)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "empty"),
        (b"\x12\x01", "ends in the header"),
        (b"<!DOCTYPE html><html><body>Not found</body></html>", "begins with b'<!DOCTYPE html>"),
        (b"PK\x03\x04" + bytes(60), "begins with b'PK"),
        (bytes(range(256)) * 9, "not an MXNet parameter file"),
        (start(0) + names(), "0 arrays"),
        (start(1 << 40) + bytes(64), "1099511627776 arrays"),
        (start(1) + header(V2, (1 << 20, 1 << 20, 1 << 22)), "array 0 of 1, shape"),
        (start(1) + header(V2, (-4,)), r"shape \(-4,\)"),
        (start(1) + header(V2, (0,)), r"shape \(0,\)"),
        (start(1) + header(V2, (2,), flag=99) + bytes(8), "unknown type 99"),
        (start(1) + header(None, (1,) * 33) + bytes(4), "33 dimensions"),
        (start(1) + struct.pack("<Iii", V2, 1, 1) + bytes(64), "sparse"),
        (small()[:-34] + names("arg:a"), "1 names for 2 arrays"),
        (small()[:-26] + struct.pack("<Q", 1 << 60), "ends"),
        (small()[:-1] + b"a", "different names"),
        (small()[:-1] + b"\xff", "not UTF-8"),
        (small() + b"junk", "4 bytes follow"),
    ],
)
def test_an_error_for_a_broken_or_foreign_file_says_what_was_found(content, message, tmp_path):
    path = tmp_path / "some.params"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=message) as caught:
        params.read(path)
    assert "some.params" in str(caught.value)


def test_a_folder_and_a_missing_file_are_refused(tmp_path):
    with pytest.raises(WeightsError, match="folder"):
        params.read(tmp_path)
    with pytest.raises(WeightsError, match="No such file"):
        params.read(tmp_path / "none.params")


# VGG-19


def test_vgg_is_loaded_without_its_prefix_and_its_other_arrays(vgg_file, tmp_path):
    arrays = Weights.find(vgg_file).load()
    assert len(arrays) == 32
    assert list(arrays)[:2] == ["conv1_1_weight", "conv1_1_bias"]
    assert arrays["conv1_1_weight"].shape == (64, 3, 3, 3)
    assert arrays["conv4_1_weight"].shape == (512, 256, 3, 3)
    assert {array.dtype for array in arrays.values()} == {numpy.dtype("float32")}
    plain = {name[4:]: shape for name, shape in vgg_shapes().items()}
    other = write_file(tmp_path / "plain.params", {**plain, "fc6_weight": (7, 5)})
    assert list(Weights.find(other).load()) == list(arrays)


def test_a_file_must_reach_at_least_conv5_1(tmp_path):
    arrays = Weights.find(write_file(tmp_path / "short.params", vgg_shapes("conv5_1"))).load()
    assert list(arrays)[-1] == "conv5_1_bias"
    shorter = write_file(tmp_path / "shorter.params", vgg_shapes("conv4_4"))
    with pytest.raises(WeightsError, match="shorter.params has no array 'conv5_1_weight'"):
        Weights.find(shorter).load()


@pytest.mark.parametrize(
    "name, shape", [("conv3_2_weight", (256, 128, 3, 3)), ("conv1_1_bias", (3,))]
)
def test_a_wrong_shape_names_the_array_and_both_shapes(name, shape, tmp_path):
    path = write_file(tmp_path / "odd.params", {**vgg_shapes(), f"arg:{name}": shape})
    with pytest.raises(WeightsError, match=re.escape(f"array '{name}' has the shape {shape}")):
        Weights.find(path).load()


@pytest.mark.parametrize("value", [numpy.nan, numpy.inf, -numpy.inf])
def test_non_finite_values_name_the_array(value, tmp_path):
    bias = numpy.zeros(128, "<f4")
    bias[100] = value
    path = write_file(tmp_path / "nan.params", vgg_shapes(), {"arg:conv2_2_bias": bias})
    with pytest.raises(WeightsError, match="'conv2_2_bias' holds NaN or infinity"):
        Weights.find(path).load()


@pytest.mark.parametrize("flag, dtype", [(1, "<f8"), (2, "<f2")])
def test_halves_and_doubles_become_float32(flag, dtype, tmp_path):
    bias = numpy.linspace(-1, 1, 64).astype(dtype)
    path = write_file(tmp_path / "a.params", vgg_shapes(), {"arg:conv1_1_bias": bias}, flag)
    loaded = Weights.find(path).load()["conv1_1_bias"]
    assert loaded.dtype == numpy.float32
    numpy.testing.assert_array_equal(loaded, bias.astype("f4"))


def test_check_reports_size_checksums_and_layers(vgg_file):
    report = weights.check(vgg_file)
    content = vgg_file.read_bytes()
    assert report.path == vgg_file
    assert report.size == len(content)
    assert report.sha256 == hashlib.sha256(content).hexdigest()
    assert report.blob_id == hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    assert report.layers == tuple(params.CONVOLUTIONS)


def test_check_accepts_a_file_other_than_the_published_one_and_says_so(vgg_file, monkeypatch):
    assert not weights.check(vgg_file).published
    monkeypatch.setattr(weights, "PUBLISHED_BLOB_ID", files.git_blob_id(vgg_file))
    assert weights.check(vgg_file).published


def test_weights_are_identified_by_their_path_and_checksum(tmp_path):
    path = tmp_path / "x.params"
    path.write_bytes(b"abc")
    assert Weights.find(path).identity() == {
        "source": str(path),
        "sha256": hashlib.sha256(b"abc").hexdigest(),
    }
    with pytest.raises(WeightsError, match=r"Cannot read the weights none\.params"):
        Weights(Path("none.params")).identity()


def test_weights_replaced_after_they_were_found_are_refused(vgg_file, tmp_path):
    path = tmp_path / "x.params"
    shutil.copy(vgg_file, path)
    before = Weights.find(path)
    checksum, arrays = before.sha256, before.load()
    assert len(arrays) == 32
    write_file(path, vgg_shapes("conv5_1"))
    with pytest.raises(WeightsError, match=r"x\.params were changed while nst used them"):
        before.load()
    again = Weights.find(path)
    assert again != before and again.sha256 != checksum and again.load()


def test_the_builtin_bank_is_loaded_by_its_name_and_identified_by_its_bytes():
    arrays = Weights().load()
    assert set(params.REQUIRED) <= {name[:7] for name in arrays}
    content = b"".join(array.tobytes() for array in arrays.values())
    assert Weights().identity() == {
        "source": "builtin",
        "sha256": hashlib.sha256(content).hexdigest(),
    }


# Places


def put(path):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def test_the_option_overrides_the_variable_the_working_folder_and_the_cache(tmp_path, monkeypatch):
    cached = put(tmp_path / "cache" / "nst" / "vgg19.params")
    assert Weights.find().path == cached
    put("models/vgg19.params")
    assert Weights.find().path == Path("models/vgg19.params")
    variable = put(tmp_path / "variable.params")
    monkeypatch.setenv("NST_WEIGHTS", str(variable))
    assert Weights.find().path == variable
    option = put(tmp_path / "option.params")
    assert Weights.find(option).path == option


def test_a_folder_stands_for_the_file_in_it(tmp_path, monkeypatch):
    stored = put(tmp_path / "somewhere" / "vgg19.params")
    assert Weights.find(str(tmp_path / "somewhere")).path == stored
    monkeypatch.setenv("NST_WEIGHTS", str(tmp_path / "somewhere"))
    assert Weights.find().path == stored


def test_an_error_for_a_missing_file_names_the_option_or_variable(tmp_path, monkeypatch):
    put("models/vgg19.params")
    with pytest.raises(WeightsError, match="--weights .*none.params"):
        Weights.find(tmp_path / "none.params")
    monkeypatch.setenv("NST_WEIGHTS", str(tmp_path / "gone.params"))
    with pytest.raises(WeightsError, match="NST_WEIGHTS .*gone.params"):
        Weights.find()
    with pytest.raises(WeightsError, match="--weights .*work.vgg19.params"):
        Weights.find(tmp_path / "work")


def test_the_builtin_bank_is_found_only_when_asked_for(monkeypatch):
    with pytest.raises(WeightsError):
        Weights.find()
    assert Weights.find("builtin") == Weights()
    monkeypatch.setenv("NST_WEIGHTS", "builtin")
    assert Weights.find() == Weights()


def test_an_error_for_missing_weights_lists_the_places_and_the_remedies(tmp_path):
    with pytest.raises(WeightsError) as caught:
        Weights.find()
    message = str(caught.value)
    for part in (
        "--weights",
        "NST_WEIGHTS",
        str(Path("models/vgg19.params")),
        str(tmp_path / "cache" / "nst" / "vgg19.params"),
        "nst weights fetch",
        weights.PUBLISHED_URL,
        "--weights builtin",
    ):
        assert part in message
    assert "\n" not in message


def test_the_cache_is_below_the_home_folder_unless_xdg_says_otherwise(tmp_path, monkeypatch):
    assert weights.cache_folder() == tmp_path / "cache" / "nst"
    monkeypatch.setenv("HOME", str(tmp_path))
    for value in ("", "relative/cache"):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert weights.cache_folder() == tmp_path / ".cache" / "nst"


def test_without_a_home_folder_only_the_cache_is_unavailable(tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "")
    assert weights.cache_folder() is None
    with pytest.raises(
        WeightsError, match="No VGG-19 weights found: .*no models/vgg19.params. Run"
    ):
        Weights.find()
    with pytest.raises(WeightsError, match="name a destination"):
        weights.fetch()
    assert Weights.find(put(tmp_path / "w.params")).path == tmp_path / "w.params"
    with pytest.raises(WeightsError, match="~nobody.of.this.name"):
        Weights.find("~nobody.of.this.name/w.params")


def test_a_cache_that_may_not_be_searched_is_ignored(tmp_path, monkeypatch):
    put(tmp_path / "cache" / "nst" / "vgg19.params")
    refused = PermissionError(errno.EACCES, "Permission denied")

    def stat(path, **others):
        raise refused

    # Root may search any folder, so the test makes the system call fail.
    monkeypatch.setattr(os, "stat", stat)
    with pytest.raises(WeightsError, match="No VGG-19 weights found"):
        Weights.find()
    with pytest.raises(WeightsError, match="w.params: Permission denied"):
        Weights.find("w.params")


def test_a_pipe_or_a_device_is_refused_before_it_is_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.params")
    for path in (tmp_path / "pipe.params", "/dev/zero"):
        with pytest.raises(WeightsError, match="not a file, but a pipe or a device"):
            Weights.find(path).load()
