"""What the code uses of MXNet, and what docs/mxnet.md says about it."""

import ast

import mxnet_use
import pytest

PACKAGE = mxnet_use.ROOT / "nst_cli"

#: What reads files, decodes or runs them, or speaks to a network.
FORBIDDEN = {
    "load", "load_json", "load_frombuffer", "save", "fromjson", "imread", "imdecode", "recordio",
    "model_zoo", "kvstore", "kv", "library_load", "Custom", "SymbolBlock",
}  # fmt: skip


@pytest.fixture(scope="module")
def trees():
    """The syntax trees of the package, by path."""
    return {
        path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
        for path in PACKAGE.rglob("*.py")
    }


def test_the_table_of_operators_in_the_docs_is_that_of_the_code():
    assert mxnet_use.PAGE.read_text(encoding="utf-8") == mxnet_use.page(), (
        "run: python tools/mxnet_use.py"
    )


def test_operators_are_counted_however_they_are_reached():
    source = "nd = engine.nd\nnd.dot(engine.nd.linalg.syevd(x), mx.sym.var('a').nd)\nnd.NDArray"
    assert mxnet_use.operators(ast.parse(source)) == {"nd.dot", "nd.linalg.syevd", "sym.var"}


def test_one_call_in_one_file_imports_mxnet(trees):
    importing = []
    for path, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = ["." * node.level + (node.module or "")]
            elif getattr(getattr(node, "func", None), "attr", "") == "import_module":
                names = [getattr(node.args[0], "value", "")]
            else:
                continue
            importing += [path for name in names if name.partition(".")[0] == "mxnet"]
    assert importing == ["engine/loading.py"]


def test_mxnet_is_never_asked_to_load_decode_or_fetch_anything(trees):
    for path, tree in trees.items():
        names = mxnet_use.operators(tree)
        assert not {name.rpartition(".")[2] for name in names} & FORBIDDEN, path
        # The engine holds the module itself, as `mx` or `module`.
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr in FORBIDDEN | {"image", "gluon"}:
                owner = ast.unparse(node.value).replace("self._", "")
                assert owner.partition(".")[0] not in ("mx", "module", "mxnet"), path
