"""A value is made once, and kept while each piece of work uses it."""

from nst_cli.synthesis.memo import Memo, make_anew


def test_a_value_is_made_once():
    memo, made = Memo(), []
    for _ in range(3):
        assert memo(("a", 1), lambda: made.append(1) or len(made)) == 1
    assert memo(("a", 2), lambda: "other") == "other"


def test_what_a_piece_of_work_did_not_use_is_gone_after_it():
    memo = Memo()
    memo(("a",), lambda: "first")
    memo(("b",), lambda: "first")
    memo.forget_unused()
    memo(("a",), lambda: "second")
    memo.forget_unused()
    assert memo(("a",), lambda: "third") == "first"
    assert memo(("b",), lambda: "third") == "third"


def test_a_kind_can_be_forgotten_at_once():
    memo = Memo()
    memo(("a", 1), lambda: "first")
    memo(("b", 1), lambda: "first")
    memo.forget("a", "c")
    assert memo(("a", 1), lambda: "second") == "second"
    assert memo(("b", 1), lambda: "second") == "first"


def test_without_other_work_everything_is_made_anew():
    assert [make_anew(("a",), iter([1, 2]).__next__) for _ in range(2)] == [1, 1]
