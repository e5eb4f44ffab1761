"""The config of a training: a tree of dataclasses."""

from dataclasses import dataclass, field
from typing import Literal

from byol.config.limits import validate
from byol.runtime.view_policy import T_PRIME, T, ViewPolicy

__all__ = ["validate"]  # and everything below
Side = Literal["none", "source", "target", "both"]
Norm = Literal["batch", "local-batch", "group", "layer", "instance", "affine", "none"]


ViewConfig = ViewPolicy
"""One view distribution: its settings are the policy that `views` draws from."""


@dataclass(frozen=True)
class ViewsConfig:
    """How the two views of an image are made."""

    size: int = 224
    """Side of a view in pixels; 0: from the images (224, or their own short side where that is smaller)."""
    growth: tuple[float, ...] = ()
    """Progressive resizing: sides of the views in earlier parts of the training, as fractions of the last part's; (0.5, 0.75) is a third of the steps each. Small views shrink with them. Differs from the paper where it is not empty."""
    semantics: Literal["deepmind", "torchvision"] = "deepmind"
    """Whose crop, colour and blur operations: DeepMind's (the paper's) or torchvision's."""
    antialias: bool = False
    """Antialiased resizing of the crops. Differs from the paper: it samples without (large photos alias)."""
    decode_short_side: int = 0
    """JPEG files may be decoded smaller, with a short side of at least so many pixels; 0: never. Differs from the paper, and needs semantics torchvision."""
    mean: tuple[float, ...] = ()
    """Mean per channel that the network subtracts; empty: ImageNet's for RGB, else measured on the data."""
    std: tuple[float, ...] = ()
    """Standard deviation per channel that the network divides by; empty: like the mean."""
    view1: ViewPolicy = T
    """The distribution T."""
    view2: ViewPolicy = T_PRIME
    """The distribution T'."""


@dataclass(frozen=True)
class AsymmetryConfig:
    """What differs between source (online) and target, as in asym-siam. Differs from the paper where anything is set."""

    small_crops: int = 0
    """MultiCrop: small views per image for the online network alone, each of which predicts both targets."""
    small_size: int = 96
    """Side of a small view in pixels; 0: half that of the views."""
    small_area: tuple[float, float] = (0.05, 0.14)
    """Smallest and largest area of a small view, as a fraction of the image."""
    scale_mix: Side = "none"
    """ScaleMix: a box of another view of the same image is pasted into each view of this side."""
    weak_augmentation: Side = "none"
    """This side sees crops and flips alone."""
    strong_augmentation: Side = "none"
    """This side's crops pass through timm's RandAugment (two operations, magnitude 10) before their colours change; RGB alone."""
    mean_encoding: Side = "none"
    """This side's projection is the mean over two views."""
    split_batch_norm: Side = "none"
    """This side's projector has batch norm over parts of the batch, the other's over all of it."""
    split_parts: int = 8
    """The parts for split_batch_norm."""


@dataclass(frozen=True)
class EncoderConfig:
    """The network f whose output is kept."""

    name: str = "resnet50"
    """resnet10, 18, 34, 50, 101, 152, 200, or any timm model by its timm name."""
    width: float = 1.0
    """Multiplies all channels of our ResNets (the paper's 1x to 4x; 0.25 gives a stem of 16)."""
    stem: Literal["auto", "imagenet", "small"] = "auto"
    """small: 3x3 stride 1 and no max-pool, for 32 to 96 px; auto: small up to 96 px, or as the weights it starts from."""
    conventions: Literal["torch", "deepmind"] = "torch"
    """Padding, shortcuts, batch-norm averages and initial weights as torchvision's or as DeepMind's. Differs from the paper: torch."""
    pretrained: bool = False
    """Start from timm's pretrained weights. Differs from the paper: it starts from random weights."""
    init: str = ""
    """Start from the encoder in this folder (a run, an export, an import). Differs from the paper: it starts from random weights."""
    zero_init_residual: bool = False
    """Start the last batch-norm scale of each residual block at 0 (the paper's results used 1)."""
    norm: Literal[Norm, "frozen"] = "batch"
    """batch (over all ranks), local-batch (of each rank), group, layer, instance, affine (scale and shift alone), none; frozen: batch norm by the averages of the weights it starts from. Differs from the paper where it is not batch."""
    norm_groups: int = 32
    """Groups of channels of norm group."""
    weight_standardization: bool = False
    """Standardise the weights of every convolution and linear layer. Differs from the paper."""

    @property
    def has_weights(self) -> bool:
        """Whether it starts from trained weights."""
        return bool(self.init) or self.pretrained


