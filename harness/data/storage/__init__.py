"""Where bytes come from: local files, pipes, and addresses read through fsspec. Does not know what the bytes mean."""
