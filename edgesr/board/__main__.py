"""`python -m edgesr.board BUNDLE upscale|bench|serve|check ...`; the bundle's commands call it."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from edgesr.errors import EdgesrError

INTERRUPTED = 130


def parser() -> argparse.ArgumentParser:
    whole = argparse.ArgumentParser(prog="edgesr.board", description="The commands of a bundle for a board.")
    whole.add_argument("bundle", type=Path, help="folder of the unpacked bundle")
    commands = whole.add_subparsers(dest="command", required=True)
    _upscale(commands.add_parser("upscale", prog="upscale", description="Enlarge photos and folders of photos."))
    _bench(commands.add_parser("bench", prog="bench", description="Time an artifact and measure its memory."))
    _serve(commands.add_parser("serve", prog="serve", description="A page that takes a photo and gives it back."))
    commands.add_parser("check", prog="check", description="Open every artifact and run it once.")
    return whole


def _upscale(one: argparse.ArgumentParser) -> None:
    one.add_argument("inputs", nargs="+", type=Path, help="photos and folders")
    one.add_argument("-o", "--out", type=Path, help="folder or file; default: NAME_x4 beside the input")
    one.add_argument("--format", help="write all as png, jpg, webp, bmp or tif")
    one.add_argument("--tile", type=_positive, help="side of a tile in pixels; default: from --memory")
    one.add_argument("--memory", type=_positive, default=500, help="budget in MB for a tile (default 500)")
    one.add_argument("--max-mpx", type=_positive, help="refuse larger inputs (megapixels)")
    one.add_argument("--quality", type=_quality, default=95, help="of JPEG and WebP, 1 to 100 (default 95)")
    one.add_argument("--strip-metadata", action="store_true", help="leave EXIF out")
    one.add_argument("--skip-existing", action="store_true", help="go on where an interrupted run stopped")
    _common(one)


def _bench(one: argparse.ArgumentParser) -> None:
    one.add_argument("--photo", type=Path, help="photo to cut the inputs from; default: a picture made by rule")
    one.add_argument("--size", type=_size, help="HxW of the input; default: the artifact's, or 180x320")
    one.add_argument("--profile", default="quick", help="smoke (15 s), quick, full or sustained (default quick)")
    one.add_argument("-o", "--out", type=Path, default=Path("runs"), help="folder of the measurements (default runs)")
    _common(one)


def _serve(one: argparse.ArgumentParser) -> None:
    one.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1: this board alone)")
    one.add_argument("--port", type=_port, default=8000, help="default 8000")
    one.add_argument("--allow", action="append", default=[], metavar="NAME", help="host name it may be asked by")
    one.add_argument("--max-upload-mb", type=_positive, default=20, help="largest photo in MB (default 20)")
    one.add_argument(
        "--max-mpx", type=_positive, default=2, help="largest photo in megapixels (default 2: it takes 1 GB)"
    )
    one.add_argument("--per-minute", type=_positive, default=12, help="photos a minute from one address (default 12)")
    one.add_argument("--memory", type=_positive, default=300, help="budget in MB for a tile (default 300)")
    _common(one)


def _common(one: argparse.ArgumentParser) -> None:
    one.add_argument("--model", help="artifact or precision (int8, fp32); default: INT8 if there is one")
    one.add_argument("--threads", type=_positive, help="default: all cores")


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 1 << 31):
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return int(text)


def _quality(text: str) -> int:
    if _positive(text) > 100:
        raise argparse.ArgumentTypeError(f"{text!r} is above 100")
    return int(text)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < 1 << 16):
        raise argparse.ArgumentTypeError(f"{text!r} is no port")
    return int(text)


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    return _positive(height), _positive(width)


def run(asked: argparse.Namespace) -> int:
    """Raises EdgesrError."""
    from edgesr.board import commands

    if asked.command == "serve":
        from edgesr.board.service import serve

        return serve(asked)
    return {"upscale": commands.upscale, "bench": commands.bench, "check": commands.check}[asked.command](asked)


def main(arguments: Sequence[str] | None = None) -> int:
    asked = parser().parse_args(arguments)
    try:
        return run(asked)
    except EdgesrError as error:
        print(f"Error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("Interrupted. Finished files are kept.", file=sys.stderr)
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
