"""Benchmarks: ratios within one run, on the local stack."""
