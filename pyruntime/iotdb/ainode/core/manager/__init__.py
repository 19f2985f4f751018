"""See device_manager."""
