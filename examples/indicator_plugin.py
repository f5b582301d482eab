"""Two indicators of one's own: the median true range, and each minute's usual volume.

A package offers them by entry points in its pyproject.toml; a configuration then names them as
the type of an indicator:

    [project.entry-points."openbell.indicators"]
    median_true_range = "indicator_plugin:median_true_range"
    usual_volume = "indicator_plugin:usual_volume"

    history:
      indicators:
        atr: {type: median_true_range, period: 14d}
        busy: {type: usual_volume, period: 4w, granularity: intraday, field: volume}
"""

import numpy as np
from numpy.typing import NDArray

from openbell.market.indicators import Trailing


def median_true_range(trailing: Trailing) -> NDArray[np.float64]:
    """Median over the days of the true range: one value a symbol, in quote currency.

    The first day of the period has no close before it, so its range is from high to low.
    """
    high, low, close = (trailing.daily(field) for field in ("high", "low", "close"))
    high[1:], low[1:] = np.maximum(high[1:], close[:-1]), np.minimum(low[1:], close[:-1])
    ranges: NDArray[np.float64] = np.median(high - low, axis=0)
    return ranges


def usual_volume(trailing: Trailing) -> NDArray[np.float64]:
    """Median over the days of the volume at the same minute, times `options.factor`."""
    volumes = trailing.values()
    usual = np.full(volumes.shape[1:], np.nan)
    known = ~np.isnan(volumes).all(axis=0)
    usual[known] = np.nanmedian(volumes[:, known], axis=0)
    return usual * float(trailing.spec.options.get("factor", 1.0))
