"""Machines that artifacts are measured on, behind one protocol: this one, by ssh, by adb. Knows no models."""

from edgesr.devices.address import connect
from edgesr.devices.facts import Facts, Thermal, thermal
from edgesr.devices.protocol import Device, Done, OnLine

__all__ = ["Device", "Done", "Facts", "OnLine", "Thermal", "connect", "thermal"]
