"""DeviceManager(): the one device that this process may use, and the processor."""

from typing import Any, Union

import torch

DeviceLike = Union[None, int, str, torch.device]


class DeviceManager:
    """Turns device names into devices. Of several GPUs the process sees one, its own, as cuda:0."""

    def device_ids(self) -> list[int]:
        """Indices of the GPUs."""
        return list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []

    def available_devices_with_cpu(self) -> list[torch.device]:
        """The GPUs, then the processor."""
        return [torch.device("cuda", index) for index in self.device_ids()] + [torch.device("cpu")]

    def torch_device(self, device: DeviceLike) -> torch.device:
        """From an index, "cpu", "cuda:0", "0" or a device. ValueError: None."""
        if device is None:
            raise ValueError("a device must be named; None is not allowed")
        if isinstance(device, torch.device):
            return device
        text = str(device)
        if text.isdigit():
            return torch.device("cuda", int(text)) if self.device_ids() else torch.device("cpu")
        return torch.device(text)

    def move_model(self, model: Any, device: DeviceLike = "cpu") -> Any:
        """The model on the device."""
        return model.to(self.torch_device(device))

    def move_tensor(self, tensor: torch.Tensor, device: DeviceLike = "cpu") -> torch.Tensor:
        """The tensor on the device."""
        return tensor.to(self.torch_device(device))

    def empty_cache(self) -> None:
        """Gives unused memory of the GPU back."""
        if self.device_ids():
            torch.cuda.empty_cache()
