"""Writes the table of expected requests for test_frames.c.

The frames are decoded here a second time, by the IDL of the family that sent them, so that nothing of the C
code's own reading of the clashes is repeated. What comes out must print as the manifest says.
"""

from __future__ import annotations

import argparse
import json
import re
import struct
from pathlib import Path
from typing import Any

BINARY_TYPES = {
    2: "bool", 3: "byte", 4: "double", 6: "i16", 8: "i32", 10: "i64",
    11: "string", 12: "struct", 13: "map", 14: "set", 15: "list",
}
COMPACT_TYPES = {
    1: "bool", 2: "bool", 3: "byte", 4: "i16", 5: "i32", 6: "i64", 7: "double",
    8: "string", 9: "list", 10: "set", 11: "map", 12: "struct",
}

METHODS = {
    "getAIHeartbeat": "HEARTBEAT", "stopAINode": "STOP", "registerModel": "REGISTER_MODEL",
    "deleteModel": "DELETE_MODEL", "showModels": "SHOW_MODELS",
    "showLoadedModels": "SHOW_LOADED_MODELS", "showAIDevices": "SHOW_DEVICES",
    "loadModel": "LOAD_MODEL", "unloadModel": "UNLOAD_MODEL", "inference": "INFERENCE",
    "forecast": "FORECAST", "createTrainingTask": "CREATE_TRAINING",
    "createTuningTask": "CREATE_TUNING",
}

# Which families the bytes leave possible, by method and what is special about the frame.
FAMILIES = {
    "getAIHeartbeat": "ACDEFGH", "deleteModel": "ACDEFGH", "stopAINode": "EFGH", "showModels": "EFGH",
    "showLoadedModels": "FGH", "showAIDevices": "FGH", "loadModel": "FGH", "unloadModel": "FGH",
    "createTuningTask": "GH",
}


def expected_families(family: str, method: str, fields: dict[str, Any]) -> str:
    """The set of families as letters."""
    if method in FAMILIES:
        return FAMILIES[method]
    if method == "registerModel":
        return "ACDEF" if family in "ACDEF" else "GH"
    if method == "createTrainingTask":
        return "CD" if family in "CD" else "CDEF"
    if method == "forecast":
        return "DEF" if family in "DEF" else family
    if family in "AC":
        return "AC"
    told = [name for name in ("windowParams", "inferenceAttributes") if fields.get(name) is not None]
    if not told:
        return "DEFGH"
    return "DEF" if family in "DEF" else "GH"


class Bytes:
    """A cursor over one message."""

    def __init__(self, data: bytes, compact: bool) -> None:
        self.data, self.at, self.compact = data, 0, compact

    def take(self, size: int) -> bytes:
        """The next bytes, all of them."""
        part = self.data[self.at : self.at + size]
        assert len(part) == size, "short"
        self.at += size
        return part

    def number(self, code: str) -> Any:
        """A big-endian number of struct's code."""
        return struct.unpack(">" + code, self.take(struct.calcsize(code)))[0]

    def varint(self) -> int:
        """An unsigned varint."""
        result = shift = 0
        while True:
            byte = self.take(1)[0]
            result |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return result

    def zigzag(self) -> int:
        """A signed varint."""
        raw = self.varint()
        return (raw >> 1) ^ -(raw & 1)

    def size(self) -> int:
        """A length."""
        return self.varint() if self.compact else self.number("i")

    def message(self) -> tuple[str, int]:
        """Name and sequence id of a call."""
        if self.compact:
            assert self.take(2) == b"\x82\x21"
            seqid = self.varint()
            return self.take(self.varint()).decode(), seqid
        assert self.take(4) == b"\x80\x01\x00\x01"
        return self.take(self.number("i")).decode(), self.number("i")

    def value(self, kind: str) -> Any:
        """A value; structs as {id: value}."""
        if kind == "struct":
            return self.fields()
        if kind == "string":
            return self.take(self.size())
        if kind == "bool":
            return self.take(1)[0] == 1
        if kind == "byte":
            return self.number("b")
        if kind == "double":
            return struct.unpack("<d" if self.compact else ">d", self.take(8))[0]
        if kind in ("i16", "i32", "i64"):
            return self.zigzag() if self.compact else self.number({"i16": "h", "i32": "i", "i64": "q"}[kind])
        if kind == "map":
            return self.pairs()
        return self.elements()

    def elements(self) -> list[Any]:
        """A list."""
        head = self.take(1)[0]
        if self.compact:
            count = head >> 4
            kind, count = COMPACT_TYPES[head & 15], self.varint() if count == 15 else count
        else:
            count = self.number("i")
            kind = BINARY_TYPES[head] if count else ""
        return [self.value(kind) for _ in range(count)]

    def pairs(self) -> dict[Any, Any]:
        """A map."""
        if self.compact:
            count = self.varint()
            kinds = self.take(1)[0] if count else 0
            names = (COMPACT_TYPES.get(kinds >> 4), COMPACT_TYPES.get(kinds & 15))
        else:
            first, second, count = self.take(1)[0], self.take(1)[0], self.number("i")
            names = (BINARY_TYPES[first], BINARY_TYPES[second])
        return {self.value(str(names[0])): self.value(str(names[1])) for _ in range(count)}

    def fields(self) -> dict[int, Any]:
        """A struct."""
        result: dict[int, Any] = {}
        last = 0
        while head := self.take(1)[0]:
            if not self.compact:
                kind, ident = BINARY_TYPES[head], self.number("h")
            else:
                kind = COMPACT_TYPES[head & 15]
                ident = last + (head >> 4) if head >> 4 else self.zigzag()
            last = ident
            if self.compact and kind == "bool":
                result[ident] = head & 15 == 1
            else:
                result[ident] = self.value(kind)
        return result


