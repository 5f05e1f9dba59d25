"""What lies in the folders decides what is scored."""

from __future__ import annotations

import json
from pathlib import Path

from phantoms.scored import Film, write
from vertecast.lab.evaluation.maps.scoring import MapOptions
from vertecast.lab.evaluation.run import Request, evaluate
from vertecast.segmentation.label_map.schemes import label_scheme


def request(folder: Path) -> Request:
    maps = MapOptions.of_schemes(label_scheme("verse"), label_scheme("verse"))
    return Request(truth=folder / "truth", predictions=folder / "analyzed", out=folder / "scores", maps=maps)


def test_films_and_ct_of_one_run_are_scored_each_in_its_way(study, tmp_path: Path) -> None:
    write(tmp_path, Film())
    (tmp_path / "truth" / "1.7.json").unlink()
    study.report["series"] = [
        {"series_instance_uid": "1.9", "kind": "ct", "view": None, "status": "analyzed", "reason": ""}
    ]
    for body in study.report["vertebrae"]:
        body |= {"series_instance_uid": "1.9", "ratios": {}}
    for leak in study.report["leaks"]:
        leak["evidence"]["series_instance_uid"] = "1.9"
    study.write_truth(tmp_path / "truth")
    study.write_found(tmp_path / "analyzed")
    text = evaluate(request(tmp_path))
    assert text.startswith("1 studies (simulated)")
    assert "SIMULATED DATA" in text
    document = json.loads((tmp_path / "scores" / "scores.json").read_text())
    assert document["assessment"]["cases"] == 1
    assert (tmp_path / "scores" / "projections" / "projection_scores.json").is_file()


def test_films_alone_need_no_ct(tmp_path: Path) -> None:
    write(tmp_path, Film())
    (tmp_path / "truth" / "1.7.json").unlink()
    evaluate(request(tmp_path))
    assert (tmp_path / "scores" / "projections" / "projection_scores.json").is_file()
    assert not (tmp_path / "scores" / "scores.json").exists()
