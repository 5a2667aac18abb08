"""How the program and its verbs show their help, and look at what they are given before they run."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from typer.core import TyperCommand, TyperGroup

__all__ = ["METAVARS", "WORDS", "Command", "InOrder"]

#: The words of the verb that is running, from its name on.
WORDS: ContextVar[list[str]] = ContextVar("words")

#: What stands for a value in --help, by the name of its parameter.
METAVARS = {
    "accept_rate": "RATE",
    "cache": "FOLDER",
    "clusters": "N|auto",
    "column_error": "COL=E",
    "context": "COL,COL",
    "columns": "COL,COL",
    "config": "FILE",
    "embedding": "NAME",
    "exclude": "COL,COL",
    "for_": "compression",
    "group": "COL",
    "hidden": "N,N",
    "keep": "COL,COL",
    "label": "COL",
    "max_error": "E",
    "memory": "BYTES",
    "method": "NAME",
    "model": "MODEL",
    "normal": "VALUE,VALUE",
    "only": "main",
    "out": "OUT",
    "row": "N|A:B",
    "rows": "A:B",
    "score_": "NAME",
    "set_": "KEY=VALUE",
    "slots": "NAME:N",
    "take": "NAME:N",
    "time": "COL",
    "weight": "COL",
}


class InOrder(TyperGroup):
    """Verbs in the order of the work, not of the alphabet, each with a whole sentence."""

    def list_commands(self, ctx: object) -> list[str]:
        return list(self.commands)

    def get_params(self, ctx: Any) -> list[Any]:
        """Typer turns an absent flag to False by pydantic, which `diabolo VERB --help` would wait for."""
        found = list(super().get_params(ctx))
        for option in found:
            if option.default is None and getattr(option, "is_flag", False):
                option.default = False
        return found

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        said = [(name, " ".join((verb.help or "").split("\n\n")[0].split())) for name, verb in self.commands.items()]
        with formatter.section("Verbs"):
            formatter.write_dl(said)


class Command(TyperCommand):
    """A verb: its help ends with examples, and a file of the wrong kind is told before any work."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Examples"):
            for line in (self.epilog or "").splitlines():
                formatter.write(f"{' ' * formatter.current_indent}{line}\n")

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        ctx.meta["diabolo.words"] = list(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        from diabolo.cli.kinds import check_kinds
        from diabolo.cli.promise import advising

        WORDS.set([str(ctx.info_name), *ctx.meta["diabolo.words"]])
        check_kinds(str(ctx.info_name), ctx.params, ctx.meta["diabolo.words"])
        with advising(str(ctx.info_name), ctx.params.get("model") or ctx.params.get("out") or "MODEL"):
            return super().invoke(ctx)
