"""The chart's values: one schema behind everything that describes them, and mistakes that are refused by their name."""

import copy
import json
import os
import pathlib
import subprocess
from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest
import yaml

from generate import helm, output, values, values_comments, values_schema
from metallb_core.domain import addresses
from metallb_speaker.membership import settings

CHART = output.ROOT / "charts/metallb"
Node = dict[str, Any]


def test_schema_values_and_the_all_on_file_have_the_same_keys() -> None:
    found = values.differences(values.resolved(), values.load(values.VALUES), values.load(values.EVERYTHING))
    assert found == []


def _without(document: Node, path: str) -> Node:
    changed = copy.deepcopy(document)
    *parents, last = path.split(".")
    node = changed
    for name in parents:
        node = node[name]
    del node[last]
    return changed


@pytest.mark.parametrize(
    ("schema", "defaults", "everything", "found"),
    [
        pytest.param(None, "controller.image.tag", None, "controller.image.tag is in values.schema.yaml and not in values.yaml", id="values"),
        pytest.param(None, None, "tls", "tls is in values.schema.yaml and not in everything-values.yaml", id="everything"),
        pytest.param(
            "properties.speaker.properties.wanConfig", None, None,
            "speaker.wanConfig is in values.yaml and not in values.schema.yaml", id="schema",
        ),
        pytest.param(
            None, None, "speaker.memberlist.config.GossipNodes",
            "speaker.memberlist.config.GossipNodes is in values.schema.yaml and not in everything-values.yaml", id="optional-in-values-alone",
        ),
    ],
)  # fmt: skip
def test_key_that_one_of_them_lacks_is_named(
    schema: str | None, defaults: str | None, everything: str | None, found: str
) -> None:
    properties = {"properties": values.resolved()}
    given = values.load(values.VALUES)
    full = values.load(values.EVERYTHING)
    assert found in values.differences(
        (_without(properties, schema) if schema else properties)["properties"],
        _without(given, defaults) if defaults else given,
        _without(full, everything) if everything else full,
    )


def test_a_reference_to_nothing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    source = tmp_path / "values.schema.yaml"
    source.write_text('{properties: {a: {$ref: "#/definitions/gone"}}, definitions: {}}')
    monkeypatch.setattr(values, "SCHEMA", source)
    with pytest.raises(ValueError, match="#/definitions/gone names nothing"):
        values.resolved()


def test_every_value_is_explained() -> None:
    # A key inside an object that is explained as a whole needs no words of its own.
    def bare(key: values.Key, explained: bool) -> list[str]:
        known = explained or bool(key.description)
        if not key.children:
            return [] if known else [key.path]
        return [path for child in key.children for path in bare(child, known)]

    assert [path for key in values.read() for path in bare(key, False)] == []


def test_comments_are_written_above_their_keys_and_defaults_stay() -> None:
    text = "# Head.\n\n# Old words\n# of two lines.\na: 1\nb:\n  # Old.\n  c: {d: 2}\n  # Remark.\n\n  e: []\n"
    written = values_comments.commented(text, {"a": "New.", "b.c": "Long " + "word " * 40, "b.e": ""})
    assert yaml.safe_load(written) == yaml.safe_load(text)
    lines = written.splitlines()
    assert lines[:4] == ["# Head.", "", "# New.", "a: 1"]
    assert lines[5].startswith("  # Long word")
    assert lines[6].startswith("  # word")
    assert lines[-3:] == ["  # Remark.", "", "  e: []"]


def test_timings_of_membership_are_those_the_speaker_reads() -> None:
    (speaker,) = (key for key in values.read() if key.path == "speaker")
    (config,) = (key for key in speaker.walk() if key.path == "speaker.memberlist.config")
    assert sorted(key.path.rsplit(".", 1)[1] for key in config.children) == sorted(settings._KEYS)
    given = values.load(values.EVERYTHING)["speaker"]["memberlist"]["config"]
    settings.parse_override(json.dumps(given))


def test_packaged_chart_has_no_source_of_the_schema(helm_program: pathlib.Path, tmp_path: pathlib.Path) -> None:
    helm.run(helm_program, ["package", CHART, "--destination", tmp_path])
    (package,) = tmp_path.glob("*.tgz")
    listed = subprocess.run(["tar", "tzf", package], capture_output=True, text=True, check=True).stdout.split()
    assert "metallb/values.schema.json" in listed
    assert "metallb/dashboards/metallb.json" in listed
    assert not [name for name in listed if "values.schema.yaml" in name or "/tests/" in name or "/ci/" in name]


def test_open_and_closed_objects() -> None:
    schema = values_schema.schema()
    image = schema["properties"]["controller"]["properties"]["image"]
    assert image["additionalProperties"] == {"const": "no such key; the keys here are repository, tag, pullPolicy"}
    assert schema["properties"]["controller"]["properties"]["strategy"]["additionalProperties"] is True
    assert "$ref" not in json.dumps(schema)


# Entries of pools

