"""Another quantity or another learning rule, from the same fold over the net."""
