"""What goes to stderr, and the exit codes: narration is for people, stdout is data."""

from __future__ import annotations

import contextlib
import enum
import json
import logging
import os
import sys
from typing import TYPE_CHECKING

import click

from wbsync.errors import (
    AuthenticationError,
    ConfigError,
    EngineError,
    FilterError,
    RateLimitedError,
    ServerError,
    TransportError,
    WbsyncError,
)
from wbsync.plain import plain

if TYPE_CHECKING:
    from types import TracebackType


class ExitCode(enum.IntEnum):
    """How a command ended."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    AUTHENTICATION = 4
    PARTIAL = 5
    INTERRUPTED = 130


INTERRUPTED = "wbsync: interrupted; what was done is kept: run the same command again to go on"


def exit_code_of(error: BaseException) -> ExitCode:
    """Returns the exit code that an error leads to."""
    if isinstance(error, AuthenticationError):
        return ExitCode.AUTHENTICATION
    if isinstance(error, (ConfigError, FilterError)):
        return ExitCode.USAGE
    if isinstance(error, (TransportError, RateLimitedError, ServerError, EngineError)):
        return ExitCode.UNREACHABLE
    return ExitCode.FAILED


class Diagnostics:
    """Speaks to the person at the terminal."""

    def __init__(self, *, quiet: bool = False, verbose: int = 0, color: bool | None = None) -> None:
        """Takes how much to say.

        Args:
            quiet: Only errors.
            verbose: 1 says more, 2 shows tracebacks and the log.
            color: None decides by the terminal and NO_COLOR.
        """
        self.quiet = quiet
        self.verbose = verbose
        self.color = color
        logging.basicConfig(
            level=logging.DEBUG if verbose > 1 else logging.WARNING,
            format="%(levelname)s %(name)s: %(message)s",
            stream=sys.stderr,
        )
        for name in ("httpx", "httpcore"):
            # They log whole addresses, and signed ones are secrets.
            logging.getLogger(name).setLevel(logging.WARNING)

    def is_terminal(self) -> bool:
        """Says whether stderr is a terminal that can redraw."""
        return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"

    def use_color(self) -> bool:
        """Says whether to write colours to stderr."""
        if self.color is not None:
            return self.color
        return self.is_terminal() and not os.environ.get("NO_COLOR")

    def note(self, text: str) -> None:
        """Says something useful."""
        if not self.quiet:
            click.echo(plain(text), err=True)

    def detail(self, text: str) -> None:
        """Says something for the curious."""
        if self.verbose:
            self.note(text)

    def error(self, text: str) -> None:
        """Says what went wrong."""
        label = click.style("error:", fg="red") if self.use_color() else "error:"
        click.echo(f"wbsync: {label} {plain(text)}", err=True, color=self.use_color())


def run_guarded(command: click.Command, args: list[str] | None) -> None:
    """Runs a command; what it raises becomes one line, an exit code and, with --json, an object."""
    _open_streams()
    given = [_as_utf8(arg) for arg in (sys.argv[1:] if args is None else args)]
    code: int = ExitCode.OK
    failure: BaseException | None = None
    try:
        code = command.main(given, prog_name="wbsync", standalone_mode=False) or 0
        sys.stdout.flush()
    except click.exceptions.Exit as leave:
        code = leave.exit_code
    except (click.Abort, KeyboardInterrupt) as error:
        failure, code = error, ExitCode.INTERRUPTED
        click.echo(INTERRUPTED, err=True)
    except click.ClickException as error:
        failure, code = error, ExitCode.USAGE
        error.show()
        if isinstance(error, click.NoSuchOption) and _is_global(command, error.option_name):
            click.echo(f"{error.option_name} stands before the command's name", err=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = ExitCode.FAILED
    except Exception as error:  # noqa: BLE001
        failure, code = error, exit_code_of(error)
        if sum(a.count("v") for a in given if a in {"-v", "-vv", "-vvv"}) > 1:
            _show_traceback(error)
        color = {"--color": True, "--no-color": False}
        chosen = [color[arg] for arg in given if arg in color]
        Diagnostics(color=chosen[-1] if chosen else None).error(_message(error))
    if failure is not None and _wants_json(given):
        _print_failure(failure, code)
    sys.exit(int(code))


def _open_streams() -> None:
    """Opens the standard streams that were closed (`>&-`): files would take their numbers."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
            setattr(sys, name, os.fdopen(number, mode))


def _as_utf8(arg: str) -> str:
    """Returns an argument that a locale without UTF-8 (LANG=C) has taken for single bytes."""
    if arg.isascii():
        return arg
    with contextlib.suppress(UnicodeError):
        return os.fsencode(arg).decode()
    return arg


def _is_global(command: click.Command, option: str) -> bool:
    return any(option in parameter.opts for parameter in command.params)


def _message(error: BaseException) -> str:
    """Returns what is said of an error, and of what went wrong in its wake."""
    return "; ".join([_said(error), *getattr(error, "__notes__", ())])


def _said(error: BaseException) -> str:
    if isinstance(error, (click.Abort, KeyboardInterrupt)):
        return "interrupted"
    if isinstance(error, click.ClickException):
        return error.format_message()
    if isinstance(error, OSError):
        where = f" ({error.filename})" if error.filename else ""
        return f"{error.strerror or error}{where}"
    if isinstance(error, WbsyncError):
        return str(error)
    return f"this should not happen: {type(error).__name__}: {error}; -vv shows where"


def _wants_json(args: list[str]) -> bool:
    """Says whether arguments ask for JSON, also those that could not be parsed."""
    options = args[: args.index("--")] if "--" in args else args
    return "--json" in options


def _print_failure(error: BaseException, code: int) -> None:
    """Prints why a command failed, as the last line of its JSON."""
    kind = "Interrupted" if code == ExitCode.INTERRUPTED else type(error).__name__
    facts = {"type": kind, "message": plain(_message(error)), "exit_code": code}
    with contextlib.suppress(OSError):  # nobody reads any more
        click.echo(json.dumps({"error": facts}))


def _show_traceback(error: BaseException) -> None:
    import traceback

    trace: TracebackType | None = error.__traceback__
    traceback.print_exception(type(error), error, trace)
