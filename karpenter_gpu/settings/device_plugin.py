"""NVIDIA's device plugin, without which a GPU node never becomes ready and bills for ever."""

from __future__ import annotations

import re
from collections.abc import Iterator

from karpenter_gpu.compat import DEFAULT_DEVICE_PLUGIN, DEVICE_PLUGIN_IMAGE, DEVICE_PLUGINS
from karpenter_gpu.errors import Fault
from karpenter_gpu.settings._setting import setting


@setting
class DevicePlugin:
    """The DaemonSet on every GPU node but Bottlerocket's, whose image brings the plugin.

    Args:
        version: Of NVIDIA/k8s-device-plugin, without the leading v.

        image: Repository of the image; name a mirror here.

        enabled: Off where something else brings the plugin, as NVIDIA's GPU operator does. A GPU node without one never
            becomes ready, and bills.
    """

    version: str = str(DEFAULT_DEVICE_PLUGIN)
    image: str = DEVICE_PLUGIN_IMAGE
    enabled: bool = True

    def check(self) -> Iterator[Fault]:
        yield from image_faults(self.image, DEVICE_PLUGIN_IMAGE)
        known = [str(version) for version in DEVICE_PLUGINS]
        if self.version not in known:
            yield Fault(
                "version", f"{self.version!r} is not a device plugin this package knows; use one of {', '.join(known)}"
            )


def image_faults(image: str, example: str) -> Iterator[Fault]:
    """The fault of a text that is not an image's repository."""
    if not re.fullmatch(r"[^\s:@/]+(:[0-9]+)?(/[^\s:@/]+)+", image):
        yield Fault("image", f"{image!r} is not an image's repository; write it without a tag, as in {example}")
