"""Edits of one line, each of which must make a test fail: a sign, a constant, an order, a detach, a missing clip.

    python -m tests.mutations [NAME_PART ...]

Copies the package and its tests to a temporary folder, makes one edit at a time there, and runs the tests that guard
the file. Prints what was caught and by which test, and exits with 1 if an edit survived. (Run as a module of the
repository; `make test-full` does.)
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Mutation:
    """`before`, which the file holds exactly once, becomes `after`."""

    name: str
    file: str
    before: str
    after: str
    tests: str


LOSS = "tests/unit/methods/test_losses.py tests/unit/methods/test_byol.py tests/parity/test_components.py"
METHOD = "tests/unit/methods/test_byol.py tests/parity/test_train_step.py"
OPTIM = "tests/unit/optim/test_schedules.py tests/unit/optim/test_lars.py tests/unit/optim/test_groups.py tests/unit/engine/test_step.py tests/parity/test_components.py"
VIEWS = "tests/unit/views/test_geometry.py tests/unit/views/test_color.py tests/unit/views/test_augment.py tests/unit/views/test_views.py tests/unit/views/test_evaluation.py tests/parity/test_components.py tests/parity/test_reference_views.py"
SENSOR = "tests/unit/views/test_sensor.py tests/parity/test_reference_views.py"
FUSED = "tests/unit/views/test_fused.py"
FUSED_NORM = "tests/unit/nets/compiled/test_fused_norm.py"
MATRIX_CONV = "tests/unit/nets/compiled/test_matrix_conv.py"
DEPTHWISE_CONV = "tests/unit/nets/compiled/test_depthwise_conv.py"
FUSED_LARS = "tests/unit/optim/test_fused_lars.py"
BUILDING = "tests/unit/runtime/test_kernels.py"
DRAWS = "tests/unit/views/test_view_statistics.py tests/unit/views/test_parameters.py tests/unit/views/test_views.py tests/unit/config/test_config.py"
NETS = "tests/unit/nets/test_heads.py tests/unit/nets/test_encoder.py tests/unit/methods/test_byol.py tests/parity/test_components.py tests/parity/test_train_step.py"
RANKS = "tests/integration/test_ranks.py"
COLLAPSE = "tests/unit/diagnostics/test_collapse.py"
STEP = "tests/unit/engine/test_step.py tests/integration/test_training.py"
FAULTS = "tests/integration/test_faults.py"
RESUME = "tests/integration/test_resume.py"
CONTRAST = "tests/unit/methods/test_contrastive.py"
CLOSED_FORM = "tests/unit/methods/test_closed_form.py"
SIAMESE = "tests/unit/methods/test_siamese.py"
NORMS = "tests/unit/nets/test_replace_norm.py tests/unit/nets/test_initialization.py tests/unit/nets/test_heads.py"
ASYMMETRIC = "tests/unit/views/test_asymmetric.py tests/unit/assembly/test_asymmetry.py"
PAIRS = "tests/unit/data/test_pairs.py"
EXPORT = "tests/integration/test_export.py"
CHECKPOINTS = "tests/parity/test_deepmind_checkpoint.py"
TRANSFER = "tests/integration/test_transfer.py"
PICKLES = "tests/unit/imports/test_foreign_pickle.py"
GROWING = "tests/integration/test_growing_views.py"
PHOTOS = "tests/unit/data/test_stored_photos.py"
MINUTES = "tests/integration/test_minutes.py"
GUARD = "tests/unit/evaluate/test_guard.py"
HEAD = "tests/unit/evaluate/test_head.py"
ADAPT = "tests/integration/test_adapt.py"
WEIGHTS = "tests/unit/imports/test_weights_file.py"
TEACHER = "tests/integration/test_teacher.py"
PACE = "tests/unit/engine/test_pace.py"
THREADS = "tests/unit/runtime/test_threads.py"
LABELS = "tests/unit/data/test_labels.py"
SPLITS = "tests/unit/data/test_splits.py"
TABLES = "tests/unit/data/test_tables.py"
PATHS = "tests/unit/test_paths.py"
DATA = " ".join(
    f"tests/unit/data/test_{what}.py"
    for what in ("layout", "number_format", "profile", "fingerprint", "left_out", "broken")
)

MUTATIONS = [
    # compiled operators
    Mutation("fused ReLU lets all through", "nets/compiled/fused_norm.cpp", "where(load(y) > 0, value)", "value", FUSED_NORM),
    Mutation("fused ReLU of the input", "nets/compiled/fused_norm.cpp", "where(load(x) * load(scale) + load(shift) > 0, value)", "where(load(x) > 0, value)", FUSED_NORM),
    Mutation("fused norm drops the mean's gradient", "nets/compiled/fused_norm.cpp", "(along * mean[c] - sums[c] / count)", "(along * mean[c])", FUSED_NORM),
    Mutation("fused norm counts wrongly", "nets/compiled/fused_norm.cpp", "sums[channels + c] / rows - average * average", "sums[channels + c] / rows", FUSED_NORM),
    Mutation("fused norm eats NaN", "nets/compiled/fused_norm.cpp", "(value > 0) | (value != value)", "value > 0", FUSED_NORM),
    Mutation("fused norm truncates bf16", "nets/compiled/maps.h", "0x7fffu + ((bits >> 16) & 1u)", "0u", FUSED_NORM),
    Mutation("fused norm keeps no averages", "nets/compiled/fused_norm.py", "        self._update_averages(mean, var, count)\n", "", FUSED_NORM),
    Mutation("fused norm gives no residual gradient", "nets/compiled/fused_norm.py", "return to_input, to_residual, to_weight, to_bias", "return to_input, None, to_weight, to_bias", FUSED_NORM),
    Mutation("fused norm adds in the order in which threads end", "nets/compiled/fused_norm.cpp", "#pragma omp for ordered schedule(static, 1)\n        for (int thread = 0; thread < omp_get_num_threads(); ++thread) {\n#pragma omp ordered", "        {\n#pragma omp critical", FUSED_NORM),
    Mutation("fused group norm forgets how far channels are apart", "nets/compiled/fused_norm.cpp", " - away * away + apart * apart", " - away * away", FUSED_NORM),
    Mutation("fused norm eats infinity", "nets/compiled/fused_norm.cpp", "std::max(sums[channels + c] / rows - average * average, 0.0)", "std::max(0.0, sums[channels + c] / rows - average * average)", FUSED_NORM),
    Mutation("fused group norm eats infinity", "nets/compiled/fused_norm.cpp", "std::max(variance / of.width(), 0.0)", "std::max(0.0, variance / of.width())", FUSED_NORM),
    Mutation("fused group norm drops the mean's gradient", "nets/compiled/fused_norm.cpp", "(along * means[group] - sum)", "(along * means[group])", FUSED_NORM),
    Mutation("fused group norm drops the deviation's gradient", "nets/compiled/fused_norm.cpp", "slope[c] = (float)(-inverse[group] * along)", "slope[c] = 0", FUSED_NORM),
    Mutation("fused group norm gives no residual gradient", "nets/compiled/fused_norm.py", "return to_input, to_residual, to_weight.sum", "return to_input, None, to_weight.sum", FUSED_NORM),
    Mutation("a hook is shown what comes after ReLU", "nets/compiled/fused_norm.py", " and not norm._forward_hooks", "", FUSED_NORM),
    Mutation("fused norm of ranks counts its own rows", "nets/compiled/fused_norm.py", "rows * ctx.num_ranks, rows", "rows, rows", "tests/integration/test_ranks.py"),
    Mutation("fused norm of ranks sums its own rows", "nets/compiled/fused_norm.py", "distributed.all_reduce(sums)", "pass", "tests/integration/test_ranks.py"),
    Mutation("compilers go on after a failure", "runtime/kernels.py", "            process.kill()\n            process.wait()\n", "", BUILDING),
    Mutation("a failed build leaves its files", "runtime/kernels.py", "            temporary.unlink(missing_ok=True)\n", "", BUILDING),
    Mutation("a moved end is forgotten by the state", "engine/loop.py", "        self.state.segments = self.schedule.segments\n", "", "tests/integration/test_minutes.py"),
    Mutation("a moved end is forgotten by a resume", "engine/state.py", "tuple(Segment(**segment) for segment in saved.get(\"segments\", ()))", "()", "tests/integration/test_minutes.py"),
    Mutation("a few images that are right leave no doubt", "evaluate/head.py", "share = 1 / (num_images + 1)", "share = 0.0", HEAD),
    Mutation("a head is not calibrated", "evaluate/head.py", "Head(weight / temperature, bias / temperature", "Head(weight, bias", HEAD),
    Mutation("a threshold counts wrong names alone", "evaluate/certainty.py", "torch.maximum(wrong, (1 - probability).cumsum(0))", "wrong", HEAD),
    Mutation("the only image of a class is held out", "evaluate/linear.py", " if len(members) > 1 else -1", "", "tests/unit/evaluate/test_linear.py"),
    Mutation("copies replace each other", "runtime/files.py", 'path.open("xb")', 'path.open("wb")', "tests/unit/commands/test_classify.py"),
    Mutation("a changed encoder keeps its head", "encoder/classifier.py", "if (found := encoder.fingerprint()) != about.weights:", "if (found := encoder.fingerprint()) is None:", "tests/unit/commands/test_classify.py"),
    Mutation("gradients are not clipped", "evaluate/handcrafted.py", "_unit(_unit(blocks).clamp(max=0.2))", "_unit(blocks).clamp(max=0.2)", "tests/unit/evaluate/test_handcrafted.py"),
    Mutation("a study's jobs are not counted", "studies/budget.py", "min(1.0, (num_cores() if on_cpu else 1) / jobs)", "1.0", "tests/unit/studies/test_budget.py"),
    Mutation("a study that goes on measures again", "studies/budget.py", "    recorded = _recorded_budget(folder)", "    recorded = None", "tests/unit/studies/test_budget.py"),
    Mutation("a study's cheaper variants count in full", "studies/budget.py", "task.config.epochs / most for", "1.0 for", "tests/unit/studies/test_budget.py"),
    Mutation("a study's time left counts earlier passes", "studies/runs.py", "share - self._first.setdefault(task.path, share)", "share", "tests/unit/studies/test_runs.py"),
    Mutation("scale paper judges kNN", "studies/study.py", "tuple(map(_by_linear_probe, shapes)) if", "shapes if", "tests/unit/studies/test_study.py"),
    Mutation("a study's linear probe is kNN", "studies/runs.py", "fit_linear(bank.vectors, labels).predict(queries.vectors)", "knn_predict(bank.vectors, labels, queries.vectors)", "tests/unit/studies/test_runs.py"),
    Mutation("time left after one step", "engine/pace.py", "else math.nan", "else 1.0", PACE),
    Mutation("heads of other methods are cautioned", "assembly/cautions.py", "config.method.name == \"byol\" and h", "h", "tests/unit/assembly/test_cautions.py"),
    Mutation("scale paper probes cached features", "studies/runs.py", "if task.probe == \"sgd\":", "if False:", "tests/unit/studies/test_runs.py"),
    Mutation("one seed is enough for a collapse", "studies/judge.py", "if len(collapsed) == 1:", "if False:", "tests/unit/studies/test_judge.py"),
    Mutation("a study takes other settings", "studies/run_study.py", "MAY_CHANGE.sub(\"\", old) != MAY_CHANGE.sub(\"\", new)", "old[:5] != new[:5]", "tests/unit/studies/test_run_study.py"),
    Mutation("columns without padding", "nets/compiled/matrix_conv.cpp", "const int64_t y = out_y * s.stride + ky - s.padding;", "const int64_t y = out_y * s.stride + ky;", MATRIX_CONV),
    Mutation("scatter ignores the stride", "nets/compiled/matrix_conv.cpp", "left < 0 || left % s.stride ||", "left < 0 ||", MATRIX_CONV),
    Mutation("matrix convolutions of all maps", "nets/compiled/matrix_conv.py", "LARGEST_MAP = 49", "LARGEST_MAP = 64", MATRIX_CONV),
    Mutation("depthwise input without padding", "nets/compiled/depthwise_conv.cpp", "const int64_t right = x + s.padding", "const int64_t right = x", DEPTHWISE_CONV),
    Mutation("depthwise weights of the first part", "nets/compiled/depthwise_conv.cpp", "to_weight[i] += parts[group * weights + i];", "to_weight[i] = parts[i];", DEPTHWISE_CONV),
    Mutation("depthwise gradients of float32 strides", "nets/compiled/depthwise_conv.py", "> 1 and kind == torch.bfloat16", "> 1", DEPTHWISE_CONV),
    Mutation("fused LARS two norms", "optim/lars.cpp", "of_gradient += decayed * decayed", "of_gradient += gradient[k] * gradient[k]", FUSED_LARS),
    Mutation("fused LARS no decay", "optim/lars.cpp", "by * (gradient[k] + decay * weight[k])", "by * gradient[k]", FUSED_LARS),
    Mutation("fused LARS rate in the buffer", "optim/lars.cpp", "weight[k] -= rate * buffer[k]", "weight[k] -= buffer[k]", FUSED_LARS),
    # the loss
    Mutation("norm clamp", "methods/losses.py", "NORM_CLAMP = 1e-6", "NORM_CLAMP = 1e-12", LOSS),
    Mutation("target 2 not detached", "methods/losses.py", "target2.detach()", "target2", LOSS),
    Mutation("target 1 not detached", "methods/losses.py", "target1.detach()", "target1", LOSS),
    Mutation("mean over dimensions", "methods/losses.py", "l2_normalize(target)).square().sum(", "l2_normalize(target)).square().mean(", LOSS),
    Mutation("loss sign", "methods/losses.py", "(l2_normalize(prediction) -", "(l2_normalize(prediction) +", LOSS),
    Mutation("views not crossed", "methods/losses.py", "(prediction1, target2.", "(prediction1, target1.", LOSS),
    Mutation("sum over the batch", "methods/losses.py", "target1.detach())).mean()", "target1.detach())).sum()", LOSS),
    Mutation("loss in half precision", "methods/losses.py", "else vectors.float()", "else vectors", LOSS),
    # the method
    Mutation("classifier reaches encoder", "methods/network.py", "representation1.detach()", "representation1", METHOD),
    Mutation("target follows backwards", "methods/byol.py", "parameters()), 1 - tau)", "parameters()), tau)", METHOD),
    Mutation("target sees other view", "methods/byol.py", "target1 = self.target(view1)", "target1 = self.target(view2)", METHOD),
    Mutation("no predictor", "methods/byol.py", "byol_loss(self.predictor(projection1)", "byol_loss((projection1)", METHOD),
    Mutation("mean not subtracted", "methods/network.py", "normalize(images, self.mean, self.std)", "images / self.std", METHOD),
    Mutation("std multiplied", "methods/network.py", "normalize(images, self.mean, self.std)", "normalize(images, self.mean, 1 / self.std)", METHOD),
    Mutation("view 2 not normalised", "methods/byol.py", "self.normalize(views.view2)", "views.view2", METHOD),
    Mutation("target not a copy", "methods/byol.py", "copy.deepcopy(network) if target", "network if target", METHOD),
    # contrastive losses, the other methods, other norms, asymmetric views
    Mutation("positive counted twice", "methods/contrastive.py", "float(\"-inf\")", "0.0", CONTRAST),
    Mutation("positive of own view", "methods/contrastive.py", "(anchors[0] * targets[1])", "(anchors[0] * targets[0])", CONTRAST),
    Mutation("alpha forgotten", "methods/contrastive.py", "beta * 2 * alpha * partition", "beta * 2 * partition", CONTRAST),
    Mutation("chunk at row 0", "methods/contrastive.py", "first + start, alpha", "first, alpha", CONTRAST),
    Mutation("temperature twice", "methods/contrastive.py", "loss / (4 * temperature)", "loss / 4", CONTRAST),
    Mutation("ranks' place ignored", "runtime/ranks.py", "self.rank * len(rows)", "0", CONTRAST),
    Mutation("SimSiam sign", "methods/losses.py", "return -0.5 * (cosine", "return 0.5 * (cosine", CONTRAST),
    Mutation("loss norm unscaled", "methods/losses.py", "values.shape[-1:]) * values.shape[-1] ** -0.5", "values.shape[-1:])", CONTRAST),
    Mutation("stop-gradient open", "methods/siamese.py", "return projection.detach() if stops else projection", "return projection", SIAMESE),
    Mutation("target in the source's parts", "methods/siamese.py", "self.as_target(self.online) if self.as_target", "contextlib.nullcontext() if self.as_target", ASYMMETRIC),
    Mutation("chance of RandAugment of no seed", "views/views.py", "default_rng([self.seed, step, draw.number])", "default_rng([0, step, draw.number])", ASYMMETRIC),
    Mutation("fixed target moves", "methods/siamese.py", ' and self.has_average', "", SIAMESE),
    Mutation("least squares crossed", "methods/siamese.py", "torch.cat((target2, target1))", "torch.cat((target1, target2))", SIAMESE),
    Mutation("ridge forgotten", "methods/closed_form.py", "self.matrix.diagonal().add_(self.ridge)", "pass", CLOSED_FORM),
    Mutation("average of the new kept", "methods/closed_form.py", "1 - self.keep, 1.0", "self.keep, 1.0", CLOSED_FORM),
    Mutation("correlation kept", "methods/closed_form.py", "observed.zero_()", "pass", CLOSED_FORM),
    Mutation("neumann of lengths", "methods/closed_form.py", "averages_map=True, of_units=True", "averages_map=True", CLOSED_FORM),
    Mutation("correlation of one rank", "methods/closed_form.py", "(gather(at_least_float32(rows))[0]", "(at_least_float32(rows)", CLOSED_FORM),
    Mutation("predictor set in evaluation", "methods/siamese.py", " and self.training and torch.is_grad_enabled()", "", CLOSED_FORM),
    Mutation("exponent unweighted", "diagnostics/predictor.py", "diagonal[kept].log(), share[kept]", "diagonal[kept].log(), share[kept] * 0 + 1", "tests/unit/diagnostics/test_predictor.py"),
    Mutation("small view predicts one", "methods/siamese.py", "self.loss(prediction, prediction, target1, target2)", "self.loss(prediction, prediction, target1, target1)", SIAMESE),
    Mutation("groups of one", "nets/replace_norm.py", "16 if vectors else 2", "1", NORMS),
    Mutation("weights not centred", "nets/replace_norm.py", "(weight - mean.view(shape))", "(weight)", NORMS),
    Mutation("start without shift", "nets/initialization.py", "bias.sub_(mean).mul_(scale)", "bias.mul_(scale)", NORMS),
    Mutation("encoder's rate ignored", "assembly/training.py", "(\"online.encoder.\", o.encoder_rate)", "(\"online.encoder.\", 1.0)", OPTIM),
    Mutation("rate multiplier ignored", "engine/step.py", ' * group.get("rate_multiplier", 1.0)', "", OPTIM),
    Mutation("box not cut", "views/views.py", "(1 - share).sqrt()", "(1 - share)", ASYMMETRIC),
    Mutation("small crops share numbers", "views/asymmetric.py", "SMALL + i", "SMALL", ASYMMETRIC),
    Mutation("small crops are all the partner's", "views/asymmetric.py", "i % 2 == 1", "i >= 0", PAIRS),
    Mutation("partner may be the picture itself", "data/pairs.py", "1 + (uniform * (self.count - 1))", "0 + (uniform * self.count)", PAIRS),
    Mutation("partners do not change with the epoch", "data/pairs.py", "key=[self.seed, epoch]", "key=[self.seed, 0]", PAIRS),
    Mutation("partner of the first row's epoch", "data/pairs.py", "(position + np.arange(len(indices)))", "(position + 0 * indices)", PAIRS),
    Mutation("prefix up to the first separator", "data/things.py", "name.rpartition(separator)", "name.partition(separator)", PAIRS),
    # LARS and groups
    Mutation("LARS ratio upside down", "optim/lars.py", "eta * weight_norms / gradient_norms", "eta * gradient_norms / weight_norms", OPTIM),
    Mutation("LARS eta forgotten", "optim/lars.py", "eta * weight_norms", "weight_norms", OPTIM),
    Mutation("LARS decay sign", "optim/lars.py", 'alpha=group["weight_decay"]', 'alpha=-group["weight_decay"]', OPTIM),
    Mutation("LARS step sign", "optim/lars.py", 'alpha=-group["lr"]', 'alpha=group["lr"]', OPTIM),
    Mutation("LARS without momentum", "optim/lars.py", 'buffers, group["momentum"])', "buffers, 0.0)", OPTIM),
    Mutation("LARS zero norms", "optim/lars.py", "torch.ones_like(weight_norms)", "torch.zeros_like(weight_norms)", OPTIM),
    Mutation("LARS one zero norm", "optim/lars.py", "(weight_norms > 0) & ", "", OPTIM),
    Mutation("biases decayed", "optim/groups.py", "if decay_all else 0.0", "if decay_all else weight_decay", OPTIM),
    Mutation("biases adapted", "optim/groups.py", "rest_decay, False)", "rest_decay, True)", METHOD),
    Mutation("layer scales decayed", "optim/groups.py", "parameter.dim() <= 1 or (", "(", OPTIM),
    Mutation("vectors of several dimensions decayed", "optim/groups.py", " or (name != \"weight\" and parameter.numel() == max(parameter.shape))", "", OPTIM),
    Mutation("timm's own list ignored", "optim/groups.py", "or id(parameter) in undecayed", "", OPTIM),
    # schedules
    Mutation("rate per 512", "optim/schedules.py", "base * batch_size / 256\n    if", "base * batch_size / 512\n    if", OPTIM),
    Mutation("warm-up starts at 1", "optim/schedules.py", "peak * step / warmup", "peak * (step + 1) / warmup", OPTIM),
    Mutation("cosine from step 0", "optim/schedules.py", "(min(step, total) - warmup)", "min(step, total)", OPTIM),
    Mutation("cosine rises", "optim/schedules.py", "0.5 * (1 + math.cos", "0.5 * (1 - math.cos", OPTIM),
    Mutation("tau falls", "optim/schedules.py", "return 1 - (1 - base) *", "return 1 - base *", OPTIM),
    Mutation("tau unhalved", "optim/schedules.py", "total) + 1) / 2", "total) + 1)", OPTIM),
    Mutation("steps rounded up", "optim/schedules.py", "batch_size + 1e-9", "batch_size + 1 - 1e-9", OPTIM),
    # batch norm, networks, heads
    Mutation("averages too slow", "nets/norm.py", "self.hidden_var.lerp_(var.to(dtype), self.momentum)", "self.hidden_var.lerp_(var.to(dtype), self.momentum / 10)", NETS),
    Mutation("averages not debiased", "nets/norm.py", "self.hidden_mean / debias", "self.hidden_mean", NETS),
    Mutation("variance unbiased", "nets/norm.py", "dim=dims, correction=0", "dim=dims, correction=1", NETS),
    Mutation("ranks' means ignored", "nets/norm.py", " + (means - mean).square().mean(dim=0)", "", RANKS),
    Mutation("ranks' gradients ignored", "runtime/ranks.py", "distributed.all_reduce(total)", "pass", RANKS),
    Mutation("running variance biased", "nets/norm.py", "var * count / max(count - 1, 1)", "var", RANKS),
    Mutation("padding on the wrong side", "nets/resnet.py", "return total // 2, total - total // 2", "return total - total // 2, total // 2", NETS),
    Mutation("no shortcut in group 1", "nets/resnet.py", '(changes or conventions == "deepmind")', "changes", NETS),
    Mutation("stride on another convolution", "nets/resnet.py", "channels, channels, 3, stride, conventions, dilation)", "channels, channels, 3, 1, conventions, dilation)", NETS),
    Mutation("sum pooling", "nets/resnet.py", "out.mean(dim=(2, 3))", "out.sum(dim=(2, 3))", NETS),
    Mutation("output bias", "nets/heads.py", "outputs, bias=False)", "outputs)", NETS),
    Mutation("no ReLU in the heads", "nets/heads.py", "nn.ReLU(inplace=True)", "nn.Identity()", NETS),
    Mutation("init not cut", "nets/initialization.py", "a=-2 * std, b=2 * std", "a=-9 * std, b=9 * std", "tests/unit/nets/test_initialization.py"),
    Mutation("online classifier starts as torch's", "assembly/networks.py", "            initialize(classifier, config.encoder.conventions)\n", "", "tests/unit/assembly/test_networks.py"),
    Mutation("init over fan-out", "nets/initialization.py", "part.weight[0].numel()", "part.weight[:, 0].numel()", "tests/unit/nets/test_initialization.py"),
    # views
    Mutation("bicubic a", "views/geometry.py", "(-0.5 * far)", "(-0.75 * far)", VIEWS),
    Mutation("corners aligned", "views/geometry.py", "(2 * output + 1) * length - size", "2 * output * length", VIEWS),
    Mutation("weights not renormalised", "views/geometry.py", "weight / weight.sum(dim=-1, keepdim=True)", "weight", VIEWS),
    Mutation("resize not clipped", "views/geometry.py", "else out).clamp_(0, 1).contiguous()", "else out).contiguous()", VIEWS),
    Mutation("pixels outside the crop", "views/geometry.py", " * ((pixel >= 0) & (pixel < length)).float()", "", VIEWS),
    Mutation("antialias ignored", "views/geometry.py", "if antialias else 2 * size", "if False else 2 * size", VIEWS),
    Mutation("flip off by one", "views/geometry.py", "size - 1 - output", "size - output", VIEWS),
    Mutation("last place never", "views/geometry.py", "(height - crop_height + 1)", "(height - crop_height)", VIEWS),
    Mutation("aspect upside down", "views/geometry.py", "(area * aspect).sqrt()", "(area / aspect).sqrt()", VIEWS),
    Mutation("luma", "views/color.py", "0.5870, 0.1140)\n", "0.5780, 0.1140)\n", VIEWS),
    Mutation("brightness not clipped", "views/color.py", "(images + _per_image(delta)).clamp_(0, 1)", "(images + _per_image(delta))", VIEWS),
    Mutation("contrast about one mean", "views/color.py", "images.mean(dim=(2, 3), keepdim=True)", "images.mean(dim=(1, 2, 3), keepdim=True)", VIEWS),
    Mutation("saturation not clipped", "views/color.py", "torch.minimum(value / (value - low).clamp_min_(TINY), _per_image(factor.clamp_min(0)))", "_per_image(factor.clamp_min(0))", VIEWS),
    Mutation("hue backwards", "views/color.py", "6 * (delta % 1)", "6 * (-delta % 1)", VIEWS),
    Mutation("solarize inverted", "views/color.py", "images < threshold", "images >= threshold", VIEWS),
    Mutation("blur radius", "views/blur.py", "(size / 10) / 2", "(size / 10)", VIEWS),
    Mutation("sigma not squared", "views/blur.py", "sigma[:, None] ** 2", "sigma[:, None]", VIEWS),
    Mutation("blur not normalised", "views/blur.py", "weight / weight.sum(dim=1, keepdim=True)", "weight", VIEWS),
    Mutation("blur reflects", "views/blur.py", 'semantics == "torchvision"', "radius", VIEWS),
    Mutation("colour order fixed", "views/augment.py", "p.order, -1)", "p.order.sort(dim=1)[0], -1)", VIEWS),
    Mutation("jitter always", "views/augment.py", "p.jitter[:, None]", "torch.ones_like(p.jitter)[:, None]", VIEWS),
    Mutation("contrast factor", "views/augment.py", "1 + p.contrast, contrast", "1 - p.contrast, contrast", VIEWS),
    Mutation("solarize where blurred", "views/augment.py", "_where(p.solarize,", "_where(p.blur,", VIEWS),
    Mutation("fused bicubic a", "views/crop.h", "((-0.5 * x + 2.5)", "((-0.75 * x + 2.5)", FUSED),
    Mutation("fused saturation not clipped", "views/color.h", "smaller(wanted, most / larger(most - least, all(TINY)))", "wanted", FUSED),
    Mutation("fused hue of blue", "views/color.h", "red - green + 4 * span", "red - green + 3 * span", FUSED),
    Mutation("fused blur one row off", "views/views.cpp", "y + tap - radius", "y + tap - radius + 1", FUSED),
    Mutation("fused flip ignored", "views/crop.h", "flip ? size - 1 - output : output", "output", FUSED),
    Mutation("brighter only", "views/parameters.py", '_between(drawn["brightness"], -policy.brightness,', '_between(drawn["brightness"], 0,', DRAWS),
    Mutation("aspect not logarithmic", "views/parameters.py", "math.log(policy.crop_aspect[0])", "-policy.crop_aspect[0]", DRAWS),
    Mutation("views share numbers", "views/parameters.py", "(step << 8) + view", "step + view", DRAWS),
    Mutation("jitter probability", "views/parameters.py", 'drawn["jitter"] <', 'drawn["jitter"] >', DRAWS),
    Mutation("one draw for two uses", "views/parameters.py", 'grayscale=drawn["grayscale"] <', 'grayscale=drawn["flip"] <', DRAWS),
    Mutation("T' never solarizes", "runtime/view_policy.py", "solarize_probability=0.2", "solarize_probability=0.0", DRAWS),
    Mutation("hue range", "runtime/view_policy.py", "hue: float = 0.1", "hue: float = 0.2", DRAWS),
    Mutation("a new draw changes the others", "views/parameters.py", "parts.append(generator.random((num_images, 1)))", "parts = [generator.random((num_images, columns))]", DRAWS),
    Mutation("16 bits of 256 levels", "views/geometry.py", "torch.uint16: 65535", "torch.uint16: 65280", VIEWS),
    Mutation("turned the other way", "views/augment.py", "v.rot90(t, (2, 3))", "v.rot90(-t, (2, 3))", SENSOR),
    Mutation("vertical flip sideways", "views/augment.py", "v.flip(2)", "v.flip(3)", SENSOR),
    Mutation("every channel may be lost", "views/sensor.py", " & (draws < draws.amax(dim=1, keepdim=True))", "", SENSOR),
    Mutation("one gain for all channels", "views/sensor.py", "changes = (2 * draws - 1)", "changes = (2 * draws[:, :1] - 1)", SENSOR),
    Mutation("hash half mixed", "views/sensor.py", "    x ^= (x >> 16) & 0xFFFF\n", "", SENSOR),
    Mutation("noise not scaled to unit variance", "views/sensor.py", "math.sqrt(2) * sigma", "sigma", SENSOR),
    Mutation("fused flip before the turns left out", "views/crop.h", "row = -row;", "", FUSED),
    Mutation("fused noise of one row", "views/views.cpp", "(c * size + y) * size)", "c * size * size)", FUSED),
    Mutation("fused tails of the noise", "views/noise.h", "- 1.6f;", "- 1.5f;", FUSED),
    Mutation("an unknown operation is left out", "views/augment.py", "if kernels == \"fused\" and fused.takes(images, *INTEGERS) and fused.knows(policy):", "if kernels == \"fused\" and fused.takes(images, *INTEGERS):", FUSED),
    # step and collapse watch
    Mutation("tau of the next step", "engine/step.py", "schedule.tau(step))", "schedule.tau(step + 1))", STEP),
    Mutation("rate of the next step", "engine/step.py", '= schedule.learning_rate(step) *', '= schedule.learning_rate(step + 1) *', STEP),
    Mutation("views made ahead overwrite", "engine/micro_batches.py", "        side.wait_stream(streams.current_stream())\n", "", "tests/unit/engine/test_micro_batches.py"),
    Mutation("views made ahead not waited for", "engine/micro_batches.py", "            streams.current_stream().wait_event(previous_finished)\n", "", "tests/unit/engine/test_micro_batches.py"),
    Mutation("last views made ahead lost", "engine/micro_batches.py", "        if waiting:", "        if waiting and micro_batch is not None:", "tests/unit/engine/test_micro_batches.py"),
    Mutation("gradients kept", "engine/step.py", "state.optimizer.zero_grad(set_to_none=True)", "pass", STEP),
    Mutation("micro-batches summed", "engine/step.py", "(output.total / num_micro_batches)", "(output.total)", STEP),
    Mutation("std not scaled", "diagnostics/similarity.py", " * vectors.shape[1] ** 0.5", "", COLLAPSE),
    Mutation("rank without entropy", "diagnostics/spectrum.py", "torch.exp(-torch", "torch.exp(torch", COLLAPSE),
    # export and import
    Mutation("small stem of timm's ResNets not looked for", "export/backbone.py", "differs = has_pooled_stem(backbone.build())", "differs = name in RESNETS", EXPORT),
    Mutation("export unchecked", "export/backbone.py", "if not difference <= TOLERANCE:", "if False:", EXPORT),
    Mutation("onnx without normalisation", "export/onnx_file.py", "(images - self.encoder.mean)", "(images)", EXPORT),
    Mutation("printed crop", "export/snippet.py", "int(0.875 * min(image.size))", "int(0.8 * min(image.size))", EXPORT),
    Mutation("timm preprocessing", "export/writers.py", '"mean": list(description.mean)', '"mean": [0.5, 0.5, 0.5]', EXPORT),
    Mutation("kernel turned", "imports/deepmind_checkpoint.py", "(3, 2, 0, 1)", "(3, 2, 1, 0)", CHECKPOINTS),
    Mutation("hidden for average", "imports/deepmind_checkpoint.py", 'arrays["average"]', 'arrays["hidden"]', CHECKPOINTS),
    Mutation("any name", "imports/foreign_pickle.py", "if str(path) not in self.names and not _of_jax(path):", "if False:", PICKLES),
    Mutation("any length", "imports/foreign_pickle.py", "if count > left:", "if False:", PICKLES),
    Mutation("copies without end", "imports/foreign_pickle.py", "if self.spent > self.size:", "if False:", PICKLES),
    Mutation("fortran order", "imports/foreign_pickle.py", 'order="F" if fortran else "C"', 'order="C"', PICKLES),
    Mutation("byte order", "imports/foreign_pickle.py", '">": ">"', '">": "<"', PICKLES),
    # data
    Mutation("numbers in the order of text", "data/classes.py", "(int(name), name)) if numeric", "name) if numeric", LABELS),
    Mutation("classes joined by number", "data/classes.py", "[place.get(key, -1) for key in mine]", "list(range(len(mine)))", LABELS),
    Mutation("parts by lower-case names alone", "data/splits.py", "map(str.lower, re.findall(", "map(str, re.findall(", SPLITS),
    Mutation("first label column only", "data/table.py", "name.lower() == known]", "name == known][:1]", TABLES),
    # evaluation
    Mutation("few images make few steps", "evaluate/protocols/linear_sgd.py", "max(LEAST_STEPS[job.budget], ", "max(0, ", "tests/unit/evaluate/protocols/test_linear_sgd.py"),
    Mutation("a rate at an end is not told", "evaluate/protocols/training.py", "or best & set(rates[1:-1])", "or best", "tests/unit/evaluate/protocols/test_training.py"),
    Mutation("layers share a rate", "evaluate/protocols/linear_sgd.py", 'group["lr"] *= rate * len', 'group["lr"] *= rates[0] * len', "tests/unit/evaluate/protocols/test_linear_sgd.py"),
    Mutation("clip without penalty", "evaluate/protocols/linear_sgd.py", "clipped.square().mean()", "clipped.mean()", "tests/unit/evaluate/protocols/test_linear_sgd.py"),
    Mutation("decay not divided", "evaluate/protocols/finetune.py", "decay / rate)", "decay)", "tests/unit/evaluate/protocols/test_training.py"),
    # views that grow
    Mutation("views grow from the step of a resume", "engine/micro_batches.py", "max(first, first_step)) < last", "first) < last", GROWING),
    Mutation("workers crop to the last size", "engine/micro_batches.py", "feed.batches(first, last, views.crop)", "feed.batches(first, last, parts[-1].crop)", GROWING),
    Mutation("small crops stay large", "assembly/views.py", "small_size=shrunk(config.asymmetry.small_size, scale)", "small_size=config.asymmetry.small_size", GROWING),
    Mutation("a whole config names nothing", "commands/pretrain.py", "frozenset(dotted_names(named))", "frozenset(named)", RESUME),
    Mutation("every start is from elsewhere", "assembly/starts.py", "start.get(\"how\") == TRAINED_ELSEWHERE", "True", "tests/unit/assembly/test_starts.py"),
    Mutation("the start's network is not taken", "assembly/settings.py", "(network_of_start(config.encoder), f", "({}, f", "tests/unit/assembly/test_starts.py"),
    Mutation("a second training forgets the averages", "assembly/encoder.py", "{\"averages\": KEPT_AVERAGES} if is_frozen else {}", "{}", "tests/unit/assembly/test_starts.py"),
    Mutation("a resume compares with what was asked", "commands/resume.py", "changes = changed_settings(before.config, config)", "changes = named", RESUME),
    Mutation("a resumed run keeps its workers", "config/config.py", '        "workers",\n', "", RESUME),
    Mutation("time left by the whole run", "engine/pace.py", "self._samples[1][0] <= now - WINDOW_SECONDS", "False", PACE),
    Mutation("a fitting plan is changed", "engine/pace.py", "abs(remaining - seconds_left) > TOLERANCE * remaining", "True", PACE),
    Mutation("a moved end jumps", "engine/schedule.py", "Segment(step, last_step, self.position(step))", "Segment(step, last_step, step)", "tests/unit/engine/test_schedule.py"),
    Mutation("an extended training starts at its full rate", "engine/schedule.py", "if segment.first_step <= step < segment.first_step + segment.warmup_steps:", "if False:", "tests/unit/engine/test_schedule.py"),
    Mutation("threads rise at once", "runtime/threads.py", "if rises == CHECKS_TO_RAISE:", "if rises:", THREADS),
    Mutation("the second check is late", "runtime/threads.py", "FIRST_INTERVAL, INTERVAL_SECONDS = 0.1, 3.0", "FIRST_INTERVAL, INTERVAL_SECONDS = 3.0, 3.0", THREADS),
    Mutation("first checks raise", "runtime/threads.py", "(start_time >= self._choice.checked + INTERVAL_SECONDS)", "1", THREADS),
    Mutation("threads never fall", "runtime/threads.py", "if gains and max(gains) > GAIN:", "if False:", THREADS),
    Mutation("threads by the best moment", "runtime/threads.py", "min(map(truediv, others[-1], present))", "max(map(truediv, others[-1], present))", THREADS),
    Mutation("the encoder takes views of the training's size", "assembly/settings.py", "round(ENCODED_SCALE * size / ENCODED_STEP)", "size // ENCODED_STEP", "tests/unit/assembly/test_view_sizes.py"),
    Mutation("every size is tested", "training/plan.py", "if larger is None or min(trials[-1].num_images, most_images) < larger.least_images:", "if larger is None:", MINUTES),
    Mutation("views grow on large images", "training/plan.py", " if view_size <= size.largest_view]", "]", MINUTES),
    Mutation("rows are divided by a shifted row", "runtime/normalize.py", "flatten().repeat(width)", "flatten().repeat_interleave(width)", "tests/unit/runtime/test_normalize.py"),
    Mutation("nothing reserved for the report", "training/plan.py", "max(60 * self.minutes - END_SECONDS, 30 * self.minutes)", "60 * self.minutes", MINUTES),
    Mutation("time left takes all stages for equal", "engine/pace.py", "schedule.cost(self.costs, last, schedule.last_step)", "(schedule.last_step - last)", PACE),
    Mutation("pace of averages", "evaluate/protocols/finetune.py", "max(1 - 10 / steps_per_epoch, 0.9)", "min(1 - 10 / steps_per_epoch, 0.9)", "tests/unit/evaluate/protocols/test_finetune.py"),
    Mutation("averages start again", "nets/norm.py", "self.hidden_mean.copy_(self.running_mean * self._debias())", "pass", "tests/unit/nets/test_norm.py"),
    Mutation("validation trained on", "evaluate/protocols/protocol.py", "np.setdiff1d(np.arange(len(self.train)), self.validation)", "np.arange(len(self.train))", "tests/unit/evaluate/protocols/test_training.py"),
    Mutation("clusters of one class agree", "evaluate/protocols/cluster.py", "if k < 2:", "if k < 1:", "tests/unit/evaluate/protocols/test_cluster.py"),
    Mutation("strength scales the bias too", "evaluate/linear.py", "CURVATURE * variance + decay", "CURVATURE * variance + strength", "tests/unit/evaluate/test_linear.py"),
    Mutation("wrong side of the margin", "evaluate/linear.py", "functional.softplus(-signs * logits)", "functional.softplus(signs * logits)", "tests/unit/evaluate/test_linear.py"),
    Mutation("unknown labels count", "evaluate/metrics.py", "known = [(column, row != 0, row > 0)", "known = [(column, row < 2, row > 0)", "tests/unit/evaluate/test_metrics.py"),
    Mutation("votes without temperature", "evaluate/knn.py", "(behind / temperature).exp()", "behind.exp()", "tests/unit/evaluate/test_knn.py"),
    Mutation("labels of the set that asks", "evaluate/protocols/semi.py", "indices = np.setdiff1d(np.arange(len(job.train)), labelled.indices)", "indices = labelled.indices", "tests/unit/evaluate/protocols/test_semi.py"),
    Mutation("stale result kept", "commands/transfer.py", "if record[key] not in (value, before.get(key, value))", "if key not in record", TRANSFER),
    Mutation("a short training is judged", "diagnostics/collapse.py", "step >= warmup_steps + FEWEST_STEPS", "True", COLLAPSE),
    Mutation("curves in stairs", "report/charts.py", "row and number == numbers[row - 1]", "False", "tests/unit/report/test_charts.py"),
    Mutation("level is ahead", "report/comparison.py", "all(gain.low > 0 for", "all(gain.low >= 0 for", "tests/unit/report/test_comparison.py"),
    Mutation("the program's path forgotten", "runtime/words.py", 'Path(started).name == "byol" and not is_this', "False", "tests/unit/runtime/test_words.py"),
    Mutation("rank of raw projections", "diagnostics/collapse.py", 'networks["unit_effective_rank"]', 'projection["effective_rank"]', COLLAPSE),
    Mutation("batches of one class", "evaluate/view_encodings.py", "np.random.default_rng(0).permutation(indices)", "indices", "tests/integration/test_diagnose.py"),
    Mutation("validation part ignored", "commands/transfer.py", "replace(job, validation=validation)", "job", TRANSFER),
    Mutation("target of one view", "evaluate/branch_measures.py", '(variance["target1"] + variance["target2"]) / 2', 'variance["target2"]', ASYMMETRIC),
    Mutation("probe out of step", "engine/loop.py", "        if self.probe and (state", "        if self.probe and self.ranks.is_first and (state", RANKS),
    Mutation("weights unseen", "engine/loop.py", "        _require_finite_weights(self.state)\n", "", FAULTS),
    Mutation("chance not seeded", "engine/loop.py", "        torch.manual_seed(_seed_of_step(settings.seed, self.state.step, self.ranks.rank))\n", "", RESUME),
    Mutation("chance not by step", "engine/loop.py", "SeedSequence((seed, step, rank))", "SeedSequence((seed, rank))", RESUME),
    Mutation("saved settings stay", "engine/state.py", "{**own, ", "{**group, ", RESUME),
    Mutation("bias counted twice", "evaluate/metrics.py", " - (np.mean(values) - whole)", "", "tests/unit/evaluate/test_metrics.py"),
    Mutation("folder called as a set taken for it", "data/named.py", "if name == data and Path(name).exists():", "if False:", PATHS),
    Mutation("deep grey by the picture", "data/decode.py", "number_format() if number_format else", "number_format() if False else", DATA),
    Mutation("another rule in other places", "assembly/subject.py", "    follow(train, encoder.description.number_format)\n", "", "tests/integration/test_deep_images.py"),
    Mutation("bits in the upper part are not seen", "data/number_format.py", "bits == 16 - zeros", "False", DATA),
    Mutation("alpha of deep colour is a band", "data/tiff_files.py", "or (page.photometric == _RGB and page.extrasamples)", "", "tests/unit/data/test_deep_files.py"),
    Mutation("negative of a scan", "data/dicom_files.py", '== "MONOCHROME1"', '== "NEGATIVE"', "tests/unit/data/test_deep_files.py"),
    Mutation("fingerprint of names alone", "data/source.py", "digest.update(hashlib.sha256(content).digest())", "pass", DATA),
    Mutation("broken replaced by one image", "data/loader.py", "default_rng((self.seed, index, step, row))", "default_rng(0)", DATA),
    Mutation("links before real folders", "data/file_index.py", "(self.links if entry.is_symlink() else inside)", "inside", DATA),
    Mutation("channels by the first image", "data/profile.py", "return 3 if set(counts) == {1, 3} else", "return", DATA),
    Mutation("shape not asked for its layout", "data/layout.py", "(fits[own] and not fits[other])", "True", DATA),
    Mutation("aspect of stored photos", "data/photo_store.py", "size = (round(width * side / short), round(height * side / short))", "size = (side, side)", PHOTOS),
    Mutation("lost pixels believed", "data/photo_store.py", "self.file.stat().st_size < self.end", "False", PHOTOS),
    Mutation("changed photo believed", "data/source.py", "digest.update(stored.stamp(int(places[index])))", "stored.stamp(int(places[index]))", PHOTOS),
    Mutation("unreadable file broken for ever", "data/prepare_photos.py", "self.inner.content(int(self.places[index]))", "pass", PHOTOS),
    Mutation("newest photos make room", "data/prepare_photos.py", "return sorted(stores)", "return sorted(stores, reverse=True)", PHOTOS),
    Mutation("kept by luck", "evaluate/guard.py", "if gain.low > 0 and is_ahead:", "if gain.value > 0 and is_ahead:", GUARD),
    Mutation("choosers judge", "evaluate/guard.py", "order[: count // 2], order[count // 2 :]", "order, order", GUARD),
    Mutation("harm overlooked", "evaluate/guard.py", "if not looks_harmed(before, each.without_labels)", "if True", GUARD),
    Mutation("own neighbour votes", "evaluate/nearest.py", "own = place == torch.arange(len(vectors), device=place.device)[:, None]", "own = place == -1", GUARD),
    Mutation("set of tensors guessed", "imports/weights_file.py", "if len(fitting) > 1:", "if False:", WEIGHTS),
    Mutation("teacher's averages move", "methods/network.py", "return super().train(False)", "return super().train(mode)", TEACHER),
    Mutation("teacher sees other colours", "methods/network.py", "super().forward(images * self.scale + self.shift)", "super().forward(images)", TEACHER),
    Mutation("SimCLR from a start", "commands/adapt.py", "asked.given | {\"encoder.init\"}", "asked.given", ADAPT),
    Mutation("end kept whatever was decided", "commands/adapt.py", "load_encoder(path / START if decision.kept is first else best)", "load_encoder(best)", ADAPT),
]  # fmt: skip


def main(*parts: str) -> int:
    """Runs the mutations whose name holds one of `parts` (all without); returns how many survived."""
    chosen = [m for m in MUTATIONS if not parts or any(part in m.name for part in parts)]
    survived = []
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in ("src", "tests", "benchmarks"):
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        shutil.copy(ROOT / "pyproject.toml", copy)
        if broken := first_failure(sorted({test for mutation in chosen for test in mutation.tests.split()}), copy):
            raise SystemExit(f"{broken} fails without any edit")
        for mutation in chosen:
            began = time.monotonic()
            caught = caught_by(mutation, copy)
            print(
                f"{'caught  ' if caught else 'SURVIVED'} {time.monotonic() - began:4.0f} s  {mutation.name}  {caught}",
                flush=True,
            )
            if not caught:
                survived.append(mutation.name)
    print(f"{len(chosen) - len(survived)} of {len(chosen)} caught")
    return len(survived)


def caught_by(mutation: Mutation, copy: Path) -> str:
    """The first test that fails with the edit; empty where none does."""
    path = copy / "src" / "byol" / mutation.file
    text = path.read_text()
    if text.count(mutation.before) != 1:
        raise SystemExit(
            f"{mutation.name}: {mutation.file} holds {mutation.before!r} {text.count(mutation.before)} times"
        )
    path.write_text(text.replace(mutation.before, mutation.after))
    failure = first_failure(mutation.tests.split(), copy)
    path.write_text(text)
    return failure


def first_failure(tests: list[str], copy: Path) -> str:
    """The first of the tests that fails there; empty where none does."""
    command = [sys.executable, "-B", "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    environment = {**os.environ, "PYTHONPATH": f"{copy / 'src'}{os.pathsep}{copy}"}
    ended = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, timeout=3600)
    if ended.returncode == 0:
        return ""
    failed = [line.split()[1] for line in ended.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    if not failed:
        raise SystemExit(f"pytest did not run\n{ended.stdout[-2000:]}{ended.stderr[-2000:]}")
    return failed[0].split("tests/")[-1]


if __name__ == "__main__":
    sys.exit(1 if main(*sys.argv[1:]) else 0)
