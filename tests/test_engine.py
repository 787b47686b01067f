"""The engine: loading MXNet, its devices, its threads and its errors."""

import importlib
import math
import os
import re
import subprocess
import sys
import types
import warnings
from pathlib import Path

import numpy
import pytest

import nst_cli
from nst_cli import engine, machine
from nst_cli.engine import environment, lending, mxnet2
from nst_cli.engine import loading as loading_module
from nst_cli.engine.gpu import driver, library
from nst_cli.engine.gpu.driver import Card, Driver
from nst_cli.errors import EngineError


def run_python(code, options=(), **variables):
    """Run code in a fresh Python; a variable that is None is not set there."""
    environment = {**os.environ, "PYTHONPATH": str(Path(nst_cli.__file__).parents[1])}
    for name, value in variables.items():
        environment.pop(name, None)
        if value is not None:
            environment[name] = value
    return subprocess.run(
        [sys.executable, *options, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_importing_the_package_does_not_import_mxnet():
    code = """
import sys
from nst_cli import cli, config, engine, synthesis, weights
from nst_cli.runs import batch, cluster, forecast, plan, replay, runner
from nst_cli.synthesis import denoise, losses, objective, vgg
from nst_cli.views import figures, plot, report, theorem
print("mxnet" in sys.modules)
"""
    result = run_python(code)
    assert (result.stdout, result.stderr) == ("False\n", "")


def test_a_fresh_process_uses_all_its_cores_and_says_nothing():
    code = """
from nst_cli import engine, machine
device = engine.context("cpu")
image = engine.nd.ones((1, 3, 8, 8), ctx=device)
graph = engine.sym.Pooling(engine.sym.var("data"), kernel=(2, 2), pool_type="avg")
executor = engine.bind(graph, {})
executor.forward(image)[0].wait_to_read()
print(engine.threads() == machine.usable_cores())
"""
    result = run_python(code, OMP_NUM_THREADS=None, MXNET_SUBGRAPH_VERBOSE=None)
    assert (result.stdout, result.stderr) == ("True\n", "")


@pytest.fixture
def loading(monkeypatch):
    """Make `engine.load` call a function instead of importing MXNet."""
    engine.load()
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.delitem(sys.modules, "mxnet")
    monkeypatch.setattr(loading_module, "_module", None)

    def stand_in(function):
        def import_module(name):
            return function() if name == "mxnet" else importlib.import_module(name)

        monkeypatch.setattr(
            loading_module, "importlib", types.SimpleNamespace(import_module=import_module)
        )

    return stand_in


def failing(error):
    def load(*arguments):
        raise error

    return load


def fake_mxnet():
    nd = types.SimpleNamespace(waitall=lambda: None)
    return types.SimpleNamespace(nd=nd, sym="sym", __version__="1.9.1")


def test_a_python_that_is_too_old_is_named_with_one_that_is_not(loading, monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 8, 18))
    with pytest.raises(EngineError, match=r"needs Python 3\.9 or newer, and this is 3\.8: "):
        engine.load()


def test_a_python_newer_than_any_tested_is_not_refused(loading, monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 99, 0))
    loading(fake_mxnet)
    assert engine.load().sym == "sym"


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (ModuleNotFoundError("No module named 'mxnet'", name="mxnet"), "run nst mxnet install"),
        (ModuleNotFoundError("No module named 'requests'", name="requests"), "pip install requ"),
        (ImportError("cannot import name 'x'"), "cannot be imported: cannot import name 'x'."),
        (AttributeError("no attribute 'x'"), "cannot be loaded with Python 3"),
        (OSError("libgomp.so.1: cannot open shared object file"), "install libgomp1"),
        (OSError("libquadmath.so.0: cannot open shared object file"), "libquadmath0"),
        (OSError("libcuda.so.1: cannot open shared object file"), "NVIDIA's driver"),
        (OSError("libelse.so: wrong ELF class\n"), "cannot be loaded (libelse.so: wrong ELF"),
    ],
    ids=lambda part: str(part).partition(":")[0],
)
def test_a_failure_to_load_is_one_line_that_says_what_to_install(loading, error, advice):
    loading(failing(error))
    with pytest.raises(EngineError) as caught:
        engine.load()
    assert advice in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "threads"), [("3", 3), ("3,2", 3), (" 3", 3), ("", None), ("many", None)]
)
def test_the_users_number_of_threads_stands_in_a_form_that_mxnet_reads(variable, threads):
    code = "import os; from nst_cli import engine; engine.load(); "
    code += "print(engine.threads(), os.environ['OMP_NUM_THREADS'] + '.')"
    expected = threads or machine.usable_cores()
    assert run_python(code, OMP_NUM_THREADS=variable).stdout == f"{expected} {variable}.\n"


