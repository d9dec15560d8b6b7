"""`wbsync completion`: tab completion for a shell."""

from __future__ import annotations

import click


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, *, shell: str) -> None:
    """Print the completion script of a shell.

    \b
    Examples:
      eval "$(wbsync completion bash)"          # in ~/.bashrc; with zsh in ~/.zshrc
      wbsync completion fish > ~/.config/fish/completions/wbsync.fish
    """
    from click.shell_completion import get_completion_class

    maker = get_completion_class(shell)
    assert maker is not None
    click.echo(maker(ctx.find_root().command, {}, "wbsync", "_WBSYNC_COMPLETE").source())
