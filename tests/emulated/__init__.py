"""A whole machine, emulated: a kernel of its own, all controllers, security modules, and boots that are real."""

from tests.emulated.image import Image, make_image
from tests.emulated.machine import APPARMOR, SELINUX, Emulated

__all__ = ["APPARMOR", "SELINUX", "Emulated", "Image", "make_image"]
