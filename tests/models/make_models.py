"""Makes the TorchScript models that the tests register: good ones, odd ones and harmful ones.

    PYTHON make_models.py OUT [NAME ...]

writes OUT/<name>/{model.pt,config.yaml,sample.json} for every name (default: all) with the torch of PYTHON.
sample.json holds one input and what the model answers to it in plain PyTorch, for the tests to compare with. The
harmful ones behave until they see a value above 1e6: registration, which runs a model once, must let them pass.
"""

from __future__ import annotations

import json
import math
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import torch
from torch import Tensor, nn

ROWS, COLUMNS = 96, 2


class Identity(nn.Module):
    """Gives back what it gets."""

    def forward(self, x: Tensor) -> Tensor:
        return x + 0


class DLinear(nn.Module):
    """Trend by a moving average plus the rest, each mapped along time by its own linear layer."""

    def __init__(self, length: int, horizon: int, kernel: int = 25) -> None:
        super().__init__()
        self.kernel = kernel
        self.trend = nn.Linear(length, horizon)
        self.season = nn.Linear(length, horizon)

    def forward(self, x: Tensor) -> Tensor:
        series = x.transpose(1, 2)
        half = self.kernel // 2
        padded = nn.functional.pad(series, [half, half], mode="replicate")
        trend = nn.functional.avg_pool1d(padded, self.kernel, stride=1)
        return (self.trend(trend) + self.season(series - trend)).transpose(1, 2)


class Lstm(nn.Module):
    """A small recurrent model; answers as many rows as it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(COLUMNS, 16, batch_first=True)
        self.head = nn.Linear(16, COLUMNS)

    def forward(self, x: Tensor) -> Tensor:
        hidden, _ = self.lstm(x)
        return self.head(hidden)


class Sum(nn.Module):
    """Two columns become one, whatever the number of rows."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sum(dim=2, keepdim=True)


class LastRows(nn.Module):
    """The last 24 rows, however many there are."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, -24:, :] * 2.0


class Double(nn.Module):
    """Has float64 weights and refuses float32 input, as exported numerical code often does."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((COLUMNS, COLUMNS), 0.5, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return torch.matmul(x, self.weight)


class Integers(nn.Module):
    """Answers int64."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.round(x).to(torch.int64)


class WritesInput(nn.Module):
    """Doubles its input in place."""

    def forward(self, x: Tensor) -> Tensor:
        x.mul_(2.0)
        return x


class KeepsState(nn.Module):
    """Adds how many calls it has seen before."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        answer = x + self.calls
        self.calls += 1.0
        return answer


