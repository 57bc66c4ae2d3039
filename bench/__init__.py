"""Measures the gateway's throughput, latency, CPU and memory: ``python -m bench``."""
