"""A client of the node, as a ConfigNode or DataNode of one release family is one."""

from __future__ import annotations

import itertools
import socket
import ssl
from types import TracebackType
from typing import Any

import numpy as np
from frames import receive_frame, with_length
from generated import Service
from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.protocol.TCompactProtocol import TCompactProtocol
from thrift.Thrift import TApplicationException, TMessageType
from thrift.transport.TTransport import TMemoryBuffer
from tsblock import decode, encode


class Refused(Exception):
    """A status that is not 200."""

    def __init__(self, status: Any) -> None:
        super().__init__(f"{status.code}: {status.message}")
        self.code: int = status.code
        self.message: str = status.message


class Gone(ConnectionError):
    """The node closed the connection instead of answering."""


class Caller:
    """One connection. Requests may be sent ahead: send() and receive() are the halves of call()."""

    def __init__(
        self,
        port: int,
        service: Service,
        timeout: float = 60,
        tls: ssl.SSLContext | None = None,
        compact: bool = False,
    ) -> None:
        self.service, self.types = service
        self.compact = compact
        self.connection = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            self.connection = tls.wrap_socket(self.connection, server_hostname="127.0.0.1")
        self._seqids = itertools.count(1)

    def __enter__(self) -> Caller:
        """Open already."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes."""
        self.close()

    def close(self) -> None:
        """Ends the connection."""
        self.connection.close()

    # --- frames

    def _protocol(self, buffer: TMemoryBuffer) -> Any:
        if self.compact:
            return TCompactProtocol(buffer, string_length_limit=None)
        return TBinaryProtocol(buffer, strictRead=True, strictWrite=True, string_length_limit=None)

    def encode(self, method: str, request: Any = None) -> bytes:
        """The frame of a call, with a fresh sequence id."""
        buffer = TMemoryBuffer()
        protocol = self._protocol(buffer)
        protocol.writeMessageBegin(method, TMessageType.CALL, next(self._seqids))
        arguments = getattr(self.service, f"{method}_args")
        (arguments(req=request) if request is not None else arguments()).write(protocol)
        return with_length(bytes(buffer.getvalue()))

    def send(self, method: str, request: Any = None) -> None:
        """Sends without waiting."""
        self.connection.sendall(self.encode(method, request))

    def read(self, message: bytes) -> Any:
        """The result in a reply."""
        protocol = self._protocol(TMemoryBuffer(message))
        method, kind, _ = protocol.readMessageBegin()
        if kind == TMessageType.EXCEPTION:
            failure = TApplicationException()
            failure.read(protocol)
            raise failure
        result = getattr(self.service, f"{method}_result")()
        result.read(protocol)
        return result.success

    def receive(self) -> Any:
        """The next answer."""
        try:
            message = receive_frame(self.connection)
        except ConnectionResetError:
            message = b""
        if not message:
            raise Gone("the node closed the connection")
        return self.read(message)

    def call(self, method: str, request: Any = None) -> Any:
        """There and back."""
        self.send(method, request)
        return self.receive()

    # --- the node's methods; Refused when the status says so

    def register(self, model: str, uri: str) -> Any:
        """CREATE MODEL."""
        return good(self.call("registerModel", self.types.TRegisterModelReq(modelId=model, uri=uri)))

    def drop(self, model: str) -> None:
        """DROP MODEL."""
        good(self.call("deleteModel", self.types.TDeleteModelReq(modelId=model)))

    def states(self) -> dict[str, str]:
        """SHOW MODELS: the users' models and their states."""
        answer = good(self.call("showModels", self.types.TShowModelsReq()))
        return {name: state for name, state in answer.stateMap.items() if answer.categoryMap[name] == "USER-DEFINED"}

    def ask(self, model: str, block: bytes | np.ndarray, **fields: Any) -> None:
        """Sends an inference without waiting."""
        data = block if isinstance(block, bytes) else encode(block)
        self.send("inference", self.types.TInferenceReq(modelId=model, dataset=data, **fields))

    def answer(self) -> list[np.ndarray]:
        """The blocks of the next answer."""
        return [decode(block) for block in good(self.receive()).inferenceResult]

    def infer(self, model: str, block: bytes | np.ndarray, **fields: Any) -> np.ndarray:
        """CALL INFERENCE, of one block."""
        self.ask(model, block, **fields)
        (result,) = self.answer()
        return result

    def heartbeat(self, sample: bool = False, stamp: int = 1) -> Any:
        """One heartbeat."""
        request = self.types.TAIHeartbeatReq(heartbeatTimestamp=stamp, needSamplingLoad=sample)
        answer = self.call("getAIHeartbeat", request)
        assert answer.heartbeatTimestamp == stamp
        return answer


def good(answer: Any) -> Any:
    """The answer when its status is 200; else Refused."""
    status = answer.status if hasattr(answer, "status") else answer
    if status.code != 200:
        raise Refused(status)
    return answer
