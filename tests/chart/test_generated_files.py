"""No generated file is stale, and what the generators rely on holds."""

import pathlib
from collections.abc import Callable, Mapping, Sequence

import pytest

from generate import crds, manifests, output, values_comments, values_doc, values_schema

Files = Callable[[], Mapping[pathlib.Path, str]]
Owned = Callable[[], Sequence[pathlib.Path]]


@pytest.mark.parametrize(
    ("files", "owned"),
    [
        pytest.param(crds.files, crds.owned, id="crds"),
        pytest.param(values_schema.files, values_schema.owned, id="values_schema"),
        pytest.param(values_comments.files, values_comments.owned, id="values_comments"),
        pytest.param(values_doc.files, values_doc.owned, id="values_doc"),
    ],
)
def test_generated_file_is_current(files: Files, owned: Owned) -> None:
    assert output.stale(files(), owned()) == []


def test_manifests_are_current(helm_program: pathlib.Path) -> None:
    assert output.stale(manifests.files(), manifests.owned()) == []


def test_check_reports_missing_stale_and_surplus_files() -> None:
    present = output.ROOT / "charts/metallb/Chart.yaml"
    absent = output.ROOT / "charts/metallb/absent.yaml"
    complaints = output.stale({present: "other\n", absent: "text\n"}, [output.ROOT / "charts/metallb/values.yaml"])
    assert [complaint.splitlines()[0] for complaint in complaints] == [
        "charts/metallb/Chart.yaml is stale:",
        "charts/metallb/absent.yaml is missing",
        "charts/metallb/values.yaml is not generated any more",
    ]


def test_check_writes_nothing_and_fails(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "ROOT", tmp_path)
    target = tmp_path / "page.md"
    assert output.settle("generate.page", lambda: {target: "new\n"}, list, check=True) == 1
    assert not target.exists()
    assert output.settle("generate.page", lambda: {target: "new\n"}, list, check=False) == 0
    assert target.read_text() == "new\n"
    assert output.settle("generate.page", lambda: {target: "new\n"}, lambda: [target], check=True) == 0


def test_a_file_that_is_no_longer_generated_is_deleted(tmp_path: pathlib.Path) -> None:
    surplus = tmp_path / "old.yaml"
    surplus.write_text("old\n")
    output.write({tmp_path / "new.yaml": "new\n"}, [surplus])
    assert not surplus.exists()
