"""The gradient checker: two oracles, generated cases, and a diagnosis of what is wrong."""
