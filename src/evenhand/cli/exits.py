"""The one place where an error becomes a line and an exit status, and a warning a line."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
import warnings
from typing import Any

import typer
import typer.core

from ..errors import EvenhandError, EvenhandWarning

INTERRUPTED = 130


class Commands(typer.core.TyperGroup):
    """The group of commands; what a command raises ends as one line on standard error and an exit status."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            return typer.core.TyperGroup.invoke(self, ctx)
        except EvenhandError as error:
            raise _exit(str(error), error.exit_status) from None
        except KeyboardInterrupt:
            raise _exit("interrupted; run the same command to continue", INTERRUPTED) from None
        except typer.TyperException as error:
            raise _exit(f"{error.format_message()} (see `evenhand --help`)", error.exit_code) from None
        except (typer.Exit, typer.Abort):
            raise
        except BrokenPipeError:
            # Standard output was closed, as by `| head`: nothing is left to say, also not at interpreter exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(1) from None
        except Exception as error:
            raise _exit(
                f"internal error, {type(error).__name__}: {error} (details in {_save_traceback()})", 1
            ) from None


def warn_in_lines() -> None:
    """From now on our own warnings are lines on standard error; those of others stay as Python shows them."""
    others = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        if issubclass(category, EvenhandWarning):
            _say(str(message))
        else:
            others(message, category, *place, **more)

    warnings.showwarning = show


def _exit(message: str, status: int) -> typer.Exit:
    _say(message)
    return typer.Exit(status)


def _say(message: str) -> None:
    line = " ".join(message.split())
    typer.echo(f"evenhand: {line}", err=True)


def _save_traceback() -> str:
    with tempfile.NamedTemporaryFile("w", prefix="evenhand-", suffix=".txt", delete=False, encoding="utf-8") as file:
        file.write(traceback.format_exc())
    return file.name
