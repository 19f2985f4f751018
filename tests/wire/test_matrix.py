"""Every method of every family, in both protocols, through clients generated from that family's own IDL."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import pytest
from generated import FAMILIES, Service
from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.protocol.TCompactProtocol import TCompactProtocol
from thrift.Thrift import TApplicationException
from thrift.transport.TSocket import TSocket
from thrift.transport.TTransport import TFramedTransport
from wire_support import Probe

BLOCK = bytes(range(200))
PROTOCOLS = {"binary": lambda t: TBinaryProtocol(t, strictRead=True, strictWrite=True), "compact": TCompactProtocol}
NOT_FOUND = {**dict.fromkeys("ACDEF", 1505), **dict.fromkeys("GHT", 1504)}
INTERNAL = {**dict.fromkeys("ACDEF", 1510), **dict.fromkeys("GHT", 1599)}


class Caller:
    """A client of one family."""

    def __init__(self, probe: Probe, service: Service, family: str, protocol: str) -> None:
        self.family, self.types = family, service[1]
        socket = TSocket("127.0.0.1", probe.port)
        socket.setTimeout(20000)
        self.transport = TFramedTransport(socket)
        self.transport.open()
        self.client = service[0].Client(PROTOCOLS[protocol](self.transport))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.transport.close()

    def old(self) -> bool:
        """A release before the change of 2.0.8."""
        return self.family in "ACDEF"


def checked(result: Any) -> Any:
    """The result, with its required fields there, in all depths."""
    result.validate()
    for value in vars(result).values():
        if hasattr(value, "validate"):
            checked(value)
    return result


def expect_ok(status: Any) -> None:
    """Success."""
    assert checked(status).code == 200, status


def expect_error(status: Any, code: int) -> None:
    """An error with a text."""
    assert checked(status).code == code, status
    assert status.message


def call_heartbeat(c: Caller) -> None:
    """Both kinds of heartbeats."""
    for stamp in (1, -5, -(2**63), 2**63 - 1):
        answer = checked(c.client.getAIHeartbeat(c.types.TAIHeartbeatReq(stamp, True)))
        assert (answer.heartbeatTimestamp, answer.status, answer.statusReason) == (stamp, "Running", None)
        load = answer.loadSample
        assert (load.cpuUsageRate, load.memoryUsageRate, load.diskUsageRate, load.freeDiskSpace) == (1.5, 2.5, 3.5, 4.5)
        answer = checked(c.client.getAIHeartbeat(c.types.TAIHeartbeatReq(stamp, False)))
        assert (answer.heartbeatTimestamp, answer.status, answer.statusReason) == (stamp, "Unknown", "starting")
        assert answer.loadSample is None


def call_stop(c: Caller) -> None:
    """The stop of the remove procedure."""
    expect_ok(checked(c.client.stopAINode()))


def call_register(c: Caller) -> None:
    """Id and URI arrive the right way round."""
    request = c.types.TRegisterModelReq(uri="file:///data/m1", modelId="m1")
    answer = checked(c.client.registerModel(request))
    expect_ok(answer.status)
    configs = answer.configs
    assert (configs.input_shape, configs.output_shape) == ([96, 2], [48, 2])
    assert (configs.input_type, configs.output_type) == ([3, 4], [3, 4])
    assert answer.attributes == "id=m1 uri=file:///data/m1"
    request = c.types.TRegisterModelReq(uri="file:///data/m1", modelId="error")
    expect_error(checked(c.client.registerModel(request)).status, NOT_FOUND[c.family])


def call_delete(c: Caller) -> None:
    """A plain status; the release that was set decides about the numbers."""
    expect_ok(c.client.deleteModel(c.types.TDeleteModelReq("m1")))
    expect_error(c.client.deleteModel(c.types.TDeleteModelReq("error")), NOT_FOUND[c.family])


def call_show_models(c: Caller) -> None:
    """All, one, none, an error."""
    answer = checked(c.client.showModels(c.types.TShowModelsReq()))
    expect_ok(answer.status)
    assert answer.modelIdList == ["sundial", "mine"]
    assert answer.modelTypeMap == {"sundial": "Timer-Sundial", "mine": "user"}
    assert answer.categoryMap == {"sundial": "BUILT-IN", "mine": "USER-DEFINED"}
    assert answer.stateMap == {"sundial": "ACTIVE", "mine": "INACTIVE"}
    assert checked(c.client.showModels(c.types.TShowModelsReq("sundial"))).modelIdList == ["sundial"]
    answer = checked(c.client.showModels(c.types.TShowModelsReq("nobody")))
    assert (answer.modelIdList, answer.modelTypeMap, answer.categoryMap, answer.stateMap) == ([], {}, {}, {})
    answer = checked(c.client.showModels(c.types.TShowModelsReq("error")))
    expect_error(answer.status, NOT_FOUND[c.family])
    assert (answer.modelIdList, answer.modelTypeMap, answer.categoryMap, answer.stateMap) == ([], {}, {}, {})


def call_show_loaded(c: Caller) -> None:
    """Nested maps."""
    answer = checked(c.client.showLoadedModels(c.types.TShowLoadedModelsReq([])))
    expect_ok(answer.status)
    assert answer.deviceLoadedModelsMap == {"cpu": {"sundial": 2, "timer_xl": 1}, "0": {"sundial": 3}}
    answer = checked(c.client.showLoadedModels(c.types.TShowLoadedModelsReq(["cpu"])))
    assert answer.deviceLoadedModelsMap == {"cpu": {"sundial": 2, "timer_xl": 1}}


def call_devices(c: Caller) -> None:
    """A list for F, a map from G on."""
    answer = checked(c.client.showAIDevices())
    expect_ok(answer.status)
    if c.family == "F":
        assert answer.deviceIdList == ["cpu", "0"]
    else:
        assert answer.deviceIdMap == {"cpu": "cpu", "0": "cuda"}


def call_load(c: Caller) -> None:
    """Loading."""
    expect_ok(c.client.loadModel(c.types.TLoadModelReq("m1", ["cpu", "0"])))
    expect_error(c.client.loadModel(c.types.TLoadModelReq("error", [])), NOT_FOUND[c.family])


def call_unload(c: Caller) -> None:
    """Unloading."""
    expect_ok(c.client.unloadModel(c.types.TUnloadModelReq("m1", ["cpu"])))
    expect_error(c.client.unloadModel(c.types.TUnloadModelReq("error", ["cpu"])), NOT_FOUND[c.family])


def inference_requests(c: Caller, model: str) -> list[Any]:
    """What the releases' callers send."""
    request = c.types.TInferenceReq
    if c.family in "AC":
        base = {"typeList": ["DOUBLE"], "columnNameList": ["s"], "columnNameIndexMap": {"s": 0}}
        window = {"windowParams": c.types.TWindowParams(4, 2)}
        return [
            request(model, BLOCK, **base),
            request(model, BLOCK, **base, **window, inferenceAttributes={"k": "v"}),
        ]
    requests = [request(model, BLOCK), request(model, BLOCK, inferenceAttributes={"k": "v"})]
    if c.old():
        requests.append(request(model, BLOCK, windowParams=c.types.TWindowParams(4, 2)))
    return requests


