"""The pinned programs: one folder per Go module, built once and kept by content."""
