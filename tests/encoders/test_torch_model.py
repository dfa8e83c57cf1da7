"""Running a torch model: batches, memory, precision, fingerprint, threads."""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from mmrag.encoders import torch_lanes, torch_model  # noqa: E402
from mmrag.encoders.torch_lanes import Lanes  # noqa: E402
from mmrag.encoders.torch_model import TorchModel  # noqa: E402
from mmrag.errors import InputError, UnknownName  # noqa: E402

pytestmark = pytest.mark.torch

ITEMS = list(torch.randn(20, 8, generator=torch.Generator().manual_seed(1)))


def linear() -> Any:
    torch.manual_seed(3)
    return torch.nn.Sequential(
        torch.nn.Linear(8, 16), torch.nn.Dropout(0.5), torch.nn.Linear(16, 4)
    )


def forward(model: Any, inputs: Any) -> Any:
    return model(inputs)


def expected(model: Any, items: list[Any] = ITEMS) -> Any:
    with torch.no_grad():
        return torch.nn.functional.normalize(model.eval()(torch.stack(items)), dim=-1).numpy()


@pytest.fixture
def bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """This CPU is taken for one with bf16 units, and any gain is enough."""
    monkeypatch.setattr(torch_model, "has_bf16", lambda: True)
    monkeypatch.setattr(torch_model, "_GAIN", 0.0)


def test_rows_are_the_models_own_at_length_1_in_the_order_of_the_items() -> None:
    run = TorchModel(linear(), batch_size=3, precision="fp32")
    rows = run.encode(forward, ITEMS, torch.stack)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, expected(linear()), atol=1e-6)


def test_inputs_may_be_a_mapping_and_whole_numbers_stay_whole() -> None:
    seen: list[Any] = []

    def look(model: Any, inputs: Any) -> Any:
        seen.append({name: value.dtype for name, value in inputs.items()})
        return model(inputs["floats"])

    run = TorchModel(linear(), precision="bf16")
    run.encode(
        look, ITEMS, lambda batch: {"floats": torch.stack(batch), "ids": torch.arange(len(batch))}
    )
    assert seen
    assert all(kinds == {"floats": torch.bfloat16, "ids": torch.int64} for kinds in seen)


def test_inputs_that_are_no_tensors_are_passed_on() -> None:
    def look(model: Any, inputs: Any) -> Any:
        return model(inputs["floats"]) * inputs["sign"]

    run = TorchModel(linear(), precision="fp32")
    rows = run.encode(look, ITEMS, lambda batch: {"floats": torch.stack(batch), "sign": -1})
    np.testing.assert_allclose(rows, -expected(linear()), atol=1e-6)


def test_no_gradient_is_kept_and_the_callers_model_stays_as_it_was() -> None:
    model = linear()
    before = model[0].weight.clone()
    run = TorchModel(model, precision="bf16")
    run.encode(forward, ITEMS, torch.stack)
    assert model[0].weight.dtype == torch.float32
    assert model[0].weight.requires_grad
    assert torch.equal(model[0].weight, before)
    assert run.precision_of(forward) == "bf16"


