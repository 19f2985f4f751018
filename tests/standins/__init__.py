"""Stand-ins for IoTDB's processes, scriptable in the ways the real ones fail."""
