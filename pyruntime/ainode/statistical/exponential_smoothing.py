"""exponential_smoothing: simple smoothing; a trend or a season when the attributes ask for one."""

from ainode.statistical.smoothing import forecast, load, official, table

TABLE = table(trend=None)

__all__ = ["TABLE", "forecast", "load", "official"]
