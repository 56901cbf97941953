"""One exercise per file: question, forward, solution, and the usual mistakes."""
