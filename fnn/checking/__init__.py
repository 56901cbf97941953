"""The gradient checker: two oracles, generated cases, and a diagnosis of what is wrong.

Three floors, each of which knows only those below:

    blocks, functions     fnn.check; check_gradient, check_vjp, check_same
    report                the table, and every sentence about a result

    explain/              which gradients are wrong, and why, as data
      verdict             facts in, faults out
      detection           which gradients are wrong, at which points
      patterns            what one gradient's numbers say: sign, factor, transposed, ...
      linearity           which parts of dy were forgotten
      chain_rule          the forward's own operations, with one derivative altered
      alterations         such a derivative
      halving             the same for leaves that are too large to move entry by entry
      ways                what differs under jit, vmap, for one example, in low precision
      diagnosis           the records

    measure/              numbers
      measuring           everything that is computed, in a few compiled programs
      facts               the records of it, and plain questions to them
      problem, building   everything becomes a function of flat leaves, and its backward
      foreign             functions of numpy, called from inside
      points, sets        where it is checked: the cases in which mistakes hide
      oracles             which reference counts at a point
      plain               the forward without derivatives of its own
      eager               the plain errors: wrong trees and shapes, NaN, chance
      ways                jit, vmap, single examples, another axis, float32, bfloat16
      taylor              the second oracle: the order of the remainder, differences
      kinks               what kinks and untrusted forwards change
      comparison          when two gradients are the same numbers
      jaxprs              what a traced program contains
      double              double precision for the time of a check

What is certain. With autodiff as reference every entry of every gradient is compared, at
each leaf's own scale: a wrong entry is missed only if it is wrong by less than 10⁻⁹ of
itself and 10⁻¹¹ of the leaf's largest entry, or if the Jacobian's error is orthogonal to
seven random dy at once, which has probability 0. Where a forward brings derivatives of its
own (custom_jvp, custom_vjp), it is differentiated without them, too, and where the two differ
the values decide at that point. Where autodiff cannot be trusted,
differences along every entry see 10⁻⁶ of the leaf's scale, up to 4,096 entries; beyond,
two random directions miss an error of 10⁻⁴ of the gradient's norm in about one case of 4,000.

A verdict is right, wrong, or "cannot tell": where a cut and a derivative of the forward's own
disagree, where a gradient is NaN and no slope is known, where it is right along a set of
arguments only. A report is true only if it is right.

With `quick=True` a check runs as given, nearby, at zeros and ties, and in float32 if those are
right; it says what it left out.
"""

from fnn.checking.blocks import check as check
from fnn.checking.functions import check_gradient as check_gradient
from fnn.checking.functions import check_same as check_same
from fnn.checking.functions import check_vjp as check_vjp
from fnn.checking.report import Report as Report

EXPORTS = frozenset(name for name, value in list(globals().items()) if callable(value))
