"""See basic_pipeline."""
