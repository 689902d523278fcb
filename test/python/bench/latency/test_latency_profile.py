"""What ``kitty_kv.bench.latency.profile`` makes of a trace whose times are known, and of a real one."""

from __future__ import annotations

import json

import pytest

from kitty_kv.bench.latency.kernel_groups import group_of
from kitty_kv.bench.latency.profile import main
from kitty_kv.bench.latency.timeline import busy_us, figures, read_spans


def event(name: str, start: float, duration: float, category: str = "kernel", thread: int = 1) -> dict[str, object]:
    return {"ph": "X", "cat": category, "name": name, "ts": start, "dur": duration, "tid": thread}


def spans(tmp_path, events, *, is_cuda: bool):
    path = tmp_path / "trace.json"
    path.write_text(json.dumps({"traceEvents": [*events, {"ph": "M", "name": "process_name"}]}))
    return read_spans(path, is_cuda=is_cuda)


def test_busy_time_is_the_union_of_kernels_and_the_rest_are_pauses(tmp_path):
    events = [
        event("nvjet_tst_64x8", 100, 50),
        event("decode_kernel", 140, 20),  # overlaps by 10
        event("Memcpy DtoH", 190, 10, "gpu_memcpy"),
        event("merge_kernel", 205, 5),
        event("aten::mm", 0, 500, "cpu_op"),
    ]
    found = spans(tmp_path, events, is_cuda=True)
    assert busy_us(found) == (75.0, [30.0, 5.0])
    document = figures(found, 2, 0.2)
    assert document["busyShare"] == pytest.approx(0.375)
    # 5 us are no pause yet.
    assert (document["gapsPerStep"], document["gapMsPerStep"], document["longestGapMs"]) == (0.5, 0.015, 0.03)
    groups = {group["group"]: group for group in document["groups"]}
    assert groups["attention"]["msPerStep"] == pytest.approx(0.0125)
    assert groups["attention"]["countPerStep"] == 1.0
    assert [one["name"] for one in groups["attention"]["longest"]] == ["decode_kernel", "merge_kernel"]
    assert groups["matmul"]["shareOfStep"] == pytest.approx(0.25)


def test_an_operation_counts_without_those_inside_it(tmp_path):
    events = [
        event("aten::linear", 0, 100, "cpu_op"),
        event("aten::matmul", 10, 80, "cpu_op"),
        event("aten::mm", 20, 60, "cpu_op"),
        event("aten::add", 100, 5, "cpu_op"),
        event("aten::mm", 0, 1000, "cpu_op", thread=2),
    ]
    found = spans(tmp_path, events, is_cuda=False)
    assert [(span.name, span.self_us) for span in found] == [
        ("aten::linear", 20.0),
        ("aten::matmul", 20.0),
        ("aten::mm", 60.0),
        ("aten::add", 5.0),
    ]
    assert busy_us(found) == (105.0, [])


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("decode_kernel", "attention"),
        ("merge_kernel", "attention"),
        ("append_kernel", "append and pack"),
        ("pack_values_kernel", "append and pack"),
        ("nvjet_tst_192x8_64x7_1x2_h_bz_coopB_TNT", "matmul"),
        ("sm90_xmma_gemm_bf16bf16_bf16f32_f32_tn_n_tilesize64x64x64", "matmul"),
        ("void cublasLt::splitKreduce_kernel<32, 16, int, float>", "matmul"),
        ("triton_red_fused__to_copy_add_mean_mul_pow_rsqrt_0", "norms and elementwise"),
        ("triton_poi_fused_mul_silu_3", "norms and elementwise"),
        (
            "void at::native::reduce_kernel<512, 1, at::native::ReduceOp<float, at::native::MeanOps<float, float>>>",
            "norms and elementwise",
        ),
        (
            "void at::native::reduce_kernel<128, 4, at::native::ReduceOp<c10::BFloat16, at::native::MaxOps<float>>>",
            "sampling",
        ),
        ("Memcpy HtoD (Pinned -> Device)", "copies"),
        ("aten::mm", "matmul"),
        ("aten::_scaled_dot_product_flash_attention_for_cpu", "attention"),
        ("something_new", "other"),
    ],
)
def test_kernels_are_told_apart_by_name(name, group):
    assert group_of(name) == group


def test_a_profile_of_the_bundled_model_on_this_machine(tmp_path, capsys):
    assert main(["--device=cpu", "--batch=2", "--tokens=60", "--steps=3", f"--out={tmp_path}", "--json"]) == 0
    document = json.loads(capsys.readouterr().out.splitlines()[-1])
    profile = document["profile"]
    groups = {group["group"]: group for group in profile["groups"]}
    # No thread can spend more than there is.
    assert 0 < sum(group["msPerStep"] for group in groups.values()) <= profile["msPerStep"]
    assert 0 < profile["busyShare"] <= 1
    # Seven projections in each of 6 layers and the logits.
    assert groups["matmul"]["countPerStep"] >= 43
    assert groups["attention"]["countPerStep"] > 0
    assert json.loads((tmp_path / "profile.json").read_text())["profile"] == profile
    assert "| matmul |" in (tmp_path / "profile.md").read_text()


@pytest.mark.parametrize(
    ("argv", "message"),
    [(["--batch=0"], "--batch must be 1 or more, got 0"), (["--model=/nowhere"], "there is no such folder")],
)
def test_wrong_usage_is_exit_code_2(argv, message, capsys):
    assert main(argv) == 2
    assert message in capsys.readouterr().err
