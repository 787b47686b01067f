"""The page of a run: who may read it, what it shows and costs, how it stops a run, how it ends."""

import contextlib
import http.client
import io
import json
import re
import resource
import shlex
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import numpy
import pytest
from click.testing import CliRunner
from PIL import Image
from processes import (
    SMALL_OPTIONS,
    TINY,
    environment,
    error_of,
    nst,
    save_pair,
    started,
    wait_for,
)
from test_report import HOSTILE

from nst_cli import Config, cli, engine
from nst_cli.errors import NonFiniteError, OutputError
from nst_cli.runs import runner, sidecar
from nst_cli.synthesis import Record
from nst_cli.views import live, report
from nst_cli.views.live import state

GREY = numpy.full((24, 32, 3), 128, numpy.uint8)


def record(step, scale=1, scales=1):
    image = engine.nd.zeros((1, 3, 24, 32))
    losses = {"total": 10.0 / step, "poly/relu1_1": 10.0 / step}
    work = tuple(4.0 ** (number - scales) for number in range(1, scales + 1))
    return Record(step, scale, scales, losses, 0.5, 1.0, {}, image, 0, (24, 32), work=work)


@contextlib.contextmanager
def page(title="out.png", iterations=10, pixels_of=lambda image: GREY):
    with live.serving(title, iterations, pixels_of) as view:
        yield view


