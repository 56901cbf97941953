"""One block per file: leaves hold formulas, composites hold routes."""
