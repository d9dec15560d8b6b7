"""What goes to stderr, and the exit codes: narration is for people, stdout is data."""

from __future__ import annotations

import enum
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


def plain(text: str, *, indent: bool = False) -> str:
    """Returns text of others as one line without control characters or terminal escapes.

    Args:
        text: Anything.
        indent: Whether spaces are left as they are.
    """
    clean = "".join(c if c.isprintable() else " " for c in text)
    return clean if indent else " ".join(clean.split())


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
        return self.is_terminal() and "NO_COLOR" not in os.environ

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
        click.echo(f"wbsync: {label} {plain(text)}", err=True)


def run_guarded(command: click.Command, args: list[str] | None) -> None:
    """Runs a command; what it raises becomes one line and an exit code."""
    verbosity = sum(a.count("v") for a in (args or sys.argv[1:]) if a in {"-v", "-vv", "-vvv"})
    code: int = ExitCode.OK
    try:
        code = command.main(args, prog_name="wbsync", standalone_mode=False) or 0
    except click.exceptions.Exit as leave:
        code = leave.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo(INTERRUPTED, err=True)
        code = ExitCode.INTERRUPTED
    except click.ClickException as error:
        error.show()
        code = ExitCode.USAGE
    except WbsyncError as error:
        if verbosity > 1:
            _show_traceback(error)
        Diagnostics().error(str(error))
        code = exit_code_of(error)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = ExitCode.FAILED
    except OSError as error:
        if verbosity > 1:
            _show_traceback(error)
        where = f" ({error.filename})" if error.filename else ""
        Diagnostics().error(f"{error.strerror or error}{where}")
        code = ExitCode.FAILED
    sys.exit(int(code))


def _show_traceback(error: BaseException) -> None:
    import traceback

    trace: TracebackType | None = error.__traceback__
    traceback.print_exception(type(error), error, trace)
