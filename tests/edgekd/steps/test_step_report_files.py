"""The files of a report: complete in themselves, safe with hostile names, of one run or several."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from report_pages import Parsed

from calibration.errors import UsageError
from calibration.progress import Quiet
from edgekd.cli.app import run as command
from edgekd.run import Run
from edgekd.steps.report import report_runs

HOSTILE = "=cmd|' !<script>alert(1)</script> `[x](y)"


def test_everything_is_in_one_file_and_nothing_comes_from_elsewhere(benched: Path) -> None:
    _, (html, markdown, table) = report_runs([Run.open(benched)], None, Quiet())
    assert (html, markdown, table) == tuple(benched / f"report.{suffix}" for suffix in ("html", "md", "csv"))
    page = Parsed(html.read_text())
    assert all(load.startswith(("data:image/jpeg;base64,", "#")) for load in page.loads)
    assert "script" not in page.tags and "link" not in page.tags and "iframe" not in page.tags
    for heading in ("Runs and machines", "In short", "Accuracy", "The worst frames", "Drift from fp32", "Training",
                    "Calibration coverage", "Conditions and grades", "How to reproduce"):  # fmt: skip
        assert heading in page.text
    for word in ("onnxruntime-fp32", "onnxruntime-int8", "plain", "edgekd bench runs/small --reproduce", "loss"):
        assert word in page.text
    assert html.stat().st_size < 1_500_000


def test_a_name_is_only_a_name(benched: Path) -> None:
    hostile = Path("runs") / HOSTILE.replace("/", "-")
    shutil.copytree(benched, hostile)
    (scored,) = (hostile / "bench").glob("*-plain-*.json")
    value = json.loads(scored.read_text())
    value["machine"]["device"] = HOSTILE
    value["machine"]["cpu"] = "a|b\n# c"
    for row in value["rows"]:
        row["evaluation"]["dataset"] = HOSTILE
        row["evaluation"]["rows"][0]["name"] = HOSTILE
    value["rows"][0]["reason"], value["rows"][1]["reason"] = "-1+cmd", "\t=1+1"
    scored.write_text(json.dumps(value))
    _, (html, markdown, table) = report_runs([Run.open(hostile)], None, Quiet())
    page = Parsed(html.read_text())
    assert "script" not in page.tags and "<script>alert(1)" in page.text  # shown as text
    for line in markdown.read_text().splitlines():
        assert not re.search(r"(?<!\\)<script|(?<!\\)\[x\]", line)
        assert not line.startswith("# c")
    cells = [cell for row in csv.reader(io.StringIO(table.read_text())) for cell in row]
    assert not any(cell.startswith(("=", "@", "+", "\t", "-1+")) for cell in cells)
    assert {"'-1+cmd", "'\t=1+1"} <= {*cells}


def test_what_a_killed_report_left_is_removed_and_what_another_writes_now_is_not(benched: Path) -> None:
    killed, another = benched / ".report.md.abcdefgh.part", benched / ".report.md.hgfedcba.part"
    for path in (killed, another):
        path.touch()
    os.utime(killed, (1e9, 1e9))
    report_runs([Run.open(benched)], None, Quiet())
    assert another.exists() and not killed.exists()


def test_runs_are_compared_side_by_side(benched: Path) -> None:
    shutil.copytree(benched, Path("runs/other"))
    story, (html, _, table) = report_runs([Run.open(benched), Run.open(Path("runs/other"))], Path("both"), Quiet())
    assert html == Path("both/report.html")
    assert {entry.run for entry in story.entries} == {"small", "other"}
    assert len(list(csv.DictReader(io.StringIO(table.read_text())))) == 4
    text = Parsed(html.read_text()).text
    assert "edgekd report: small, other" in text
    with pytest.raises(UsageError, match="--out"):
        report_runs([Run.open(benched), Run.open(Path("runs/other"))], None, Quiet())
    shutil.copytree(Path("runs/other"), Path("elsewhere/small"))
    story, _ = report_runs([Run.open(benched), Run.open(Path("elsewhere/small"))], Path("both"), Quiet())
    assert {entry.run for entry in story.entries} == {"runs/small", "elsewhere/small"}


def test_the_verb(benched: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["report", "--json"]) == 0
    out, err = capsys.readouterr()
    value = json.loads(out)
    assert [Path(path).name for path in value["files"]] == ["report.html", "report.md", "report.csv"]
    assert "No run given: using the newest, runs/small" in err
    assert command(["report", "smal"]) == 2
    assert "Did you mean runs/small?" in capsys.readouterr().err


def test_a_browser_shows_it_on_a_phone_without_scrolling_sideways(benched: Path, tmp_path: Path) -> None:
    browser = next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
    )
    if browser is None:
        pytest.skip("no Chromium is installed here")
    _, (html, *_) = report_runs([Run.open(benched)], None, Quiet())
    # The page's own policy forbids scripts, so a copy without it measures itself.
    text = re.sub(
        r'<meta content="default-src[^>]*>|<meta http-equiv="Content-Security-Policy"[^>]*>', "", html.read_text()
    )
    script = "<script>document.title = document.documentElement.scrollWidth + ' ' + innerWidth</script></body>"
    (tmp_path / "copy.html").write_text(text.replace("</body>", script))
    done = subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", f"--user-data-dir={tmp_path / 'profile'}",
         "--window-size=500,900", "--dump-dom", (tmp_path / "copy.html").as_uri()],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    found = re.search(r"<title>(\d+) (\d+)</title>", done.stdout)
    assert found is not None, done.stderr[-500:]
    assert int(found[1]) <= int(found[2])
