"""The options of a transfer: checks, forms and defaults."""

import dataclasses
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nst_cli.config import (
    INITS,
    LAYERS,
    METHODS,
    OPTIMIZERS,
    POOLINGS,
    STYLE_FITS,
    Config,
    did_you_mean,
    parse_weights,
)
from nst_cli.errors import ConfigError

HUGE = 10**400


def refused(choices):
    """Return the error that a Config of these choices raises."""
    with pytest.raises(ConfigError) as caught:
        Config(**choices)
    message = str(caught.value)
    assert message.strip() and "\n" not in message
    return caught.value


BAD_VALUES = [
    ({"gamma": -1}, "gamma", "-1"),
    ({"gamma": math.nan}, "gamma", "nan"),
    ({"gamma": math.inf}, "gamma", "inf"),
    ({"gamma": "much"}, "gamma", "much"),
    ({"alpha": -0.5}, "alpha", "-0.5"),
    ({"alpha": 0, "gamma": 0}, "gamma", "nothing is left"),
    ({"alpha": 0, "beta": 0}, "alpha", "nothing is left"),
    ({"alpha": 0, "layer_weights": "relu1_1=0", "style_layers": "relu1_1"}, "alpha", "nothing is"),
    (
        {"alpha": 0, "method": "bn=1,poly=0", "beta": "bn=0,poly=1"},
        "alpha",
        "nothing is left to minimise",
    ),
    ({"gamma": True}, "gamma", "True"),
    ({"size": True}, "size", "True"),
    ({"beta": False}, "beta", "False"),
    ({"gamma": "٣"}, "gamma", "not a number"),
    ({"size": "²"}, "size", "not a number"),
    ({"size": 10**30}, "size", str(2**21 - 1)),
    ({"size": "9" * 5000}, "size", "finite"),
    ({"iterations": 10**12}, "iterations", str(10**9)),
    ({"method": "x" * 10**5}, "method", "xxx..."),
    ({"c": -1}, "c", "-1"),
    ({"directions": 0}, "directions", "1"),
    ({"directions": 10**6}, "directions", "8192"),
    ({"kernels": ()}, "kernels", "1 to 32"),
    ({"kernels": "1," * 40 + "1"}, "kernels", "1 to 32"),
    ({"kernels": "0.5,0"}, "kernels", "above 0"),
    ({"kernels": "0.5,,1"}, "kernels", "not a number"),
    ({"features": 1}, "features", "2"),
    ({"features": "many"}, "features", "not a number"),
    ({"orders": 0}, "orders", "1"),
    ({"orders": 21}, "orders", "20"),
    ({"samples": 0}, "samples", "1"),
    ({"method": "fft"}, "method", "choose from linear, poly, gaussian, bn"),
    ({"method": "Gaussian"}, "method", "did you mean 'gaussian'?"),
    ({"method": "gausian"}, "method", "did you mean 'gaussian'?"),
    ({"method": "Gram"}, "method", "did you mean 'poly'?"),
    ({"method": "bn=0.3,w2=0.7"}, "method", "did you mean 'wasserstein'?"),
    ({"method": "bn=0.3,pol=0.7"}, "method", "did you mean 'poly'?"),
    ({"method": {"bn": 0.3, "Poly": 0.7}}, "method", "did you mean 'poly'?"),
    ({"method": "bn=0,poly=0"}, "method", "0"),
    ({"style_layers": "relu1_1,relu4_5"}, "style_layers", "did you mean 'relu4_"),
    ({"style_layers": ["conv4_1"]}, "style_layers", "'conv4_1'"),
    ({"style_layers": ()}, "style_layers", "one or more"),
    ({"style_layers": "relu1_1,relu1_1"}, "style_layers", "once"),
    ({"content_layers": "relu9_9"}, "content_layers", "'relu9_9'"),
    ({"layer_weights": "relu1_9=1"}, "layer_weights", "did you mean 'relu1_"),
    ({"layer_weights": "relu3_2=1"}, "layer_weights", "not among the style layers"),
    ({"beta": "papper"}, "beta", "paper, auto or a number"),
    ({"beta": -1}, "beta", "-1"),
    ({"beta": math.nan}, "beta", "nan"),
    ({"beta": 1, "method": "bn=0.3,poly=0.7"}, "beta", "bn=1000,poly=0.1"),
    ({"beta": "bn=1", "method": "bn=0.3,poly=0.7"}, "beta", "each method"),
    ({"beta": "bn=1,poly=1"}, "beta", "each method"),
    ({"pooling": "mean"}, "pooling", "'mean'"),
    ({"size": 15}, "size", "16"),
    ({"size": 99.5}, "size", "99.5"),
    ({"size": math.inf}, "size", "inf"),
    ({"style_fit": "squeze"}, "style_fit", "did you mean 'squeeze'?"),
    ({"iterations": -1}, "iterations", "-1"),
    ({"iterations": 2.5}, "iterations", "2.5"),
    ({"stop_eps": -0.1}, "stop_eps", "-0.1"),
    ({"optimizer": "sgdd"}, "optimizer", "did you mean 'sgd'?"),
    ({"lr": 0}, "lr", "above 0"),
    ({"lr": math.inf}, "lr", "inf"),
    ({"tv_weight": -1}, "tv_weight", "-1"),
    ({"denoise": math.nan}, "denoise", "nan"),
    ({"seed": -1}, "seed", "-1"),
    ({"seed": 2**32}, "seed", str(2**32 - 1)),
    ({"seed": 0.5}, "seed", "0.5"),
    ({"device": "tpu"}, "device", "auto, cpu, gpu or gpu:N"),
    ({"device": "gpu:x"}, "device", "gpu:x"),
    ({"device": "gpu:"}, "device", "gpu:N"),
    ({"deterministic": "yes"}, "deterministic", "true or false"),
    ({"deterministic": 1}, "deterministic", "true or false"),
    ({"preset": "papr"}, "preset", "did you mean 'paper'?"),
]


