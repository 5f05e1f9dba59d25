"""The command ``vertecast``. Heavy packages are imported inside the commands, so that ``--help`` answers at once.

Exit status: 0 all analysed; 1 some study failed (the rest is written); 2 wrong use, configuration or installation;
3 nothing to analyse; 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeAlias

import typer

from vertecast import __version__
from vertecast.cli import evaluate
from vertecast.core.errors import BundleError, ConfigurationError, OutputError, VertecastError

if TYPE_CHECKING:
    from vertecast.run.batch import BatchResult
    from vertecast.run.environment import Check

PRIVATE: Final = 0o077
"""Nobody else reads what the service writes, however it is started."""

EXIT_FAILED: Final = 1
EXIT_WRONG_USE: Final = 2
EXIT_NOTHING: Final = 3
EXIT_INTERRUPTED: Final = 130

app = typer.Typer(
    name="vertecast",
    help="Vertebral height loss, wedge deformity, bone cement and leaks on CT, X-ray and fluoroscopy. "
    "Research use only; no medical device.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: rich alone would take most of the half second that --help may take
    context_settings={"help_option_names": ["-h", "--help"]},
)
models_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The model bundles of this installation.")
app.add_typer(models_app, name="models")

OutOption: TypeAlias = Annotated[Path, typer.Option("--out", metavar="DIR", file_okay=False, help="Folder of results.")]
ConfigOption: TypeAlias = Annotated[
    Path | None, typer.Option(metavar="FILE", help="YAML file, see configs/default.yaml.")
]
IdentifyOption: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--identify",
        help="Show name, ID and birth date of the patient on report.html, report.pdf (so report_pdf.dcm) and "
        "index.html. JSON, CSV, names of files and messages never hold them.",
    ),
]
DeidentifyOption: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--deidentify",
        help="Write nothing that leads back to the patient: other UIDs, ID and dates, the same in every run with the "
        "same key (PS3.15 Basic Profile; docs/identity.md).",
    ),
]
KeyOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--key",
        metavar="FILE",
        dir_okay=False,
        help="Secret of --deidentify, made if absent; default: vertecast.key beside DIR.",
    ),
]
ForceOption: TypeAlias = Annotated[bool, typer.Option("--force", help="Analyse again what an earlier run has written.")]


@contextmanager
def _clear_errors() -> Iterator[None]:
    """Turn errors raised on purpose into one line and the right exit status."""
    try:
        yield
    except (ConfigurationError, BundleError) as error:
        _complain(str(error))
        raise typer.Exit(EXIT_WRONG_USE) from error
    except VertecastError as error:
        _complain(str(error))
        raise typer.Exit(EXIT_FAILED) from error
    except KeyboardInterrupt as error:
        _complain("interrupted")
        raise typer.Exit(EXIT_INTERRUPTED) from error


def _complain(message: str) -> None:
    typer.echo(f"vertecast: {message}", err=True)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"vertecast {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Version.")] = False,
) -> None:
    """Options that stand before any command."""


@app.command()
def analyze(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH",
            exists=True,
            readable=False,
            help="Study folder, a tree of them, DICOM file, DICOMDIR, zip, NIfTI, MetaImage or NRRD volume. "
            "May be left out with --segmentation.",
        ),
    ] = [],  # noqa: B006  typer copies it
    *,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", file_okay=False, help="Folder of results.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be analysed and why, from the headers alone.")
    ] = False,
    phase: Annotated[
        Literal["auto", "pre", "intra", "post"] | None,
        typer.Option(help="Phase of the treatment; auto: seen in the image."),
    ] = None,
    spacing_mm: Annotated[
        float | None,
        typer.Option(metavar="MM", help="Pixel size in the patient, for radiographs whose file does not give it."),
    ] = None,
    lowest: Annotated[
        str | None, typer.Option(metavar="LEVEL", help="Level of the lowest vertebra in view, for example L5.")
    ] = None,
    highest: Annotated[
        str | None, typer.Option(metavar="LEVEL", help="Level of the highest one instead, for example T1.")
    ] = None,
    segmentation: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Label map to be measured instead of what the network finds on CT."),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Its numbers: verse, totalsegmentator, vertecast or a YAML file."),
    ] = None,
    workers: Annotated[int | None, typer.Option(metavar="N", help="Studies analysed at the same time.")] = None,
    memory: Annotated[
        float | None, typer.Option(metavar="GB", help="What all workers together may take; limits how many there are.")
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Analyse on the workers of a dask cluster instead; docs/cluster.md."),
    ] = None,
    identify: IdentifyOption = False,
    deidentify: DeidentifyOption = False,
    key: KeyOption = None,
    config: ConfigOption = None,
    force: ForceOption = False,
) -> None:
    """Measure every study under PATH and write reports to DIR."""
    from vertecast.cli.dry_run import preview_paths
    from vertecast.cli.progress import shown_progress
    from vertecast.core.config import load_config
    from vertecast.run.batch import run_batch
    from vertecast.run.engine import shipped_engine

    with _clear_errors():
        overrides: dict[str, dict[str, Any]] = {
            "analysis": {"phase": phase, "lowest": lowest, "highest": highest, "spacing_mm": spacing_mm},
            "segmentation": {"label_map": None if segmentation is None else str(segmentation), "labels": labels},
            "output": _identity(identify, deidentify, key),
            "batch": {"workers": workers, "memory_gb": memory, "scheduler": scheduler},
        }
        options = load_config(config).with_overrides(overrides)
        if not paths and options.segmentation.label_map is None:
            raise ConfigurationError("give at least one PATH, or a label map with --segmentation")
        given = paths or [Path(str(options.segmentation.label_map))]
        if dry_run:
            raise typer.Exit(preview_paths(given, options))
        if out is None:
            raise ConfigurationError("name a folder of results with --out, or ask for a --dry-run")
        engine = shipped_engine(options.segmentation)
        with shown_progress() as listener:
            result = run_batch(given, out, options, engine, force=force, listener=listener)
        raise typer.Exit(_conclude(result, out))


@app.command()
def compare(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PRE POST...",
            exists=True,
            readable=False,
            help="Studies of one patient, the earliest first; of several in one folder the dates decide.",
        ),
    ],
    *,
    out: OutOption,
    identify: IdentifyOption = False,
    deidentify: DeidentifyOption = False,
    key: KeyOption = None,
    config: ConfigOption = None,
    force: ForceOption = False,
) -> None:
    """Measure the studies of one patient and what changed between them; 'analyze' does so where patient and date
    are known."""
    from vertecast.cli.progress import shown_progress
    from vertecast.core.config import load_config
    from vertecast.run.batch import run_batch
    from vertecast.run.engine import shipped_engine

    with _clear_errors():
        options = load_config(config).with_overrides({"output": _identity(identify, deidentify, key)})
        engine = shipped_engine(options.segmentation)
        with shown_progress() as listener:
            result = run_batch(paths, out, options, engine, force=force, compare=True, listener=listener)
        raise typer.Exit(_conclude(result, out))


def _identity(identify: bool, deidentify: bool, key: Path | None) -> dict[str, Any]:
    """Overrides of the group ``output``; a flag that was not given leaves what the file says."""
    return {"identify": identify or None, "deidentify": deidentify or None, "key": None if key is None else str(key)}


def _conclude(result: BatchResult, out: Path) -> int:
    """Say how many there were and where the page lies, beside the lines of a program that reads along; return the exit
    status."""
    beside = not sys.stdout.isatty()
    counts = {status: result.count(status) for status in ("analyzed", "failed", "skipped")}
    told = f"{counts['analyzed']} analysed, {counts['failed']} failed, {counts['skipped']} skipped"
    typer.echo(told, err=beside)
    for reason, number in Counter(study.not_compared for study in result.studies if study.not_compared).items():
        told = f"{number} {'study' if number == 1 else 'studies'} not compared with others: {reason}"
        typer.echo(told, err=beside)
    typer.echo(f"Report: {(out / 'index.html').resolve()}", err=beside)
    if not beside:
        typer.echo(f"To see it: vertecast open {out}")
    if result.interrupted:
        _complain("interrupted; run the same command again to go on")
        return EXIT_INTERRUPTED
    if not result.found_work:
        _complain("nothing to analyse under the given paths")
        return EXIT_NOTHING
    return EXIT_FAILED if counts["failed"] else 0


@app.command()
def serve(
    config: Annotated[
        Path,
        typer.Option("--config", metavar="FILE", exists=True, dir_okay=False, help="YAML file, see configs/pacs.yaml."),
    ],
) -> None:
    """Run beside an archive: take studies from it, analyse them, deliver the results."""
    import functools

    from vertecast.run.engine import shipped_engine
    from vertecast.service.options import analysis_config, load_pacs_options

    with _clear_errors():
        options = load_pacs_options(config)
        analysis = analysis_config(options)
        try:
            from vertecast.service.analysis import analyze as analyze_one
            from vertecast.service.service import Service, log_to_stderr
        except ModuleNotFoundError as error:
            raise ConfigurationError(f"the service needs {error.name}; install vertecast[pacs]") from error
        work = functools.partial(analyze_one, config=analysis, engine=shipped_engine(analysis.segmentation))
        log_to_stderr()
        os.umask(PRIVATE)
        Service(options, work).run()


@app.command()
def simulate(
    out: OutOption,
    cases: Annotated[int, typer.Option(min=1, metavar="N", help="How many patients.")] = 1,
    seed: Annotated[int, typer.Option(min=0, metavar="S", help="The same seed gives the same patients.")] = 0,
    kind: Annotated[
        Literal["ct", "patient", "follow-up", "lateral", "ap", "films", "cine"],
        typer.Option(
            help="ct: one CT study each; patient: CT before and after treatment; follow-up: and weeks later; lateral, "
            "ap: one radiograph; films: lateral and AP before and after treatment; cine: fluoroscopy of a treatment."
        ),
    ] = "ct",
) -> None:
    """Write simulated studies as DICOM, with their truth."""
    from vertecast.lab.simulation.cine import fluoroscopy
    from vertecast.lab.simulation.ct import studies
    from vertecast.lab.simulation.projection import film_studies
    from vertecast.lab.simulation.projection.studies import write_projection_study

    with _clear_errors():
        for number in range(cases):
            folders: tuple[Path, ...]
            if kind == "ct" or kind == "patient" or kind == "follow-up":
                folders = studies.write_study(studies.simulate_case(seed + number, kind), out)
            elif kind == "cine":
                folders = (write_projection_study(fluoroscopy.simulate_cine(seed + number), out),)
            else:
                films = film_studies.simulate_films(seed + number, kind)
                folders = tuple(write_projection_study(study, out) for study in films)
            for folder in folders:
                typer.echo(f"[{number + 1}/{cases}] {folder}")


app.command("evaluate")(_clear_errors()(evaluate.evaluate))


@app.command("open")
def open_results(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", exists=True, file_okay=False, help="Folder of results, or of one study.")
    ],
) -> None:
    """Show the page of a run, or of a study, in the browser."""
    import webbrowser

    with _clear_errors():
        pages = [page for name in ("index.html", "report.html") if (page := folder / name).is_file()]
        if not pages:
            raise ConfigurationError(f"{folder}: holds no results; name the folder that was given as --out")
        typer.echo(pages[0].resolve())
        if not webbrowser.open(pages[0].resolve().as_uri()):
            raise ConfigurationError("no browser was found; open the file above in one")


@app.command("read-report")
def read_report(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, help="Structured report, sr.dcm.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", dir_okay=False, help="File to write; default: the terminal.")
    ] = None,
) -> None:
    """Turn a DICOM structured report of 'vertecast analyze' back into report.json."""
    import json

    from vertecast.report.dicom.read_sr import read_document

    with _clear_errors():
        text = json.dumps(read_document(file), indent=1, ensure_ascii=False)
        if out is None:
            typer.echo(text)
            return
        try:
            out.write_text(text + "\n", encoding="utf-8")
        except OSError as error:
            raise OutputError(f"{out}: cannot be written ({error.strerror}); choose another --out") from error


@models_app.command("list")
def list_models() -> None:
    """Name and version of every shipped bundle."""
    from vertecast.core import resources

    with _clear_errors():
        for name in resources.bundle_names():
            bundle = resources.read_bundle(resources.bundle_directory(name))
            typer.echo(f"{bundle.name} {bundle.version} {bundle.directory}")


@models_app.command("verify")
def verify_models(
    bundles: Annotated[
        list[str], typer.Argument(metavar="BUNDLE", help="Names or folders of bundles; default: all that are shipped.")
    ] = [],  # noqa: B006  typer copies it
) -> None:
    """Compare the weights of bundles with their recorded checksums."""
    from vertecast.run.environment import check_bundles

    _print_checks(check_bundles(bundles or None))


@models_app.command("export")
def export_model(
    bundle: Annotated[str, typer.Argument(metavar="BUNDLE", help="Name of a shipped CT bundle, or a folder.")],
    *,
    out: OutOption,
    kind: Annotated[Literal["onnx", "openvino"], typer.Option("--format", help="Format of the files.")] = "onnx",
) -> None:
    """Write the networks of a CT bundle as ONNX or OpenVINO, compared with torch; others are not kept."""
    from vertecast.core import resources
    from vertecast.segmentation.runtimes.export import TOLERANCE, export_networks

    with _clear_errors():
        for item in export_networks(resources.bundle_directory(bundle), out, kind):
            typer.echo(f"{item.path}: differs from torch by {item.difference:.1g} at most ({TOLERANCE:g} is allowed)")


@app.command()
def check() -> None:
    """Examine this installation: versions, image codecs, model weights."""
    from vertecast.run.environment import check_environment

    _print_checks(check_environment())


def _print_checks(checks: tuple[Check, ...]) -> None:
    for item in checks:
        typer.echo(f"{'ok  ' if item.passed else 'FAIL'} {item.name}: {item.found}")
    if not all(item.passed for item in checks):
        raise typer.Exit(EXIT_FAILED)


def main() -> Any:
    """Entry point of the console script."""
    return app()
