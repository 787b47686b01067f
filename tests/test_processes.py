"""The tests' own helpers: processes receive signals and end; required tests are not skipped."""

import shutil
import sys
import textwrap
from pathlib import Path

import processes
import pytest

TESTS = Path(__file__).parent


@pytest.fixture
def run_tests(tmp_path):
    """Run tests as a project of their own with this folder's conftest; return the process."""
    for name in ("conftest.py", "packages.py", "processes.py"):
        shutil.copy(TESTS / name, tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    browser\n")

    def run(text, *program, **variables):
        # Does not wait for processes that are left behind.
        text = "import processes\nprocesses.LAST_WORDS = 0\n" + textwrap.dedent(text)
        (tmp_path / "test_it.py").write_text(text)
        command = [*program, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        variables = processes.environment(**{"NST_REQUIRE": None, **variables})
        return processes.run(command, cwd=tmp_path, env=variables, text=True)

    return run


def test_processes_left_behind_are_ended_after_the_block():
    code = (
        "import subprocess; print(subprocess.Popen(['sleep', '6000'], stdout=-3, stderr=-3).pid)"
    )
    done = processes.run([sys.executable, "-c", code])
    processes.wait_for(lambda: int(done.stdout) not in processes.children())


LEAVING = """
import subprocess, sys
import pytest

def leave(session): subprocess.Popen(["sleep", "6000"], start_new_session=session)

@pytest.mark.parametrize("session", [False, True])
def test_itself(session): leave(session)

@pytest.mark.parametrize("session", [False, True])
def test_through_another(session):
    code = f"import subprocess; subprocess.Popen(['sleep', '6000'], start_new_session={session})"
    subprocess.run([sys.executable, "-c", code])

@pytest.fixture(scope="module")
def left(): leave(True)

def test_of_a_module(left): pass
"""


def test_a_process_that_is_left_behind_is_a_failure_and_is_ended(run_tests):
    before = processes.children()
    done = run_tests(LEAVING)
    assert done.stdout.splitlines()[-1].startswith("5 passed, 5 errors"), done.stdout
    assert done.stdout.count("E       AssertionError: left behind: ['sleep 6000']") == 5
    processes.wait_for(lambda: processes.children() == before)


def test_processes_receive_signals_that_the_tests_ignore(run_tests):
    code = """
    import os, signal, subprocess, sys, time
    import processes

    def test():
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
            os.kill(os.getpid(), number)
            code = "import time; print(flush=True); time.sleep(6000)"
            with processes.started([sys.executable, "-c", code], stdout=-1) as process:
                process.stdout.readline()
                process.send_signal(number)
                assert process.wait(600) == -number
    """
    names = ("SIGINT", "SIGHUP", "SIGTERM")
    ignoring = "import os, signal, sys\n" + "".join(
        f"signal.signal(signal.{name}, signal.SIG_IGN)\n" for name in names
    )
    done = run_tests(code, sys.executable, "-c", ignoring + "os.execv(sys.argv[1], sys.argv[1:])")
    assert done.returncode == 0, done.stdout


SKIPPED = """
import pytest

def test_of_pictures(pictures): pass

@pytest.mark.browser
def test_of_pages(): pytest.skip("no browser")

def test_of_others(): pytest.skip("no moon")

@pytest.mark.browser
@pytest.mark.xfail
def test_that_is_known_to_fail(): assert False
"""


@pytest.mark.parametrize(
    ("required", "code", "failures"),
    [
        (None, 0, []),
        ("browser,weights", 1, ["no browser"]),
        (" pictures , browser,", 1, ["no browser", "NST_PICTURES is not set"]),
        ("browsers", 4, []),
    ],
)
def test_skips_of_the_kinds_that_are_required_are_failures(run_tests, required, code, failures):
    done = run_tests(SKIPPED, NST_REQUIRE=required, NST_PICTURES=None)
    assert done.returncode == code, done.stdout
    for words in ("no browser", "NST_PICTURES is not set", "no moon"):
        assert (words in done.stdout) == (words in failures)
    if code == 4:
        assert "NST_REQUIRE names browsers; the kinds of tests are browser, " in done.stderr
