"""Mutation testing: changes the code in one place after another, and runs the tests on each.

    python tools/mutants.py FOLDER [PATH ...]

PATH is a module or folder of `nst_cli`; without one, the modules of setup.cfg's ``[mutants]``. A
mutant that no test kills either shows a test that is missing, or changes no number; these are
listed, each with its reason, in ``tests/mutants.toml``. Any other survivor is an error.

In FOLDER, ``tests.json`` holds which tests run each line, measured once with coverage.py;
``mutants.jsonl`` the mutants, made by the operators of Cosmic Ray and a few more;
``results.jsonl`` what became of each. What has a result is not run again: remove that file, or
the folder, to start anew.

All mutants are run in children of one process, which has imported MXNet and not used it. So each
costs a fraction of a second besides its tests, and no file is changed.
"""

import argparse
import collections
import configparser
import contextlib
import difflib
import importlib.abc
import importlib.machinery
import importlib.util
import itertools
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
EQUIVALENT = ROOT / "tests" / "mutants.toml"

QUICK = "not slow and not long and not browser and not gpu and not gpu_check"

# Seconds. A mutant may take this long and FACTOR times what its tests take without it.
PATIENCE, FACTOR = 20, 5

#: What replaces each operator. Other replacements raise an exception almost everywhere.
OPERATORS = {
    "Add": ("Sub", "Mul"),
    "Sub": ("Add", "Mul"),
    "Mul": ("Div", "Add"),
    "Div": ("Mul", "FloorDiv"),
    "FloorDiv": ("Mul", "Div"),
    "Mod": ("Mul",),
    "Pow": ("Mul",),
    "LShift": ("RShift",),
}
COMPARISONS = {
    "Eq": ("NotEq",),
    "NotEq": ("Eq",),
    "Lt": ("LtE", "Gt"),
    "LtE": ("Lt", "Gt"),
    "Gt": ("GtE", "Lt"),
    "GtE": ("Gt", "Lt"),
    "Is": ("IsNot",),
    "IsNot": ("Is",),
}
CORE = (
    "AddNot",
    "ReplaceTrueWithFalse",
    "ReplaceFalseWithTrue",
    "ReplaceAndWithOr",
    "ReplaceOrWithAnd",
    "ReplaceBreakWithContinue",
    "ReplaceContinueWithBreak",
    "ReplaceUnaryOperator_USub_UAdd",
    "ReplaceUnaryOperator_Delete_Not",
    "NumberReplacer",
    "RemoveDecorator",
    "ZeroIterationForLoop",
)
#: Names that are swapped.
TWINS = {
    "min": "max",
    "minimum": "maximum",
    "broadcast_minimum": "broadcast_maximum",
    "argmin": "argmax",
    "sin": "cos",
    "ones_like": "zeros_like",
    "floor": "ceil",
    "all": "any",
}
TWINS |= {value: key for key, value in TWINS.items()}


#: Arguments that say where an array lies, which changes no number: `make test-device` is for it.
PLACES = ("ctx", "out")
SIGNS = {"+=": "-=", "-=": "+=", "*=": "/=", "/=": "*="}


