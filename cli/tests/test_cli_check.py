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
            POOL.replace("addresses", "adresses"),
            7,
            "spec.adresses",
            "unknown field; did you mean addresses? spec takes addresses",
            id="typo",
        ),
        pytest.param(
            POOL + "  autoassign: false\n", 9, "spec.autoassign", "unknown field; did you mean autoAssign? ", id="case"
        ),
        pytest.param(
            POOL.replace("addresses:\n  - ", "addresses: "),
            7,
            "spec.addresses",
            '; write ["172.16.12.64/30"]',
            id="list",
        ),
        pytest.param(POOL + "  autoAssign: 'no'\n", 9, "spec.autoAssign", "must be of type boolean", id="type"),
        pytest.param(
            POOL + "  autoAssign: 'false'\n", 9, "spec.autoAssign", "is not; leave out the quotes", id="quotes"
        ),
        pytest.param(
            POOL.replace("/30", "/33"), 8, "spec.addresses[0]", "the length must be at most 32", id="bad-prefix"
        ),
        pytest.param(
            POOL.replace("IPAddressPool", "IPAddressPol"), 2, "kind", "there is no kind 'IPAddressPol'", id="kind"
        ),
        pytest.param(
            POOL.replace("kind: IPAddressPool\n", ""), 1, "kind", "an object needs a kind; there are", id="no-kind"
        ),
        pytest.param(
            POOL.replace("IPAddressPool", "AddressPool"),
            2,
            "kind",
            "; write an IPAddressPool, and an L2Adv",
            id="old-kind",
        ),
        pytest.param(
            POOL.replace("apiVersion: metallb.io/v1beta1\n", ""),
            1,
            "apiVersion",
            "an object needs an apiVersion; write metallb.io/v1beta1",
            id="no-version",
        ),
        pytest.param(
            "spec:\n  addresses: {{ .Values.addresses }}\n", 2, "addresses", "check what it renders", id="a-template"
        ),
        pytest.param(
            "apiVersion: metallb.io/v1beta1\nkind: BGPPeer\nmetadata: {name: a}\nspec: {myASN: 1, dynamicASN: external}\n",
            4,
            "spec.dynamicASN",
            "is a field of v1beta2 alone; write metallb.io/v1beta2",
            id="newer-field",
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


OTHERS = [
    pytest.param("apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {nonsense: 1}\n", id="service"),
    pytest.param("apiVersion: metallb.io.example.com/v1\nkind: IPAddressPool\nspec: {nonsense: 1}\n", id="other-group"),
    pytest.param("just text\n", id="no-object"),
    pytest.param("", id="nothing"),
]


@pytest.mark.parametrize("text", OTHERS)
def test_other_objects_are_passed_over(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    assert run(tmp_path, capsys, text) == (0, [])
    assert program.main(["check", "-f", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "no object of metallb.io in there\n"


NAMED = [
    pytest.param(
        "metallb.io/v1beta1",
        "L2Advertisement",
        "ipAddressPools: [gone]",
        'spec.ipAddressPools: there is no IPAddressPool "gone"',
        id="pool",
    ),
    pytest.param(
        "metallb.io/v1beta1", "BGPAdvertisement", "peers: [gone]", 'spec.peers: there is no BGPPeer "gone"', id="peer"
    ),
    pytest.param(
        "metallb.io/v1beta1",
        "BGPAdvertisement",
        "communities: [gone]",
        'spec.communities: no Community defines the alias "gone"',
        id="alias",
    ),
    pytest.param(
        "metallb.io/v1beta2",
        "BGPPeer",
        "myASN: 1, peerASN: 2, peerAddress: 10.0.0.1, bfdProfile: gone",
        'spec.bfdProfile: there is no BFDProfile "gone"',
        id="profile",
    ),
]


@pytest.mark.parametrize(("version", "kind", "spec", "told"), NAMED)
def test_a_name_that_nothing_answers_to_is_a_warning(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str], version: str, kind: str, spec: str, told: str
) -> None:
    """What it names may be in the cluster already."""
    file = tmp_path / "named.yaml"
    file.write_text(f"apiVersion: {version}\nkind: {kind}\nmetadata: {{name: a}}\nspec: {{{spec}}}\n")
    assert program.main(["check", "-f", str(file)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f'{file}:4: warning: {kind} "a": {told}')
    assert printed.endswith("1 object, 1 warning\n")
    assert program.main(["check", "-o", "json", "-f", str(file)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["objects"], found["problems"], len(found["warnings"])) == (1, [], 1)


def test_text_for_people(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pool.yaml").write_text(POOL.lstrip().replace("/30", ""))
    assert program.main(["check", "-f", str(tmp_path)]) == 1
    told = capsys.readouterr().out
    assert f'{tmp_path}/pool.yaml:8: IPAddressPool "small": spec.addresses[0]: ' in told
    assert "\033" not in told, "no colour where nobody looks"
    assert told.endswith("1 object, 1 problem\n")


def test_a_file_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["check", "-f", "absent.yaml"]) == 2
    assert capsys.readouterr().err == "kubectl metallb: absent.yaml: No such file or directory\n"


def test_a_file_that_is_no_text(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe")
    assert program.main(["check", "-f", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"kubectl metallb: {tmp_path}/a.yaml: not text in UTF-8\n"
