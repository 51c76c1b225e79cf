"""--token_chunks=upstream in both trainers: sd-scripts' own cut at 75 and 150 tokens, the same losses."""

import pytest

from extensions.launch.stages import changed
from tests.proofs import parity

CASES = {"sdxl": "25022601", "sd2": "24122001"}


@pytest.mark.slow
@pytest.mark.upstream
@pytest.mark.parametrize("length", [None, "150"])
@pytest.mark.parametrize("family", CASES)
def test_both_trainers_cut_alike(family, length, patched, standins, tmp_path, monkeypatch):
    case = next(case for case in parity.CASES if case.run == CASES[family])
    prepared = parity.prepared

    def with_own_cut(case, output):
        asked = prepared(case, output)
        plugins = dict.fromkeys([*asked.settings.plugins, "token_chunks"])
        flags = asked.flags.with_("extensions", ",".join(plugins)).with_("token_chunks", "upstream")
        return changed(asked, flags=flags.with_("max_token_length", length) if length else flags)

    monkeypatch.setattr(parity, "MICRO_STEPS", 4)
    monkeypatch.setattr(parity, "prepared", with_own_cut)
    theirs, ours = parity.both(case, tmp_path, patched)
    assert len(ours.losses) >= 4 and ours.hooks == theirs.hooks
    assert ours.losses == pytest.approx(theirs.losses, rel=parity.LOSSES)