def operators():
    """Return Cosmic Ray's operators and further ones."""
    from cosmic_ray.operators.operator import Operator
    from cosmic_ray.operators.provider import OperatorProvider
    from parso.python import tree

    class Custom(Operator):
        @classmethod
        def examples(cls):
            return ()

    class SwapName(Custom):
        def mutation_positions(self, node):
            if node.type == "name" and node.value in TWINS:
                yield node.start_pos, node.end_pos

        def mutate(self, node, index):
            node.value = TWINS[node.value]
            return node

    class SwapAugmentedAssignment(Custom):
        def mutation_positions(self, node):
            if node.type == "operator" and node.value in SIGNS:
                yield node.start_pos, node.end_pos

        def mutate(self, node, index):
            node.value = SIGNS[node.value]
            return node

    class RemoveArgument(Custom):
        """Removes a named argument of a call."""

        def _named(self, node):
            if node.type not in ("arglist", "trailer"):
                return []
            named = [child for child in node.children if child.type == "argument"]
            return [child for child in named if _name_of(child) not in (None, *PLACES)]

        def mutation_positions(self, node):
            for child in self._named(node):
                yield child.start_pos, child.end_pos

        def mutate(self, node, index):
            child = self._named(node)[index]
            place = node.children.index(child)
            if node.type == "trailer":
                del node.children[place]
            elif place + 1 < len(node.children):
                del node.children[place : place + 2]
            else:
                del node.children[place - 1 : place + 1]
            return node

    class RemoveStatement(Custom):
        """Replaces a call or a changed attribute, element or value by ``pass``."""

        def mutation_positions(self, node):
            if node.type == "simple_stmt":
                statement = node.children[0]
                changes = statement.type == "expr_stmt" and (
                    statement.children[0].type in ("power", "atom_expr")
                    or getattr(statement.children[1], "type", "") == "operator"
                    and statement.children[1].value[-1:] == "="
                    and len(statement.children[1].value) > 1
                )
                abstract = statement.get_code().strip() == "raise NotImplementedError"
                kinds = ("power", "atom_expr", "raise_stmt")
                if changes or (statement.type in kinds and not abstract):
                    yield statement.start_pos, statement.end_pos

        def mutate(self, node, index):
            prefix = node.children[0].get_first_leaf().prefix
            node.children[0] = tree.Keyword("pass", (0, 0), prefix)
            return node

    provider, chosen = OperatorProvider(), {}
    for kind, table in (("Binary", OPERATORS), ("Comparison", COMPARISONS)):
        for old, news in table.items():
            for new in news:
                name = f"Replace{kind}Operator_{old}_{new}"
                with contextlib.suppress(KeyError):
                    chosen[name] = provider[name]()
    chosen.update({name: provider[name]() for name in CORE})
    for kind in (SwapName, SwapAugmentedAssignment, RemoveArgument, RemoveStatement):
        chosen[kind.__name__] = kind()
    return chosen


def _name_of(argument):
    """Return the name of an argument of a call, or None."""
    first, sign = argument.children[:2]
    return first.value if sign.get_code().strip() == "=" else None


def mutants_of(path, name):
    """Return what an operator makes of a file, as `described`."""
    from cosmic_ray.mutating import mutate_code

    source, operator, mutants = (ROOT / path).read_text(), operators()[name], []
    for occurrence in itertools.count():
        mutated = mutate_code(source, operator, occurrence)
        if mutated is None:
            return mutants
        with contextlib.suppress(SyntaxError):
            compile(mutated, path, "exec")
            mutant = described(path, name, source, mutated)
            # Whether the attributes of an object can be set changes no number.
            if not mutant["old"].startswith("@dataclass"):
                mutants.append(mutant)


def described(path, operator, source, mutated):
    """Return a mutant as plain data; `new` takes the place of the lines `first` to `last`."""
    old, new = source.splitlines(), mutated.splitlines()
    changes = [
        change
        for change in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
        if change[0] != "equal"
    ]
    first, last = changes[0][1], changes[-1][2]
    lines = new[changes[0][3] : changes[-1][4]]
    return {
        "path": path,
        "operator": operator,
        "first": first + 1,
        "last": last,
        "lines": lines,
        "old": _joined(old[first:last]),
        "new": _joined(lines),
    }


def source_of(mutant):
    """Return the source of a mutant's module."""
    lines = (ROOT / mutant["path"]).read_text().splitlines()
    lines[mutant["first"] - 1 : mutant["last"]] = mutant["lines"]
    return "\n".join(lines) + "\n"


def _joined(lines):
    return " ".join(line.strip() for line in lines if line.strip())