def ask(url, name="view", method="GET", **headers):
    """Return status, headers and body of an answer."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
    with contextlib.closing(connection):
        path = f"{parts.path.rpartition('/')[0]}/{name}"
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return SimpleNamespace(
            status=answer.status, headers=dict(answer.headers), body=answer.read()
        )


def data(url):
    return json.loads(ask(url, "data").body)


def pixels_in(body):
    with Image.open(io.BytesIO(body)) as picture:
        assert picture.format == "JPEG"
        return numpy.asarray(picture)


# Who may read it

NAMES = {
    "view": "text/html; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "data": "application/json",
}


def test_the_page_and_its_parts_are_served_with_headers_that_allow_nothing_from_elsewhere():
    with page() as view:
        for name, kind in NAMES.items():
            answer = ask(view.url, name)
            assert (answer.status, answer.headers["Content-Type"]) == (200, kind)
            policy = answer.headers["Content-Security-Policy"]
            assert policy.startswith("default-src 'none'; ") and "http" not in policy
            assert answer.headers["Cache-Control"] == "no-store"
            assert answer.headers["Referrer-Policy"] == "no-referrer"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Server"] == "nst"
            assert b"//" not in re.sub(rb"^ *//.*", b"", answer.body, flags=re.MULTILINE)


def test_without_the_right_token_nothing_is_answered_and_nothing_happens():
    with page() as view, page() as other:
        port = urlsplit(view.url).port
        token = urlsplit(view.url).path.split("/")[1]
        others = (
            "",
            "x",
            token[:-1],
            f"{token}x",
            urlsplit(other.url).path.split("/")[1],
            "%C3%A9",
        )
        for wrong in others:
            for method, name in (("GET", "view"), ("GET", "data"), ("POST", "stop"), ("GET", "")):
                answer = ask(f"http://127.0.0.1:{port}/{wrong}/view", name, method)
                assert answer.status == 403 and token.encode() not in answer.body
                assert "Content-Security-Policy" in answer.headers
        view(record(1))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST:9", "[::1]:80"])
def test_a_name_of_this_machine_is_served_with_any_port_of_a_tunnel(host):
    with page() as view:
        assert ask(view.url, Host=host).status == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "evil.example:80", "", "127.0.0.1:x", "localhost."],
)
def test_a_name_that_was_made_to_lead_here_is_refused(host):
    with page() as view:
        assert ask(view.url, Host=host).status == 403
        assert ask(view.url, "stop", "POST", Host=host).status == 403
        view(record(1))


@pytest.mark.parametrize("hosts", [[], ["localhost", "evil.example"]])
def test_a_request_names_its_host_once(hosts):
    with page() as view:
        parts = urlsplit(view.url)
        lines = [f"GET {parts.path} HTTP/1.1", *(f"Host: {host}" for host in hosts), "", ""]
        with socket.create_connection((parts.hostname, parts.port), 60) as connection:
            connection.sendall("\r\n".join(lines).encode())
            assert connection.recv(1000).startswith(b"HTTP/1.0 403 ")


@pytest.mark.parametrize(
    ("method", "name", "status"),
    [
        ("GET", "nothing", 404),
        ("GET", "", 404),
        ("GET", "../view", 404),
        ("GET", "page.html", 404),
        ("POST", "nothing", 404),
        # There is none before the first step.
        ("GET", "picture", 404),
        ("GET", "stop", 405),
        ("POST", "view", 405),
        ("POST", "data", 405),
        ("PUT", "stop", 501),
        ("DELETE", "view", 501),
        ("HEAD", "view", 501),
    ],
)
def test_other_requests_are_refused_and_stop_nothing(method, name, status):
    with page() as view:
        answer = ask(view.url, name, method)
        assert answer.status == status
        assert "Content-Security-Policy" in answer.headers
        view(record(1))


def test_only_the_loopback_address_is_served():
    with page() as view:
        parts = urlsplit(view.url)
        assert parts.hostname == "127.0.0.1"
        # Linux has all of 127.0.0.0/8 on the loopback interface.
        with pytest.raises(OSError), socket.create_connection(("127.0.0.2", parts.port), 60):
            pass


def test_a_request_that_is_no_http_gets_an_error_and_prints_nothing(capfd):
    with page() as view:
        parts = urlsplit(view.url)
        with socket.create_connection((parts.hostname, parts.port), 60) as connection:
            connection.sendall(b"\x16\x03\x01 not http\r\n\r\n")
            assert b"400 Bad Request" in connection.recv(1000)
        # Closed in the middle of a request.
        with socket.create_connection((parts.hostname, parts.port), 60) as connection:
            connection.sendall(b"GET /")
        assert ask(view.url).status == 200
    assert capfd.readouterr() == ("", "")


# What it shows


def test_steps_time_left_and_curves_are_shown():
    with page(iterations=3) as view:
        assert data(view.url)["text"] == "The first step has not ended yet"
        view(record(1, 1, 2))
        text = data(view.url)["text"]
        # A third of the steps at the small scale.
        assert text == "Step 1 of at most 4, scale 1 of 2, loss 10"
        view(record(2, 2, 2))
        shown = data(view.url)
        assert re.fullmatch(
            r"Step 2 of at most 4, scale 2 of 2, loss 5, at most \d+ s left", shown["text"]
        )
        assert shown["share"] == pytest.approx(1.25 / 3.25)
        assert '<svg class="chart"' in shown["curves"]
        assert (shown["stopping"], shown["ended"]) == (False, False)


def test_texts_are_escaped():
    with page(title=f"{HOSTILE}\udcff\x1b") as view:
        view(record(1))
        html, curves = ask(view.url).body.decode(), data(view.url)["curves"]
        assert "<h1>&lt;img src=x onerror=alert(1)&gt;&quot;&#x27;&amp;{{script}}.png?" in html
        assert "&lt;img" in curves
        assert "<img src=x" not in html + curves


def test_the_page_shows_how_the_run_failed_before_it_closes():
    answers = []

    def look(url):
        while True:
            answers.append(data(url))
            if answers[-1]["ended"]:
                return

    with pytest.raises(NonFiniteError), page() as view:
        view(record(1))
        data(view.url)
        thread = threading.Thread(target=look, args=(view.url,))
        thread.start()
        raise NonFiniteError("The loss is not finite.")
    thread.join()
    assert answers[-1]["text"] == "The loss is not finite."


# What it costs


class Clock:
    """Stands in for the module `time`; the test moves it."""

    def __init__(self):
        self.now = 100.0

    def monotonic(self):
        return self.now


def test_a_picture_is_made_only_while_somebody_looks_and_once_a_second(monkeypatch):
    clock, made = Clock(), []
    monkeypatch.setattr(state, "time", clock)

    def pixels_of(image):
        made.append(image.shape)
        return GREY

    with page(pixels_of=pixels_of) as view:
        for step in range(1, 4):
            view(record(step))
            clock.now += 2
        assert made == []
        assert data(view.url)["picture"] == 0
        view(record(4))
        assert made == [(1, 3, 24, 32)]
        assert data(view.url)["picture"] == 1
        view(record(5))
        clock.now += 0.9
        view(record(6))
        assert len(made) == 1
        clock.now += 0.2
        view(record(7))
        clock.now += 2
        # Nobody asked since.
        view(record(8))
        assert len(made) == 2
        body = ask(view.url, "picture").body
        numpy.testing.assert_allclose(pixels_in(body), GREY, atol=2)


def test_a_picture_that_takes_long_is_made_a_tenth_of_the_time(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(state, "time", clock)
    pace = state.Pace()
    assert pace.due
    with pace.measured():
        clock.now += 3
    clock.now += 29
    assert not pace.due
    clock.now += 1
    assert pace.due


def test_a_large_picture_is_shown_smaller():
    wide = numpy.zeros((4, 5000, 3), numpy.uint8)
    with page(pixels_of=lambda image: wide) as view:
        data(view.url)
        view(record(1))
        assert pixels_in(ask(view.url, "picture").body).shape[1] == 2048


def test_a_run_without_a_page_loads_no_server(tmp_path):
    save_pair(tmp_path)
    code = (
        "import sys; from nst_cli import cli\n"
        "try: cli.main()\n"
        "finally: print({'nst_cli.views', 'http.server'} & set(sys.modules))"
    )
    command = shlex.split("stylize content.png style.png -o out.png --weights builtin --quiet")
    done = nst(tmp_path, *command, *SMALL_OPTIONS, program=("-c", code))
    assert (done.returncode, done.stdout) == (0, "out.png\nset()\n"), done.stderr


# How it stops a run


def small_job(folder, iterations=50):
    save_pair(folder)
    choices = {**TINY, "size": 24, "iterations": iterations, "stop_eps": 0}
    paths = folder / "content.png", folder / "style.png", folder / "out.png"
    return runner.prepare(*paths, Config(**choices))


def test_the_button_ends_the_run_after_the_step_and_the_picture_is_saved(tmp_path):
    job = small_job(tmp_path)
    with page() as view:

        def on_step(record):
            if record.step == 3:
                assert ask(view.url, "stop", "POST").status == 204
                assert data(view.url)["stopping"]
            view(record)

        outcome = runner.run(job, on_step=on_step)
    assert (outcome.result.steps, outcome.result.stop_reason) == (3, "stopped")
    description = sidecar.read(outcome.path)
    assert (description.steps, description.stop_reason) == (3, "stopped")
    with Image.open(outcome.path) as picture:
        stopped = numpy.asarray(picture)
    whole = runner.run(small_job(tmp_path, iterations=3))
    with Image.open(whole.path) as picture:
        numpy.testing.assert_array_equal(numpy.asarray(picture), stopped)


def test_a_stopped_picture_is_not_what_its_options_make_so_a_batch_makes_it_again(tmp_path):
    def stop(record):
        raise runner.StopRequest

    job = small_job(tmp_path)
    outcome = runner.run(job, on_step=stop)
    document = sidecar.read(outcome.path).document
    inputs = {role: document[role]["sha256"] for role in ("content", "style", "weights")}
    assert not sidecar.is_up_to_date(outcome.path, job.config, inputs)
    assert sidecar.is_picture(outcome.path)
    done = CliRunner().invoke(cli.main, ["replay", outcome.path])
    assert done.exit_code == 1 and "step 1 of an unfinished run (stopped)" in done.output
    path, _ = report.make(tmp_path)
    assert "stopped by the user" in Path(path).read_text(encoding="utf-8")


def test_a_stop_before_the_first_step_waits_for_it(tmp_path):
    with page() as view:
        ask(view.url, "stop", "POST")
        text = "The first step has not ended yet. Stopping after this step."
        assert data(view.url)["text"] == text
        assert runner.run(small_job(tmp_path), on_step=view).result.steps == 1


# How it ends


@contextlib.contextmanager
def nothing_left():
    """Check that a block leaves no thread and no port behind."""
    before, urls = set(threading.enumerate()), []
    yield urls
    assert set(threading.enumerate()) == before
    parts = urlsplit(urls[0])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((parts.hostname, parts.port), 60)


@pytest.mark.parametrize("error", [None, KeyboardInterrupt, SystemExit, ValueError, OutputError])
def test_threads_and_port_are_gone_however_the_run_ends(error):
    caught = pytest.raises(error) if error else contextlib.nullcontext()
    with nothing_left() as urls, caught, page() as view:
        urls.append(view.url)
        ask(view.url)
        if error:
            raise error("the end")


def test_connections_that_say_nothing_do_not_keep_the_server(capfd):
    with contextlib.ExitStack() as stack, nothing_left() as urls, page() as view:
        urls.append(view.url)
        parts = urlsplit(view.url)
        for _ in range(3):
            address = parts.hostname, parts.port
            silent = stack.enter_context(socket.create_connection(address, 60))
            silent.sendall(b"GET /")
        assert ask(view.url).status == 200
    assert capfd.readouterr() == ("", "")


def test_without_a_port_the_error_says_so_in_one_line(monkeypatch):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with open("/dev/null") as probe:
        lowest = probe.fileno()
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        with pytest.raises(OutputError) as caught, page():
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert str(caught.value) == (
        "Cannot open a port on 127.0.0.1 for --view: Too many open files. Without --view nst "
        "needs none."
    )


# The command

ENDLESS = "stylize content.png style.png -o out.png --weights builtin --quiet --view"


@contextlib.contextmanager
def endless_run(folder, *options):
    """Start a run that does not end by itself; yield the process and the page's URL."""
    save_pair(folder)
    words = [*shlex.split(ENDLESS), *SMALL_OPTIONS, "--iterations", "10000000", "--stop-eps", "0"]
    with started(
        [sys.executable, "-m", "nst_cli", *words, *options],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        url = next(filter(None, (re.search(r"http://\S+/view$", line) for line in process.stderr)))
        yield process, url[0]


def test_stop_and_save_is_a_success(tmp_path):
    with endless_run(tmp_path, "--log", "log.jsonl") as (process, url):
        wait_for(lambda: data(url)["picture"] > 0, process)
        assert pixels_in(ask(url, "picture").body).shape == (24, 32, 3)
        assert ask(url, "stop", "POST").status == 204
        shown = {}

        def has_ended():
            shown.update(data(url))
            return shown["ended"]

        wait_for(has_ended, process)
        # The command waits until the page has the finished picture.
        finished = pixels_in(ask(url, "picture").body)
        output, errors = process.communicate()
    steps = json.loads((tmp_path / "out.png.json").read_text())["steps"]
    assert (process.returncode, output) == (0, "out.png\n")
    assert errors == f"Stopped after step {steps}; saved out.png.\n"
    assert shown["text"] == f"Saved out.png after {steps} steps."
    assert json.loads((tmp_path / "out.png.json").read_text())["stop_reason"] == "stopped"
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == steps
    with Image.open(tmp_path / "out.png") as picture:
        saved = numpy.asarray(picture.convert("RGB"))
    assert finished.shape == saved.shape


def test_ctrl_c_still_saves_and_leaves_no_port(tmp_path):
    with endless_run(tmp_path) as (process, url):
        wait_for(lambda: data(url)["share"] > 0, process)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate()
        assert (process.returncode, output) == (130, "out.png\n")
        assert "Traceback" not in errors
        with pytest.raises(ConnectionRefusedError):
            ask(url)


def test_a_dry_run_has_nothing_to_view(tmp_path):
    save_pair(tmp_path)
    done = nst(tmp_path, *shlex.split(ENDLESS), "--dry-run")
    assert "--view shows a run, and --dry-run makes none" in error_of(done, 2)
