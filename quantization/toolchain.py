"""Keeps converters quiet and turns what they raise into one error of ours."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator

from edgesr.errors import ConversionError, EdgesrError

MESSAGE_LIMIT = 400


@contextlib.contextmanager
def stage(name: str) -> Iterator[None]:
    """Run a step of a toolchain: what it prints, logs and warns is dropped, its failure is ConversionError(name)."""
    try:
        with quiet():
            yield
    except EdgesrError:
        raise
    except Exception as error:
        text = " ".join(str(error).split())[:MESSAGE_LIMIT]
        raise ConversionError(name, f"{type(error).__name__}: {text}") from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Drop what Python code prints, logs and warns."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