@dataclass(frozen=True)
class HeadsConfig:
    """Projector g and predictor q: Linear, BN, ReLU, Linear (BYOL section 3.3)."""

    projector_hidden: int = 4096
    """Hidden width of the projector."""
    projector_output: int = 256
    """Dimension of the projection."""
    predictor_hidden: int = 4096
    """Hidden width of the predictor."""
    projector_depth: int = 2
    """Linear layers of the projector (BYOL Table 14)."""
    predictor_depth: int = 2
    """Linear layers of the predictor."""
    projector_norm: Norm = "batch"
    """Normalisation of the projector's hidden layers, as encoder.norm."""
    predictor_norm: Norm = "batch"
    """Normalisation of the predictor's hidden layers, as encoder.norm."""
    projector_output_norm: bool = False
    """Normalise the projection too. Differs from the paper: SimCLR and SimSiam do."""
    weight_standardization: bool = False
    """Standardise the weights of both heads. Differs from the paper."""
    predictor: Literal["auto", "mlp", "linear", "least-squares", "none"] = "auto"
    """auto: the method's own (mlp; none for simclr). least-squares: the batch's best linear map (BYOL section 5)."""


@dataclass(frozen=True)
class MethodConfig:
    """What is learned."""

    name: Literal["byol", "simclr", "simsiam", "infonce"] = "byol"
    """byol, simclr, simsiam, or infonce: what lies between BYOL and SimCLR (BYOL equation 8)."""
    target: Literal["auto", "average", "fixed", "stop-gradient", "online"] = "auto"
    """auto: the method's own. average: a slow copy; fixed: a random network that stays; the online network itself with or without stop-gradient."""
    temperature: float = 0.1
    """Temperature of simclr's NT-Xent, alpha of infonce."""
    beta: float = 1.0
    """Weight of the negatives in infonce: 0 is BYOL's loss, 1 SimCLR's."""
    loss_chunk: int = 0
    """Images whose negatives simclr and infonce compare at a time, to save memory; 0: all."""
    loss_normalization: Literal["l2", "layer", "batch", "none"] = "l2"
    """How byol's loss normalises vectors (BYOL Table 20). Differs from the paper where it is not l2."""
    data_init: bool = False
    """Start every scale and shift so that the first batch is standardised. Differs from the paper: it starts at 1 and 0."""
    tau_base: float = 0.99
    """Target decay at the first step."""
    tau_schedule: Literal["cosine", "constant"] = "cosine"
    """cosine: tau rises to 1. Differs from the paper: constant keeps it."""
    tau_reference_batch: int = 0
    """Batch that tau_base is meant for: each step's tau is raised to batch_size / this (EMA scaling rule). 0: no rule."""
    target_init: Literal["copy", "independent"] = "copy"
    """copy: the target starts as the online network, as in the pseudo-code; independent: from its own random weights, as in the released code."""
    online_classifier: bool = False
    """Train a linear classifier on the labels behind a stop-gradient, as DeepMind monitors its runs; logged as classifier_loss and classifier_accuracy."""


