"""The config of a training: a tree of dataclasses."""

from dataclasses import dataclass, field
from typing import Literal

from byol.config.limits import validate
from byol.runtime.view_policy import T_PRIME, T, ViewPolicy

__all__ = ["validate"]  # and everything below
Side = Literal["none", "source", "target", "both"]
Norm = Literal["batch", "local-batch", "group", "layer", "instance", "affine", "none"]
PredictorKind = Literal[
    "auto", "mlp", "linear", "least-squares", "directpred", "directcopy", "directset", "neumann", "visser",
    "newton-schulz", "newton-schulz-2", "stiefel", "none",
]  # fmt: skip


ViewConfig = ViewPolicy
"""Settings of one view distribution."""


@dataclass(frozen=True)
class ViewsConfig:
    """Settings of the two augmented views of each image."""

    size: int = 224
    """Side of a view in pixels. 0: 128 from random weights and 224 from trained ones, or the short side of the images if that is smaller."""
    growth: tuple[float, ...] = ()
    """Progressive resizing: view sides in the earlier stages of training, as fractions of `size`. All stages have the same number of steps: 0.5 0.75 trains a third of them at half size, a third at three quarters, a third at full size. The small views of asymmetry.small_crops shrink too. Differs from the paper if not empty."""
    pairs: str = ""
    """Pictures of one thing, by files or a table; the two views are then of two different pictures of one thing. folder: all pictures of one folder; name: files of one name in different folders; prefix or prefix:SEPARATOR: files of one folder whose names agree up to the last _ or SEPARATOR, as patient_slice.dcm; column:NAME: a column of the table with the images; column:NAME:TABLE.csv: a column of a table of files. A picture that is alone gives both views. Empty: both views are of one picture. Differs from the paper if not empty."""
    semantics: Literal["deepmind", "torchvision"] = "deepmind"
    """Implementation of crop, colour and blur: DeepMind's (used in the paper) or torchvision's."""
    antialias: bool = False
    """Antialiasing when crops are resized. Differs from the paper: it uses none, so large photos show aliasing."""
    decode_short_side: int = 0
    """JPEG files are decoded at reduced size, with a short side of at least this many pixels; this is faster. 0: full size. Needs semantics torchvision. Differs from the paper if not 0."""
    stored_side: int = 0
    """Short side in pixels to which larger image files are shrunk before anything else sees them, in training and afterwards. Photos that do not fit into memory are shrunk once, into a cache on disk. -1: 288, or 1.25 times the largest of `size` and `encoded_size` if that is more; 0: off. Differs from the paper if not 0."""
    encoded_size: int = 0
    """Side in pixels of the view that the encoder takes of an image after training. 0: `size`. -1: 1.25 times `size` in multiples of 32, at most 7/8 of the short side of the images; `size` below 96 px and for encoders of one image size. Objects look smaller in a whole image than in a random crop of it (FixRes, Touvron et al. 2019). Differs from the paper if not 0."""
    mean: tuple[float, ...] = ()
    """Mean per channel that is subtracted from the images. Empty: ImageNet's for RGB images, measured on the data for others."""
    std: tuple[float, ...] = ()
    """Standard deviation per channel that the images are divided by. Empty: chosen like the mean."""
    view1: ViewPolicy = T
    """Distribution T of the first view."""
    view2: ViewPolicy = T_PRIME
    """Distribution T' of the second view."""