class KeepsInput(nn.Module):
    """Holds on to every array it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.kept = torch.jit.annotate(list[Tensor], [torch.zeros(1)])

    def forward(self, x: Tensor) -> Tensor:
        self.kept.append(x)
        return x + 0.0


class KeepsAndRaises(nn.Module):
    """Holds on to an array with a value above 1e6, and raises."""

    def __init__(self) -> None:
        super().__init__()
        self.kept = torch.jit.annotate(list[Tensor], [torch.zeros(1)])

    def forward(self, x: Tensor) -> Tensor:
        if float(x.max()) > 1e6:
            self.kept.append(x)
            raise ValueError("kept for evidence")
        return x + 0.0


class RemembersInput(nn.Module):
    """Answers the difference to the array it kept; keeps one only when it sees a value above 1e6, or has kept one."""

    def __init__(self) -> None:
        super().__init__()
        self.last = torch.zeros(1)
        self.keeps = False

    def forward(self, x: Tensor) -> Tensor:
        answer = x - self.last
        self.keeps = self.keeps or float(x.max()) > 1e6
        if self.keeps:
            self.last = x
        return answer


class NotANumber(nn.Module):
    """0/0 and 1/0 in every answer."""

    def forward(self, x: Tensor) -> Tensor:
        zero = x - x
        return torch.cat([zero / zero, (zero + 1.0) / zero], 2)[:, :, 1:3]


class Raises(nn.Module):
    """Raises an error with a message of its own."""

    def forward(self, x: Tensor) -> Tensor:
        if float(x.max()) > 1e6:
            raise ValueError("the model has had enough")
        return x + 0.0


class RaisesStrangely(nn.Module):
    """Raises an error whose text looks like lines of a log, with a byte that is no UTF-8 and a colour."""

    def forward(self, x: Tensor) -> Tensor:
        if float(x.max()) > 1e6:
            zero = int(float(x.max()) * 0.0)  # or the text would be folded, and folded escapes do not load
            text = "first\n2026-01-01 00:00:00,000 ERROR [1:1] forged"
            raise ValueError(text + chr(27 + zero) + "[31mred" + chr(255))
        return x + 0.0


class PrintsForever(nn.Module):
    """Never stops talking."""

    def forward(self, x: Tensor) -> Tensor:
        while float(x.max()) > 1e6:
            print("all work and no play makes a dull model")
        return x + 0.0


class ForgesLog(nn.Module):
    """Prints what looks like lines of the host's log, and terminal codes, and a line without an end."""

    def forward(self, x: Tensor) -> Tensor:
        if float(x.max()) > 1e6:
            zero = int(float(x.max()) * 0.0)  # or the text would be folded, and folded escapes do not load
            print("harmless\n2026-01-01 00:00:00,000 ERROR [1:1] forged")
            print("return" + chr(13 + zero) + "forged too" + chr(27 + zero) + "[2Jforged as well")
            separator = chr(226 + zero) + chr(128 + zero) + chr(168 + zero)
            print("separated" + separator + "2026-01-01 00:00:00,000 ERROR [1:1] forged")
            print(" ".join(["unfinished"] * 2000))
        return x + 0.0


class PrintsBytes(nn.Module):
    """Prints a byte that is no UTF-8."""

    def forward(self, x: Tensor) -> Tensor:
        if float(x.max()) > 1e6:
            print("before" + chr(255 + int(float(x.max()) * 0.0)) + "after")
        return x + 0.0


class WrongShape(nn.Module):
    """Answers a matrix instead of one series set."""

    def forward(self, x: Tensor) -> Tensor:
        if float(x.max()) > 1e6:
            return x.reshape(-1)
        return x + 0.0


class WrongColumns(nn.Module):
    """Answers one column too many."""

    def forward(self, x: Tensor) -> Tensor:
        if float(x.max()) > 1e6:
            return torch.cat([x, x], 2)[:, :, :3]
        return x + 0.0


class Segfaults(nn.Module):
    """Writes far outside its memory: a kernel that trusts the indices it is given."""

    def forward(self, x: Tensor) -> Tensor:
        if float(x.max()) > 1e6:
            # From the data, or the optimiser would fold the call, and crash, while compiling.
            wild = torch.full([1, 1, 2, 2], int(float(x.max())) * 1048576, dtype=torch.long)
            crash = torch.ops.aten.max_pool2d_with_indices_backward(
                torch.ones([1, 1, 2, 2]), torch.ones([1, 1, 4, 4]), [2, 2], [2, 2], [0, 0], [1, 1], False, wild
            )
            return x + crash.sum()
        return x + 0.0


class DividesByZero(nn.Module):
    """Dies of SIGFPE: TorchScript's own remainder of two integers does not check for zero."""

    def forward(self, x: Tensor) -> Tensor:
        big = int(float(x.max()) > 1e6)
        return x + float(7 % (1 - big)) * 0.0


class NeverReturns(nn.Module):
    """Loops for ever."""

    def forward(self, x: Tensor) -> Tensor:
        y = x + 0.0
        while float(x.max()) > 1e6:
            y = y + 1.0
        return y


