"""holtwinters: exponential smoothing with a trend, and with a season when sp says how long it is."""

from ainode.statistical.smoothing import forecast, load, official, table

TABLE = table(trend="add")

__all__ = ["TABLE", "forecast", "load", "official"]
