"""Rules: another quantity or another learning rule, from the same fold over the net."""

from fnn.composite import With as With
from fnn.rules.cotangents import deltas as deltas
from fnn.rules.fisher import kfac as kfac
from fnn.rules.gradient_noise import GradientNoise as GradientNoise
from fnn.rules.gradient_noise import noise_scale as noise_scale
from fnn.rules.gradient_noise import total_noise as total_noise
from fnn.rules.per_example import example_grads as example_grads
from fnn.rules.per_example import example_norms as example_norms
from fnn.rules.per_example import example_products as example_products
from fnn.rules.per_example import example_slopes as example_slopes
from fnn.rules.per_example import total as total
from fnn.rules.running import running_averages as running_averages
from fnn.rules.telemetry import NonFinite as NonFinite
from fnn.rules.telemetry import dead_units as dead_units
from fnn.rules.telemetry import delta_norms as delta_norms
from fnn.rules.telemetry import first_non_finite as first_non_finite
from fnn.rules.telemetry import gradient_norms as gradient_norms
from fnn.rules.telemetry import non_finite as non_finite
from fnn.rules.telemetry import saturation as saturation
from fnn.rules.telemetry import update_norms as update_norms
from fnn.rules.telemetry import update_ratios as update_ratios
from fnn.rules.telemetry import weight_norms as weight_norms
from fnn.ruling import Given as Given
from fnn.ruling import Rule as Rule
from fnn.ruling import backprop as backprop
from fnn.ruling import companion as companion
