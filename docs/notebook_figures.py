"""Draw the figures of docs/notebook.md: its blocks run in order, and what a block ends in is saved under its image.

    docs/notebook_figures.py   some 20 s

images/notebook/explain.png is a browser's picture of two explanations, whose HTML this prints.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import snippets

PAGE = Path(__file__).parent / "notebook.md"


def image_after(code: str) -> str | None:
    """The path of the image that follows a block at once."""
    rest = PAGE.read_text().partition(f"```python\n{code}```\n\n")[2]
    found = snippets.IMAGE.match(rest)
    return found["path"] if found else None


def last_value(code: str, namespace: dict[str, Any]) -> Any:
    """Run a block; the value of the expression that it ends in."""
    *body, end = ast.parse(code).body
    value = end.value if isinstance(end, ast.Expr) else None
    exec(compile(ast.Module(body if value else [*body, end], []), str(PAGE), "exec"), namespace)
    return eval(compile(ast.Expression(value), str(PAGE), "eval"), namespace) if value else None


def main() -> None:
    namespace: dict[str, Any] = {}
    for block in snippets.blocks(PAGE):
        found, image = last_value(block.code, namespace), image_after(block.code)
        if image is None:
            continue
        path = PAGE.parent / image
        path.parent.mkdir(exist_ok=True)
        if hasattr(found, "figure"):
            found.figure.savefig(path, dpi=80)
        else:
            print(f"<!doctype html><meta charset=utf-8><body style='font-family:sans-serif'>{found._repr_html_()}")


if __name__ == "__main__":
    main()
