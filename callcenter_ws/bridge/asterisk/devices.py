"""The names of devices on an Asterisk: of phones, of extensions of the dialplan, and of hints."""

from __future__ import annotations

import re

_SUFFIX = re.compile(r"-[0-9a-f]{8}$")
_SHORT_SUFFIX = re.compile(r"(?<=[0-9A-Za-z_.])-[0-9]{1,6}$")
_SHORT_SUFFIXED = ("DAHDI/", "IAX2/")
_PHONES_OF_HINTS = ("PJSIP/", "SIP/")
"""The technologies of the phones behind the hints of extensions, as FreePBX writes them."""

_OPTIONS = re.compile(r"/[a-z]+$")


def device_of_channel(channel: str) -> str:
    """Return the device of a channel: ``PJSIP/201`` of ``PJSIP/201-0000001f``."""
    name = channel.partition(";")[0]
    device = _SUFFIX.sub("", name)
    if device == name and name.startswith(_SHORT_SUFFIXED):
        return _SHORT_SUFFIX.sub("", name)
    return device


class AsteriskDevices:
    """Implements ``DeviceNames``."""

    def extension(self, device: str) -> str:
        """Return ``201`` of ``Local/201@agents/n`` and of ``hint:201@ext-local``; empty for other devices."""
        if self.is_of_dialplan(device):
            return device[6:].partition("@")[0]
        if device[:5].lower() == "hint:":
            return device[5:].partition("@")[0]
        return ""

    def is_of_dialplan(self, device: str) -> bool:
        """Return whether a device is a Local channel."""
        return device[:6].lower() == "local/"

    def variants(self, device: str) -> tuple[str, ...]:
        """Return the names of a device without a channel's half and options, and of the phones behind its hint."""
        plain = device.partition(";")[0]
        extension = self.extension(plain)
        names = [device, plain]
        if extension:
            names += [_OPTIONS.sub("", plain), extension]
            if not self.is_of_dialplan(plain):
                names += [phone + extension for phone in _PHONES_OF_HINTS]
        else:
            # Asterisk accepts "pjsip/201" in queues.conf; its channels are named "PJSIP/201-...".
            technology, slash, rest = plain.partition("/")
            names.append(f"{technology.upper()}{slash}{rest}")
        return tuple(dict.fromkeys(names))
