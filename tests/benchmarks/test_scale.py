from benchmarks.scale import __main__ as scale
from benchmarks.scale.models import CASES
from benchmarks.scale.traffic import Sent, sent

PROGRAM = """HloModule jit_step

%body (p: f32[8,4]) -> f32[8,4] {
  %g = f32[8,4]{1,0} all-gather(%p), replica_groups=mesh['a'=4,'b'=2] {'a'}, dimensions={0}
  ROOT %r = f32[8,4]{1,0} add(%g, %g)
}

ENTRY %main (p: f32[8,4]) -> f32[8,4] {
  %w = f32[8,4]{1,0} while(%p), body=%body, backend_config={"known_trip_count":{"n":"6"}}
  %s = (f32[10]{0}, bf16[2,3]{1,0}) all-reduce(%p, %p), replica_groups={{0,1},{2,3}}, to_apply=%add
  %c = pred[5]{0} collective-permute(%p), source_target_pairs={{0,1}}
  ROOT %t = s32[3]{0} reduce-scatter(%p), replica_groups=[2,4]<=[8], to_apply=%add
}
"""


def test_bytes_of_a_ring_times_the_turns_of_the_loop():
    assert sorted(sent(PROGRAM)) == [
        Sent(1, "all-reduce", 2 * 52 / 2),
        Sent(1, "collective-permute", 5),
        Sent(1, "reduce-scatter", 12 * 3),
        Sent(6, "all-gather", 128 * 3 / 4),
    ]


def test_a_table_has_a_row_for_every_case_that_was_compiled():
    case = CASES[0]
    found = {"state": 2**30, "temporary": 2**31, "block": 1e6, "rest": 8e8, "parameters": 10**8}
    found["tokens"] = 8 * 4096
    text = scale.table({case.name: {"hand": found, "autodiff": found | {"rest": 8e9}}}, 100, 100)
    assert "| 124M | 8 | fsdp | 1.00 | 2 · 2 | 1 · 1 | 800 · 8,000 |" in text
    assert len(text.splitlines()) == 3
    sends = (12e6 + 8e8) / 1e11
    computes = (8e8 + 16 * 1024 * 768 * 12) * 4096 / 1e14
    assert scale.share(case, found, 100, 100) == sends / (sends + computes)
