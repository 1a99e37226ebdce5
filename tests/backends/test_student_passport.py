"""Passports of trained networks."""

from rangemask.backends.student_passport import student_passport
from rangemask.models.card import ModelCard, Source


def test_it_names_the_licences_of_all_that_was_learnt_from() -> None:
    sources = (
        Source(name="b", role="labels", licence="MIT"),
        Source(name="a", role="backbone", licence="Apache-2.0"),
        Source(name="c", role="labels", licence="MIT"),
    )
    card = ModelCard(sources=sources)
    passport = student_passport(card, "stereo", weights="best", sha256="0" * 64, options={"x": 1})
    assert passport.licence == "Apache-2.0, MIT"
    assert passport.licence_class == card.terms
    assert (passport.weights, passport.options) == ("best", {"x": 1})


def test_random_weights_have_no_known_licence() -> None:
    passport = student_passport(ModelCard(), "depth", weights=None, sha256=None, options={})
    assert passport.licence == "unknown: random weights"
