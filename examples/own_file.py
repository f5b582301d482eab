"""Backtest a CSV of one US stock's minutes, with columns Date, Time, Open, High, Low, Close, Volume.

python examples/own_file.py spy.csv SPY America/New_York
"""

import sys

import openbell

path, symbol, timezone = sys.argv[1:]
result = openbell.backtest(
    {
        "exchange": "XNYS",
        "sessions": [
            {"name": "Opening Range", "start": "open", "end": "open+15m", "closed": "left"},
            {"name": "Lunch", "start": "12:00", "end": "12:29"},
        ],
        "data": {
            "symbol": symbol,
            "timezone": timezone,
            "columns": {
                "ts": "Date Time",
                "open": "Open",
                "high": "High",
                "low": "Low",
                "close": "Close",
                "volume": "Volume",
            },
        },
    },
    path,
)
breaks = result.signals.group_by(["session", "side"]).aggregate([("id", "count")])
print(breaks.to_pandas().to_string(index=False))
print(result.quality.to_pandas()[["trading_date", "actual", "expected"]].to_string(index=False))
