"""The program: its verbs, and how a failure looks (one line on stderr, exit status 2)."""

from __future__ import annotations

import contextlib
import errno
import inspect
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import typer

from diabolo.cli.command import METAVARS, Command, InOrder
from diabolo.cli.reading import text_options
from diabolo.cli.verb import verbs
from diabolo.errors import DiaboloError
from diabolo.screen import spell_out, visible
from diabolo.version import __version__

__all__ = ["Fail", "app", "fail", "interrupt", "main", "one_line"]

#: The variable by which the shell's script, of --install-completion, asks for completions.
COMPLETE = "_DIABOLO_COMPLETE"
#: Tells a failure, in a line, and ends with an exit status.
Fail = Callable[..., NoReturn]


app = typer.Typer(
    cls=InOrder,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def top(ctx: typer.Context, version: bool = typer.Option(False, "--version", help="Print the version.")) -> None:
    """One fitted autoencoder from unlabelled data: detect anomalies at a guaranteed false-alarm rate,
    cluster, generate; and compress within a guaranteed error, by a small network of its own.

    Each verb has its own --help, with examples. `diabolo docs` shows the pages that come with the program.
    --debug after a verb shows the traceback of a failure.
    """
    if version:
        typer.echo(f"diabolo {__version__}")
        raise typer.Exit
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())
        raise typer.Exit


def _add(name: str) -> None:
    verb = verbs.get(name)
    for parameter in inspect.signature(verb.run).parameters.values():
        said = parameter.default
        if said.metavar is None:
            argument = isinstance(said, typer.models.ArgumentInfo)
            said.metavar = parameter.name.upper() if argument else METAVARS.get(parameter.name)
    app.command(name, cls=Command, epilog="\n".join(verb.examples))(text_options(verb.run))


for _name in verbs:
    _add(_name)


def one_line(message: str) -> str:
    """A message without its ends of lines."""
    # Blanks within a name are part of a remedy that is pasted.
    return visible(" ".join(part.strip() for part in message.splitlines() if part.strip()))


def fail(message: str, status: int = 2) -> NoReturn:
    """End with a failure in one line."""
    sys.stderr.write(f"diabolo: {one_line(message)}\n")
    sys.exit(status)


def main(arguments: list[str] | None = None, fail: Fail = fail) -> None:
    """Run the program; turns every failure into one line and exit status 2, or what `fail` makes of it."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if arguments is None:  # the program, not a caller of it: a batch system's SIGTERM tidies up like Ctrl-C
        signal.signal(signal.SIGTERM, interrupt)
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # in the background it may be ignored
            signal.signal(signal.SIGINT, interrupt)
        spell_out(sys.stdout, sys.stderr)
    debug = "--debug" in words
    words = [w for w in words if w != "--debug"]
    try:
        command = typer.main.get_command(app)
        if COMPLETE in os.environ:  # a shell asks for completions
            command.main(words, "diabolo", COMPLETE)
        # Not command.main: that one turns Ctrl-C and a closed pipe into ends of its own.
        with command.make_context("diabolo", words) as context:
            status = command.invoke(context)
        sys.stdout.flush()
    except typer.Exit as done:
        sys.exit(done.exit_code)
    except SystemExit as done:
        sys.exit(0 if done.code == 1 else done.code)  # how rich ends when the reader of our output has gone
    except DiaboloError as error:
        if debug:
            raise
        fail(str(error))
    except KeyboardInterrupt as stopped:
        fail(f"interrupted; nothing was left half-written{stopped}", 130)
    except BrokenPipeError:
        # The reader of our output has gone (`| head`); there is nobody left to tell.
        _close_stdout()
        sys.exit(0)
    except Exception as error:
        if debug:
            raise
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            # Whatever writes a file raises an OutputError of its own.
            _close_stdout()
            fail(f"cannot write to stdout: {error.strerror}; results in files are whole")
        if isinstance(error, MemoryError) or "allocate" in str(error):
            fail(f"there is not enough memory: {str(error)[:200] or 'the system gives no more'}")
        usage = getattr(error, "format_message", None)
        if usage is not None:
            of = getattr(error, "ctx", None)
            fail(f"{usage()} ({'diabolo' if of is None else of.command_path} --help)")
        fail(f"{type(error).__name__}: {error}; --debug shows where")
    else:
        sys.exit(status if isinstance(status, int) else 0)


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, or SIGTERM; of a type of its own, since Python itself remembers a plain one.

    One that ends source text while `exec` runs it, as dataclasses have it run at an import, has `python -m` end by
    SIGINT however it is caught later.
    """


def interrupt(*_: Any) -> None:
    """A signal's handler: tidy up and end."""
    raise Interrupted


def _close_stdout() -> None:
    """Python would try once more to write what is left when it ends."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
