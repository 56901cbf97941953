"""fnn: forward and hand-written backward passes of neural networks, as pure JAX functions.

    net = fnn.mlp([64, 128, 10])
    params = net.init(jax.random.key(0))
    loss, grads = fnn.value_and_grad(net, fnn.SoftmaxCrossEntropy(), params, x, target)

Layers and losses are frozen records with forward and backward methods; params, caches
and gradients are pytrees of arrays; all that computes works under jit and vmap, but `fit` with
a callback or a checkpoint. The file of a block holds its equations: fnn/layers, fnn/losses,
fnn/optim, fnn/rules, fnn/curvature.

Flat are layers, losses, penalties, nets, the fold, training and the checker; optimizers and
schedules are in fnn.optim, rules in fnn.rules, initializers in fnn.initializers, products with
Hessians and their kin in fnn.curvature. To read the idea in one sitting: layer.py,
layers/serial.py, layers/dense.py, driver.py.
"""

import importlib as _importlib
import typing as _typing

from fnn import curvature as curvature
from fnn import devices as devices
from fnn import initializers as initializers
from fnn import optim as optim
from fnn import rules as rules
from fnn.clipping import Clipping as Clipping
from fnn.clipping import clipped_grad as clipped_grad
from fnn.composite import Back as Back
from fnn.composite import Composite as Composite
from fnn.composite import Forth as Forth
from fnn.composite import Wrapper as Wrapper
from fnn.composite import child as child
from fnn.decoding import generate as generate
from fnn.driver import Pass as Pass
from fnn.driver import fold as fold
from fnn.driver import value_and_grad as value_and_grad
from fnn.evaluation import inference as inference
from fnn.interop import as_function as as_function
from fnn.layer import Layer as Layer
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
from fnn.layers.affine import Affine as Affine
from fnn.layers.affine import AffineParams as AffineParams
from fnn.layers.affine import Centered as Centered
from fnn.layers.attention import Attention as Attention
from fnn.layers.attention import AttentionParams as AttentionParams
from fnn.layers.autodiff import Autodiff as Autodiff
from fnn.layers.bidirectional import Bidirectional as Bidirectional
from fnn.layers.cast import Cast as Cast
from fnn.layers.conv import Conv1d as Conv1d
from fnn.layers.conv import Conv2d as Conv2d
from fnn.layers.conv_transpose import ConvTranspose1d as ConvTranspose1d
from fnn.layers.conv_transpose import ConvTranspose2d as ConvTranspose2d
from fnn.layers.convolution import ConvParams as ConvParams
from fnn.layers.cross_attention import CrossAttention as CrossAttention
from fnn.layers.dense import Dense as Dense
from fnn.layers.dense import DenseParams as DenseParams
from fnn.layers.dropout import Dropout as Dropout
from fnn.layers.dropout import DropPath as DropPath
from fnn.layers.embedding import Embedding as Embedding
from fnn.layers.embedding import EmbeddingParams as EmbeddingParams
from fnn.layers.encoder_decoder import EncoderDecoder as EncoderDecoder
from fnn.layers.flatten import Flatten as Flatten
from fnn.layers.frozen import Frozen as Frozen
from fnn.layers.frozen import FrozenParams as FrozenParams
from fnn.layers.gaussian import Gaussian as Gaussian
from fnn.layers.gaussian import GaussianMean as GaussianMean
from fnn.layers.glu import GLU as GLU
from fnn.layers.glu import GLUParams as GLUParams
from fnn.layers.gru import GRU as GRU
from fnn.layers.gru import GRUParams as GRUParams
from fnn.layers.linear_attention import LinearAttention as LinearAttention
from fnn.layers.linear_attention import LinearAttentionParams as LinearAttentionParams
from fnn.layers.lstm import LSTM as LSTM
from fnn.layers.lstm import LSTMParams as LSTMParams
from fnn.layers.normalization import BatchNorm as BatchNorm
from fnn.layers.normalization import GroupNorm as GroupNorm
from fnn.layers.normalization import InstanceNorm as InstanceNorm
from fnn.layers.normalization import LayerNorm as LayerNorm
from fnn.layers.normalization import RMSNorm as RMSNorm
from fnn.layers.over_time import Last as Last
from fnn.layers.over_time import MeanOverTime as MeanOverTime
from fnn.layers.pad import Pad as Pad
from fnn.layers.parallel import Parallel as Parallel
from fnn.layers.pooling import AvgPool1d as AvgPool1d
from fnn.layers.pooling import AvgPool2d as AvgPool2d
from fnn.layers.pooling import GlobalAvgPool as GlobalAvgPool
from fnn.layers.pooling import MaxPool1d as MaxPool1d
from fnn.layers.pooling import MaxPool2d as MaxPool2d
from fnn.layers.positions import Positions as Positions
from fnn.layers.positions import Sinusoids as Sinusoids
from fnn.layers.prelu import PReLU as PReLU
from fnn.layers.prelu import PReLUParams as PReLUParams
from fnn.layers.recompute import Recompute as Recompute
from fnn.layers.repeat import Repeat as Repeat
from fnn.layers.residual import Residual as Residual
from fnn.layers.rnn import RNN as RNN
from fnn.layers.rnn import RNNParams as RNNParams
from fnn.layers.scale import Scale as Scale
from fnn.layers.serial import Serial as Serial
from fnn.layers.skip import Skip as Skip
from fnn.layers.softmax import LogSoftmax as LogSoftmax
from fnn.layers.softmax import Softmax as Softmax
from fnn.layers.spectral_norm import SpectralNorm as SpectralNorm
from fnn.layers.tied import Tie as Tie
from fnn.layers.tied import Tied as Tied
from fnn.layers.transformer_block import TransformerBlock as TransformerBlock
from fnn.layers.unembed import Unembed as Unembed
from fnn.layers.unembed import UnembedParams as UnembedParams
from fnn.layers.upsample import Upsample as Upsample
from fnn.layers.weight_norm import WeightNorm as WeightNorm
from fnn.layers.weight_norm import WeightNormParams as WeightNormParams
from fnn.logits import Logits as Logits
from fnn.loss import Loss as Loss
from fnn.losses.binary import BinaryCrossEntropy as BinaryCrossEntropy
from fnn.losses.binary import Hinge as Hinge
from fnn.losses.binary import SigmoidBinaryCrossEntropy as SigmoidBinaryCrossEntropy
from fnn.losses.categorical import CrossEntropy as CrossEntropy
from fnn.losses.categorical import SoftmaxCrossEntropy as SoftmaxCrossEntropy
from fnn.losses.contrastive import InfoNCE as InfoNCE
from fnn.losses.ctc import CTC as CTC
from fnn.losses.divergence import KLDivergence as KLDivergence
from fnn.losses.elbo import ELBO as ELBO
from fnn.losses.focal import SigmoidFocal as SigmoidFocal
from fnn.losses.focal import SoftmaxFocal as SoftmaxFocal
from fnn.losses.likelihood import GaussianNLL as GaussianNLL
from fnn.losses.likelihood import PoissonNLL as PoissonNLL
from fnn.losses.linear_softmax import LinearSoftmaxCrossEntropy as LinearSoftmaxCrossEntropy
from fnn.losses.regression import AbsoluteError as AbsoluteError
from fnn.losses.regression import Huber as Huber
from fnn.losses.regression import SquaredError as SquaredError
from fnn.metrics import Metric as Metric
from fnn.metrics import Perplexity as Perplexity
from fnn.metrics import TopKAccuracy as TopKAccuracy
from fnn.metrics import accuracy as accuracy
from fnn.nets.encoder_decoder import encoder_decoder as encoder_decoder
from fnn.nets.gpt import gpt as gpt
from fnn.nets.gpt import transformer_block as transformer_block
from fnn.nets.gpt2 import from_gpt2 as from_gpt2
from fnn.nets.gpt2 import to_gpt2 as to_gpt2
from fnn.nets.llama import from_llama as from_llama
from fnn.nets.llama import to_llama as to_llama
from fnn.nets.mlp import mlp as mlp
from fnn.nets.recurrent import recurrent as recurrent
from fnn.nets.resnet import resnet as resnet
from fnn.nets.unet import unet as unet
from fnn.nets.vit import vit as vit
from fnn.penalties import L1 as L1
from fnn.penalties import L2 as L2
from fnn.penalties import Penalty as Penalty
from fnn.plan import Plan as Plan
from fnn.plan import State as State
from fnn.plan import start as start
from fnn.prediction import predict as predict
from fnn.records import Record as Record
from fnn.ruling import rule as rule
from fnn.saving.checkpointing import Checkpointing as Checkpointing
from fnn.saving.checkpointing import Interrupted as Interrupted
from fnn.saving.checkpointing import NotFinite as NotFinite
from fnn.sequence import Sequence as Sequence
from fnn.sequence import lift as lift
from fnn.stopping import EarlyStopping as EarlyStopping
from fnn.streams.sampler import Sampler as Sampler
from fnn.summaries import summary as summary
from fnn.train import epoch as epoch
from fnn.train import evaluate as evaluate
from fnn.train import fit as fit
from fnn.train import step as step
from fnn.watching import Watch as Watch
from fnn.watching import watched as watched

if _typing.TYPE_CHECKING:
    from fnn import checkpoints as checkpoints
    from fnn.checking import Report as Report
    from fnn.checking import check as check
    from fnn.checking import check_gradient as check_gradient
    from fnn.checking import check_same as check_same
    from fnn.checking import check_vjp as check_vjp


def __getattr__(name: str) -> _typing.Any:
    """What is imported when it is first asked for: the checker, a third of an import; files."""
    if name == "checkpoints":  # needs safetensors
        return _importlib.import_module("fnn.checkpoints")
    checking = _importlib.import_module("fnn.checking")
    if name in checking.EXPORTS:
        return getattr(checking, name)
    homes = {"optim": optim, "rules": rules, "initializers": initializers, "curvature": curvature}
    hint = next((f"; it is fnn.{n}.{name}" for n, home in homes.items() if hasattr(home, name)), "")
    raise AttributeError(f"module 'fnn' has no attribute {name!r}{hint}.")


def __dir__() -> list[str]:
    """All that the package offers, what is imported later too."""
    return sorted({"checkpoints", *globals(), *_importlib.import_module("fnn.checking").EXPORTS})
