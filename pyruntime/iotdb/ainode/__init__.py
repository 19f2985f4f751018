"""See iotdb.ainode.core."""
