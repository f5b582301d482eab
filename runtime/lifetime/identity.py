"""What state was made from: the data's files, the program, and the configuration's eras."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import PurePath

from openbell import __version__
from openbell.adapters.sources import FileIdentity, SourceInfo
from openbell.adapters.stores import Head
from openbell.errors import InputError
from openbell.runtime.config import Config
from openbell.runtime.lifetime.eras import KEY, Era, kept, written


def identity(
    config: Config,
    info: SourceInfo,
    head: Head,
    eras: Sequence[Era],
    first_kept: date,
    zone: str,
) -> dict[str, bytes]:
    """Facts of a run, as a store's meta keeps them.

    Parameters
    ----------
    first_kept : date
        The first trading day of the step log: eras that ended before it are left out.
    zone : str
        The exchange's, for who reads the state without its configuration.
    """
    files = {name: [file.size, file.digest] for name, file in named_files(config, info)}
    if head.step:
        files = {**json.loads(head.meta["files"]), **files}
    return {
        KEY: written(kept(eras, first_kept)),
        "files": json.dumps(files, sort_keys=True).encode(),
        "program": __version__.encode(),
        "zone": zone.encode(),
    }


def check_files(config: Config, info: SourceInfo, head: Head) -> None:
    """
    Raises
    ------
    InputError
        If a file is another one than it was.
    """
    held = json.loads(head.meta["files"])
    for name, file in named_files(config, info):
        if name in held and held[name] != [file.size, file.digest]:
            raise InputError(
                f"{file.path}: not the file that the state of {config.name!r} was made "
                "from; put that one back, or give the configuration another name"
            )


def named_files(config: Config, info: SourceInfo) -> Iterator[tuple[str, FileIdentity]]:
    """The data's files, by names that stay wherever their folder lies and is called from."""
    folder = PurePath(config.data.path or "")
    for file in info.files if info.lasting else ():
        path = PurePath(file.path)
        if path == folder:
            yield path.name, file
        else:
            inside = path.is_relative_to(folder)
            yield str(path.relative_to(folder) if inside else path), file
