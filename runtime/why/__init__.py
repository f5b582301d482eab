"""Why a symbol has the signals of a day, or none.

The day is run again in memory, by the steps that were recorded or as a backtest of that day, and
listened to.
"""

from openbell.runtime.why.asking import asked
from openbell.runtime.why.rows import from_stored_rows
from openbell.runtime.why.stored import from_store

__all__ = ["asked", "from_store", "from_stored_rows"]