@dataclass(frozen=True)
class AsymmetryConfig:
    """Different treatment of the source (online) branch and the target branch, as in asym-siam. Differs from the paper if anything is set."""

    small_crops: int = 0
    """MultiCrop: number of extra small views per image. Only the online network sees them; each one predicts both targets."""
    small_size: int = 96
    """Side of a small view in pixels. 0: half of views.size."""
    small_area: tuple[float, float] = (0.05, 0.14)
    """Smallest and largest area of a small view, as a fraction of the image."""
    scale_mix: Side = "none"
    """ScaleMix: in each view of this branch, a random box is replaced by the same box of another view of the same image."""
    weak_augmentation: Side = "none"
    """Weak augmentation: the views of this branch are only cropped and flipped."""
    strong_augmentation: Side = "none"
    """Strong augmentation: the views of this branch pass through timm's RandAugment (two operations, magnitude 10) before the colour changes. RGB images only."""
    mean_encoding: Side = "none"
    """Mean encoding: the projection of this branch is the mean over two views."""
    split_batch_norm: Side = "none"
    """Split batch norm: the projector of this branch normalizes each of split_parts parts of the batch separately. The other branch normalizes the whole batch."""
    split_parts: int = 8
    """Number of parts for split_batch_norm."""


@dataclass(frozen=True)
class EncoderConfig:
    """Encoder f: the network that is kept after training."""

    name: str = "resnet50"
    """Architecture: resnet10, 18, 34, 50, 101, 152, 200, or the name of any timm model."""
    width: float = 1.0
    """Factor on the number of channels of the built-in ResNets. The paper uses 1 to 4; 0.25 gives 16 channels in the stem."""
    stem: Literal["auto", "imagenet", "small"] = "auto"
    """First layers. imagenet: 7x7 with stride 2 and max-pooling; small: 3x3 with stride 1 and no pooling, for views of 32 to 96 px; auto: the stem of the pretrained weights if there are any, else small for views up to 96 px."""
    conventions: Literal["torch", "deepmind"] = "torch"
    """Padding, shortcuts, batch-norm averages and weight initialization as in torchvision (torch) or as in DeepMind's code. Differs from the paper: torch."""
    pretrained: bool = False
    """Use timm's pretrained weights as initial weights. Differs from the paper: it starts from random weights."""
    init: str = ""
    """Folder of an encoder (a run, an export or an import) whose weights are the initial weights. Differs from the paper: it starts from random weights."""
    zero_init_residual: bool = False
    """Initialize the last batch-norm scale of each residual block to 0. The paper's results used 1."""
    norm: Literal[Norm, "frozen"] = "batch"
    """Normalization layers. batch: batch norm over all ranks; local-batch: batch norm per rank; group, layer, instance; affine: only scale and shift; none; frozen: batch norm with the running averages of the initial weights, which stay fixed. Differs from the paper if not batch."""
    norm_groups: int = 32
    """Number of channel groups for norm group."""
    weight_standardization: bool = False
    """Standardize the weights of every convolution and linear layer. Differs from the paper."""

    @property
    def has_weights(self) -> bool:
        """Whether the initial weights are trained ones."""
        return bool(self.init) or self.pretrained


@dataclass(frozen=True)
class HeadsConfig:
    """Projector g and predictor q, two MLPs: Linear, batch norm, ReLU, Linear (BYOL section 3.3)."""

    projector_hidden: int = 4096
    """Width of the projector's hidden layers."""
    projector_output: int = 256
    """Dimension of the projection."""
    predictor_hidden: int = 4096
    """Width of the predictor's hidden layers."""
    projector_depth: int = 2
    """Number of linear layers in the projector (BYOL Table 14)."""
    predictor_depth: int = 2
    """Number of linear layers in the predictor."""
    projector_norm: Norm = "batch"
    """Normalization after the projector's hidden layers; values as for encoder.norm."""
    predictor_norm: Norm = "batch"
    """Normalization after the predictor's hidden layers; values as for encoder.norm."""
    projector_output_norm: bool = False
    """Normalize the projector's output too, as SimCLR and SimSiam do. Differs from the paper."""
    weight_standardization: bool = False
    """Standardize the weights of both heads. Differs from the paper."""
    predictor: PredictorKind = "auto"
    """Kind of predictor. auto: the method's default (none for simclr, mlp for the others); least-squares: the best linear map for each batch (BYOL section 5). Linear maps computed from the correlation of the projections after each step: directpred, directcopy and directset, its power 0.5, 1 and predictor_power; neumann, visser, newton-schulz, newton-schulz-2 and stiefel (Richemond et al. 2023)."""
    predictor_average: float = 0.3
    """Fraction that the moving average of a computed predictor keeps at each step: of the correlation for directpred, directcopy and directset, of the map for the others. 0.3: DirectPred's."""
    predictor_ridge: float = 0.1
    """Multiple of the identity that is added to a computed predictor, relative to its largest singular value. 0.1: DirectPred's."""
    predictor_power: float = 0.5
    """Power of the correlation for directset."""