def test_tied_weights_stay_tied_in_a_copy() -> None:
    class Tied(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = torch.nn.Linear(8, 8), torch.nn.Linear(8, 8)
            self.b.weight = self.a.weight

        def forward(self, x: Any) -> Any:
            return self.b(self.a(x))

    run = TorchModel(Tied(), precision="bf16")
    copy = run._model
    assert copy.a.weight is copy.b.weight
    assert run.encode(forward, ITEMS, torch.stack).shape == (20, 8)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError(
            "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"
        ),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        torch.OutOfMemoryError("MPS backend out of memory"),
        MemoryError(),
    ],
)
def test_where_memory_runs_out_batches_shrink_and_stay_small(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    sizes = []

    def hungry(model: Any, inputs: Any) -> Any:
        sizes.append(len(inputs))
        if len(inputs) > 4:
            raise error
        return model(inputs)

    run = TorchModel(linear(), batch_size=16, precision="fp32")
    run._lanes.count = 1
    with caplog.at_level(logging.WARNING, "mmrag"):
        rows = run.encode(hungry, ITEMS, torch.stack)
    np.testing.assert_allclose(rows, expected(linear()), atol=1e-6)
    assert sizes == [16, 8, 4, 4, 4, 4, 4]
    assert run.batch_size == 4
    assert "going on with 4" in caplog.text


def test_memory_that_does_not_do_for_one_item_is_an_error() -> None:
    def hungry(model: Any, inputs: Any) -> Any:
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        TorchModel(linear(), precision="fp32").encode(hungry, ITEMS, torch.stack)


def test_other_errors_are_not_tried_again() -> None:
    calls = []

    def broken(model: Any, inputs: Any) -> Any:
        calls.append(1)
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        TorchModel(linear(), precision="fp32", batch_size=20).encode(broken, ITEMS[:1], torch.stack)
    assert len(calls) == 1


@pytest.mark.usefixtures("bf16")
def test_bf16_is_taken_tower_by_tower_where_its_vectors_are_the_same() -> None:
    def good(model: Any, inputs: Any) -> Any:
        return model(inputs)

    def bad(model: Any, inputs: Any) -> Any:  # another direction in low precision
        return model(inputs) * (1 if inputs.dtype == torch.float32 else -1)

    run = TorchModel(linear())
    run.encode(good, ITEMS, torch.stack)
    rows = run.encode(bad, ITEMS, torch.stack)
    assert (run.precision_of(good), run.precision_of(bad)) == ("bf16", "fp32")
    np.testing.assert_allclose(rows, expected(linear()), atol=1e-6)
    cosines = (run.encode(good, ITEMS, torch.stack) * expected(linear())).sum(axis=1)
    assert 0.999 < cosines.min() < 0.9999999


@pytest.mark.usefixtures("bf16")
def test_a_few_items_do_not_decide_on_the_precision() -> None:
    run = TorchModel(linear())
    np.testing.assert_allclose(
        run.encode(forward, ITEMS[:7], torch.stack), expected(linear(), ITEMS[:7]), atol=1e-6
    )
    assert run.precision_of(forward) == "fp32"
    run.encode(forward, ITEMS[:8], torch.stack)
    assert run.precision_of(forward) == "bf16"


@pytest.mark.usefixtures("bf16")
@pytest.mark.parametrize("flaw", ["raises", "nan", "slow"])
def test_bf16_that_fails_or_does_not_pay_is_not_taken(
    flaw: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flawed(model: Any, inputs: Any) -> Any:
        if inputs.dtype == torch.bfloat16 and flaw == "raises":
            raise RuntimeError("not implemented for 'BFloat16'")
        rows = model(inputs)
        return rows * float("nan") if inputs.dtype == torch.bfloat16 and flaw == "nan" else rows

    if flaw == "slow":
        monkeypatch.setattr(torch_model, "_GAIN", 1e9)
    run = TorchModel(linear())
    rows = run.encode(flawed, ITEMS, torch.stack)
    assert run.precision_of(flawed) == "fp32"
    np.testing.assert_allclose(rows, expected(linear()), atol=1e-6)


def test_the_digest_is_of_names_and_weights_and_not_of_how_they_are_run() -> None:
    digest = TorchModel(linear(), precision="fp32").digest
    assert TorchModel(linear(), precision="bf16", batch_size=1).digest == digest
    other = linear()
    with torch.no_grad():
        other[2].bias[0] += 1e-6
    assert TorchModel(other, precision="fp32").digest != digest
    assert TorchModel(torch.nn.Sequential(linear()), precision="fp32").digest != digest


@pytest.mark.usefixtures("bf16")
def test_threads_get_what_one_thread_gets() -> None:
    run = TorchModel(linear(), batch_size=8)

    def work(part: int) -> Any:
        return run.encode(forward, ITEMS[part:], torch.stack)

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(work, [0, 1, 2, 3] * 5))
    for part, rows in zip([0, 1, 2, 3] * 5, found, strict=True):
        assert ((rows * expected(linear())[part:]).sum(axis=1) > 0.999).all()


def test_a_copy_by_pickle_gives_the_same() -> None:
    run = TorchModel(linear())
    run.encode(forward, ITEMS, torch.stack)
    copy = pickle.loads(pickle.dumps(run))
    assert copy.digest == run.digest
    rows = copy.encode(forward, ITEMS[:4], torch.stack)
    np.testing.assert_allclose(rows, expected(linear(), ITEMS[:4]), atol=1e-6)


def test_no_item_gives_no_row() -> None:
    assert len(TorchModel(linear()).encode(forward, [], torch.stack)) == 0


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"device": "cdua"}, InputError, "device 'cdua' cannot be used"),
        ({"precision": "int8"}, UnknownName, "auto, bf16, fp16, fp32"),
        ({"batch_size": 0}, InputError, "1 or more, not 0"),
        ({"batch_size": "all"}, InputError, "1 or more, not 'all'"),
    ],
)
def test_what_cannot_be_used_is_refused(
    options: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        TorchModel(linear(), **options)


@pytest.mark.skipif(torch.cuda.is_available(), reason="for machines without CUDA")
def test_cuda_where_there_is_none_is_refused() -> None:
    with pytest.raises(InputError, match="'cuda' cannot be used"):
        TorchModel(linear(), device="cuda")


@pytest.mark.parametrize("make", [lambda: lambda m, x: m(x), lambda: forward])
def test_a_function_made_anew_is_the_same_tower(
    make: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []
    monkeypatch.setattr(torch_model, "has_bf16", lambda: True)
    run = TorchModel(linear())
    pays = run._pays
    monkeypatch.setattr(run, "_pays", lambda *a: tries.append(1) or pays(*a))
    for _ in range(3):
        run.encode(make(), ITEMS, torch.stack)
    assert len(tries) == 1


# Lanes.


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_lanes_have_their_own_number_of_threads_and_leave_that_of_others_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch_lanes, "threads", lambda: 2)
    lanes = Lanes(torch.device("cpu"))
    meet = threading.Barrier(2, timeout=20)  # each job waits for the other: they run side by side

    def work(job: int) -> tuple[int, int]:
        meet.wait()
        return job, torch.get_num_threads()

    assert lanes.run(work, range(6)) == [(job, 1) for job in range(6)]
    assert torch.get_num_threads() == 2
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(torch.get_num_threads).result() == 2
    assert lanes.run(lambda job: torch.get_num_threads(), [0]) == [2]


@pytest.mark.usefixtures("two_threads")
def test_many_cores_are_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_lanes, "threads", lambda: 64)
    torch.set_num_threads(64)
    lanes = Lanes(torch.device("cpu"))
    assert (lanes.count, lanes._width) == (8, 8)
    assert Lanes(torch.device("meta")).count == 1


