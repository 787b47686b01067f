"""Restores help texts under ``python -OO``, which drops the docstrings they come from."""

import ast
import inspect
import sys
from collections.abc import Callable
from typing import Any, Optional

import click


def restore(command: click.Command) -> None:
    """Read the help of a command and its subcommands from the source of their functions."""
    if not command.help:
        assert command.callback
        command.help = _docstring(inspect.unwrap(command.callback))
    if isinstance(command, click.Group):
        for child in command.commands.values():
            restore(child)


def _docstring(function: Callable[..., Any]) -> Optional[str]:
    try:
        tree = ast.parse(inspect.getsource(sys.modules[function.__module__]))
    except (OSError, TypeError):  # installed without its source
        return None
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == function.__name__:
            return ast.get_docstring(node)
    return None