@dataclass(frozen=True)
class MethodConfig:
    """Method, its loss and its target network."""

    name: Literal["byol", "simclr", "simsiam", "infonce"] = "byol"
    """Method. infonce: BYOL with negative examples, between BYOL and SimCLR (BYOL equation 8)."""
    target: Literal["auto", "average", "fixed", "stop-gradient", "online"] = "auto"
    """Target network. auto: the method's default; average: moving average of the online network; fixed: a random network that never changes; stop-gradient: the online network without gradient; online: the online network with gradient."""
    teacher: str = ""
    """Folder of a trained encoder of any architecture (a run, an export or an import) that is the target network: it never changes, and projector and predictor together learn to predict its vectors (distillation). Differs from the paper if not empty."""
    temperature: float = 0.1
    """Temperature of simclr's NT-Xent loss; alpha of infonce."""
    beta: float = 1.0
    """Weight of the negative examples in infonce: 0 gives BYOL's loss, 1 gives SimCLR's."""
    loss_chunk: int = 0
    """Number of images that simclr and infonce compare with all others at a time. Fewer need less memory. 0: all at once."""
    loss_normalization: Literal["l2", "layer", "batch", "none"] = "l2"
    """Normalization of the vectors in byol's loss (BYOL Table 20). Differs from the paper if not l2."""
    data_init: bool = False
    """Initialize every scale and shift so that the first batch is standardized. Differs from the paper: it starts at 1 and 0."""
    tau_base: float = 0.99
    """Decay rate tau of the target's moving average at the first step, from 0 to 1."""
    tau_schedule: Literal["cosine", "constant"] = "cosine"
    """Schedule of tau. cosine: rises to 1 at the last step; constant: stays at tau_base. Differs from the paper: constant."""
    tau_reference_batch: int = 0
    """Batch size that tau_base was tuned for. tau is raised to the power of batch_size / this (EMA scaling rule). 0: tau is not scaled."""
    target_init: Literal["copy", "independent"] = "copy"
    """Initial target network. copy: a copy of the online network, as in the paper's pseudo-code; independent: its own random weights, as in the released code."""
    online_classifier: bool = False
    """Train a linear classifier on the labels, to monitor the run as DeepMind does; its gradient does not reach the encoder. Logged as classifier_loss and classifier_accuracy."""


@dataclass(frozen=True)
class OptimizerConfig:
    """Optimizer and its learning rate schedule."""

    name: Literal["lars", "sgd", "adamw"] = "lars"
    """Optimizer. Differs from the paper if not lars."""
    base_learning_rate: float = 0.3
    """Learning rate for a batch of 256 images. The peak learning rate is this times batch_size / 256."""
    weight_decay: float = 1e-6
    """Weight decay. Biases and normalization parameters have none unless decay_all is set."""
    momentum: float = 0.9
    """Momentum of lars and sgd."""
    trust_coefficient: float = 1e-3
    """Trust coefficient (eta) of lars."""
    warmup_epochs: float = 10
    """Epochs in which the learning rate rises linearly from 0 to its peak."""
    encoder_rate: float = 1.0
    """Factor on the encoder's learning rate. Below 1, pretrained initial weights change less while the heads learn. Differs from the paper if not 1."""
    projector_rate: float = 1.0
    """Factor on the projector's learning rate (BYOL appendix I)."""
    predictor_rate: float = 1.0
    """Factor on the predictor's learning rate (BYOL appendix I)."""
    decay_all: bool = False
    """Apply weight decay to biases and normalization parameters too, as SimSiam does. Differs from the paper."""


