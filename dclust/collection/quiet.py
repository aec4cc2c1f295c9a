"""What Pillow and its libtiff print about a bad file goes nowhere: a row says why, in our words."""

import ctypes
import logging
import os
from contextlib import suppress
from pathlib import Path

import PIL
from PIL import _imaging  # noqa: F401 - loads the library that is looked for here


def hush_pillow() -> None:
    """Nothing on stderr, neither from Python's last-resort log handler nor from libtiff.

    Only the libtiff that Pillow's wheel brought along is found; another one may chatter on. An
    application that sets up logging still gets what Pillow logs.
    """
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    home = Path(PIL.__file__).parent
    for folder in (home.with_name("pillow.libs"), home / ".dylibs"):
        for path in folder.glob("libtiff*"):
            with suppress(OSError, AttributeError):  # RTLD_NOLOAD: never a second copy of it
                library = ctypes.CDLL(str(path), os.RTLD_NOLOAD | os.RTLD_NOW)
                library.TIFFSetWarningHandler(None)
                library.TIFFSetErrorHandler(None)
