"""Rules: another quantity or another learning rule, from the same fold over the net."""

from fnn.composite import With as With
from fnn.rules.cotangents import deltas as deltas
from fnn.rules.per_example import example_grads as example_grads
from fnn.rules.per_example import example_norms as example_norms
from fnn.rules.per_example import example_products as example_products
from fnn.rules.per_example import example_slopes as example_slopes
from fnn.rules.per_example import total as total
from fnn.rules.running import running_averages as running_averages
from fnn.rules.stepping import update as update
from fnn.ruling import Given as Given
from fnn.ruling import Rule as Rule
from fnn.ruling import backprop as backprop
from fnn.ruling import companion as companion
