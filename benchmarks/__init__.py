"""One script a question: `python -m benchmarks.pooling`."""
