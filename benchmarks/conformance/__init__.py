"""Hand-written derivatives of other people's packages, put to the checker."""