@pytest.mark.parametrize(("choices", "field", "hint"), BAD_VALUES, ids=lambda part: str(part)[:50])
def test_a_bad_value_is_one_line_that_names_its_field_and_what_was_found(choices, field, hint):
    error = refused(choices)
    assert error.field == field
    assert hint in str(error)


WRONG_KINDS = [
    {"style_layers": 5},
    {"style_layers": [1]},
    {"kernels": [None]},
    {"kernels": [[1]]},
    {"kernels": {"a": 1}},
    {"directions": 2.5},
    {"content_layers": ["relu4_2", None]},
    {"method": 5},
    {"method": ["bn"]},
    {"method": {"bn": "x"}},
    {"method": {"bn": None}},
    {"layer_weights": 5},
    {"layer_weights": {"relu1_1": "x"}},
    {"beta": [1]},
    {"beta": {"poly": "x"}},
    {"gamma": HUGE},
    {"gamma": [1]},
    {"seed": HUGE},
    {"size": {}},
    {"pooling": ["avg"]},
    {"device": 0},
    {"device": "gpu:²"},
    {"preset": []},
]


@pytest.mark.parametrize("choices", WRONG_KINDS, ids=lambda choices: str(choices)[:40])
def test_a_value_of_the_wrong_type_is_an_error_that_names_its_field(choices):
    assert refused(choices).field == next(iter(choices))


BAD_ENTRIES = [
    {"method": "bn=x,poly=1"},
    {"method": "bn=-1,poly=1"},
    {"method": "bn=0.3,poly"},
    {"method": "bn=0.3,bn=0.4"},
    {"method": {"bn": math.nan}},
    {"layer_weights": "relu1_1"},
    {"layer_weights": "relu1_1=-1"},
    {"layer_weights": "relu1_1=inf"},
    {"layer_weights": "relu1_1=1,relu1_1=2"},
    {"beta": "poly=x"},
    {"beta": {"poly": -1}},
]


@pytest.mark.parametrize("choices", BAD_ENTRIES, ids=str)
def test_a_bad_entry_in_a_list_of_weights_names_the_field_of_the_list(choices):
    assert refused(choices).field == next(iter(choices))


@pytest.mark.parametrize(
    "choices",
    [
        {"gamma": 0},
        {"alpha": 0},
        {"alpha": 0, "beta": "auto"},
        {"alpha": 0, "method": "bn=1,poly=0", "beta": "bn=1,poly=0"},
        {"alpha": 0, "layer_weights": {"relu1_1": 0}},
        {"beta": 0},
    ],
    ids=str,
)
def test_one_loss_with_a_weight_is_enough(choices):
    Config(**choices)


@pytest.mark.parametrize("field", ["size", "gamma", "device", "layer_weights"])
def test_an_integer_too_long_for_python_to_print_is_a_one_line_error(field):
    error = refused({field: 10**5000})
    assert error.field == field and len(str(error)) < 120
    assert refused({field: [10**5000]}).field == field


def test_whole_numbers_are_kept_exactly():
    config = Config(seed="4294967295", iterations=999999999, size="1e3")
    assert (config.seed, config.iterations, config.size) == (4294967295, 999999999, 1000)


def test_an_error_for_an_unknown_key_names_the_nearest_one():
    with pytest.raises(ConfigError, match="'layer_wieghts': did you mean 'layer_weights'"):
        Config.from_dict({"layer_wieghts": ""})


def test_an_error_suggests_the_nearest_name_or_lists_all_names():
    assert did_you_mean("POLY", METHODS) == ": did you mean 'poly'?"
    assert did_you_mean("xyz", ("bn", "poly")) == ": choose from bn, poly."


def test_a_config_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().gamma = 1.0


def test_the_paper_preset_has_the_constants_of_the_authors_code():
    config = Config()
    assert config == Config(preset="paper")
    assert (config.method, config.alpha, config.gamma, config.c) == ("poly", 1, 5, 0)
    assert config.style_layers == ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
    assert config.content_layers == ("relu4_2",)
    assert (config.size, config.iterations, config.stop_eps) == (600, 1000, 0.005)
    assert (config.learning_rate, config.tv_weight, config.denoise) == (1e-3, 1e-2, 0.02)
    assert (config.optimizer, config.scales, config.precision) == ("sgd", 1, "float32")
    assert (config.pooling, config.style_fit, config.init) == ("avg", "squeeze", "random")
    assert config.faithful