def test_the_number_of_threads_that_nst_chose_is_not_left_in_the_environment(loading, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    seen = []

    def look():
        seen.append(os.environ["OMP_NUM_THREADS"])
        return fake_mxnet()

    loading(look)
    engine.load()
    assert seen == [str(machine.usable_cores())]
    assert "OMP_NUM_THREADS" not in os.environ


@pytest.mark.parametrize("variable", [None, "", "many"])
def test_threads_are_known_though_mxnet_was_imported_by_other_code(monkeypatch, variable):
    engine.load()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if variable is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", variable)
    assert engine.threads() >= 1
    # As on a machine whose OpenMP is not GNU's.
    monkeypatch.setattr(loading_module.ctypes, "CDLL", failing(OSError()))
    assert engine.threads() == machine.usable_cores()


@pytest.mark.parametrize("version", ["1.9.1", "2.0.0"])
def test_an_mxnet_that_the_caller_imported_is_taken_and_set_as_nst_needs_it(
    loading, monkeypatch, version
):
    module, calls = fake_mxnet(), []
    module.__version__ = version
    monkeypatch.setitem(sys.modules, "mxnet", module)
    monkeypatch.delenv("MXNET_SUBGRAPH_VERBOSE", raising=False)
    monkeypatch.setattr(loading_module, "_keep_freed_memory", lambda: calls.append("memory"))
    monkeypatch.setattr(mxnet2, "behave_like_the_first", lambda mx: calls.append(mx))
    assert engine.load() is module is engine.load()
    assert calls == ["memory", module][: 1 + version.startswith("2")]
    assert os.environ["MXNET_SUBGRAPH_VERBOSE"] == "0"


def test_mxnet_2_starts_where_stderr_is_closed(monkeypatch):
    code = "import os; os.close(2); from nst_cli.engine import mxnet2\n"
    code += "with mxnet2._silence():\n    file = os.open(os.devnull, os.O_WRONLY)\n"
    code += "os.fstat(file); print('fine')"
    assert run_python(code).stdout == "fine\n"


@pytest.mark.parametrize(
    ("variable", "value", "wanted"),
    [
        ("MXNET_CPU_WORKER_NTHREADS", "x", "a whole number from 1 to 1024"),
        ("MXNET_CPU_WORKER_NTHREADS", "0", "a whole number from 1 to 1024"),
        ("MXNET_CPU_PRIORITY_NTHREADS", "99999999999", "a whole number from 1 to 1024"),
        ("MXNET_CPU_TEMP_COPY", "0", "a whole number from 1 to 1024"),
        ("MXNET_EXEC_BULK_EXEC_MAX_NODE_TRAIN", "-1", "a whole number from 0"),
        ("MXNET_OMP_MAX_THREADS", "2.5", "a whole number"),
        ("MXNET_ENABLE_CYTHON", "yes", "a whole number"),
        ("MXNET_TUNING_WEIGHT_SCALE", "heavy", "a number"),
        ("MXNET_MKLDNN_ENABLED", "on", "0 or 1"),
        ("MXNET_EXEC_BULK_EXEC_TRAIN", "2", "0 or 1"),
        ("MXNET_ENGINE_TYPE", "Foo", "NaiveEngine or ThreadedEngine or ThreadedEnginePerDevice"),
        ("MXNET_GPU_MEM_POOL_TYPE", "Foo", "Naive or Round or Unpooled"),
        ("DMLC_ROLE", "server", "worker"),
    ],
)
def test_a_variable_that_mxnet_cannot_read_is_named_before_it_is_imported(
    loading, monkeypatch, variable, value, wanted
):
    loading(failing(AssertionError("MXNet was imported")))
    monkeypatch.setenv(variable, value)
    message = f"{variable} is {value!r}, but MXNet takes {wanted}: correct it, or unset it"
    with pytest.raises(EngineError, match=re.escape(message)):
        engine.load()


def test_values_that_mxnet_reads_pass(monkeypatch):
    for name, value in {
        "MXNET_CPU_WORKER_NTHREADS": " +2 ",
        "MXNET_MKLDNN_CACHE_NUM": "-1",
        "MXNET_MKLDNN_ENABLED": "True",
        "MXNET_ENGINE_TYPE": "NaiveEngine",
        "MXNET_CPU_TEMP_COPY": "",
        "MXNET_HOME": "anything",
    }.items():
        monkeypatch.setenv(name, value)
    environment.check()


@pytest.fixture
def variables(monkeypatch):
    """Set the variables of this process; return the dict of them, which the test may change."""

    def set_them(**values):
        monkeypatch.setattr(os, "environ", values)
        monkeypatch.setattr(environment, "_set", {})
        return values

    return set_them


def test_a_worker_has_the_users_environment_and_not_what_nst_has_set(variables):
    users = {"PATH": "bin", "NVIDIA_TF32_OVERRIDE": "1", "OMP_NUM_THREADS": "3"}
    variables(**users)
    environment.put({"NVIDIA_TF32_OVERRIDE": "0", "MXNET_ENFORCE_DETERMINISM": "1"})
    environment.put({"NVIDIA_TF32_OVERRIDE": "0"})
    environment.prepare()
    assert engine.worker_environment(1) == users


def test_a_worker_computes_with_its_share_of_threads_unless_the_user_says_otherwise(variables):
    for users, expected in {"": "2", "many": "2", "3,1": "3,1"}.items():
        variables(OMP_NUM_THREADS=users)
        assert engine.worker_environment(2)["OMP_NUM_THREADS"] == expected
    variables()
    assert engine.worker_environment(2, "7") == {
        "OMP_NUM_THREADS": "2",
        "CUDA_VISIBLE_DEVICES": "7",
    }


def test_what_the_user_changes_after_nst_has_set_it_is_the_users(variables):
    current = variables(OMP_NUM_THREADS="1")
    environment.put({"NVIDIA_TF32_OVERRIDE": "0"})
    current["NVIDIA_TF32_OVERRIDE"] = "1"
    assert engine.worker_environment(1)["NVIDIA_TF32_OVERRIDE"] == "1"


@pytest.fixture
def as_mxnet():
    """Evaluate an expression of NumPy's names as a module of MXNet's would."""
    return lambda text: eval(text, {"__name__": "mxnet.numpy.utils", "numpy": numpy})


def test_names_that_numpy_no_longer_has_are_lent_to_mxnet_alone_and_taken_back(as_mxnet):
    before = dict(vars(numpy))
    with lending.lent():
        assert as_mxnet("numpy.bool") in (bool, numpy.bool_)
        assert as_mxnet("numpy.PINF, numpy.NINF, numpy.Inf") == (math.inf, -math.inf, math.inf)
        assert math.copysign(1, as_mxnet("numpy.NZERO")) == -1
        assert numpy.isnan(as_mxnet("numpy.NaN")) and numpy.isnan(as_mxnet("numpy.NAN"))
        with pytest.raises(AttributeError, match="has no function gone_for_good"):
            as_mxnet("numpy.gone_for_good(1)")
        with pytest.raises(AttributeError, match="gone_for_good"):
            numpy.gone_for_good  # noqa: B018
    with pytest.raises(AttributeError, match="gone_for_good"):
        as_mxnet("numpy.gone_for_good")
    assert vars(numpy) == before


def test_distutils_is_lent_where_it_is_missing_and_taken_back(monkeypatch):
    before = {name for name in sys.modules if name.startswith("distutils")}
    for name in before | {"distutils", "distutils.version"}:
        monkeypatch.delitem(sys.modules, name, raising=False)

    def import_module(name):
        raise ImportError(name)

    monkeypatch.setattr(lending, "importlib", types.SimpleNamespace(import_module=import_module))
    with lending.lent():
        from distutils.version import LooseVersion, StrictVersion

        for version in (LooseVersion, StrictVersion):
            assert version("1.9") < version("1.17.2") < version("2.5.0rc1")
    assert not [name for name in sys.modules if name.startswith("distutils")]


def test_mxnets_warnings_are_dropped_and_those_of_others_are_not():
    def warn(module):
        warnings.warn_explicit("old", DeprecationWarning, "file.py", 1, module=module)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with lending.lent():
            warnings.warn("an escape sequence", SyntaxWarning, stacklevel=1)
        lending.ignore_warnings()
        warn("mxnet.ndarray.ndarray")
        for other in ("mxnets", "nst_cli.engine"):
            with pytest.raises(DeprecationWarning):
                warn(other)


@pytest.mark.parametrize("options", [["-OO"], ["-W", "error"]])
def test_python_without_docstrings_or_with_strict_warnings_imports_mxnet(options):
    if options == ["-OO"] and mxnet2.version():
        pytest.skip("MXNet 2 needs the docstrings of NumPy itself, which -OO removes")
    code = "from nst_cli import engine; print(engine.array([2], engine.context('cpu')).asscalar())"
    result = run_python(code, options)
    assert (result.stdout, result.stderr) == ("2.0\n", "")


def test_nd_and_sym_are_mxnets_own_and_other_names_are_unknown():
    assert engine.nd is engine.load().nd and engine.sym is engine.load().sym
    with pytest.raises(AttributeError, match="no attribute 'gluon'"):
        engine.gluon  # noqa: B018


@pytest.fixture
def gpus(monkeypatch):
    """Set how many GPUs there are, and whether MXNet is built for them."""

    def set_them(count, cuda=True, version="1.9.1", capability=(8, 6)):
        cards = tuple(Card(n, "Some Card", capability, 1 << 30) for n in range(max(count, 1)))
        monkeypatch.setattr(driver, "probe", lambda: Driver((12, 2), cards))
        monkeypatch.setattr(library, "find", lambda: None)
        monkeypatch.setattr(engine, "version", lambda: version)
        monkeypatch.setattr(engine, "gpu_count", lambda: count)
        monkeypatch.setattr(engine, "has_cuda", lambda: cuda)

    return set_them


@pytest.mark.devices
@pytest.mark.parametrize(
    ("device", "count", "expected"),
    [("auto", 0, "cpu(0)"), ("auto", 1, "gpu(0)"), ("cpu", 2, "cpu(0)"), ("cpu:1", 0, "cpu(1)"),
     ("gpu", 1, "gpu(0)"), ("gpu:2", 3, "gpu(2)")],
)  # fmt: skip
def test_a_device_is_found_by_its_name(gpus, device, count, expected):
    gpus(count)
    assert str(engine.context(device)) == expected


@pytest.mark.parametrize(
    ("device", "count", "cuda", "version", "hint"),
    [
        ("gpu", 0, False, "1.9.1", "run nst gpu install"),
        ("gpu", 0, False, "2.0.0", "installed 2.0.0 .*: install a CUDA build of it"),
        ("gpu", 0, True, "1.9.1", "nvidia-smi"),
        ("gpu:2", 2, True, "1.9.1", "MXNet sees 2, numbered from 0"),
    ],
)
def test_an_error_for_a_missing_gpu_says_how_to_get_it(gpus, device, count, cuda, version, hint):
    gpus(count, cuda, version)
    with pytest.raises(EngineError, match=hint):
        engine.context(device)


def test_a_driver_that_answers_with_an_error_counts_as_no_gpu(monkeypatch):
    mx = engine.load()
    monkeypatch.setattr(engine, "has_cuda", lambda: True)
    monkeypatch.setattr(mx.context, "num_gpus", failing(mx.base.MXNetError("no driver")))
    assert engine.gpu_count() == 0


def test_an_array_is_a_copy_of_the_type_asked_for():
    values = numpy.arange(3)
    array = engine.array(values, engine.context("cpu"))
    values[:] = 9
    assert array.dtype == numpy.float32
    assert array.asnumpy().tolist() == [0, 1, 2]


def test_a_bound_executor_stands_on_the_arrays_given_and_has_the_gradient_on_its_input():
    device = engine.context("cpu")
    graph = engine.sym.var("data") * engine.sym.var("b")
    a, b = engine.array([2, 3], device), engine.array([5, 7], device)
    executor = engine.bind(graph, {"b": b})
    b[:] = 10
    assert executor.forward(a)[0].asnumpy().tolist() == [20, 30]
    assert executor.backward([engine.nd.ones_like(a)]).asnumpy().tolist() == [10, 10]


def test_outputs_are_not_touched_by_what_an_executor_does_later():
    a = engine.array([2, 3], engine.context("cpu"))
    executor = engine.bind(3 * engine.sym.var("data"), {})
    first = executor.forward(a)[0]
    executor.backward([engine.nd.ones_like(a)])
    a[:] = 5
    assert executor.forward(a)[0].asnumpy().tolist() == [15, 15]
    assert first.asnumpy().tolist() == [6, 9]


def engine_error(error):
    """Return the message that an error from MXNet becomes."""
    with pytest.raises(EngineError) as caught, engine.failures():
        raise error
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_mxnets_own_error_becomes_one_line():
    text = "Traceback (most recent call last):\n  File x, line 1\nMXNetError: shapes differ\n"
    message = engine_error(engine.load().base.MXNetError(text))
    assert message.endswith("shapes differ")
    assert "Traceback" not in message


def test_of_mxnets_own_error_the_line_that_says_why_is_kept():
    rows, none = (engine.array(numpy.ones(n), engine.context("cpu")) for n in ((1, 4), 0))
    with pytest.raises(EngineError, match="take inferring shapes failed"), engine.failures():
        engine.nd.take(rows, none, mode="clip")


def test_an_error_for_too_little_memory_says_what_needs_less():
    reasons = (
        "Failed to allocate CPU Memory",
        "cudaMalloc retry failed: out of memory",
        "Check failed: e == CUDNN_STATUS_SUCCESS (2 vs. 0) : cuDNN: CUDNN_STATUS_ALLOC_FAILED",
    )
    mxnet_error = engine.load().base.MXNetError
    for error in (*(mxnet_error(f"Traceback\nMXNetError: {r}") for r in reasons), MemoryError()):
        message = engine_error(error)
        assert message.startswith("Not enough memory")
        assert "--size" in message


def test_errors_of_others_pass():
    with pytest.raises(ZeroDivisionError), engine.failures():
        1 / 0  # noqa: B018


@pytest.fixture
def processor(monkeypatch):
    """Set what the processor names and what the user has set for oneDNN."""

    def set_them(flags, vendor="AuthenticAMD", amx=False, **variables):
        monkeypatch.setattr(machine, "cpu_flags", lambda: flags)
        monkeypatch.setattr(machine, "cpu_vendor", lambda: vendor)
        monkeypatch.setattr(machine, "may_use_amx", lambda: amx)
        for name in ("DNNL_MAX_CPU_ISA", "MXNET_MKLDNN_ENABLED"):
            # First set, so that the end of the test removes what the code sets in between.
            monkeypatch.setenv(name, "")
            monkeypatch.delenv(name)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return set_them


@pytest.mark.parametrize(
    ("flags", "variables"),
    [
        ({"avx512_bf16"}, {}),
        ({"avx512_bf16"}, {"DNNL_MAX_CPU_ISA": "AVX512_CORE_BF16", "MXNET_MKLDNN_ENABLED": "1"}),
        ({"avx512_bf16"}, {"DNNL_MAX_CPU_ISA": "avx2"}),  # in small letters oneDNN ignores it
    ],
)
def test_auto_precision_is_bfloat16_where_onednn_has_it(processor, flags, variables):
    processor(flags, **variables)
    device = engine.context("cpu")
    assert engine.resolved_precision("auto", device) == "bfloat16"
    assert engine.resolved_precision("float32", device) == "float32"


AMX = {"DNNL_MAX_CPU_ISA": "AVX512_CORE_AMX"}


@pytest.mark.parametrize(
    ("amx", "variables", "expected"),
    [(True, AMX, "bfloat16"), (True, {}, "float32"), (False, AMX, "float32"),
     (False, {}, "float32")],
)  # fmt: skip
def test_on_intels_processors_auto_precision_is_bfloat16_only_by_amx(
    processor, amx, variables, expected
):
    processor({"avx512_bf16"}, "GenuineIntel", amx, **variables)
    device = engine.context("cpu")
    assert engine.resolved_precision("auto", device) == expected
    assert engine.resolved_precision("bfloat16", device) == "bfloat16"


@pytest.mark.parametrize(
    ("flags", "vendor", "variables", "expected"),
    [
        ({"avx2", "avx512f"}, "AuthenticAMD", {}, "avx512"),
        ({"avx2", "avx512f"}, "GenuineIntel", {"DNNL_MAX_CPU_ISA": "AVX512_CORE_AMX"}, "amx"),
        ({"avx2", "avx512f"}, "AuthenticAMD", {"DNNL_MAX_CPU_ISA": "AVX2"}, "amd avx2"),
        ({"avx2"}, "AuthenticAMD", {}, "amd avx2"),
        ({"avx2"}, "GenuineIntel", {}, "avx2"),
        ({"avx2"}, "AuthenticAMD", {"DNNL_MAX_CPU_ISA": "AVX"}, "other"),
        ({"avx2"}, "AuthenticAMD", {"MXNET_MKLDNN_ENABLED": "0"}, "other"),
        (set(), "", {}, "other"),
    ],
)
def test_the_instructions_are_those_that_onednn_may_use(
    processor, flags, vendor, variables, expected
):
    device = engine.context("cpu")
    processor(flags, vendor, amx=True, **variables)
    assert engine.instruction_set(device) == expected


@pytest.mark.parametrize(
    ("amx", "users", "expected"),
    [(True, None, "AVX512_CORE_AMX"), (True, "AVX2", "AVX2"), (False, None, None)],
)
def test_amx_is_enabled_where_linux_grants_it_and_the_user_sets_no_limit(
    monkeypatch, processor, amx, users, expected
):
    processor({"avx512_bf16"}, amx=amx, **({"DNNL_MAX_CPU_ISA": users} if users else {}))
    monkeypatch.setattr(environment, "_set", {})
    environment.enable_amx()
    assert os.environ.get("DNNL_MAX_CPU_ISA") == expected
    assert environment.worker_environment(1).get("DNNL_MAX_CPU_ISA") == users


@pytest.mark.parametrize(
    ("flags", "variables", "words"),
    [
        (set(), {}, "a processor with AVX-512 BF16"),
        ({"avx512_bf16"}, {"DNNL_MAX_CPU_ISA": "AVX2"}, "DNNL_MAX_CPU_ISA=AVX2 forbids"),
        ({"avx512_bf16"}, {"DNNL_MAX_CPU_ISA": "AVX512_CORE"}, "=AVX512_CORE forbids"),
        ({"avx512_bf16"}, {"MXNET_MKLDNN_ENABLED": "0"}, "MXNET_MKLDNN_ENABLED switches off"),
    ],
)
def test_without_bfloat16_auto_is_float32_and_the_error_says_why(
    processor, flags, variables, words
):
    processor(flags, **variables)
    device = engine.context("cpu")
    assert engine.resolved_precision("auto", device) == "float32"
    with pytest.raises(EngineError, match=f"{words}.*on [cg]pu.* use auto or float32"):
        engine.resolved_precision("bfloat16", device)


@pytest.mark.parametrize(
    ("capability", "override", "expected"),
    [((8, 0), None, "tf32"), ((8, 9), "1", "tf32"), ((8, 6), "0", "float32"),
     ((7, 5), None, "float32")],
)  # fmt: skip
def test_auto_precision_on_a_gpu_is_tf32_where_the_card_has_it(
    gpus, monkeypatch, capability, override, expected
):
    gpus(1, capability=capability)
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)
    if override:
        monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", override)
    assert engine.resolved_precision("auto", engine.context("gpu")) == expected


