"""The part of the AINode that runs inside the operator's interpreter: workers that load and run models."""
