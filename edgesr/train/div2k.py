"""DIV2K, 800 photos of 2K for training: found, or downloaded and unpacked in its official layout."""

import re
import shutil
import zipfile
import zlib
from pathlib import Path

from edgesr.errors import DataError, OutputError
from edgesr.listener import Listener
from edgesr.models.files import cache_folder
from edgesr.train.download import RemoteFile, download
from edgesr.whole_file import writing

NAME = "div2k"
PLACE = "DIV2K_train_HR"
ARCHIVE = RemoteFile(
    "https://data.vision.ee.ethz.ch/cvl/DIV2K/DIV2K_train_HR.zip",
    3_530_603_713,
    # The publisher names none; both are those that TensorFlow Datasets checks (datasets/div2k/checksums.tsv).
    "9d0b9c463f6e35b6c62cc6a930ee2224f670b34c1df841a57670f9acf0f6c335",
)
_MEMBER = re.compile(rf"{PLACE}/\d{{4}}\.png")
MAX_PHOTO_BYTES = 32 * 2**20
MAX_PHOTOS = 1000


def photo_source(data: Path, listener: Listener, archive: RemoteFile = ARCHIVE) -> Path:
    """`data` itself; for the name "div2k", where nothing is called so, the folder of DIV2K in the user's cache.

    Raises DataError for a download that fails or is not DIV2K, OutputError.
    """
    if data.exists() or str(data) != NAME:
        return data
    folder = cache_folder().parent / "data" / "DIV2K"
    if not (folder / PLACE).is_dir():
        _get(folder, listener, archive)
    return folder


def _get(folder: Path, listener: Listener, archive: RemoteFile) -> None:
    file = folder / f"{PLACE}.zip"
    with writing(folder, "Give a folder of photos instead."):
        folder.mkdir(parents=True, exist_ok=True)
    free, needed = shutil.disk_usage(folder).free, 2 * archive.bytes
    if free < needed:
        raise OutputError(
            f"DIV2K needs {needed / 1e9:.1f} GB in {folder}, where {free / 1e9:.1f} GB are free. Make room, or give a "
            "folder of photos."
        )
    listener.say(f"Downloading DIV2K (for academic research only) from {archive.address} to {folder} ...")
    if not file.exists():
        download(archive, file, lambda done, total: listener.progress("download DIV2K", done, total))
    unpack(file, folder)
    file.unlink()


def unpack(file: Path, folder: Path) -> None:
    """Unpack the photos of `file` to `folder`/DIV2K_train_HR, all or none.

    Nothing but NNNN.png of a plausible size is written, so that no name leads elsewhere and nothing swells. Raises
    DataError, OutputError.
    """
    part = folder / f".{PLACE}.part"
    try:
        with zipfile.ZipFile(file) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            _check(file, members)
            shutil.rmtree(part, ignore_errors=True)
            with writing(part, "Make room there."):
                part.mkdir()
                for member in members:
                    _extract(archive, member, part)
        with writing(folder / PLACE, "Make room there."):
            part.rename(folder / PLACE)
    except (
        zipfile.BadZipFile,
        RuntimeError,
        EOFError,
        zlib.error,
    ) as error:  # encrypted, odd compression
        raise DataError(f"{file} is damaged ({error}). Delete it, so that it is downloaded again.") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _check(file: Path, members: list[zipfile.ZipInfo]) -> None:
    odd = [member.filename for member in members if not _MEMBER.fullmatch(member.filename)]
    large = [member.filename for member in members if member.file_size > MAX_PHOTO_BYTES]
    if odd or large or not 0 < len(members) <= MAX_PHOTOS:
        why = f"it holds {(odd or large)[0]!r}" if odd or large else f"it holds {len(members)} files"
        raise DataError(f"{file} is not the archive of DIV2K: {why}. Delete it, and give a folder of photos.")


def _extract(archive: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path) -> None:
    """zipfile reads no more than the size that was checked, and compares the checksum at the end."""
    with archive.open(member) as source, (folder / Path(member.filename).name).open("xb") as target:
        shutil.copyfileobj(source, target)