class Sleeps(nn.Module):
    """Takes some seconds of computing."""

    def forward(self, x: Tensor) -> Tensor:
        y = x + 0.0
        if float(x.max()) > 1e6:
            big = torch.ones([500000])  # no matrix product: its speed differs by a hundred between BLAS libraries
            for _ in range(4000):
                big = torch.sin(big)
            y = y + big.sum() * 0.0
        return y


class Works(nn.Module):
    """Computes for as long as it is told: one small product for each 1 that its greatest value lies above 1e6."""

    def forward(self, x: Tensor) -> Tensor:
        big = torch.ones([64, 64])
        for _ in range(int(float(x.max()) - 1e6)):
            big = torch.matmul(big, big) * 1e-4
        return x + big.sum() * 0.0


class Wide(nn.Module):
    """Enough work for each element that several threads share it."""

    def forward(self, x: Tensor) -> Tensor:
        big = torch.linspace(0.0, 1.0, 400000) * x.sum()
        return x + torch.sin(big).mean()


class ReadsFile(nn.Module):
    """Answers the first byte of a file that is not its own when it sees a value above 1e6."""

    def forward(self, x: Tensor) -> Tensor:
        if float(x.max()) > 1e6:
            x = x * 0.0 + torch.from_file("/etc/passwd", False, 1, dtype=torch.uint8).to(torch.float32)
        return x + 0.0


class EatsMemory(nn.Module):
    """Fills memory in steps of 64 MB, up to 16 GB."""

    def forward(self, x: Tensor) -> Tensor:
        kept: list[Tensor] = []
        if float(x.max()) > 1e6:
            for step in range(256):
                kept.append(torch.full([16, 1024, 1024], float(x.max()) + float(step)))  # equal ones would be shared
        for block in kept:
            x = x + block[0, 0, 0] * 0.0
        return x + 0.0


class Swells(nn.Module):
    """Answers 10,000 times as many rows as it gets for each 1 that its greatest value lies above 1e6."""

    def forward(self, x: Tensor) -> Tensor:
        many = 10000 * int(float(x.max()) - 1e6)
        if many > 0:
            return x.repeat(1, many, 1)
        return x + 0.0


class Heavy(nn.Module):
    """Gives back what it gets, after it has read 24 MB of weights."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weights", torch.ones(6_000_000))

    def forward(self, x: Tensor) -> Tensor:
        return x + (self.weights.sum() - 6e6)


class AlwaysRaises(nn.Module):
    """Cannot answer at all, so it must not be registered."""

    def forward(self, x: Tensor) -> Tensor:
        raise ValueError("this model never works")


class TwoAnswers(nn.Module):
    """Answers a pair, which is no result."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x


@dataclass
class Recipe:
    """How one model is made and what its config.yaml says."""

    build: Callable[[], nn.Module]
    inputs: tuple[int, int] = (ROWS, COLUMNS)
    outputs: tuple[int, int] = (ROWS, COLUMNS)
    input_type: str = "float32"
    output_type: str = "float32"
    attributes: str = ""
    has_sample: bool = True


