"""The gradient checker: two oracles, generated cases, and a diagnosis of what is wrong.

The way of a check, one file for each station:

    blocks, functions    fnn.check, check_gradient, check_vjp, check_same
    problem              everything becomes a function of flat leaves, and its backward
    look                 the plain errors: wrong trees and shapes, NaN, chance
    points               where it is checked: the cases in which mistakes hide
    facts                everything is computed, in a few compiled programs
    taylor               the second oracle: the order of the remainder, differences
    compare              when two gradients are the same numbers
    detect, kinks        which gradients are wrong; what kinks and untrusted forwards change
    ways                 jit, vmap, single examples, another axis, float32, bfloat16
    explain              what one gradient's numbers say: sign, factor, transposed, ...
    parts                which parts of dy were forgotten
    graph, structure     the forward's own operations, with one derivative altered
    probe                the same for leaves that are too large to move entry by entry
    judge, report        the verdict, the table
    double               double precision for the time of a check

What is certain. With autodiff as reference every entry of every gradient is compared, at
each leaf's own scale: a wrong entry is missed only if it is wrong by less than 10⁻⁹ of
itself and 10⁻¹¹ of the leaf's largest entry, or if the Jacobian's error is orthogonal to
seven random dy at once, which has probability 0. Where autodiff cannot be trusted,
differences along every entry see 10⁻⁶ of the leaf's scale, up to 4,096 entries; beyond,
two random directions miss an error of 10⁻⁴ of the gradient's norm in about one case of 4,000.
"""