def test_tf32_without_a_card_that_has_it_is_an_error_with_a_way_out(gpus):
    gpus(1, capability=(7, 5))
    for device in ("cpu", "gpu"):
        with pytest.raises(EngineError, match="capability 8.0 or more.*use auto or float32"):
            engine.resolved_precision("tf32", engine.context(device))


@pytest.mark.parametrize("capability", [(6, 1), (7, 0), (8, 6)])
def test_float16_is_for_cards_with_tensor_cores_and_a_cpu_rounds_to_it(gpus, capability):
    gpus(1, capability=capability)
    cpu, gpu = engine.context("cpu"), engine.context("gpu")
    assert engine.resolved_precision("float16", cpu) == "float16"
    assert engine.convolves_natively("float16", gpu) and not engine.convolves_natively(
        "float16", cpu
    )
    if capability >= (7, 0):
        assert engine.resolved_precision("float16", gpu) == "float16"
    else:
        with pytest.raises(EngineError, match="capability 7.0 or more.*use auto or float32"):
            engine.resolved_precision("float16", gpu)


def test_freed_memory_goes_back_to_the_system_only_when_it_is_released():
    device = engine.context("cpu")
    # Below 16 MiB each, so that the C library keeps them.
    blocks = [engine.array(numpy.zeros(1 << 18), device) for _ in range(200)]
    last = engine.array([0.0], device)
    engine.wait()
    full = machine.own_memory()
    blocks.clear()
    engine.wait()
    assert machine.own_memory() > full - (50 << 20)
    engine.release(device)
    assert machine.own_memory() < full - (150 << 20)
    assert last.asscalar() == 0


def test_few_operators_are_held_for_this_process_alone_unless_the_user_says_otherwise(monkeypatch):
    name = "MXNET_MKLDNN_CACHE_NUM"
    monkeypatch.setattr(environment, "_set", {})
    monkeypatch.setenv(name, "9")
    engine.hold_few_operators()
    assert os.environ[name] == "9"
    monkeypatch.delenv(name)
    environment.put({name: "64"})
    engine.hold_few_operators()
    assert int(os.environ[name]) < 9 and name not in engine.worker_environment(1)
    monkeypatch.delenv(name)
