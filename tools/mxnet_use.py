"""Write which operators of MXNet the code uses into docs/mxnet.md: python tools/mxnet_use.py

A test compares the page with what this script writes.
"""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "mxnet.md"

_BEGIN, _END = "<!-- Written by tools/mxnet_use.py -->\n", "<!-- End -->\n"

#: The modules of MXNet that hold operators.
_MODULES = {"nd", "sym"}
#: What is no operator.
_OTHER = {"NDArray"}


def operators(tree):
    """Return the operators in a syntax tree, by `nd` or `sym`, such as ``nd.linalg.potrf``."""
    names = set()
    for node in ast.walk(tree):
        words = []
        while isinstance(node, ast.Attribute):
            words.insert(0, node.attr)
            node = node.value
        words.insert(0, getattr(node, "id", ""))
        for module in set(words[:-1]) & _MODULES:
            name = words[words.index(module) + 1]
            if name == "linalg":
                name = ".".join(words[words.index(module) + 1 :][:2])
            if name not in _OTHER:
                names.add(f"{module}.{name}")
    return names - {f"{module}.linalg" for module in _MODULES}


def table():
    """Return the table of modules and their operators."""
    rows, all_names = [], set()
    for path in sorted((ROOT / "nst_cli").rglob("*.py")):
        names = operators(ast.parse(path.read_text(encoding="utf-8")))
        if names:
            module = path.relative_to(ROOT).as_posix()
            rows.append(f"| `{module}` | {', '.join(f'`{name}`' for name in sorted(names))} |")
        all_names |= names
    head = [f"{len(all_names)} operators in {len(rows)} modules:", "", "| module | operators |"]
    return "\n".join([*head, "|---|---|", *rows, ""])


def page():
    """Return the page with the table of the code as it is."""
    text = PAGE.read_text(encoding="utf-8")
    pattern = re.escape(_BEGIN) + ".*" + re.escape(_END)
    return re.sub(pattern, lambda _: f"{_BEGIN}\n{table()}\n{_END}", text, flags=re.DOTALL)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
