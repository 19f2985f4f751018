"""Stands in for pyruntime/ainode in bench_identity: the smallest worker that Python can be."""
