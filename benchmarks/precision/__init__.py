"""How exact: whole nets in half precision, every function over all magnitudes."""

from benchmarks.precision.functions import DTYPES as DTYPES
from benchmarks.precision.functions import Kept as Kept
from benchmarks.precision.functions import functions as functions
from benchmarks.precision.nets import Error as Error
from benchmarks.precision.nets import precision as precision
