"""Ids of the rig: what goes in comes out, and nothing else gets in."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from drybag_host.rig import ids
from drybag_host.rig.device.plan import LETTERS
from drybag_host.rig.errors import BadRigId
from drybag_host.rig.ids import RigId

NAMES = st.text(
    st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=40
).filter(str.isprintable)
CUTS = st.tuples(
    st.integers(0, 999_999_999), st.sampled_from(sorted(LETTERS)), st.integers(0, 9_999_999_999)
)


@given(st.builds(RigId, NAMES, NAMES, st.integers(0, 1 << 31),
                 st.lists(CUTS, min_size=1, max_size=8).map(tuple)))  # fmt: skip
@example(RigId("app:/tmp/my app.py", "puts!0,3-7", 7, ((17, "n", 2), (3, "b", 1))))
def test_what_goes_in_comes_out(rig_id):
    word = ids.encode(rig_id)
    assert ids.decode(word) == rig_id
    assert word.isascii() and not set(word) & set(" '\"$`\\&|;<>()*?\n")


@given(st.text(max_size=60))
@example("r1:journal:puts:1")
@example("r1:journal:puts:1:17n2:")
@example("r1:journal:puts:1:17n٣")
@example("r1:journal:puts:١:17n3")
@example("r1::puts:1:17n2")
@example("r1:journal:puts:1" + ":1n1" * 65)
def test_anything_else_is_refused_by_name(word):
    try:
        rig_id = ids.decode(word)
    except BadRigId as error:
        assert error.exit_code == 2 and error.hint
    else:
        assert ids.decode(ids.encode(rig_id)) == rig_id


@pytest.mark.parametrize("word", ["r2:journal:puts:1:17n2", "r99:x"])
def test_another_version_says_what_to_do(word):
    with pytest.raises(BadRigId, match="version") as caught:
        ids.decode(word)
    assert "run the campaign again" in caught.value.hint
