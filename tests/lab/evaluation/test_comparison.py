from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vertecast.core import geometry
from vertecast.core.errors import InputError
from vertecast.lab.evaluation import statistics
from vertecast.lab.evaluation.cases import Case
from vertecast.lab.evaluation.comparison import compare_cases, verdict
from vertecast.lab.evaluation.maps.scoring import MapOptions
from vertecast.lab.evaluation.questions import Item, Line, Question, answer, column
from vertecast.lab.evaluation.run import Request, evaluate
from vertecast.segmentation.label_map.schemes import label_scheme

BIAS = Line(key="bias", label="bias", statistic=statistics.bias, better="nearer 0", main=True)
MAE = Line(key="mae", label="MAE", statistic=statistics.mean_absolute_error, better="lower", main=True)


def question(values: dict[str, list[tuple[float, float]]], **more: object) -> Question:
    def rows(case: Case):
        for n, row in enumerate(values.get(case.name, [])):
            groups = {**case.groups, "half": "upper" if n % 2 else "lower"}
            yield Item(key=(case.name, str(n)), patient=case.patient, groups=groups, row=row)

    return Question(section="Measures", key="x", label="x", rows=rows, lines=(BIAS, MAE), **more)


def cases(names: list[str], prefix: str = "") -> list[Case]:
    return [Case(name=name, patient=f"p{n // 2}", simulated=True) for n, name in enumerate(names)]


def paired(first: dict, second: dict, **more: object):
    """Differences of two models whose answers are given; the cases of the second are told by their groups."""
    names = sorted({*first, *second})

    def rows(case: Case):
        yield from question(second if "other" in case.groups else first).rows(case)

    both = replace(question({}, **more), rows=rows)
    others = [replace(case, groups={"other": ""}) for case in cases(names)]
    return {one.line.key: one for one in compare_cases(cases(names), others, [both])}


def test_what_makes_images_hard_falls_out_of_the_difference() -> None:
    # Patients differ by many mm, the second model is always 0.5 mm worse: the paired interval is narrow.
    rng = np.random.default_rng(3)
    hard = {f"c{n}": rng.uniform(0, 10) for n in range(20)}
    first = {name: [(20.0, 20.0 + error)] for name, error in hard.items()}
    second = {name: [(20.0, 20.5 + error)] for name, error in hard.items()}
    mae = paired(first, second)["mae"]
    assert mae.difference.value == pytest.approx(-0.5)
    assert mae.difference.interval95 == pytest.approx((-0.5, -0.5))
    assert mae.verdict == "better"
    alone = answer(question(first), cases(sorted(first)))
    assert alone is not None
    low, high = alone.estimates["mae"].interval95
    assert high - low > 1.0


def test_a_model_that_abstains_where_it_is_hard_is_compared_on_what_both_measured() -> None:
    first = {f"c{n}": [(20.0, 21.0)] for n in range(6)}
    second = {f"c{n}": [(20.0, 21.0)] for n in range(3)}  # measures half, and is no better there
    first |= {f"c{n}": [(20.0, 29.0)] for n in range(3, 6)}
    mae = paired(first, second)["mae"]
    assert (mae.difference.value, mae.difference.count) == (0.0, 3)
    assert (mae.only_first, mae.only_second) == (3, 0)
    everything = paired(first, second, common=False)["mae"]
    assert everything.difference.value == pytest.approx(5.0 - 1.0)


def test_a_bias_is_better_where_it_is_smaller_whatever_its_sign() -> None:
    first = {f"c{n}": [(20.0, 19.9)] for n in range(6)}
    second = {f"c{n}": [(20.0, 21.0)] for n in range(6)}
    bias = paired(first, second)["bias"]
    assert bias.difference.value == pytest.approx(-0.9)
    assert bias.verdict == "better"
    assert paired(second, first)["bias"].verdict == "worse"


def test_verdicts() -> None:
    assert verdict((-1.0, 0.5), "higher") == "no difference shown"
    assert [verdict((0.1, 0.5), better) for better in ("higher", "lower")] == ["better", "worse"]
    assert [verdict((-0.5, -0.1), better) for better in ("higher", "lower")] == ["worse", "better"]


def test_different_images_are_no_comparison() -> None:
    with pytest.raises(InputError, match="not scored on the same images"):
        compare_cases(cases(["a"]), cases(["b"]), [question({})])


def test_groups_of_one_patient_are_not_listed_and_their_statistics_are_right() -> None:
    values = {name: [(20.0, 21.0), (20.0, 24.0)] for name in "abcd"}
    one = answer(
        question(values), [replace(c, groups={"sex": "f" if c.name == "a" else "m"}) for c in cases(list("abcd"))]
    )
    assert one is not None
    assert {value: lines["mae"].value for value, lines in one.groups["half"].items()} == {"lower": 1.0, "upper": 4.0}
    assert set(one.groups["sex"]) == {"m"}
    assert one.groups["sex"]["m"]["mae"].count == 6


def test_a_mean_over_draws_is_the_mean_of_each_draw() -> None:
    from vertecast.lab.evaluation import agreement

    rng = np.random.default_rng(1)
    rows = rng.normal(size=(30, 2))
    patients = [n // 3 for n in range(30)]
    fast = agreement.estimate(rows.tolist(), patients, column(0))
    slow = agreement.estimate(rows.tolist(), patients, agreement.mean)
    assert fast.value == pytest.approx(slow.value)
    assert fast.interval95 == pytest.approx(slow.interval95)


def test_two_models_in_one_command(study, tmp_path: Path) -> None:
    import nibabel

    def write(folder: str, name: str, labels: np.ndarray) -> None:
        (tmp_path / folder).mkdir(exist_ok=True)
        image = nibabel.Nifti1Image(labels, geometry.LPS_FROM_RAS @ study.found_affine)
        image.to_filename(tmp_path / folder / f"{name}.nii.gz")

    labels = np.where(study.true_labels < 26, study.true_labels, 0).astype(np.uint8)
    for n, name in enumerate("abcd"):
        write("truth", name, labels)
        write("good", name, np.roll(labels, n % 2, axis=2))
        write("bad", name, np.where(labels == 23, 0, np.roll(labels, 2, axis=2)))
    (tmp_path / "truth" / "participants.tsv").write_text("participant_id\tsex\na\tf\nb\tf\nc\tm\nd\tm\n")
    scheme = MapOptions.of_schemes(label_scheme("verse"), label_scheme("verse"))
    request = Request(
        truth=tmp_path / "truth", predictions=tmp_path / "good", out=tmp_path / "out", maps=scheme,
        against=tmp_path / "bad",
    )  # fmt: skip
    text = evaluate(request)
    assert text.startswith("4 images of 4 patients")
    document = json.loads((tmp_path / "out" / "scores.json").read_text())["assessment"]
    by_key = {(row["question"], row["statistic"]): row for row in document["comparison"]}
    dice = by_key["vertebra", "dice"]
    assert (dice["verdict"], document["against"]) == ("better", "bad")
    assert dice["difference"] == pytest.approx(dice["first"] - dice["second"])
    assert by_key["vertebrae", "detected"]["second"] <= 0.75
    assert set(document["sections"]["Outlines"]["vertebra"]["groups"]["sex"]) == {"f", "m"}
    rows = list(csv.DictReader((tmp_path / "out" / "comparison.csv").open()))
    assert len(rows) == len(document["comparison"])
    page = (tmp_path / "out" / "index.html").read_text()
    assert "Against bad" in page
    assert "not marked as simulated" in page
