"""Sample apps around artifacts: bundle."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from edgesr.cli.options import FILE, FOLDER, as_json


@click.command()
@click.argument("artifacts", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--platform", "-p", required=True, help="Where the app runs: web, android, android-studio, ios, rpi or jetson."
)
@click.option("--out", "-o", type=click.Path(path_type=Path), required=True, help="Folder for the bundle.")
@click.option(
    "--max-mb", type=click.FloatRange(min=1), default=500, show_default=True, help="Refuse to make a larger bundle."
)
@click.option("--offline", is_flag=True, help="rpi, jetson: with the packages, to be installed without a network.")
@click.option("--wheels", type=FOLDER, help="rpi, jetson: ... taken from this folder instead of the index.")
@click.option("--python", metavar="X.Y", help="rpi, jetson: the board's Python. Default: its system's (3.13, 3.12).")
@click.option(
    "--keystore", type=FILE, help="android: sign with this; password in EDGESR_KEYSTORE_PASSWORD. Default: a debug key."
)
@click.option("--key-alias", help="android: ... with this key in it.")
@click.option("--force", is_flag=True, help="android-studio, ios: replace a project that was worked on.")
@as_json
def bundle(
    artifacts: tuple[Path, ...],
    platform: str,
    out: Path,
    max_mb: float,
    offline: bool,
    wheels: Path | None,
    python: str | None,
    keystore: Path | None,
    key_alias: str | None,
    force: bool,
    json_: bool,
) -> None:
    """Make a sample app around ARTIFACTS (folders): a page that runs in any browser, also offline (web), the same page
    as an Android app (android), a project of a native app (android-studio; ios, for Xcode), or a tar with commands and
    a photo service for a board (rpi, jetson).

    Give several precisions of one network, and the app switches between them. The page is built from its sources by
    npm, once; the same artifacts give the same bytes.
    """
    from edgesr.bundles import bundle as make
    from edgesr.bundles.options import Options
    from edgesr.terminal import Terminal

    options = Options(offline, wheels, python, keystore, key_alias)
    with Terminal() as terminal:
        made = make(artifacts, platform, out, options=options, max_mb=max_mb, force=force, listener=terminal)
    if json_:
        click.echo(json.dumps(asdict(made), indent=1))
    else:
        click.echo(f"{made.out}: {', '.join(made.artifacts)}, {made.files} files, {made.bytes / 1e6:.1f} MB", err=True)
        click.echo(f"Next: see {out / 'README.md'}", err=True)
