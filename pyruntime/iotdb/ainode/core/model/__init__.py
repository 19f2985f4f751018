"""See model_info and model_loader."""