def modules(paths):
    """Return the modules of paths, as paths from the root with slashes."""
    files = []
    for path in paths:
        if (ROOT / path).is_dir():
            files += sorted((ROOT / path).glob("*.py"))
        else:
            files.append(ROOT / path)
    return [str(path.relative_to(ROOT)) for path in files]


def all_mutants(paths, jobs):
    """Return the mutants of files, each with a number."""
    tasks = [(path, name) for path in paths for name in operators()]
    with multiprocessing.Pool(jobs) as pool:
        parts = pool.starmap(mutants_of, tasks, chunksize=1)
    mutants, seen = [], set()
    for mutant in (mutant for part in parts for mutant in part):
        # Two operators may make the same.
        key = mutant["path"], mutant["first"], *mutant["lines"]
        if key not in seen:
            mutants.append({"number": len(mutants) + 1, **mutant})
        seen.add(key)
    return mutants


def measure(folder, tests, jobs):
    """Return the tests that run each line of each file, and how long each takes in seconds."""
    data, report = folder / "coverage", folder / "coverage.json"
    log = folder / "durations.xml"
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    environment = dict(os.environ, PYTHONPATH=path, COVERAGE_FILE=str(data))
    command = [sys.executable, "-m", "pytest", "-q", "-m", QUICK, "-p", "no:cacheprovider"]
    # Without `patch` of setup.cfg, which would count processes that tests start.
    settings = folder / "coveragerc"
    settings.write_text("[run]\nsource = nst_cli\n")
    command += [
        "--cov",
        f"--cov-config={settings}",
        "--cov-context=test",
        "--cov-report=",
        "--cov-fail-under=0",
    ]
    command += ["-n", str(jobs)] if jobs > 1 else []
    command += [f"--junit-xml={log}", "-o", "junit_family=xunit1", *tests]
    # A test that fails without a mutant is left out, so its failure may pass here.
    subprocess.run(command, cwd=ROOT, env=environment, check=False)
    command = [sys.executable, "-m", "coverage", "json", "-q", f"--rcfile={settings}"]
    command += ["--show-contexts", "-o", str(report)]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    seconds = durations(log)
    places = {name: place for place, name in enumerate(seconds)}
    lines = {}
    for path, file in json.loads(report.read_text())["files"].items():
        lines[path] = {
            line: sorted({places[test] for test in map(_test, contexts) if test in places})
            for line, contexts in file["contexts"].items()
        }
    report.unlink()
    return {"tests": list(seconds), "seconds": list(seconds.values()), "lines": lines}


def _test(context):
    """Return the test of a context of pytest-cov, such as ``tests/test_a.py::test_b|run``."""
    return context.rpartition("|")[0]


def durations(log):
    """Return the seconds of each test in a JUnit report."""
    from xml.etree import ElementTree

    seconds = {}
    for case in ElementTree.parse(log).iter("testcase"):
        # ``tests.test_vgg.TestCase`` is a class in a file.
        words = case.get("classname").split(".")
        size = next(
            size
            for size in range(len(words), 0, -1)
            if (ROOT / Path(*words[:size]).with_suffix(".py")).is_file()
        )
        file = str(Path(*words[:size]).with_suffix(".py"))
        name = "::".join([file, *words[size:], case.get("name")])
        if case.find("failure") is None and case.find("error") is None:
            seconds[name] = float(case.get("time"))
    return seconds


def tests_for(mutant, measured, longest, budget):
    """Return the tests that run the lines of a mutant and their seconds, the quick ones first."""
    lines, seconds = measured["lines"].get(mutant["path"], {}), measured["seconds"]
    tests = set()
    for line in range(mutant["first"], mutant["last"] + 1):
        tests.update(lines.get(str(line), ()))
    if not tests:
        # Code that runs during the import alone: all tests that run anything in this file.
        tests = {test for tests in lines.values() for test in tests}
    names = {measured["tests"][test]: seconds[test] for test in tests if seconds[test] < longest}
    chosen, total = [], 0.0
    for name in spread(sorted(names, key=names.get)):
        if chosen and total + names[name] > budget:
            break
        total += names[name]
        chosen.append(name)
    return chosen, total


