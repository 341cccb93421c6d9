"""Reference pages that cannot drift from the code: messages with their fields, and help texts of commands.

    .. message-union:: parsl_context.wire.messages.ToManager

documents each message of a union, with its fields, their types and the comments beside them; and

    .. command-help:: parsl-context

shows what the command prints for ``--help``; further arguments name a subcommand.

    .. command-output:: parsl-context discover needs.py

shows what it prints with these arguments, in the folder `docs/code`.

    .. benchmark:: noop

shows the plot that ``make bench`` has drawn for a case, or says that there is none; without an argument, its tables.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import subprocess
import sys
import sysconfig
import textwrap
import typing
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

_DESCRIBED = {"parsl_context.wire.messages", "parsl_context.report.records"}
CODE = Path(__file__).parents[1] / "code"


class MessageUnion(SphinxDirective):
    """Document the members of a union of message classes."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        module_name, _, name = self.arguments[0].rpartition(".")
        union = getattr(importlib.import_module(module_name), name)
        described = self.env.temp_data.setdefault("message-union", set())
        lines: list[str] = []
        for member in typing.get_args(union):
            lines += [f".. autoclass:: {member.__module__}.{member.__name__}()"]
            if member in described:  # in two unions: described twice, indexed once
                lines += ["   :no-index:"]
            described.add(member)
            lines += [""]
        container = nodes.container()
        source, _ = self.get_source_info()
        self.state.nested_parse(StringList(lines, source=source), self.content_offset, container)
        return container.children


class CommandHelp(SphinxDirective):
    """Show the help text of an installed command."""

    required_arguments = 1
    optional_arguments = 8

    def run(self) -> list[nodes.Node]:
        return [_output_of(self, [*self.arguments, "--help"], width=90)]


class CommandOutput(SphinxDirective):
    """Show what an installed command prints."""

    required_arguments = 1
    optional_arguments = 8

    def run(self) -> list[nodes.Node]:
        for script in CODE.glob("*.py"):
            self.env.note_dependency(str(script))
        return [_output_of(self, self.arguments, width=88)]


def _output_of(directive: SphinxDirective, arguments: list[str], width: int) -> nodes.Node:
    path = Path(sysconfig.get_path("scripts"), arguments[0])
    done = subprocess.run(
        [sys.executable, path, *arguments[1:]],
        capture_output=True,
        text=True,
        cwd=CODE,
        env={**os.environ, "COLUMNS": str(width), "TERM": "dumb", "NO_COLOR": "1"},
    )
    if done.returncode != 0:
        raise directive.error(f"{' '.join(arguments)} ended with status {done.returncode}: {done.stderr}")
    return nodes.literal_block(done.stdout, done.stdout, language="none")


class Benchmark(SphinxDirective):
    """Show what the benchmarks have found, so that no figure is typed in."""

    optional_arguments = 1
    results = Path(__file__).parents[2] / "benchmarks" / "results"

    def run(self) -> list[nodes.Node]:
        path = self.results / (f"{self.arguments[0]}.png" if self.arguments else "summary.txt")
        if not path.exists():
            return [nodes.paragraph(text=f"Not measured yet: make bench writes {path.name}.")]
        self.env.note_dependency(str(path))
        if not self.arguments:
            text = path.read_text()
            return [nodes.literal_block(text, text, language="none")]
        relative = os.path.relpath(path, Path(self.env.doc2path(self.env.docname)).parent)
        return [nodes.image(uri=relative, alt=f"plot of the case {self.arguments[0]}")]


def add_fields(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Append the fields of a message to its description (a handler of autodoc-process-docstring)."""
    if what != "class" or not (fields := _fields(obj)):
        return
    lines += ["", ".. list-table::", "   :widths: auto", ""]
    for field, annotation, comment in fields:
        lines += [f"   * - ``{field}``", f"     - ``{annotation}``", f"     - {comment}"]
    lines += [""]


def _fields(cls: object) -> list[tuple[str, str, str]]:
    """Name, type and comment of the annotated fields in the body of a class of the messages module."""
    if not inspect.isclass(cls) or cls.__module__ not in _DESCRIBED:
        return []
    source = textwrap.dedent(inspect.getsource(cls))
    text = source.splitlines()
    (definition,) = ast.parse(source).body
    assert isinstance(definition, ast.ClassDef)
    found = []
    for node in definition.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            _, _, comment = text[node.end_lineno - 1][node.end_col_offset :].partition("# ")
            found.append((node.target.id, ast.unparse(node.annotation), comment))
    return found


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("message-union", MessageUnion)
    app.add_directive("command-help", CommandHelp)
    app.add_directive("command-output", CommandOutput)
    app.add_directive("benchmark", Benchmark)
    app.connect("autodoc-process-docstring", add_fields)
    return {"parallel_read_safe": True}
