"""Whether the file of instruments says something else by now of the days to come."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

from loguru import logger

from openbell.errors import InputError
from openbell.runtime.config import Config
from openbell.runtime.intake.contracts import resolved
from openbell.runtime.intake.instrumentsfile import stamp_of
from openbell.runtime.intake.planning import CONTRACTS_AHEAD, Plan
from openbell.runtime.lifetime.eras import Era, other_contracts


class NewerInstruments:
    """Looks at the file, and says once for each of its versions what is another.

    A file that can't be used is told, and what the last good one said holds.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._seen = stamp_of(config)
        self.said = ""
        """What is another by the newest version, in words; empty: nothing."""

    def is_other(self) -> bool:
        """Whether the file is another one than when this was asked last; it is not read."""
        now = stamp_of(self._config)
        other, self._seen = now != self._seen, now
        return other

    def compare(self, plan: Plan, era: Era, last: date) -> None:
        """Read the file, and hold it against what a run goes by; takes a second where it is large.

        Parameters
        ----------
        last : date
            The last trading day that has begun, which stays as it is.
        """
        days = [day.date for day in plan.days]
        own = set(plan.symbols).difference(era.contracts.only)
        try:
            read_on = [last, *(of for of in days if of > last)][: 1 + CONTRACTS_AHEAD]
            found = resolved(self._config, days, sorted(own), ahead=0, read_on=read_on)
        except (InputError, OSError) as error:
            logger.warning("the instruments stay as they were: {}", error)
            self.said = ""
            return
        newer = replace(plan, settings=replace(plan.settings, contracts=found.contracts))
        self.said = other_contracts(era, newer, last)