def spread(names):
    """Order tests so that each file's quickest come first: files see different things."""
    by_function = collections.defaultdict(list)
    for name in names:
        by_function[name.split("[")[0]].append(name)
    rounds = []
    for tests in by_function.values():
        rounds += [(place, name) for place, name in enumerate(tests)]
    return [name for _, name in sorted(rounds, key=lambda pair: pair[0])]


class Mutated(importlib.abc.MetaPathFinder):
    """Finds one module, with another source."""

    def __init__(self, path, source):
        parts = Path(path).with_suffix("").parts
        self.package = parts[-1] == "__init__"
        self.name = ".".join(parts[:-1] if self.package else parts)
        self.path, self.source = str(ROOT / path), source

    def find_spec(self, name, path=None, target=None):
        if name != self.name:
            return None
        loader = importlib.machinery.SourceFileLoader(name, self.path)
        loader.get_code = lambda _: compile(self.source, self.path, "exec", dont_inherit=True)
        folders = [str(Path(self.path).parent)] if self.package else None
        return importlib.util.spec_from_file_location(
            name, self.path, loader=loader, submodule_search_locations=folders
        )


def prepare():
    """Import what no mutant changes. MXNet must not be used before the fork."""
    import hypothesis.extra.numpy  # noqa: F401
    import numpy.testing  # noqa: F401
    import PIL.Image  # noqa: F401
    import pytest  # noqa: F401
    import scipy.optimize
    import scipy.stats  # noqa: F401

    sys.path.insert(0, str(ROOT))
    from nst_cli import engine

    engine.load()
    mutable = [name for name in sys.modules if name.startswith("nst_cli.synthesis")]
    assert not mutable, f"imported too early: {', '.join(mutable)}"


def start(mutant, tests, log):
    """Run tests on a mutant in a child process and return its number."""
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        os.setsid()
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1), os.dup2(output, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.dont_write_bytecode = True
        if mutant is not None:
            sys.meta_path.insert(0, Mutated(mutant["path"], source_of(mutant)))
        code = run_tests(tests)
        sys.stdout.flush()
    finally:
        os._exit(code)


def run_tests(tests):
    """Run tests until one fails; return pytest's exit code."""
    import pytest

    options = ["-x", "-q", "--no-header", "--tb=line", "-p", "no:cacheprovider", "-W", "ignore"]
    code = pytest.main([*options, *tests]) if tests else pytest.ExitCode.OK
    if code == pytest.ExitCode.USAGE_ERROR:
        # A mutant may change which tests there are.
        code = pytest.main([*options, *sorted({test.partition("::")[0] for test in tests})])
    return int(code)


#: By exit code; 2 is an error when tests are imported.
OUTCOMES = {0: "survived", 1: "killed", 2: "killed", 70: "pytest failed"}
#: An endless loop is noticed too.
KILLED = ("killed", "timeout")


def run_all(work, folder, jobs, until=float("inf")):
    """Run mutants with their tests, `jobs` at once; yield each with its outcome and seconds."""
    waiting, running = collections.deque(work), {}
    while waiting or running:
        if time.monotonic() > until:
            waiting.clear()
        while waiting and len(running) < jobs:
            mutant, tests, limit = waiting.popleft()
            log = folder / "logs" / f"{mutant['number']}.log"
            child = start(mutant, tests, log)
            running[child] = mutant, time.monotonic(), limit
        time.sleep(0.02)
        for child, (mutant, begin, limit) in list(running.items()):
            ended, status = os.waitpid(child, os.WNOHANG)
            taken = time.monotonic() - begin
            if ended:
                del running[child]
                code = os.waitstatus_to_exitcode(status)
                yield mutant, OUTCOMES.get(code, f"killed, exit code {code}"), taken
            elif taken > limit:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child, signal.SIGKILL)
                os.waitpid(child, 0)
                del running[child]
                yield mutant, "timeout", taken


