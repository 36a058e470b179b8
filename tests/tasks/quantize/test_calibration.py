import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.quantize.run import calibration_windows
from tasks.stage import StageError

COUNTS = {"tokens": 1, "documents": 1, "bytes": 1}
META = {"dtype": "<u2", "vocab_size": 1024, "seq_len": 16, "splits": {"train": COUNTS, "validation": COUNTS}}


def _tokens(folder, lengths):
    """A stream in which every document's tokens are its number."""
    stream = np.concatenate([np.full(length, number) for number, length in enumerate(lengths)])
    stream.astype(np.uint16).tofile(folder / "train.bin")
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    pq.write_table(pa.table({"start": starts, "length": lengths}), folder / "train.documents.parquet")
    (folder / "meta.json").write_text(json.dumps(META))
    return folder


def test_few_long_documents_are_half_of_the_calibration_text(tmp_path):
    windows = calibration_windows(_tokens(tmp_path, [1600, *[8] * 1000]), 1600, 16)
    assert windows.shape == (100, 16)
    assert 0.45 < (windows == 0).float().mean() < 0.6
    assert len(windows.unique()) > 60


def test_without_long_documents_all_of_the_stream_is_seen(tmp_path):
    windows = calibration_windows(_tokens(tmp_path, [8] * 100), 10_000, 16)
    assert windows.shape == (50, 16)
    assert windows[0, 0] == 0
    assert windows[-1, -1] == 99


def test_a_stream_shorter_than_a_window_is_refused(tmp_path):
    with pytest.raises(StageError, match="8 training tokens; expected at least"):
        calibration_windows(_tokens(tmp_path, [8]), 100, 16)
