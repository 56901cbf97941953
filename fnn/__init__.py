"""fnn: forward and hand-written backward passes of neural networks, as pure JAX functions.

    net = fnn.mlp([64, 128, 10])
    params = net.init(jax.random.key(0))
    loss, grads = fnn.value_and_grad(net, fnn.SoftmaxCrossEntropy(), params, x, target)

Layers and losses are frozen records with forward and backward methods; params, caches
and gradients are pytrees of arrays; everything works under jit and vmap. The file of a
block holds its equations: fnn/layers, fnn/losses, fnn/optim, fnn/rules.
"""

from fnn.checking.blocks import check as check
from fnn.checking.functions import check_gradient as check_gradient
from fnn.checking.functions import check_same as check_same
from fnn.checking.functions import check_vjp as check_vjp
from fnn.checking.report import Report as Report
from fnn.driver import value_and_grad as value_and_grad
from fnn.evaluation import inference as inference
from fnn.initializers import glorot_normal as glorot_normal
from fnn.initializers import glorot_uniform as glorot_uniform
from fnn.initializers import he_normal as he_normal
from fnn.initializers import he_uniform as he_uniform
from fnn.initializers import lecun_normal as lecun_normal
from fnn.initializers import lecun_uniform as lecun_uniform
from fnn.initializers import orthogonal as orthogonal
from fnn.initializers import zeros as zeros
from fnn.interop import as_function as as_function
from fnn.layer import Composite as Composite
from fnn.layer import Layer as Layer
from fnn.layer import backprop as backprop
from fnn.layer import rule as rule
from fnn.layers.activations import ELU as ELU
from fnn.layers.activations import GELU as GELU
from fnn.layers.activations import SELU as SELU
from fnn.layers.activations import HardTanh as HardTanh
from fnn.layers.activations import Identity as Identity
from fnn.layers.activations import LeakyReLU as LeakyReLU
from fnn.layers.activations import Mish as Mish
from fnn.layers.activations import ReLU as ReLU
from fnn.layers.activations import Sigmoid as Sigmoid
from fnn.layers.activations import SiLU as SiLU
from fnn.layers.activations import Softplus as Softplus
from fnn.layers.activations import Softsign as Softsign
from fnn.layers.activations import Tanh as Tanh
from fnn.layers.cast import Cast as Cast
from fnn.layers.dense import Dense as Dense
from fnn.layers.dense import DenseParams as DenseParams
from fnn.layers.dropout import Dropout as Dropout
from fnn.layers.recompute import Recompute as Recompute
from fnn.layers.repeat import Repeat as Repeat
from fnn.layers.residual import Residual as Residual
from fnn.layers.scale import Scale as Scale
from fnn.layers.serial import Serial as Serial
from fnn.layers.softmax import LogSoftmax as LogSoftmax
from fnn.layers.softmax import Softmax as Softmax
from fnn.loss import Loss as Loss
from fnn.losses.binary import BinaryCrossEntropy as BinaryCrossEntropy
from fnn.losses.binary import Hinge as Hinge
from fnn.losses.binary import SigmoidBinaryCrossEntropy as SigmoidBinaryCrossEntropy
from fnn.losses.categorical import CrossEntropy as CrossEntropy
from fnn.losses.categorical import SoftmaxCrossEntropy as SoftmaxCrossEntropy
from fnn.losses.regression import AbsoluteError as AbsoluteError
from fnn.losses.regression import Huber as Huber
from fnn.losses.regression import SquaredError as SquaredError
from fnn.metrics import accuracy as accuracy
from fnn.nets.mlp import mlp as mlp
from fnn.optim.adadelta import AdaDelta as AdaDelta
from fnn.optim.adagrad import AdaGrad as AdaGrad
from fnn.optim.adam import Adam as Adam
from fnn.optim.adamw import AdamW as AdamW
from fnn.optim.chaining import chain as chain
from fnn.optim.clipping import clip_by_norm as clip_by_norm
from fnn.optim.foreign import Foreign as Foreign
from fnn.optim.momentum import Momentum as Momentum
from fnn.optim.optimizer import Optimizer as Optimizer
from fnn.optim.optimizer import apply_updates as apply_updates
from fnn.optim.proximal import Proximal as Proximal
from fnn.optim.rmsprop import RMSProp as RMSProp
from fnn.optim.schedules import Constant as Constant
from fnn.optim.schedules import CosineDecay as CosineDecay
from fnn.optim.schedules import ExponentialDecay as ExponentialDecay
from fnn.optim.schedules import Schedule as Schedule
from fnn.optim.schedules import Scheduled as Scheduled
from fnn.optim.schedules import StepDecay as StepDecay
from fnn.optim.schedules import WarmupCosine as WarmupCosine
from fnn.optim.sgd import SGD as SGD
from fnn.penalties import L1 as L1
from fnn.penalties import L2 as L2
from fnn.penalties import Penalty as Penalty
from fnn.rules.deltas import deltas as deltas
from fnn.rules.example_norms import example_norms as example_norms
from fnn.rules.example_norms import total as total
from fnn.summaries import summary as summary
from fnn.train import State as State
from fnn.train import epoch as epoch
from fnn.train import evaluate as evaluate
from fnn.train import fit as fit
from fnn.train import start as start
from fnn.train import step as step