def call_inference(c: Caller) -> None:
    """A list of blocks; on an error the list is there and empty."""
    for request in inference_requests(c, "m1"):
        answer = checked(c.client.inference(request))
        expect_ok(answer.status)
        assert answer.inferenceResult == [BLOCK, BLOCK]
    for request in inference_requests(c, "error"):
        answer = checked(c.client.inference(request))
        expect_error(answer.status, NOT_FOUND[c.family])
        assert answer.inferenceResult == []
    answer = checked(c.client.inference(inference_requests(c, "big-300000")[0]))
    assert answer.inferenceResult == [bytes(i * 7 % 256 for i in range(300000))]


def call_forecast(c: Caller) -> None:
    """One binary up to F, a list from G on; without options it is CLASSIFY of G or H."""
    answer = checked(c.client.forecast(c.types.TForecastReq("m1", BLOCK, 7, options={})))
    expect_ok(answer.status)
    assert answer.forecastResult == (BLOCK if c.old() else [BLOCK, BLOCK])
    answer = checked(c.client.forecast(c.types.TForecastReq("error", BLOCK, 7, options={"k": "v"})))
    expect_error(answer.status, NOT_FOUND[c.family])
    assert answer.forecastResult == (b"" if c.old() else [])
    if not c.old():
        answer = checked(c.client.forecast(c.types.TForecastReq("m1", BLOCK, 7)))
        assert answer.forecastResult == [BLOCK, BLOCK]


def call_classify(c: Caller) -> None:
    """The fork's method."""
    answer = checked(c.client.classify(c.types.TClassifyReq("m1", BLOCK, {"k": "v"})))
    expect_ok(answer.status)
    assert answer.classifyResult == [BLOCK, BLOCK]


def call_training(c: Caller) -> None:
    """Not offered, and said so."""
    request = c.types.TTrainingReq("iotdb.tree", "m1", "timer_xl", [c.types.IDataSchema("root.**", [0, 1])], {})
    expect_error(c.client.createTrainingTask(request), INTERNAL[c.family])


def call_tuning(c: Caller) -> None:
    """Not offered, and said so."""
    request = c.types.TTuningReq("iotdb.tree", "m1", "timer_xl", None, {})
    expect_error(c.client.createTuningTask(request), INTERNAL[c.family])


