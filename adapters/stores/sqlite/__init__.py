"""State in one SQLite file: the default, without set-up, for one machine.

The file is in WAL mode: any number of readers, in any process, work while the writer writes. It
must not lie on a network file system, where file locks don't hold. Next to it stand `-wal` and
`-shm`, parts of it that hold the last commits until they are folded in: copy all three or none.
"""

from openbell.adapters.stores.sqlite.file import FileDatabase
from openbell.adapters.stores.sqlite.store import SqliteStore

__all__ = ["FileDatabase", "SqliteStore"]
