"""Report phrases and names that a reader has to read twice, each with a plainer one.

    python tools/prose.py [FILE...]

Without files, all texts of the project are read. The exit code is 1 if anything was reported.
"""

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

#: Phrases, as regular expressions that take a space for any white space, a new line of a comment,
#: or the ``_`` in a test's name; and what to write instead.
PHRASES = {
    r"(is|are|was|were|be|been|being) told": "shows, reports, prints",
    r"tells": "shows, says",
    r"(brought|brings?|bringing) (\w+ ){0,3}to": "resize to, scale to, convert to",
    r"(goes|go|went) by": "depends on, is keyed by",
    r"(comes?|came) before": "overrides, takes precedence over, precedes",
    r"(is|are|was|were|be) ((not|no longer|already|still) )?there": "exists, is missing, remains",
    r"(?<![Tt]here.)(is|are|was|were) (another|others)": "differs",
    r"others than": "other than, differs from",
    r"whoever|Whoever": "the caller, the user, anyone who",
    r"Who \w+s": "the caller, a user who",
    r"so (much|many)": "the number itself",
    r"is so \w+ed": "the thing itself",
    r"that which": "what",
    r"(has|have) it (so|not)": "the verb itself",
    r"Of \w+": "start with the subject",
    r"to be had": "available",
    r"mend(s|ed|ing)?": "fix, correct, repair",
    r"foretold|foretells?": "predicted, forecast",
    r"It shows[:;]": "Confirmed:",
}

#: Names of variables, parameters and functions that say nothing. Tests may have them.
NAMES = ("found", "made", "which", "own", "told", "apart", "lax", "room")

FOLDERS = ("nst_cli", "tools", "benchmarks", "tests", "docs", "configs", "models", "docker", ".ci")
FILES = ("*.md", "Makefile", "setup.cfg", "pyproject.toml")
ENDINGS = (".py", ".md", ".toml", ".sh", ".txt", ".html", ".css", ".js", "")
#: This list, its test, and words that are not the project's.
EXEMPT = ("tools/prose.py", "tests/test_prose.py", "nst_cli/samples/LICENSE")


def main(arguments):
    """Report on files, or on all texts of the project; return the exit code."""
    reports = [report for path in map(Path, arguments or texts()) for report in problems(path)]
    print("\n".join(reports), end="\n" if reports else "")
    return 1 if reports else 0


def texts():
    """Return the files of the project whose words are checked."""
    paths = [path for pattern in FILES for path in ROOT.glob(pattern)]
    for folder in FOLDERS:
        paths += (path for path in (ROOT / folder).rglob("*") if path.suffix in ENDINGS)
    return sorted(
        path
        for path in paths
        if path.is_file() and path.relative_to(ROOT).as_posix() not in EXEMPT
    )


def problems(path):
    """Yield a line for each phrase and name of a file."""
    text = path.read_text(encoding="utf-8")
    reports = set(phrases(text))
    if path.suffix == ".py" and ROOT / "tests" not in path.resolve().parents:
        reports |= set(names(text))
    shown = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
    for line, words, plain in sorted(reports):
        yield f"{shown}:{line}: {words!r}: write {plain}"


def phrases(text):
    """Yield the line, the words and the plainer words of each phrase in a text."""
    for pattern, plain in PHRASES.items():
        spaced = pattern.replace(" ", r"[\s#_]+")
        for match in re.finditer(f"(?<![A-Za-z])(?:{spaced})(?![A-Za-z])", text):
            words = " ".join(re.split(r"[\s#_]+", match[0]))
            yield text.count("\n", 0, match.start()) + 1, words, plain


def names(text):
    """Yield the line, the name and a hint for each name of Python code that says nothing."""
    for node in ast.walk(ast.parse(text)):
        for name in _defined(node):
            if name in NAMES:
                yield node.lineno, name, "a name that says what it is"


def _defined(node):
    """Return the names that a node of Python code gives to something."""
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        return [node.id]
    if isinstance(node, ast.arg):
        return [node.arg]
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return [node.name]
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return [alias.asname for alias in node.names]
    return []


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