TEXTS = (
    "10.0.0.0/24", "10.0.0.5/24", "0.0.0.0/0", "10.0.0.1/32", "10.0.0.1/33", "10.0.0.1/-1", "10.0.0.1/01",
    "10.0.0.1/", "/24", "10.0.0.1/8/8", "10.0.0.1-10.0.0.9", " 10.0.0.1 - 10.0.0.9 ", "10.0.0.9-10.0.0.1",
    "10.0.0.1-10.0.0.1", "10.0.0.1-", "-10.0.0.1", "10.0.0.1-9", "10.0.0.1--10.0.0.2", "10.0.0.256/32",
    "010.0.0.1/32", "10.0.0/24", "10.0.0.1.1/32", "", " ", "-", "/", "a", "10.0.0.1", "fc00::1", "fc00::/64",
    "fc00::/129", "::/0", "::-::1", "fc00::1-fc00::ff", "fc00::ff-fc00::1", "fc00:0:0:0:0:0:0:1-fc00::2",
    "FC00::A-fc00::b", "fc00::1-10.0.0.1", "fc00:::1/64", ":fc00::1/64", "1:2:3:4:5:6:7:8/128",
    "1:2:3:4:5:6:7:8:9/128", "1:2:3:4:5:6:7/128", "1::3::4/64", "1:2:3:4:5:6:7::/112", "::1:2:3:4:5:6:7/112",
    "1:2:3:4::5:6:7:8/64", "12345::/16", "g::/16", "::ffff:10.0.0.1/128", "::ffff:10.0.0.1-::ffff:10.0.0.9",
    "::ffff:10.0.0.1-10.0.0.9", "::10.0.0.1/128", "fc00::10.0.0.1-fc00::10.0.0.2", "1:2:3:4:5:6:10.0.0.1/128",
    "10.0.0.1::/64", "fc00::1%eth0/64", "fc00::10.0.0.300/128", "192.168.1.0/24\n", "१०.0.0.1/32",
    "::ffff:a00:1-10.0.0.9", "::fffe:10.0.0.1-::ffff:0:0",
)  # fmt: skip


def _problems(helm_program: pathlib.Path, folder: pathlib.Path, texts: list[str]) -> list[str]:
    """What the chart says to each of these, by a chart of its template alone."""
    chart = folder / "reader"
    (chart / "templates").mkdir(parents=True, exist_ok=True)
    (chart / "Chart.yaml").write_text("{apiVersion: v2, name: reader, version: 0.1.0}")
    (chart / "templates/_addresses.tpl").write_text((CHART / "templates/_addresses.tpl").read_text())
    (chart / "templates/said.yaml").write_text(
        '{{ range .Values.texts }}\n---\nsaid: {{ include "metallb.rangeProblem" . | quote }}\n{{ end }}'
    )
    (folder / "values.json").write_text(json.dumps({"texts": texts}))
    rendered = helm.run(helm_program, ["template", "reader", chart, "--values", folder / "values.json"])
    return [document["said"] for document in yaml.safe_load_all(rendered) if document]


def _is_interval(text: str) -> bool:
    try:
        addresses.Interval.parse(text)
    except addresses.AddressError:
        return False
    return True


def test_chart_reads_ranges_as_the_programs_do(helm_program: pathlib.Path, tmp_path: pathlib.Path) -> None:
    said = _problems(helm_program, tmp_path, list(TEXTS))
    judged = {text: not problem for text, problem in zip(TEXTS, said, strict=True)}
    assert judged == {text: _is_interval(text) for text in TEXTS}
    assert all(("write" in problem or "at most" in problem) for problem in said if problem)


ADDRESS = st.one_of(
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(str),
    st.ip_addresses(v=6).map(lambda address: str(address.exploded)),
    st.text("0123456789abcf:.", max_size=20),
)
ENTRY = st.one_of(
    st.builds("{}-{}".format, ADDRESS, ADDRESS),
    st.builds("{}/{}".format, ADDRESS, st.integers(0, 140)),
    st.text("0123456789abcf:./- ", max_size=24),
)


BATCH = 200
BATCHES = st.lists(ENTRY, min_size=BATCH, max_size=BATCH)


def _compare(helm_program: pathlib.Path, folder: pathlib.Path, texts: list[str]) -> None:
    said = _problems(helm_program, folder, texts)
    assert [not problem for problem in said] == [_is_interval(text) for text in texts]


@pytest.mark.slow
@hypothesis.settings(max_examples=2_000 // BATCH, deadline=None)
@hypothesis.given(texts=BATCHES)
def test_chart_reads_any_range_as_the_programs_do(
    helm_program: pathlib.Path, tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    _compare(helm_program, tmp_path_factory.mktemp("reader"), texts)


@pytest.mark.slow
@pytest.mark.timeout(900)
@hypothesis.settings(
    max_examples=int(os.environ.get("METALLB_FUZZ", "100000")) // BATCH,
    deadline=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)
@hypothesis.given(texts=BATCHES)
def test_chart_reads_very_many_ranges_as_the_programs_do(
    helm_program: pathlib.Path, tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    _compare(helm_program, tmp_path_factory.mktemp("reader"), texts)