@dataclass(frozen=True)
class OptimizerConfig:
    """How the online weights move."""

    name: Literal["lars", "sgd", "adamw"] = "lars"
    """Differs from the paper where it is not lars."""
    base_learning_rate: float = 0.3
    """Rate per 256 images: the peak rate is this times batch_size / 256."""
    weight_decay: float = 1e-6
    """Decay of weights; of biases and normalisation parameters with decay_all alone."""
    momentum: float = 0.9
    """Momentum of lars and sgd."""
    trust_coefficient: float = 1e-3
    """Eta of lars."""
    warmup_epochs: float = 10
    """Epochs of linear warm-up from 0."""
    encoder_rate: float = 1.0
    """Multiplies the encoder's rate. Differs from the paper where it is not 1: less keeps weights that it starts from while the heads learn."""
    projector_rate: float = 1.0
    """Multiplies the projector's rate (BYOL appendix I)."""
    predictor_rate: float = 1.0
    """Multiplies the predictor's rate (BYOL appendix I)."""
    decay_all: bool = False
    """Decay biases and normalisation parameters too. Differs from the paper: SimSiam does."""


@dataclass(frozen=True)
class Config:
    """A whole run."""

    epochs: float = 300
    """Passes over the images."""
    batch_size: int = 4096
    """Images per optimizer step, over all ranks and micro-batches."""
    micro_batch_size: int = 0
    """Images per rank and forward; batch norm sees that many times the ranks. 0: the whole batch in one forward."""
    seed: int = 0
    """Decides initial weights, order of images and views."""
    device: str = "auto"
    """auto (cuda, mps, cpu in this order of preference), or a torch device."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """bf16 autocast or float32; auto: bf16 where the hardware computes in it."""
    kernels: Literal["auto", "native", "fused", "compile"] = "auto"
    """Operators: torch's own (native), ours for CPUs, built on first use by a C++ compiler (fused), or torch.compile's (compile; on one GPU, without micro-batches, recorded as CUDA graphs).
    auto: fused on a CPU with a compiler, else native."""
    channels_last: bool = True
    """Memory layout of images and convolutions."""
    workers: int = -1
    """Processes that decode images; -1: one per core but one, at most 8. Small sets are kept in memory instead."""
    log_interval_steps: int = 10
    """Steps between two lines of metrics, and between two checks for a non-finite loss."""
    collapse_interval_steps: int = 50
    """Steps between two looks at collapse."""
    online_probe_epochs: float = 0.0
    """Epochs between two probes (kNN, linear) of the encoder on labelled training images, logged as online_knn and
    online_linear; 0: none. They change nothing in the training."""
    track: Literal["none", "tensorboard", "wandb"] = "none"
    """Where the metrics go beside metrics.jsonl (extras `tensorboard` and `wandb`)."""
    checkpoint_interval_minutes: float = 5.0
    """Minutes between two checkpoints; one more is always written at the end."""
    keep_checkpoints: int = 2
    """The newest checkpoints that are kept."""
    milestone_epochs: float = 0.0
    """A checkpoint every so many epochs is kept for good; 0: none."""
    on_non_finite: Literal["stop", "skip"] = "stop"
    """Where loss or gradient is not finite: stop the run, or skip that batch (each step then waits for the device)."""
    stop_on_collapse: bool = False
    """Stop where three looks in a row, after the warm-up, say that the projections have collapsed; some trainings come back from there."""
    views: ViewsConfig = ViewsConfig()
    """The views."""
    encoder: EncoderConfig = EncoderConfig()
    """The encoder."""
    heads: HeadsConfig = HeadsConfig()
    """The heads."""
    method: MethodConfig = MethodConfig()
    """The method."""
    asymmetry: AsymmetryConfig = AsymmetryConfig()
    """Differences between source and target."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    """The optimizer."""


RUN_SETTINGS = frozenset(
    (
        "device",
        "kernels",
        "channels_last",
        "workers",
        "log_interval_steps",
        "collapse_interval_steps",
        "online_probe_epochs",
        "track",
        "checkpoint_interval_minutes",
        "keep_checkpoints",
        "milestone_epochs",
    )
)
"""Settings of how a run is carried out. They decide nothing that is learned, beyond the rounding of another device or operator, so a
resumed run may change them."""
