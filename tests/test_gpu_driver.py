"""How nst reads a driver's answers: a process each, with a driver that the tests compile."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import nst_cli
from nst_cli.engine.gpu import driver
from nst_cli.engine.gpu.driver import Card, Driver
from nst_cli.errors import EngineError

PROBE = """
from nst_cli.errors import EngineError
from nst_cli.engine.gpu import driver
try:
    state = driver.probe()
except EngineError as error:
    print(error)
else:
    print(state)
"""


@pytest.fixture
def probed(fake_driver):
    """Return the output of a process that probes the fake driver with the given answers."""

    def probe(folder=fake_driver, **answers):
        environment = {name: text for name, text in os.environ.items() if "CUDA" not in name}
        environment.update(
            PYTHONPATH=str(Path(nst_cli.__file__).parents[1]),
            LD_LIBRARY_PATH=str(folder),
            **answers,
        )
        return subprocess.run(
            [sys.executable, "-c", PROBE],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.rstrip("\n")

    return probe


def test_the_cards_are_those_of_the_driver_with_their_capabilities(probed):
    expected = Driver(
        cuda=(12, 2),
        cards=(
            Card(0, "Fake Card", (8, 6), 24 << 30),
            Card(1, "Fake Card", (9, 0), 24 << 30),
        ),
    )
    assert probed(FAKE_CARDS="8.6,9.0") == repr(expected)


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ({"FAKE_CARDS": ""}, ["sees no card (0 cards)", "nvidia-smi"]),
        ({"FAKE_INIT": "100"}, ["sees no card (CUDA_ERROR_NO_DEVICE, 100)", "nvidia-smi"]),
        ({"FAKE_INIT": "100", "CUDA_VISIBLE_DEVICES": "7"}, ["CUDA_VISIBLE_DEVICES", "'7'"]),
        ({"FAKE_INIT": "803"}, ["DRIVER_MISMATCH, 803", "restart the machine"]),
        ({"FAKE_INIT": "999"}, ["does not work (cuInit: unknown, 999)", "nvidia-smi"]),
        ({"FAKE_CARDS": "8.6", "FAKE_CUDA": "10020"}, ["CUDA 10.2", "450.80.02 or newer"]),
    ],
    ids=lambda value: " ".join(value.values()) if isinstance(value, dict) else "",
)
def test_a_driver_without_a_usable_card_is_a_one_line_error(probed, answers, words):
    message = probed(**answers)
    assert all(word in message for word in words), message
    assert "\n" not in message


def test_the_oldest_supported_driver_is_accepted(probed):
    assert probed(FAKE_CARDS="5.0", FAKE_CUDA="11000").startswith("Driver(cuda=(11, 0)")


def test_without_a_driver_the_missing_library_is_named(probed, tmp_path):
    message = probed(folder=tmp_path)
    if message.startswith("Driver("):
        pytest.skip("this machine has a driver")
    assert "There is no NVIDIA driver here (libcuda.so.1" in message


def test_an_error_for_a_library_that_is_not_a_driver_names_the_missing_function(probed, compiled):
    other = compiled("int cuInit(unsigned flags) { return 0; }", "libcuda.so.1")
    assert "has no cuDriverGetVersion" in probed(folder=other.parent)


@pytest.mark.parametrize(
    ("capability", "usable"),
    [((3, 7), False), ((5, 0), True), ((7, 5), True), ((8, 9), True), ((9, 0), False),
     ((12, 0), False)],
)  # fmt: skip
def test_cards_from_maxwell_to_ada_are_usable(capability, usable):
    card = Card(1, "Some Card", capability, 1 << 30)
    assert card.usable is usable
    if not usable:
        with pytest.raises(EngineError, match=f"GPU 1, Some Card.*{driver.dotted(capability)}"):
            card.check()


def test_an_error_for_a_card_number_that_is_too_large_says_how_many_cards_exist():
    card = Card(0, "Some Card", (8, 6), 1 << 30)
    one_card = Driver((12, 2), (card,))
    assert one_card.card(0) is card
    with pytest.raises(EngineError, match="no GPU 1: the driver sees 1, numbered from 0"):
        one_card.card(1)


@pytest.mark.parametrize(
    ("cards", "visible", "mxnet2", "shares"),
    [
        ("8.6,8.6,7.5", None, None, ["0", "1", "2"]),
        ("8.6,9.0,7.5", None, None, ["0", "2"]),
        ("8.6,8.6", "5,3", None, ["5", "3"]),
        ("8.6,9.0", None, None, []),
        ("8.6,9.0", None, "2.0.0", ["0", "1"]),
        ("8.6", None, None, []),
        ("", None, None, []),
    ],
)
def test_processes_share_the_usable_cards(fake_driver, cards, visible, mxnet2, shares):
    environment = {name: text for name, text in os.environ.items() if "CUDA" not in name}
    environment.update(
        PYTHONPATH=str(Path(nst_cli.__file__).parents[1]),
        LD_LIBRARY_PATH=str(fake_driver),
        FAKE_CARDS=cards,
    )
    if visible:
        environment["CUDA_VISIBLE_DEVICES"] = visible
    code = (
        "from nst_cli.engine import mxnet2\n"
        "from nst_cli.engine.gpu import library\n"
        f"mxnet2.version = lambda: {mxnet2!r}\n"
        "print(library.shares())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{shares}\n"
