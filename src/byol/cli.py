"""The command `byol`. Parsing imports no torch, so that help is quick; each command imports what it needs."""

import io
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from byol.cli_completion import Completion, script
from byol.cli_evaluate import Embed, Evaluate, Knn, Linear, run_embed, run_evaluate, run_knn, run_linear
from byol.cli_explore import Explore, run_explore
from byol.cli_options import DataPlace, Place
from byol.cli_show import (
    CheckData,
    Diagnose,
    Doctor,
    Preview,
    Report,
    run_check_data,
    run_diagnose,
    run_doctor,
    run_preview,
    run_report,
)
from byol.cli_transfer import Transfer, run_transfer
from byol.config import Config, given_settings, overrides, settings_of
from byol.errors import ByolError, nearest
from byol.recipes import RECIPES, recipe
from byol.studies.options import RunStudy, run_study

USAGE_ERROR = 2
SHARED = ("pretrain", "study")
"""Commands that torchrun may start (a study says itself what it needs)."""


@dataclass(frozen=True)
class Pretrain:
    """Pretrain an encoder on images without labels."""

    config: Annotated[Config, tyro.conf.arg(name="")]
    data: str = ""
    """A folder of images, parquet, tar shards, .npy, a saved data set, or one by name (sample, cifar10, cifar100, stl10, fashion-mnist, imagenette, imagenet)."""
    recipe: str = "small"
    """Where the defaults of all settings come from (`byol recipes` lists them)."""
    out: str = ""
    """The run directory; must not exist. Default: runs/NAME-1, runs/NAME-2, ..."""
    minutes: float | None = None
    """Wall time from this command to its report, in place of epochs: a short speed test decides the number of steps (and
    the sizes, where a recipe has several). The number of steps may be corrected once, before a fifth of them."""
    resume: str = ""
    """Continue this run directory. `auto`: continue --out where it is a run, else begin it (for batch queues)."""
    accept_changes: bool = False
    """With --resume: go on although settings differ from the run's."""
    place: Place = field(default_factory=DataPlace)
    given: tyro.conf.Suppress[frozenset[str]] = frozenset()
    """The settings that the command line names."""


@dataclass(frozen=True)
class Export:
    """Write the encoder for another tool, checked, with a model card and a text that loads it."""

    run: tyro.conf.Positional[str]
    """A run directory, or any folder that byol.load reads."""
    to: Literal["timm", "torchvision", "safetensors", "onnx", "hub"]
    """timm, torchvision: weights under their names; hub: timm's folder, as for Hugging Face; safetensors: byol's own."""
    out: str
    """The folder to write; must not exist, or be empty."""
    licence: str = ""
    """Licence of the weights, for the model card (apache-2.0, cc-by-nc-4.0, ...)."""


@dataclass(frozen=True)
class ImportDeepmind:
    """Turn a checkpoint that DeepMind published into an encoder folder; nothing of the pickle is run."""

    file: tyro.conf.Positional[str]
    """The .pkl file, of pretraining or of linear evaluation."""
    out: str
    """The folder to write; must not exist, or be empty."""
    network: Literal["online", "target"] = "online"
    """Whose encoder is written; the other one and the heads lie beside, in pretraining.safetensors."""
    image_size: int = 224
    """Side of the images that the encoder will be given."""
    licence: str = "cc-by-nc-4.0"
    """Licence of the weights, for the model card; the default is that of DeepMind's."""


@dataclass(frozen=True)
class ImportTimm:
    """Turn pretrained weights of a timm model into an encoder folder, to start from or to compare with."""

    model: tyro.conf.Positional[str]
    """The model's timm name (resnet18, vit_small_patch16_224, ...)."""
    out: str
    """The folder to write; must not exist, or be empty."""
    weights: str = ""
    """A file of its tensors, of timm or torchvision (.safetensors, .pth, .pt); default: those that timm downloads."""
    image_size: int = 224
    """Side of the images that the encoder will be given."""


@dataclass(frozen=True)
class Demo:
    """Pretrain on the bundled images and compare with pixels and with the untrained encoder."""

    out: str = "runs/demo"
    """The run directory; must not exist."""
    seeds: int = 1
    """Repeat with that many seeds (at most 10), for intervals over runs."""
    config: Annotated[Config, tyro.conf.arg(name="")] = field(default_factory=lambda: recipe("sample").config)
    given: tyro.conf.Suppress[frozenset[str]] = frozenset()
    """The settings that the command line names."""


