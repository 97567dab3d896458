"""From an address to a device."""

import re
from dataclasses import dataclass

from edgesr.devices.protocol import Device
from edgesr.errors import UsageError

FORMS = "local, ssh:[USER@]HOST[:PORT] (HOST may be a name of ~/.ssh/config), adb:[SERIAL]"
# A name that begins with a dash would be an option of ssh or adb.
_HOST = re.compile(
    r"(?:(?P<user>[\w.][\w.\\+-]*)@)?(?:\[(?P<six>[0-9a-fA-F:.%\w]+)\]|(?P<host>\w[\w.-]*))(?::(?P<port>\d+))?"
)
_SERIAL = re.compile(r"\w[\w.:\[\]-]*")


@dataclass(frozen=True, slots=True)
class SshAddress:
    """`destination`: [USER@]HOST as the ssh client takes it."""

    destination: str
    port: int | None


def connect(address: str) -> Device:
    """The device at `address`. Nothing is connected before it is used. Raises UsageError for anything else."""
    way, _, rest = address.partition(":")
    if address == "local":
        from edgesr.devices.local import LocalDevice

        return LocalDevice()
    if way == "ssh":
        from edgesr.devices.ssh import SshDevice

        return SshDevice(address, parse_ssh(rest, address))
    if way == "adb":
        from edgesr.devices.adb import AdbDevice

        return AdbDevice(address, parse_serial(rest, address))
    raise UsageError(f"{address!r} is not the address of a device. Forms: {FORMS}.")


def parse_ssh(text: str, address: str) -> SshAddress:
    found = _HOST.fullmatch(text)
    port = int(found["port"]) if found and found["port"] else None
    if not found or (port is not None and not 0 < port < 65536):
        raise UsageError(f"{address!r} is not the address of a device. Forms: {FORMS}.")
    host = found["six"] or found["host"]
    return SshAddress(f"{found['user']}@{host}" if found["user"] else host, port)


def parse_serial(text: str, address: str) -> str | None:
    """None for the only device there is."""
    if text and not _SERIAL.fullmatch(text):
        raise UsageError(f"{address!r} is not the address of a device. Forms: {FORMS}.")
    return text or None
