"""Adds imports of this package to the text of a file, after those that it has, and as these are written.

Takes libcst: see `parsl_context.cli.rewriting`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import libcst as cst

from parsl_context.cli.spelling import PACKAGE, Spelling

Line = cst.SimpleStatementLine | cst.BaseCompoundStatement


def with_imports(module: cst.Module, spelling: Spelling, above: int) -> cst.Module:
    """The file with the imports that it needs, after those that it has.

    Parameters
    ----------
    above
        How many statements of the file precede the function.
    """
    body = list(module.body)
    names, lines = spelling.imported, []
    if names and (place := next((number for number in range(above) if _from_package(body[number])), None)) is not None:
        body[place] = _extended(body[place], names)
        names = ()
    if spelling.imports_package:
        lines.append(f"import {PACKAGE}")
    if names:
        lines.append(f"from {PACKAGE} import {', '.join(names)}")
    if lines:
        place = _end_of_imports(body)
        added = [cst.SimpleStatementLine(body=[_small(line)]) for line in lines]
        if place and not _is_import(body[place - 1]):
            added[0] = added[0].with_changes(leading_lines=[_BLANK])
        if not place:
            module, body[:1] = _below_header(module, body[:1])
        if place < len(body):
            body[place] = _apart(body[place])
        body[place:place] = added
    return module.with_changes(body=body)


def _below_header(module: cst.Module, body: Sequence[Line]) -> tuple[cst.Module, list[Line]]:
    """A file whose comments at its first statement go with that, unless they are for the file."""
    lines = list(module.header)
    blank = max((number for number, each in enumerate(lines) if each.comment is None), default=-1)
    texts = [each.comment.value if each.comment else "" for each in lines]
    begin = next((n for n in range(blank + 1, len(lines)) if n > 1 or not _FOR_FILE.match(texts[n])), len(lines))
    first = [each.with_changes(leading_lines=[*lines[begin:], *each.leading_lines]) for each in body]
    return module.with_changes(header=lines[:begin]), first


_FOR_FILE = re.compile(r"#!|#.*coding[:=]")
_BLANK = cst.EmptyLine(indent=False)


def _apart(line: Line) -> Line:
    """A statement with what stands between imports and others."""
    lines = list(line.leading_lines)
    if _is_import(line) or (lines and lines[0].comment is None):
        return line
    blanks = [_BLANK] if isinstance(line, cst.SimpleStatementLine) else [_BLANK, _BLANK]
    return line.with_changes(leading_lines=[*blanks, *lines])


def _small(text: str) -> cst.BaseSmallStatement:
    line = cst.parse_statement(text)
    assert isinstance(line, cst.SimpleStatementLine)
    return line.body[0]


def _end_of_imports(body: Sequence[Line]) -> int:
    """Where the imports at the beginning of a file end; in one that has none, its docstring."""
    end = 0
    for number, each in enumerate(body):
        if _is_import(each):
            end = number + 1
        elif not (number == 0 and _is_docstring(each)):
            break
        elif not end:
            end = number + 1
    return end


def _is_docstring(node: cst.CSTNode) -> bool:
    match node:
        case cst.SimpleStatementLine(body=[cst.Expr(value=cst.SimpleString() | cst.ConcatenatedString())]):
            return True
    return False


def _is_import(node: cst.CSTNode) -> bool:
    return isinstance(node, cst.SimpleStatementLine) and all(
        isinstance(each, cst.Import | cst.ImportFrom) for each in node.body
    )


def _from_package(line: cst.CSTNode) -> cst.ImportFrom | None:
    """What a line imports from this package."""
    for each in line.body if isinstance(line, cst.SimpleStatementLine) else ():
        match each:
            case cst.ImportFrom(module=cst.Name(value=name), relative=[], names=[*_]) if name == PACKAGE:
                return each
    return None


def _extended(line: Line, names: Sequence[str]) -> Line:
    """An import of more names, each before the first that sorts after it."""
    node = _from_package(line)
    assert node is not None
    assert not isinstance(node.names, cst.ImportStar)
    made = list(node.names)
    between = _plain(made[0].comma) if len(made) > 1 else cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))
    last = made[-1].comma
    made[-1] = made[-1].with_changes(comma=between)
    for name in names:
        later = (number for number, each in enumerate(made) if str(each.name.value) > name)
        made.insert(next(later, len(made)), cst.ImportAlias(name=cst.Name(name), comma=between))
    made[-1] = made[-1].with_changes(comma=last)
    changed = line.with_deep_changes(node, names=made)
    assert isinstance(changed, cst.SimpleStatementLine)
    return changed


def _plain(comma: cst.Comma | cst.MaybeSentinel) -> cst.Comma | cst.MaybeSentinel:
    """A comma without the comment that follows it."""
    if not isinstance(comma, cst.Comma) or not isinstance(comma.whitespace_after, cst.ParenthesizedWhitespace):
        return comma
    first = cst.TrailingWhitespace(newline=comma.whitespace_after.first_line.newline)
    return comma.with_changes(whitespace_after=comma.whitespace_after.with_changes(first_line=first, empty_lines=[]))
