"""The command line: each command parses, makes one library call, prints. Data on stdout, words on stderr.

Nothing heavy is imported before a command runs: `edgesr --help` must start in under 0.3 s.
"""

import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import click

from edgesr import __version__
from edgesr.cli import artifacts, bundles, devices, listing, measuring, photos, reporting, training
from edgesr.errors import EdgesrError, UnknownName

INTERRUPTED = 130


class Commands(click.Group):
    """Names the nearest command when a name is mistyped."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            raise UnknownName("command", args[0], self.commands)
        return super().resolve_command(ctx, args)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="edgesr")
def cli() -> None:
    """Convert, quantize, verify and run image super-resolution networks on edge devices.

    \b
    edgesr convert bsrn-s --target openvino --int8
    edgesr upscale photo.png
    """


for command in (
    *(listing.models, listing.targets),
    *(artifacts.convert, artifacts.quantize, artifacts.verify),
    photos.upscale,
    bundles.bundle,
    *(devices.device, measuring.bench, measuring.sweep),
    *(reporting.report, reporting.compare, reporting.pick),
    *(training.train, training.qat, training.pack),
    listing.doctor,
):
    cli.add_command(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: runs a command and turns every error into one line and its exit code."""
    try:
        with _ended_like_ctrl_c():
            cli.main(args=arguments, prog_name="edgesr", standalone_mode=False)
    except EdgesrError as error:
        _fail(str(error), error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        _fail("Interrupted. Nothing half-made was left behind; finished files are kept.", INTERRUPTED)


@contextmanager
def _ended_like_ctrl_c() -> Iterator[None]:
    """`timeout`, `docker stop` and a closed terminal end a command as Ctrl-C does: children end, half files go."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    previous = {}
    if threading.current_thread() is threading.main_thread():
        for name in ("SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)  # Windows has no SIGHUP
            if number is not None and signal.getsignal(number) is signal.SIG_DFL:  # `nohup` ignores it
                previous[number] = signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _fail(text: str, code: int) -> None:
    click.echo(f"Error: {text}", err=True)
    sys.exit(code)