@dataclass(frozen=True)
class Recipes:
    """List the recipes, where their numbers come from, and what was measured."""


def main(arguments: list[str] | None = None) -> None:
    """Entry point: runs one command and exits with its code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a file's name may hold what the terminal has no letter for
    try:
        try:
            code = _run(arguments)
        finally:
            sys.stdout.flush()  # here, where a reader that has left is known
        sys.exit(code)
    except ByolError as error:
        print(f"byol: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("byol: interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        try:
            print(flush=True)
        except BrokenPipeError:  # whoever read what is printed has read enough, as head does
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        raise
    except (OSError, MemoryError, RuntimeError) as error:
        said = _of_the_machine(error)
        if not said:
            raise
        print(f"byol: {said}", file=sys.stderr)
        sys.exit(1)


def _of_the_machine(error: BaseException) -> str:
    """What the user can put right, where it is not our mistake: a refusing disk, a full memory; else empty."""
    if isinstance(error, OSError):
        place = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
        return f"{place}{error.strerror or error}. Put that right, or name another place."
    if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
        reason = (str(error).splitlines() or ["MemoryError"])[0]
        return f"The memory is full ({reason}). End what else uses it, or take smaller batches, views or encoder."
    return ""


def _run(arguments: list[str]) -> int:
    if arguments and arguments[0] == "--version":
        import byol

        print(f"byol {byol.__version__}")
        return 0
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0
    name, *rest = arguments
    if name not in COMMANDS:
        print(
            f"byol: there is no command {name!r}.{nearest(name, COMMANDS)} Commands: {', '.join(COMMANDS)}",
            file=sys.stderr,
        )
        return USAGE_ERROR
    if name not in SHARED and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        print(f"byol: {name} is work for one process: start it without torchrun", file=sys.stderr)
        return USAGE_ERROR
    return COMMANDS[name][1](parse(name, rest))


def parse(name: str, arguments: list[str]) -> Any:
    """The options of the command `name`, as its run takes them. Exits, as `--help` does, where they do not parse."""
    kind, _ = COMMANDS[name]
    if kind in (Pretrain, Preview, Doctor):
        if arguments and not arguments[0].startswith("-"):
            print(f"byol: {name} takes its images as --data {arguments[0]}", file=sys.stderr)
            sys.exit(USAGE_ERROR)
        default = kind(
            config=recipe(_chosen_recipe(arguments)).config, **({"data": tyro.MISSING} if kind is Preview else {})
        )
        options = tyro.cli(kind, prog=f"byol {name}", args=arguments, default=default)
    else:
        options = tyro.cli(kind, prog=f"byol {name}", args=arguments)
    if kind in (Pretrain, Demo, Doctor):
        options = replace(options, given=given_settings(arguments))
    return options


def _overview() -> str:
    lines = ["usage: byol COMMAND [OPTIONS]", ""]
    lines += [f"  {name:15} {(kind.__doc__ or '').splitlines()[0]}" for name, (kind, _) in COMMANDS.items()]
    return "\n".join([*lines, "", "byol COMMAND --help shows the options of a command."])


def _chosen_recipe(arguments: list[str]) -> str:
    for place, argument in enumerate(arguments):
        if argument == "--recipe" and place + 1 < len(arguments):
            return arguments[place + 1]
        if argument.startswith("--recipe="):
            return argument.partition("=")[2]
    return "small"


def _pretrain(options: Pretrain) -> int:
    began = time.monotonic()
    from byol.commands.plan import TimeLimit
    from byol.commands.pretrain import DataArguments, resume, start
    from byol.commands.trainer import unfailing
    from byol.console import Console
    from byol.report.write import report_after

    source = None
    with Console() as console:
        if options.resume == "auto" and not options.out:
            print("byol: --resume auto continues what lies in --out: name one", file=sys.stderr)
            return USAGE_ERROR
        arguments = None
        if options.data:
            arguments = DataArguments(options.data, options.place.data_root, options.place.download)
        path = options.out if options.resume == "auto" else options.resume
        if options.resume == "auto" and not (Path(path) / "run.json").exists():
            path = ""
        if path:
            if options.minutes is not None and options.resume != "auto":
                print("byol: --minutes is for a new run; one that goes on keeps its plan", file=sys.stderr)
                return USAGE_ERROR
            if options.minutes is not None:
                console.say(f"{path} goes on with its own plan, whatever --minutes says")
            run = resume(
                path,
                overrides=overrides(recipe(options.recipe).config, options.config)
                | settings_of(options.config, options.given),  # those that equal the recipe's, too
                accept_changes=options.accept_changes,
                data=arguments,
                say=console.say,
                show=console.show,
                command=sys.argv,
            )
        else:
            if arguments is None:
                print(
                    "byol: name the images with --data (or a run to continue with --resume). See byol pretrain --help",
                    file=sys.stderr,
                )
                return USAGE_ERROR
            from byol.data.open import open_source

            limit = None if options.minutes is None else TimeLimit(options.minutes, began)
            source = open_source(
                options.data, root=options.place.data_root, download=options.place.download, say=console.say
            )
            run = start(
                options.config,
                options.recipe,
                arguments,
                source,
                out=options.out or None,
                limit=limit,
                given=options.given,
                say=console.say,
                show=console.show,
                command=sys.argv,
            )
        if run.finished:
            report_after(run.path, source, unfailing(console.say))
    return 0 if run.finished else 128 + (run.signal_number or 0)


def _export(options: Export) -> int:
    from byol.commands.export import export_encoder

    export = export_encoder(options.run, options.to, options.out, licence=options.licence)
    for note in export.notes:
        print(f"  {note}")
    print(f"written to {export.path}; {export.checked}\n\n{export.snippet}", end="")
    return 0


def _import_deepmind(options: ImportDeepmind) -> int:
    from byol.commands.import_deepmind import import_deepmind

    encoder = import_deepmind(
        options.file, options.out, network=options.network, image_size=options.image_size, licence=options.licence
    )
    d = encoder.description
    width = "channels of its own" if d.settings.get("channels") else f"width {d.settings['width']:g}"
    print(f"{d.name}, {width}, {d.num_features} features, the {options.network} network, written to {options.out}")
    print(f"  licence of the weights: {options.licence}")
    print(f"Next: byol embed {options.out} --data YOUR_FOLDER --out vectors.parquet")
    return 0


def _import_timm(options: ImportTimm) -> int:
    from byol.commands.import_timm import import_timm

    encoder = import_timm(options.model, options.out, weights=options.weights, image_size=options.image_size)
    d = encoder.description
    print(f"{d.name}, {d.num_features} features, written to {options.out}")
    print(f"Next: byol pretrain --data YOUR_FOLDER --encoder.init {options.out}")
    return 0


def _demo(options: Demo) -> int:
    from byol.commands.demo import demo, table
    from byol.console import Console
    from byol.report.write import report_after

    if not 1 <= options.seeds <= 10:
        raise ByolError(f"--seeds must be from 1 to 10; found {options.seeds}.")
    with Console() as console:
        result = demo(
            options.out,
            num_seeds=options.seeds,
            config=options.config,
            given=options.given,
            say=console.say,
            show=console.show,
        )
    if not result.scores:
        return 128 + (result.runs[-1].signal_number or 0)
    console.table(*table(result))
    report_after(Path(options.out), None, console.say)
    print(
        f"{result.elapsed_seconds:.0f} s in all. The run is in {options.out}: metrics.jsonl, encoder.safetensors, result.json, demo.json"
    )
    print(
        f"Next: byol pretrain --data YOUR_FOLDER, or byol embed {result.runs[0].path} --data sample --out vectors.parquet"
    )
    return 0


def _recipes(options: Recipes) -> int:
    for name in RECIPES:
        found = recipe(name)
        print(f"{name}\n  source    {found.source}\n  expected  {found.expected}\n  measured  {found.measured}")
    return 0


def _completion(options: Completion) -> int:
    print(script(options.shell, {name: kind for name, (kind, _) in COMMANDS.items()}), end="")
    return 0


COMMANDS: dict[str, tuple[type, Callable[[Any], int]]] = {
    "demo": (Demo, _demo),
    "pretrain": (Pretrain, _pretrain),
    "evaluate": (Evaluate, run_evaluate),
    "knn": (Knn, run_knn),
    "linear": (Linear, run_linear),
    "transfer": (Transfer, run_transfer),
    "diagnose": (Diagnose, run_diagnose),
    "embed": (Embed, run_embed),
    "export": (Export, _export),
    "import-deepmind": (ImportDeepmind, _import_deepmind),
    "import-timm": (ImportTimm, _import_timm),
    "explore": (Explore, run_explore),
    "report": (Report, run_report),
    "preview": (Preview, run_preview),
    "doctor": (Doctor, run_doctor),
    "check-data": (CheckData, run_check_data),
    "study": (RunStudy, run_study),
    "recipes": (Recipes, _recipes),
    "completion": (Completion, _completion),
}
