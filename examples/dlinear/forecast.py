"""Loads a monthly series into IoTDB, registers the model of train.py by SQL, asks for a forecast and draws it.

    PYTHON forecast.py --port 6667 --series SERIES.csv --model FOLDER --png OUT.png

Needs the packages of requirements.txt; every step is one SQL statement, which is printed first.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import shutil
import sys
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from iotdb.Session import Session
from iotdb.utils.exception import StatementExecutionException

MODEL, SERIES = "airline", "root.airline.passengers"
LENGTH, HORIZON = 48, 24


def read_series(path: Path) -> tuple[list[datetime], list[float]]:
    """Months and values of a CSV file with a header and lines such as 1949-01,112."""
    with path.open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    months = [datetime.strptime(row[0], "%Y-%m").replace(tzinfo=timezone.utc) for row in rows]
    return months, [float(row[1]) for row in rows]


def millis(when: datetime) -> int:
    """IoTDB's time stamp of a date."""
    return int(when.timestamp()) * 1000


def show(sql: str) -> None:
    """Prints a statement as the command line client would show it."""
    print(f"\nIoTDB> {sql if len(sql) < 150 else sql[:100] + ' ...'}", flush=True)


def execute(session: Session, sql: str, tolerate: str | None = None) -> None:
    """Runs a statement without a result; an error that says `tolerate` is fine."""
    show(sql)
    try:
        session.execute_non_query_statement(sql)
    except StatementExecutionException as error:
        if tolerate is None or tolerate not in str(error):
            raise


def query(session: Session, sql: str, silent: bool = False) -> Any:
    """Runs a query, prints its table, returns it as a data frame."""
    if not silent:
        show(sql)
    result = session.execute_query_statement(sql)
    try:
        frame = result.todf()
    finally:
        result.close_operation_handle()
    if not silent:
        print(frame.to_string(index=False))
    return frame


def register(session: Session, folder: Path) -> None:
    """CREATE MODEL, and the wait until it can be called: up to 2.0.7 IoTDB registers in the background."""
    with contextlib.suppress(StatementExecutionException):  # at the first run there is none
        session.execute_non_query_statement(f"DROP MODEL {MODEL}")
    execute(session, f'CREATE MODEL {MODEL} USING URI "file://{folder}"')
    deadline = time.monotonic() + 60
    while True:
        models = query(session, f"SHOW MODELS {MODEL}", silent=True)
        states = [str(state).upper() for state in models["State"]]
        if states == ["ACTIVE"]:
            break
        if "UNAVAILABLE" in states or "INACTIVE" in states or time.monotonic() > deadline:
            raise SystemExit(f"the model was not registered:\n{models.to_string(index=False)}\nSee the AINode's log.")
        time.sleep(0.1)
    query(session, "SHOW MODELS")


def infer(session: Session, sql: str) -> Any:
    """CALL INFERENCE; the ConfigNode may learn of a new model a moment after the AINode."""
    deadline = time.monotonic() + 20
    while True:
        try:
            frame = query(session, sql, silent=True)
            break
        except StatementExecutionException as error:
            if not str(error).startswith(("1504:", "1505:")) or time.monotonic() > deadline:
                raise
        time.sleep(0.1)
    show(sql)
    print(frame.to_string(index=False))
    return frame


def draw_terminal(months: list[datetime], values: list[float], forecast: list[float]) -> None:
    """The last years as text."""
    import plotext as plot

    history, actual = values[-HORIZON - LENGTH : -HORIZON], values[-HORIZON:]
    shown = months[-HORIZON - LENGTH :]
    plot.theme("clear")
    plot.plot_size(min(shutil.get_terminal_size((100, 30)).columns, 110), 24)
    first = len(history)
    later = list(range(first, first + len(forecast)))
    plot.plot(list(range(first)), history, label="history", marker="dot")
    plot.plot(later, actual, label="what came", marker="o")
    plot.plot(later, forecast, label="forecast", marker="x")
    januaries = [at for at, month in enumerate(shown) if month.month == 1]
    plot.xticks(januaries, [str(shown[at].year) for at in januaries])
    plot.title("Airline passengers, thousands a month")
    print("\n".join(line.rstrip() for line in plot.uncolorize(plot.build()).splitlines()))


def draw_png(png: Path, months: list[datetime], values: list[float], forecast: list[float]) -> None:
    """The same as a picture."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(10, 4.5))
    axes.plot(months, values, color="0.4", label="airline passengers")
    axes.plot(months[-HORIZON:], forecast, color="tab:red", linewidth=2, label="forecast by SQL (DLinear)")
    axes.axvline(months[-HORIZON], color="0.8", linestyle="--")
    axes.set_ylabel("thousands a month")
    axes.legend()
    figure.tight_layout()
    figure.savefig(png, dpi=120)


def main() -> int:
    """The steps in order."""
    parser = argparse.ArgumentParser(description="Forecast the airline passengers with a model served by the AINode.")
    parser.add_argument("--port", type=int, default=6667)
    parser.add_argument("--series", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--png", type=Path, required=True)
    parser.add_argument("--generate-time", action="store_true", help="ask IoTDB for time stamps (2.0.2 and later)")
    args = parser.parse_args()
    months, values = read_series(args.series)

    session = Session("127.0.0.1", args.port, "root", "root", zone_id="UTC", enable_redirection=False)
    session.open(False)
    try:
        execute(session, f"CREATE TIMESERIES {SERIES} WITH DATATYPE=FLOAT", tolerate="already exist")
        rows = ", ".join(f"({millis(month)}, {value})" for month, value in zip(months, values))
        execute(session, f"INSERT INTO root.airline(time, passengers) VALUES {rows}")
        register(session, args.model.resolve())
        begin, end = millis(months[-HORIZON - LENGTH]), millis(months[-HORIZON])
        source = f"select passengers from root.airline where time >= {begin} and time < {end}"
        option = ", generateTime=true" if args.generate_time else ""
        answer = infer(session, f'CALL INFERENCE({MODEL}, "{source}"{option})')
        query(session, "SHOW CLUSTER")
    except StatementExecutionException as error:
        raise SystemExit(f"IoTDB refused the statement: {error}") from None
    finally:
        session.close()

    forecast = [float(value) for value in answer[answer.columns[-1]]]
    actual = values[-HORIZON:]
    if len(forecast) != HORIZON:
        raise SystemExit(f"{len(forecast)} rows came, {HORIZON} were expected")
    print()
    draw_terminal(months, values, forecast)
    draw_png(args.png, months, values, forecast)
    error = sum(abs(f - a) / a for f, a in zip(forecast, actual)) / HORIZON
    print(f"\nMean error over the {HORIZON} months the model never saw: {100 * error:.1f} %. Picture: {args.png}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
