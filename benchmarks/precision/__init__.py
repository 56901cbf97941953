"""How exact: whole nets in half precision, every function over all magnitudes."""

from benchmarks.precision.kept import DTYPES as DTYPES
from benchmarks.precision.kept import Kept as Kept
from benchmarks.precision.nets import Error as Error
from benchmarks.precision.nets import precision as precision
