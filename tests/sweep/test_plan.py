"""Which configurations share runs, lanes and scans, and what is rejected before anything is trained."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from harness.config import DataConfig, FullSample, Loss, ObjectiveConfig, RuntimeConfig, Scaling, TrackingConfig
from harness.data.tables.pages import PARTS
from harness.data.tables.table import Table
from harness.errors import ConfigError
from harness.sweep.executor import LocalExecutor
from harness.sweep.plan import arrange, prepare
from harness.sweep.scan_loop import prepare_scans
from tests.sweep.folders import config as small_config


@pytest.fixture
def config(tmp_path):
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(103, 3)), columns=["a", "b", "y"])
    frame.to_csv(tmp_path / "some.csv", index=False)
    return small_config(tmp_path, epochs=2, data={"features": ["a", "b"]})


def prepared(configs):
    return prepare(configs, lambda state: None)


def test_runs_share_scans_by_data_and_lanes_by_all_but_epochs(config):
    other = replace(config, data=replace(config.data, scaling=Scaling.none))
    configs = [config, replace(config, epochs=5), replace(config, learning_rate=1.0), other, replace(config, seed=1)]
    runs = prepared(configs)
    groups = arrange(runs)
    assert [[[runs.index(run) for run in lane] for lane in group.lanes] for group in groups] == [
        [[0, 1], [2], [4]],
        [[3]],
    ]
    assert [max(lane.stops[-1] for lane in group.plan.lanes) for group in groups] == [5, 2]
    assert runs[0].table is runs[3].table


def test_another_split_or_other_columns_need_another_scan(config):
    others = [{"split_seed": 1}, {"holdout": 0.3}, {"features": ["a"]}, {"log_columns": []}]
    runs = prepared([config, *(replace(config, data=replace(config.data, **other)) for other in others)])
    assert len(arrange(list(dict.fromkeys(runs)))) == 4
    assert runs[4] is runs[0]


def test_equal_configurations_are_one_run(config):
    full = replace(config, chunksize="full")
    runs = prepared([full, config, replace(full, chunksize=None), config])
    assert runs[0] is runs[2]
    assert runs[1] is runs[3]
    assert runs[0] is not runs[1]


def test_full_sample_and_one_chunk_of_all_rows_are_two_runs_of_one_size(config):
    full, chunk = prepared([replace(config, chunksize="full"), replace(config, chunksize=10**9)])
    assert full is not chunk
    assert full.chunk == chunk.chunk == full.table.train_rows
    assert full.updates == chunk.updates == 2


def test_names_show_the_settings_that_differ(config):
    configs = [
        config,
        replace(config, chunksize="full", learning_rate=1e-05),
        replace(config, seed=3),
        replace(config, optimizer={"name": "sgd", "momentum": 0.9}),
    ]
    assert [run.name for run in prepared(configs)] == [
        "chunk=10 lr=0.1 epochs=2 seed=0 optimizer=adam",
        "full lr=1e-05 epochs=2 seed=0 optimizer=adam",
        "chunk=10 lr=0.1 epochs=2 seed=3 optimizer=adam",
        "chunk=10 lr=0.1 epochs=2 seed=0 optimizer=sgd",
    ]


def test_a_stream_is_not_read_for_the_first_of_several_tables(config, tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    sweep = [replace(config, data=replace(config.data, path=str(path), split_seed=seed)) for seed in (0, 1)]
    with pytest.raises(ConfigError) as error:
        prepared(sweep)
    assert str(error.value) == (f"data.path: {path} is a stream and can be read only once; save it to a file first.")


def test_a_resident_sample_that_does_not_fit_is_refused(config, monkeypatch):
    resident = replace(config, runtime=replace(config.runtime, full_sample=FullSample.resident))
    (scan,) = prepare_scans(prepared([resident]), LocalExecutor("/CPU:0"))
    assert scan.task.rows == len(range(103)) - prepared([resident])[0].table.holdout_rows
    monkeypatch.setattr("harness.sweep.executor.available_bytes", lambda device, limit: 1000)
    with pytest.raises(ConfigError, match=r"needs 24,576 bytes of memory for \d+ rows, but /CPU:0 has 1,000 bytes"):
        prepare_scans(prepared([resident]), LocalExecutor("/CPU:0"))
    monkeypatch.setattr("harness.sweep.executor.available_bytes", lambda device, limit: 0)  # Unknown, so it is tried.
    assert prepare_scans(prepared([resident]), LocalExecutor("/CPU:0"))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"tracking": TrackingConfig(experiment="other")}, "tracking must be the same for all runs"),
        ({"runtime": RuntimeConfig(lane_tile=16)}, "runtime must be the same for all runs"),
        ({"objective": ObjectiveConfig(metric="val/r2")}, r"objective.metric must be the same for all runs"),
        ({"loss": Loss.binary_crossentropy}, "needs labels 0 and 1, but y contains"),
        ({"model": {"_target_": "harness.models.linear", "unit": 1}}, r"arguments \['unit'\]: .* It takes init"),
        (
            {"model": {"_target_": "harness.models.line"}},
            "cannot import .harness.models.line. .* Give the dotted name of a function",
        ),
        ({"optimizer": {"name": "adam", "momentum": 1}}, "optimizer: adam has no setting momentum"),
    ],
)
def test_refused(config, change, sentence):
    with pytest.raises(ConfigError, match=sentence):
        prepared([config, replace(config, **change)])


def test_a_table_found_damaged_while_labels_are_checked_is_rebuilt(config, tmp_path):
    pd.DataFrame({"a": np.arange(50.0), "y": np.arange(50) % 2}).to_csv(tmp_path / "labels.csv", index=False)
    data = DataConfig(["a"], "y", str(tmp_path / "labels.csv"))
    labels = replace(config, loss=Loss.binary_crossentropy, data=data)
    (before,) = prepared([labels])
    path = before.table.folder / "holdout.1.bin"
    path.write_bytes(bytes(path.stat().st_size))
    said = []
    (run,) = prepare([labels], lambda state: None, said.append)
    assert (run.table, run.signature) == (before.table, before.signature)
    run.table.check()
    name = run.table.folder.name[:8]
    fault = f"Table {name} is damaged: page 1 of column y (holdout.1.bin) does not match its checksum."
    assert said == [f"{fault} Rebuilding it from its source."]


def test_labels_are_checked_once_per_table(config, tmp_path, monkeypatch):
    pd.DataFrame({"a": np.arange(50.0), "y": np.arange(50) % 2}).to_csv(tmp_path / "labels.csv", index=False)
    labels = replace(config, loss=Loss.binary_crossentropy, data=DataConfig(["a"], "y", str(tmp_path / "labels.csv")))
    parts, reader = [], Table.reader
    monkeypatch.setattr(Table, "reader", lambda self, part, *more: parts.append(part) or reader(self, part, *more))
    prepared([replace(labels, seed=seed) for seed in range(3)])
    assert sorted(parts) == sorted(PARTS)
