"""Optimizers and schedules as data: one per file, on one contract."""

from fnn.optim.adadelta import AdaDelta as AdaDelta
from fnn.optim.adagrad import AdaGrad as AdaGrad
from fnn.optim.adam import Adam as Adam
from fnn.optim.adamw import AdamW as AdamW
from fnn.optim.chain import Chain as Chain
from fnn.optim.clip_by_norm import ClipByNorm as ClipByNorm
from fnn.optim.foreign import Foreign as Foreign
from fnn.optim.kfac import KFAC as KFAC
from fnn.optim.momentum import Momentum as Momentum
from fnn.optim.optimizer import Optimizer as Optimizer
from fnn.optim.optimizer import apply_updates as apply_updates
from fnn.optim.plateau import Plateau as Plateau
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
from fnn.optim.soap import SOAP as SOAP
from fnn.penalties import weight_mask as weight_mask
