"""Which policies there are, and what each does."""

import pytest

from extensions.base.errors import UserError
from extensions.data.index.policies import CHOICES, WHAT, Policies


def test_by_default_all_but_empty_texts_are_refused():
    assert [kind for kind in CHOICES if Policies().refuses(kind)] == ["duplicates", "missing", "bad_size"]
    assert not any(Policies().leaves_out(kind) for kind in CHOICES) and set(CHOICES) == set(WHAT)


@pytest.mark.parametrize("kind", CHOICES)
def test_each_choice_is_taken_and_another_refused_in_one_line(kind):
    for choice in CHOICES[kind]:
        policies = Policies(**{kind: choice})
        assert policies.as_dict()[kind] == choice
        assert policies.leaves_out(kind) == (choice in ("first", "skip")) and policies.refuses(kind) == (
            choice == "refuse"
        )
    with pytest.raises(UserError, match=f"^{kind}=maybe: choose one of {', '.join(CHOICES[kind])}$"):
        Policies(**{kind: "maybe"})


def test_what_is_named_as_the_way_out_lets_it_pass():
    words = dict(word.split("=") for word in Policies().mending(list(CHOICES)).split())
    assert all(Policies(**words).leaves_out(kind) for kind in CHOICES)