def survivors(results, path=EQUIVALENT):
    """Return the results that survived without a reason, and the reasons of none that did.

    Parameters
    ----------
    results : list of dict
    path : Path
        A TOML file of ``[[equivalent]]``: the module's path, a reason, and `changes`, pairs of
        the old and the new code.
    """
    reasons = {
        (item["path"], *change)
        for item in tomllib.loads(path.read_text())["equivalent"]
        for change in item["changes"]
    }
    survived = [result for result in results if result["outcome"] not in KILLED]
    keys = {(result["path"], result["old"], result["new"]) for result in survived}
    tested = {result["path"] for result in results}
    unused = sorted(key for key in reasons - keys if key[0] in tested)
    return [
        result
        for result in survived
        if (result["path"], result["old"], result["new"]) not in reasons
    ], unused


def arguments(settings):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("paths", nargs="*", default=settings["modules"].split())
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--longest", type=float, default=10, help="seconds of the longest test")
    parser.add_argument("--budget", type=float, default=1e9, help="seconds of tests for a mutant")
    parser.add_argument("--minutes", type=float, default=1e9, help="start no mutant after this")
    parser.add_argument("--patience", type=float, default=PATIENCE)
    parser.add_argument("--prepare", action="store_true", help="stop before the tests")
    return parser.parse_args()


def kept(place, make):
    """Return the lines of JSON in a file, which is made first if it does not exist."""
    if not place.exists():
        lines = [json.dumps(item, ensure_ascii=False) for item in make()]
        place.write_text("".join(f"{line}\n" for line in lines))
    return [json.loads(line) for line in place.read_text().splitlines()]


def report(results, count):
    """Print what survived; return the exit code."""
    left, unused = survivors(results)
    for result in left:
        print(f"{result['path']}:{result['line']} {result['outcome']}")
        print(f"  - {result['old']}\n  + {result['new']}")
    for path, old, new in unused:
        print(f"{EQUIVALENT.name} has a reason for what did not survive:\n  {path}: {old} → {new}")
    print(f"{len(results)} of {count} mutants were run; {len(left)} survived without a reason.")
    return int(bool(left or unused or len(results) < count))


def main():
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    settings = settings["mutants"]
    options = arguments(settings)
    folder, all_paths = options.folder.absolute(), settings["modules"].split()
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    os.chdir(ROOT)
    os.environ["OMP_NUM_THREADS"] = "1"

    tests = settings["tests"].split()
    (measured,) = kept(folder / "tests.json", lambda: [measure(folder, tests, options.jobs)])
    mutants = kept(folder / "mutants.jsonl", lambda: all_mutants(modules(all_paths), options.jobs))
    chosen = set(modules(options.paths))
    mutants = [mutant for mutant in mutants if mutant["path"] in chosen]
    print(f"{len(mutants)} mutants.", flush=True)
    if options.prepare:
        return 0

    place = folder / "results.jsonl"
    done = {result["number"] for result in kept(place, list)}
    prepare()
    work = []
    for mutant in mutants:
        if mutant["number"] not in done:
            tests, usual = tests_for(mutant, measured, options.longest, options.budget)
            work.append((mutant, tests, options.patience + FACTOR * usual))
    until = time.monotonic() + 60 * options.minutes
    with place.open("a") as stream:
        for mutant, outcome, seconds in run_all(work, folder, options.jobs, until):
            result = {key: mutant[key] for key in ("number", "path", "operator", "old", "new")}
            result.update(line=mutant["first"], outcome=outcome, seconds=round(seconds, 2))
            stream.write(json.dumps(result, ensure_ascii=False) + "\n")
            stream.flush()
    results = [result for result in kept(place, list) if result["path"] in chosen]
    return report(results, len(mutants))


if __name__ == "__main__":
    sys.exit(main())
