"""The paper's linear evaluation: a linear layer trained by SGD on a frozen encoder's features of random crops (BYOL C.1)."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from byol.evaluate.features import labels_of
from byol.evaluate.metrics import top_5, top_k
from byol.evaluate.protocols import training
from byol.evaluate.protocols.protocol import Job, Outcome
from byol.views.policy import CROP_AND_FLIP

RATES = {"paper": (0.4, 0.3, 0.2, 0.1, 0.05), "default": tuple(0.05 * 2**k for k in range(11)), "smoke": (0.2,)}
"""Learning rates for a batch of 256. Small data sets need higher rates than the paper's; more rates cost almost no time."""
EPOCHS = {"paper": 80, "default": 10, "smoke": 1}
LEAST_STEPS = {"paper": 0, "default": 350, "smoke": 0}
"""Least number of steps; 350 are ten epochs of 9,000 images."""
BATCH_SIZE = {"paper": 1024, "default": 256, "smoke": 64}
CLIP_AT, CLIP_PENALTY = 20.0, 1e-2
"""Limit of clipped logits, and weight of their penalty."""


def linear(job: Job) -> Outcome:
    """Accuracy of a linear layer; its learning rate is chosen on held-out training images.

    One layer per rate is trained on the features of the same augmented batches. The encoder stays in eval mode, so its
    weights and batch-norm averages do not change. The optimizer is SGD with Nesterov momentum 0.9, cosine decay and no
    weight decay.
    """
    encoder, options = job.encoder, job.options.linear
    train, validation = training.split(job)
    rates = RATES[job.budget]
    batch_size = min(BATCH_SIZE[job.budget], len(train))
    steps = max(LEAST_STEPS[job.budget], training.steps_for(EPOCHS[job.budget], len(train), batch_size))
    policy = CROP_AND_FLIP
    if options.pretraining_views:
        policy = training.pretraining_view(job)
    heads = make_heads(len(rates), encoder.num_features, job.num_classes).to(job.device)
    optimizer = torch.optim.SGD(
        [{"params": head.parameters()} for head in heads], lr=1.0, momentum=training.MOMENTUM, nesterov=True
    )
    for step, (views, labels) in enumerate(training.batches(job, train, batch_size, steps, policy)):
        features = encoder.encode_views(views)
        train_step(heads, optimizer, rates, features, labels, step, steps, clips=options.clip_logits)
        if step % 10 == 0 or step + 1 == steps:
            job.listener.work("linear evaluation", step + 1, steps)
    features = training.scores(job, encoder.encode_views, validation)
    truth = labels_of(features)
    accuracies = [100 * float((head(features.vectors).argmax(1) == truth).float().mean()) for head in heads.cpu()]
    best = max(range(len(rates)), key=lambda number: accuracies[number])
    queries = job.features("test")
    truth = labels_of(queries)
    with torch.no_grad():
        logits = heads[best](queries.vectors)
    notes = [
        note
        for note, on in (("logits clipped", options.clip_logits), ("pretraining views", policy is not CROP_AND_FLIP))
        if on
    ]
    return Outcome(
        metrics={"top-1": top_k(logits, truth, 1), **top_5(logits, truth)},
        settings={
            "rate": rates[best],
            "rates": list(rates),
            "epochs": round(steps * batch_size / len(train), 1),
            "steps": steps,
            "batch_size": batch_size,
            "clip_logits": options.clip_logits,
            "pretraining_views": options.pretraining_views,
            "train_images": len(train),
            "validation_images": len(validation),
        },
        differs=job.differs(),
        caution=training.end_of_grid(list(zip(rates, accuracies, strict=True))),
        variant="-".join(note.replace(" ", "-") for note in notes),
        extras={"validation": [{"rate": r, "accuracy": a} for r, a in zip(rates, accuracies, strict=True)]},
    )


def make_heads(count: int, num_features: int, num_classes: int) -> nn.ModuleList:
    """`count` linear layers whose weights are initialised with 0.

    Differs from the paper: DeepMind's released code starts from Haiku's truncated normal, with bias 0.
    """
    heads = nn.ModuleList(nn.Linear(num_features, num_classes) for _ in range(count))
    for parameter in heads.parameters():
        nn.init.zeros_(parameter)
    return heads


def train_step(
    heads: nn.ModuleList,
    optimizer: torch.optim.Optimizer,
    rates: tuple[float, ...],
    features: Tensor,
    labels: Tensor,
    step: int,
    steps: int,
    *,
    clips: bool,
) -> None:
    """Makes one step for every layer with its own rate, on (B, D) features. The layers do not influence each other."""
    training.set_rate(optimizer, 1.0, step, steps)
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] *= rate * len(features) / 256
    loss = torch.stack([classification_loss(head(features), labels, clips=clips) for head in heads]).sum()
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


def classification_loss(logits: Tensor, labels: Tensor, *, clips: bool = False) -> Tensor:
    """Mean cross-entropy of (B, num_classes) logits.

    With `clips` the logits are softly clipped to c = 20 tanh(logits / 20), and 0.01 mean c^2 is added (BYOL appendix C.1,
    Table 7 b).
    """
    if not clips:
        return functional.cross_entropy(logits, labels)
    clipped = CLIP_AT * torch.tanh(logits / CLIP_AT)
    return functional.cross_entropy(clipped, labels) + CLIP_PENALTY * clipped.square().mean()