class Idl:
    """The structs and methods of one family's IDL."""

    def __init__(self, path: Path) -> None:
        text = re.sub(r"//.*", "", path.read_text(encoding="utf-8"))
        self.structs: dict[str, list[tuple[int, str, str]]] = {}
        for name, body in re.findall(r"struct (\w+) \{(.*?)\}", text, re.DOTALL):
            lines = re.findall(r"(\d+): (?:required|optional) (.+?) (\w+)\s*\n", body)
            self.structs[name] = [(int(ident), kind, field) for ident, kind, field in lines]
        self.arguments = dict(re.findall(r"[\w.]+ (\w+)\((?:(\w+) req)?\)", text))

    def named(self, kind: str, value: Any) -> Any:
        """A decoded value with texts as str and structs as {"": type, name: value}."""
        if value is None:
            return None
        if kind == "string":
            return value.decode()
        inner = re.fullmatch(r"(list|map)<(.+)>", kind)
        if inner and inner[1] == "list":
            return [self.named(inner[2], item) for item in value]
        if inner:
            key, item = (part.strip() for part in inner[2].split(","))
            return {self.named(key, k): self.named(item, v) for k, v in value.items()}
        if kind in self.structs:
            fields = {name: self.named(sub, value.get(ident)) for ident, sub, name in self.structs[kind]}
            return {"": kind, **fields}
        return value


def printed(value: Any) -> str:
    """As the generated Python classes print."""
    if isinstance(value, dict) and "" in value:
        inner = ", ".join(f"{k}={printed(v)}" for k, v in value.items() if k)
        return f"{value['']}({inner})"
    if isinstance(value, list):
        return "[" + ", ".join(printed(item) for item in value) + "]"
    return repr(value)


def wanted(request: dict[str, Any] | None, method: str) -> str:
    """The line that test_frames.c prints for the request."""
    fields = request or {}
    parts = []
    model = fields.get("modelId")
    if method == "loadModel":
        model = fields.get("existingModelId")
    if model is not None:
        parts.append(f"model={model}")
    if method == "getAIHeartbeat":
        parts.append(f"beat={fields['heartbeatTimestamp']} sampling={int(fields['needSamplingLoad'])}")
    if method == "registerModel":
        parts.append(f"uri={fields['uri']}")
    if fields.get("deviceIdList") is not None:
        parts.append("devices=" + ",".join(fields["deviceIdList"]))
    data = fields.get("dataset", fields.get("inputData"))
    if data is not None:
        parts.append(f"data={data.hex()}")
    if method in ("inference", "forecast"):
        options = fields.get("inferenceAttributes", fields.get("options")) or {}
        parts.append("options=" + ",".join(f"{k}:{v}" for k, v in options.items()))
    if "columnNameIndexMap" in fields:
        order = [fields["columnNameIndexMap"][name] for name in fields["columnNameList"]]
        parts.append("order=" + ",".join(map(str, order)))
    if fields.get("windowParams") is not None:
        window = fields["windowParams"]
        parts.append(f"window={window['windowInterval']},{window['windowStep']}")
    if method == "forecast":
        parts.append(f"length={fields['outputLength']}")
    return " ".join(parts)


def entry(frames: Path, families: Path, item: dict[str, Any]) -> str:
    """One line of the C table."""
    data = (frames / item["file"]).read_bytes()
    assert len(data) == item["bytes"] == 4 + struct.unpack(">I", data[:4])[0], item["file"]
    cursor = Bytes(data[4:], item["protocol"] == "compact")
    method, seqid = cursor.message()
    assert (method, seqid) == (item["method"], item["seqid"]), item["file"]
    raw = cursor.fields()
    assert cursor.at == len(cursor.data), item["file"]
    idl = Idl(families / f"ainode_{item['family']}.thrift")
    request = None
    if idl.arguments[method]:
        assert list(raw) == [-1], item["file"]
        request = idl.named(idl.arguments[method], raw[-1])
    text = printed(request)
    told = item["args"]  # the manifest cuts long ones
    assert text == told or (len(told) == 400 and text.startswith(told)), (item["file"], text, told)
    mask = " | ".join(f"AIN_FAMILY_{f}" for f in expected_families(item["family"], method, request or {}))
    protocol = item["protocol"].upper()
    return (
        f'  {{ "{item["file"]}", AIN_THRIFT_{protocol}, {seqid}, AIN_METHOD_{METHODS[method]}, '
        f"AIN_FAMILY_{item['family']},\n    {mask},\n    {json.dumps(wanted(request, method))} }},\n"
    )


def main() -> None:
    """Command line: the data folder and the file to write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("output", type=Path)
    options = parser.parse_args()
    manifest = json.loads((options.data / "frames" / "manifest.json").read_text(encoding="utf-8"))
    lines = [entry(options.data / "frames", options.data / "families", f) for f in manifest["frames"]]
    text = "/* Generated by make_expectations.py from tests/data/frames/manifest.json. */\n"
    text += "static const ExpectedFrame expected_frames[] = {\n" + "".join(lines) + "};\n"
    options.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