CALLS: dict[str, Callable[[Caller], None]] = {
    "getAIHeartbeat": call_heartbeat,
    "stopAINode": call_stop,
    "registerModel": call_register,
    "deleteModel": call_delete,
    "showModels": call_show_models,
    "showLoadedModels": call_show_loaded,
    "showAIDevices": call_devices,
    "loadModel": call_load,
    "unloadModel": call_unload,
    "inference": call_inference,
    "forecast": call_forecast,
    "classify": call_classify,
    "createTrainingTask": call_training,
    "createTuningTask": call_tuning,
}


def print_matrix(cells: dict[tuple[str, str, str], str]) -> None:
    """Methods down, families and protocols across; a dot where the family lacks the method."""
    columns = [(family, protocol) for family in FAMILIES for protocol in PROTOCOLS]
    print("\n" + " " * 20 + " ".join(f"{family}/{protocol[0]}" for family, protocol in columns))
    for method in CALLS:
        row = [cells.get((method, *column), " . ") for column in columns]
        print(f"{method:20}" + " ".join(f"{cell:3}" for cell in row))


def test_matrix(
    start_probe: Callable[..., Probe], services: dict[str, Service], capsys: pytest.CaptureFixture[str]
) -> None:
    """All of them are ok."""
    cells: dict[tuple[str, str, str], str] = {}
    failures = []
    for family in FAMILIES:
        probe = start_probe("--release", "H" if family == "T" else family)
        methods = [name for name in CALLS if hasattr(services[family][0].Iface, name)]
        for protocol in PROTOCOLS:
            with Caller(probe, services[family], family, protocol) as caller:
                for method in methods:
                    try:
                        CALLS[method](caller)
                        cells[method, family, protocol] = "ok"
                    except Exception as problem:  # noqa: BLE001 - shown below, with all others
                        cells[method, family, protocol] = "BAD"
                        failures.append(f"{family} {protocol} {method}: {problem!r}")
        probe.stop()
    with capsys.disabled():
        print_matrix(cells)
    assert not failures, "\n".join(failures)
    assert len(cells) == 2 * sum(len(vars(services[f][0].Iface).keys() & CALLS.keys()) for f in FAMILIES)
    assert len(cells) == 144


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_wrong_release_is_overruled_by_the_bytes(probe: Probe, services: dict[str, Service], protocol: str) -> None:
    """The probe believes in 2.0.5; what a request shows of its sender counts more."""
    with Caller(probe, services["H"], "H", protocol) as caller:
        call_forecast(caller)
        answer = checked(caller.client.forecast(caller.types.TForecastReq("error", BLOCK, 7, options={})))
        assert answer.status.code == 1504
    with Caller(probe, services["A"], "A", protocol) as caller:
        call_inference(caller)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_unknown_method(probe: Probe, services: dict[str, Service], protocol: str) -> None:
    """TApplicationException 1 with the method's name; the connection stays good."""

    class Unknown(services["H"][0].Client):  # type: ignore[name-defined, misc]
        """Calls what nobody serves."""

        def no_such_method(self) -> None:
            """Sends the arguments of showAIDevices under another name."""
            original = self._oprot.writeMessageBegin
            self._oprot.writeMessageBegin = lambda _name, kind, seqid: original("noSuchMethod", kind, seqid)
            self.send_showAIDevices()
            self._oprot.writeMessageBegin = original
            self.recv_showAIDevices()

    with Caller(probe, services["H"], "H", protocol) as caller:
        client = Unknown(caller.client._iprot)
        with pytest.raises(TApplicationException) as caught:
            client.no_such_method()
        assert caught.value.type == TApplicationException.UNKNOWN_METHOD
        assert "noSuchMethod" in caught.value.message
        call_heartbeat(caller)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("family", "ADEFGH")
def test_missing_fields_are_answered(probe: Probe, services: dict[str, Service], family: str, protocol: str) -> None:
    """The method's own response with a status, whatever is missing."""
    with Caller(probe, services[family], family, protocol) as caller:
        types, client = caller.types, caller.client
        expect_error(client.deleteModel(types.TDeleteModelReq()), 1510)  # E is assumed
        answer = checked(client.inference(types.TInferenceReq(dataset=BLOCK)))
        assert answer.status.code in (1510, 1599)
        assert "modelId" in answer.status.message
        assert answer.inferenceResult == []
        assert "is missing" in checked(client.registerModel(types.TRegisterModelReq())).status.message
        beat = checked(client.getAIHeartbeat(types.TAIHeartbeatReq(None, True)))
        assert (beat.heartbeatTimestamp, beat.status) == (-(2**63), "Unknown")
        beat = checked(client.getAIHeartbeat(types.TAIHeartbeatReq(42, None)))
        assert (beat.heartbeatTimestamp, beat.status) == (42, "Unknown")
        assert "needSamplingLoad" in beat.statusReason
        if hasattr(types, "TForecastReq"):
            answer = checked(client.forecast(types.TForecastReq("m1", BLOCK)))
            assert "outputLength" in answer.status.message
        call_heartbeat(caller)
