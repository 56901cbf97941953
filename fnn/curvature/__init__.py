"""Curvature: products of a loss's second derivatives with directions, diagonals, spectra."""

from fnn.curvature.blocks import fisher_blocks as fisher_blocks
from fnn.curvature.diagonals import fisher_diagonal as fisher_diagonal
from fnn.curvature.diagonals import gauss_newton_diagonal as gauss_newton_diagonal
from fnn.curvature.fisher import fisher_product as fisher_product
from fnn.curvature.likelihoods import Likelihood as Likelihood
from fnn.curvature.likelihoods import likelihood as likelihood
from fnn.curvature.products import gauss_newton_product as gauss_newton_product
from fnn.curvature.products import hessian_product as hessian_product
from fnn.curvature.spectra import Density as Density
from fnn.curvature.spectra import Eigen as Eigen
from fnn.curvature.spectra import Trace as Trace
from fnn.curvature.spectra import spectral_density as spectral_density
from fnn.curvature.spectra import top_eigenvalues as top_eigenvalues
from fnn.curvature.spectra import trace as trace
