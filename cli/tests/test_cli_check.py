"""`kubectl metallb check`: what is wrong with a file, at which line, in which field."""

import json
import pathlib
import textwrap

import pytest

from metallb_cli import __main__ as program

POOL = """
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata:
  name: small
  namespace: metallb-system
spec:
  addresses:
  - 172.16.12.64/30
"""
AS_PRINTED = """
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata:
name: small-pool
namespace: metallb-system
spec:
addresses:
- 172.16.12.64/30
  autoAssign: false
"""


def run(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str], text: str, *more: str
) -> tuple[int, list[dict[str, object]]]:
    path = tmp_path / "objects.yaml"
    path.write_text(textwrap.dedent(text).lstrip())
    status = program.main(["check", "-f", str(path), "-o", "json", *more])
    answer = json.loads(capsys.readouterr().out)
    return status, answer["problems"]


def test_a_good_file(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, capsys, POOL) == (0, [])


@pytest.mark.parametrize(
    ("text", "line", "field", "fragment"),
    [
        pytest.param(AS_PRINTED, 9, "autoAssign", "is 'autoAssign' indented", id="the-blog-sample-as-printed"),
        pytest.param(
            AS_PRINTED.replace("  autoAssign", "autoAssign"),
            7,
            "addresses",
            "indent it, so that it is spec.addresses",
            id="the-blog-sample-as-valid-yaml",
        ),
        pytest.param(
            POOL.replace("addresses", "adresses"), 7, "spec.adresses", "unknown field; spec takes addresses", id="typo"
        ),
        pytest.param(POOL + "  autoAssign: 'no'\n", 9, "spec.autoAssign", "must be of type boolean", id="type"),
        pytest.param(
            POOL.replace("/30", "/33"), 8, "spec.addresses[0]", "the length must be at most 32", id="bad-prefix"
        ),
        pytest.param(
            POOL.replace("IPAddressPool", "IPAddressPol"), 2, "kind", "there is no kind 'IPAddressPol'", id="kind"
        ),
        pytest.param(POOL.replace("v1beta1", "v1"), 1, "apiVersion", "write metallb.io/v1beta1", id="version"),
        pytest.param(POOL + "---" + POOL, 13, "metadata.name", "the same IPAddressPool is in", id="twice"),
        pytest.param(
            POOL + "---" + POOL.replace("small", "tiny"),
            17,
            "spec.addresses[0]",
            "overlaps with already defined CIDR",
            id="overlap",
        ),
        pytest.param(
            "apiVersion: v1\nkind: List\nitems:\n- " + POOL.strip().replace("/30", "/33").replace("\n", "\n  ") + "\n",
            11,
            "spec.addresses[0]",
            "the length must be at most 32",
            id="within-a-list",
        ),
        pytest.param(
            POOL.split("  addresses")[0] + "  autoAssign: true\n", 6, "spec", "'addresses' is missing", id="missing"
        ),
        pytest.param(
            "apiVersion: metallb.io/v1beta2\nkind: BGPPeer\nmetadata: {name: a}\nspec: {myASN: 64512, peerASN: 64512, peerAddress: 10.0.0}\n",
            4,
            "spec.peerAddress",
            "invalid BGPPeer address",
            id="peer",
        ),
    ],
)
def test_what_is_wrong(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str], text: str, line: int, field: str, fragment: str
) -> None:
    status, found = run(tmp_path, capsys, text)
    assert status == 1
    assert [
        each for each in found if (each["line"], each["field"]) == (line, field) and fragment in str(each["detail"])
    ], found


def test_what_kubectl_gets_can_be_checked(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Objects as a server shows them carry fields of their own making."""
    seen = POOL.replace(
        "  name: small", "  name: small\n  uid: 1-2\n  creationTimestamp: '2026-01-01T00:00:00Z'\n  generation: 1"
    )
    seen += "status: {assignedIPv4: 0, assignedIPv6: 0, availableIPv4: 4, availableIPv6: 0}\n"
    listed = (
        "apiVersion: v1\nkind: List\nmetadata: {resourceVersion: ''}\nitems:\n- "
        + seen.strip().replace("\n", "\n  ")
        + "\n"
    )
    (tmp_path / "list.yaml").write_text(listed)
    assert program.main(["check", "-f", str(tmp_path / "list.yaml")]) == 0
    assert capsys.readouterr().out == "1 object, all good\n"


def test_other_objects_are_passed_over(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, capsys, "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {nonsense: 1}\n") == (0, [])


def test_text_for_people(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pool.yaml").write_text(POOL.lstrip().replace("/30", ""))
    assert program.main(["check", "-f", str(tmp_path)]) == 1
    told = capsys.readouterr().out
    assert f'{tmp_path}/pool.yaml:8: IPAddressPool "small": spec.addresses[0]: ' in told
    assert "\033" not in told, "no colour where nobody looks"
    assert told.endswith("1 object, 1 problem\n")


def test_a_file_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["check", "-f", "absent.yaml"]) == 2
    assert "absent.yaml" in capsys.readouterr().err