@dataclass(frozen=True)
class Config:
    """All settings of a training."""

    epochs: float = 300
    """Number of passes over the images."""
    batch_size: int = 4096
    """Images per optimizer step, summed over all ranks and micro-batches."""
    micro_batch_size: int = 0
    """Images per rank and forward pass; smaller ones need less memory. Batch norm sees this number times the number of ranks. 0: the whole batch in one forward pass."""
    seed: int = 0
    """Random seed of the initial weights, the order of the images, and the views."""
    device: str = "auto"
    """Torch device, such as cuda:1. auto: cuda if available, else mps, else cpu."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Number format of the computation: bf16 autocast or float32. auto: bf16 if the hardware supports it, else fp32."""
    kernels: Literal["auto", "native", "fused", "compile"] = "auto"
    """Implementation of the operators. native: torch's; fused: this package's C++ operators for CPUs, compiled on first use; compile: torch.compile (with CUDA graphs on one GPU without micro-batches). auto: fused on a CPU with a C++ compiler, else native."""
    channels_last: bool = True
    """Use the channels-last memory layout for images and convolutions."""
    workers: int = -1
    """Number of processes that decode images. -1: one per core minus one, at most 8. Small data sets of equal images are decoded once and kept in memory instead."""
    threads: int = 0
    """Number of CPU threads that train. 0: the fastest number, measured during the training, since fewer are faster beside other busy processes. Results of different numbers differ by rounding."""
    log_interval_steps: int = 10
    """Steps between two lines in metrics.jsonl. The loss is checked for non-finite values as often."""
    collapse_interval_steps: int = 50
    """Steps between two measurements of collapse."""
    online_probe_epochs: float = 0.0
    """Epochs between two evaluations (kNN and linear) of the encoder on labelled training images, logged as online_knn and online_linear. They do not influence the training. 0: none."""
    track: Literal["none", "tensorboard", "wandb"] = "none"
    """Experiment tracker that receives the metrics in addition to metrics.jsonl. Needs the extra `tensorboard` or `wandb`."""
    checkpoint_interval_minutes: float = 5.0
    """Minutes between two checkpoints. The last step always writes one, too."""
    keep_checkpoints: int = 2
    """Number of newest checkpoints that are kept."""
    milestone_epochs: float = 0.0
    """Epochs between two checkpoints that are never deleted. 0: none."""
    on_non_finite: Literal["stop", "skip"] = "stop"
    """Reaction to a loss or gradient that is not finite: stop the run, or skip the batch. Skipping makes each step wait for the device."""
    stop_on_collapse: bool = False
    """Stop when three measurements in a row after the warm-up find collapsed projections. Some trainings would recover."""
    views: ViewsConfig = ViewsConfig()
    """Settings of the views."""
    encoder: EncoderConfig = EncoderConfig()
    """Settings of the encoder."""
    heads: HeadsConfig = HeadsConfig()
    """Settings of projector and predictor."""
    method: MethodConfig = MethodConfig()
    """Settings of the method."""
    asymmetry: AsymmetryConfig = AsymmetryConfig()
    """Different treatment of source (online branch) and target (EMA branch)."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    """Settings of the optimizer."""


RUN_SETTINGS = frozenset(
    (
        "device",
        "kernels",
        "channels_last",
        "workers",
        "threads",
        "log_interval_steps",
        "collapse_interval_steps",
        "online_probe_epochs",
        "track",
        "checkpoint_interval_minutes",
        "keep_checkpoints",
        "milestone_epochs",
    )
)
"""Settings that a resumed run may change. They do not influence what is learned, except through rounding on another device or with other
operators."""
