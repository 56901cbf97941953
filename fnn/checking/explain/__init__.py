"""Which gradients are wrong, and why: a diagnosis is data, its words stand in report.py."""