@pytest.mark.parametrize(
    ("text", "mapping"),
    [
        ("bn=0.3,poly=0.7", {"bn": 0.3, "poly": 0.7}),
        (" bn = 0.30 , poly=7e-1,", {"bn": 0.3, "poly": 0.7}),
        ("linear=1", {"linear": 1}),
        ("linear", {"linear": 1.0}),
        ("linear=2", {"linear": 2}),
    ],
)
def test_a_fusion_string_and_the_equal_mapping_make_equal_configs(text, mapping):
    assert Config(method=text) == Config(method=mapping)
    assert Config(method=text).methods == mapping


@given(st.dictionaries(st.sampled_from(METHODS), st.floats(1e-6, 1e6), min_size=1))
@settings(max_examples=50, derandomize=True)
def test_any_fusion_string_and_the_equal_mapping_make_equal_configs(mapping):
    text = ",".join(f"{method}={weight!r}" for method, weight in mapping.items())
    assert Config(method=text) == Config(method=mapping)
    assert Config(method=text).methods == mapping


def test_beta_and_layer_weights_take_a_mapping_or_the_equal_text():
    mapping = {"bn": 1000, "poly": 0.1}
    fused = {"method": "bn=0.3,poly=0.7"}
    assert Config(beta=mapping, **fused) == Config(beta="bn=1000,poly=0.1", **fused)
    assert Config(beta="0.25") == Config(beta=0.25)
    assert Config(layer_weights={"relu1_1": 2}) == Config(layer_weights="relu1_1=2")


def test_layers_may_be_a_string_or_a_sequence():
    assert Config(kernels="0.5, 2") == Config(kernels=[0.5, 2])
    assert Config(kernels=2) == Config(kernels="2")
    assert Config(style_layers="relu1_1, relu3_2") == Config(style_layers=["relu1_1", "relu3_2"])


def test_a_layer_not_named_in_layer_weights_weighs_one():
    config = Config(layer_weights="relu4_1=0.5")
    assert [config.layer_weight(layer) for layer in ("relu4_1", "relu1_1")] == [0.5, 1.0]


def test_numbers_may_be_text_as_on_a_command_line():
    config = Config(gamma="2.5", iterations="30", seed="7")
    assert (config.gamma, config.iterations, config.seed) == (2.5, 30, 7)


def test_an_empty_list_of_weights_is_an_empty_dict():
    assert parse_weights("") == {}


weights = st.one_of(st.just(0.0), st.floats(1e-30, 1e30))
positive = st.floats(1e-12, 1e12)


@st.composite
def valid_choices(draw):
    """Draw options that are valid each alone and all together."""
    methods = draw(st.lists(st.sampled_from(METHODS), min_size=1, unique=True))
    layers = draw(st.lists(st.sampled_from(LAYERS), min_size=1, unique=True))
    per_method = st.fixed_dictionaries({method: positive for method in methods})
    betas = [st.sampled_from(["paper", "auto"]), per_method]
    if len(methods) == 1:
        betas.append(weights)
    some_layers = st.dictionaries(st.sampled_from(layers), weights)
    optional = {
        # Above 0, because something must be left to minimise.
        "alpha": positive,
        "beta": st.one_of(betas),
        "gamma": positive,
        "c": weights,
        "directions": st.integers(1, 8192),
        "kernels": st.lists(positive, min_size=1, max_size=32),
        "features": st.one_of(st.just("auto"), st.integers(2, 8192)),
        "orders": st.integers(1, 20),
        "samples": st.integers(1, 8192),
        "layer_weights": some_layers,
        "content_layers": st.lists(st.sampled_from(LAYERS), min_size=1, unique=True),
        "pooling": st.sampled_from(POOLINGS),
        "size": st.integers(16, 10000),
        "style_fit": st.sampled_from(STYLE_FITS),
        "iterations": st.integers(0, 10**6),
        "stop_eps": weights,
        "optimizer": st.sampled_from(OPTIMIZERS),
        "lr": positive,
        "tv_weight": st.one_of(weights, weights.map("{}/pixel".format)),
        "denoise": weights,
        "init": st.one_of(st.sampled_from(INITS), st.text(min_size=1)),
        "seed": st.integers(0, 2**32 - 1),
        "device": st.sampled_from(["auto", "cpu", "gpu", "gpu:3"]),
        "deterministic": st.booleans(),
        "weights": st.text(),
    }
    required = {
        "method": st.one_of(st.just(methods[0]) if len(methods) == 1 else per_method, per_method),
        "style_layers": st.just(layers),
    }
    return draw(st.fixed_dictionaries(required, optional=optional))


@given(valid_choices())
@settings(max_examples=100, derandomize=True, deadline=None)
def test_config_to_dict_to_json_to_config_is_the_identity(choices):
    config = Config(**choices)
    plain = config.to_dict()
    assert set(plain) == {field.name for field in dataclasses.fields(Config)}
    assert Config.from_dict(json.loads(json.dumps(plain, allow_nan=False))) == config
