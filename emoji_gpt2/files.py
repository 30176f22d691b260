"""Who may read what is written: what the umask says, whichever library wrote it.

apply_umask(folder)

``tempfile`` makes folders, and safetensors files, that their owner alone may read; a shared cache
or model would shut everybody else out.
"""

import stat
from pathlib import Path


def apply_umask(folder: Path) -> None:
    """Give a folder and all files and folders in it the modes of newly made ones."""
    probe = folder / ".mode"  # os.umask tells the umask only by changing it, for all threads
    probe.mkdir()
    mode = stat.S_IMODE(probe.stat().st_mode)
    probe.rmdir()
    for path in [folder, *folder.rglob("*")]:
        path.chmod(mode if path.is_dir() else mode & 0o666)