def test_lanes_give_what_one_thread_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    run = TorchModel(linear(), precision="fp32", batch_size=3)
    run._lanes.count = 4
    np.testing.assert_allclose(
        run.encode(forward, ITEMS, torch.stack), expected(linear()), atol=1e-6
    )


def test_an_error_in_a_lane_comes_out() -> None:
    def broken(model: Any, inputs: Any) -> Any:
        raise RuntimeError("broken in its lane")

    run = TorchModel(linear(), precision="fp32", batch_size=2)
    with pytest.raises(RuntimeError, match="broken in its lane"):
        run.encode(broken, ITEMS, torch.stack)
    np.testing.assert_allclose(
        run.encode(forward, ITEMS, torch.stack), expected(linear()), atol=1e-6
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_lanes_run_in_a_forked_child() -> None:
    """Where the threads of the parent are not."""
    code = """
import os, sys
from mmrag.encoders.torch_lanes import Lanes, torch
torch.set_num_threads(2)
lanes = Lanes(torch.device("cpu"))
work = lambda job: float(torch.ones(8).sum()) + job
before = lanes.run(work, [1, 2, 3])
child = os.fork()
if child == 0:
    os._exit(0 if lanes.run(work, [1, 2, 3]) == before else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    with subprocess.Popen([sys.executable, "-c", code], start_new_session=True) as process:
        try:
            assert process.wait(timeout=60) == 0
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # a child that hangs, too
