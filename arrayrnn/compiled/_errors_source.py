"""Place in the user's code where an exception came up, and values of the names there."""

import ast
import builtins
import dis
import linecache
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType, TracebackType
from typing import Any

import array_api_compat

# Frames of these packages are nobody's step.
LIBRARIES = {
    "array_api_compat", "array_api_extra", "arrayrnn", "cupy", "cupyx", "jax", "jaxlib", "numpy",
    "optree", "scipy", "torch",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Place:
    """The last expression of the user's own that an exception came through."""

    function: str
    file: str
    line: int
    node: ast.AST | None  # None where there is no source
    text: str
    operation: str  # of the interpreter
    callee: str  # the library to which it led, if the traceback has a frame of it
    local: Sequence[str]  # arguments first
    names: Mapping[str, Any]

    @classmethod
    def of(cls, error: Exception) -> "Place | None":
        """Return None if nothing of the user's own ran."""
        frames = list(_frames(error.__traceback__))
        own = [k for k, (frame, _, _) in enumerate(frames) if not _of_library(frame)]
        if not own:
            return None
        frame, line, instruction = frames[own[-1]]
        callee = _package(frames[own[-1] + 1][0]) if own[-1] + 1 < len(frames) else ""
        code = frame.f_code
        text = _text(code, instruction, frame.f_globals)
        node = _parsed(text)
        return cls(
            function=code.co_name,
            file=Path(code.co_filename).name,
            line=line,
            node=node,
            text=textwrap.shorten(text, 80, placeholder=" ..."),
            operation=dis.opname[code.co_code[instruction]],
            callee=callee,
            local=code.co_varnames + code.co_cellvars,
            names={**vars(builtins), **frame.f_globals, **frame.f_locals},
        )

    def __str__(self) -> str:
        return f"`{self.text or self.function}` ({self.file}, line {self.line})"

    def value(self, node: ast.AST | None) -> Any:
        """Return what `node` stands for; None if only computing could tell."""
        match node:
            case ast.Name(id=name):
                return self.names.get(name)
            case ast.Constant(value=value):
                return value
            case ast.Attribute(value=base, attr=name):
                return self._inside(base, lambda value: getattr(value, name))
            case ast.Subscript(value=base, slice=ast.AST() as index):
                return self._inside(base, lambda value: value[self.value(index)])
        return None

    def _inside(self, base: ast.AST, take: Any) -> Any:
        value = self.value(base)
        if value is None or array_api_compat.is_array_api_obj(value):
            return None
        try:
            return take(value)
        except Exception:  # a property, or a container of the user's
            return None

    def values(self) -> Iterator[tuple[ast.AST, Any]]:
        """Yield all parts of the expression with what they stand for, the outermost first."""
        for node in ast.walk(self.node) if self.node is not None else ():
            yield node, self.value(node)


def _frames(traceback: TracebackType | None) -> Iterator[tuple[FrameType, int, int]]:
    while traceback is not None:
        yield traceback.tb_frame, traceback.tb_lineno, traceback.tb_lasti
        traceback = traceback.tb_next


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


def _of_library(frame: FrameType) -> bool:
    package = _package(frame)
    return package in LIBRARIES or package in sys.stdlib_module_names


def _text(code: CodeType, instruction: int, module: dict[str, Any]) -> str:
    """Return what the source says at an instruction, or nothing."""
    first, last, start, stop = list(code.co_positions())[instruction // 2]
    if first is None or last is None or start is None or stop is None:  # -X no_debug_ranges
        return ""
    lines = [
        line.encode() for line in linecache.getlines(code.co_filename, module)[first - 1 : last]
    ]
    if not lines:
        return ""
    lines[-1] = lines[-1][:stop]
    lines[0] = lines[0][start:]
    return b"".join(lines).decode()


def _parsed(text: str) -> ast.AST | None:
    if not text:
        return None
    # An expression may go over lines that are indented anyhow; `x += y` is a statement.
    for source in (f"({text}\n)", text):
        try:
            (statement,) = ast.parse(source).body
        except (SyntaxError, ValueError):
            continue
        return statement.value if isinstance(statement, ast.Expr) else statement
    return None