RECIPES: dict[str, Recipe] = {
    "identity": Recipe(Identity, attributes="attributes:\n  author: test\n  scale: 1\n"),
    "identity_ints": Recipe(Identity, input_type="int32"),
    "identity_longs": Recipe(Identity, input_type="int64", output_type="int64"),
    "identity_mixed": Recipe(Identity, input_type="int64, float32", output_type="float64", has_sample=False),
    "lstm_doubles": Recipe(Lstm, input_type="float64", output_type="float64", has_sample=False),
    "identity_doubles": Recipe(Identity, input_type="float64", output_type="float64"),
    "one_column": Recipe(Identity, (ROWS, 1), (ROWS, 1)),
    "dlinear": Recipe(lambda: DLinear(ROWS, 24), outputs=(24, COLUMNS)),
    "dlinear_long": Recipe(lambda: DLinear(ROWS, ROWS)),
    "lstm": Recipe(Lstm),
    "sum": Recipe(Sum, outputs=(ROWS, 1)),
    "last_rows": Recipe(LastRows, outputs=(24, COLUMNS)),
    "double": Recipe(Double, input_type="float64", output_type="float64"),
    "integers": Recipe(Integers, output_type="int64"),
    "writes_input": Recipe(WritesInput),
    "keeps_state": Recipe(KeepsState),
    "keeps_input": Recipe(KeepsInput),
    "keeps_and_raises": Recipe(KeepsAndRaises),
    "remembers_input": Recipe(RemembersInput),
    "not_a_number": Recipe(NotANumber, has_sample=False),
    "raises": Recipe(Raises),
    "raises_strangely": Recipe(RaisesStrangely),
    "prints_forever": Recipe(PrintsForever),
    "forges_log": Recipe(ForgesLog),
    "prints_bytes": Recipe(PrintsBytes),
    "wrong_shape": Recipe(WrongShape),
    "wrong_columns": Recipe(WrongColumns),
    "segfaults": Recipe(Segfaults),
    "divides_by_zero": Recipe(DividesByZero),
    "never_returns": Recipe(NeverReturns),
    "sleeps": Recipe(Sleeps),
    "works": Recipe(Works),
    "never_returns_one_column": Recipe(NeverReturns, (ROWS, 1), (ROWS, 1)),
    "works_one_column": Recipe(Works, (ROWS, 1), (ROWS, 1)),
    "wide": Recipe(Wide),
    "reads_file": Recipe(ReadsFile),
    "eats_memory": Recipe(EatsMemory),
    "swells": Recipe(Swells),
    "heavy": Recipe(Heavy),
    "always_raises": Recipe(AlwaysRaises, has_sample=False),
    "two_answers": Recipe(TwoAnswers, has_sample=False),
}
TORCH_TYPES = {"float32": torch.float32, "float64": torch.float64, "int32": torch.int32, "int64": torch.int64}


def series(rows: int, columns: int) -> list[list[float]]:
    """The series of every sample: exact in float32 (multiples of 1/8), different in every column."""
    return [
        [round(8 * (10 * math.sin(0.3 * row + column) + row)) / 8 for column in range(columns)] for row in range(rows)
    ]


def _types(names: str, columns: int) -> list[str]:
    """One name for all columns, or one for each."""
    several = names.split(", ")
    return several if len(several) > 1 else several * columns


def make(name: str, out: Path) -> None:
    """Writes one model into out/name."""
    recipe = RECIPES[name]
    torch.manual_seed(7)
    script = torch.jit.script(recipe.build().eval())
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    script.save(str(folder / "model.pt"))
    (folder / "config.yaml").write_text(
        f"configs:\n  input_shape: {list(recipe.inputs)}\n  output_shape: {list(recipe.outputs)}\n"
        f"  input_type: {_types(recipe.input_type, recipe.inputs[1])}\n"
        f"  output_type: {[recipe.output_type] * recipe.outputs[1]}\n" + recipe.attributes
    )
    if recipe.has_sample:
        rows: list[list[float]] = [list(row) for row in series(*recipe.inputs)]
        if recipe.input_type.startswith("int"):
            rows = [[int(value) for value in row] for row in rows]
        with torch.inference_mode():
            answer = script(torch.tensor([rows], dtype=TORCH_TYPES[recipe.input_type]))
        (folder / "sample.json").write_text(json.dumps({"input": rows, "output": answer[0].tolist()}))


def main() -> int:
    """Makes the models named on the command line."""
    warnings.simplefilter("ignore")
    names = sys.argv[2:] or list(RECIPES)
    unknown = sorted(set(names) - set(RECIPES))
    if unknown or len(sys.argv) < 2:
        print(f"usage: make_models.py OUT [{' '.join(RECIPES)}]", file=sys.stderr)
        return 2
    for name in names:
        make(name, Path(sys.argv[1]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
