"""Texts from SQL become typed values, or a sentence that names attribute, what is allowed and what was given."""

from __future__ import annotations

import json

import pytest
from ainode import statistical, sundial, timer_xl
from ainode.attributes import (
    FAMILY_KEY,
    Attribute,
    Attributes,
    Boolean,
    Choice,
    Integer,
    Letters,
    Numbers,
    Real,
    table_rows,
)
from ainode.model import ModelError
from conftest import HERE

GOOD = [
    (Integer("k", 10, low=1, high=50), "50", 50),
    (Integer("k", 10, low=1, high=50), " 7 ", 7),
    (Integer("k", 10, low=1, high=50, odd=True), "7", 7),
    (Integer("k", None, optional=True), "none", None),
    (Integer("k", None, optional=True), "", None),
    (Real("p", 0.5), "1e-3", 1e-3),
    (Real("p", 0.5), "-.5", -0.5),
    (Boolean("b", True), "FALSE", False),
    (Boolean("b", True), "True", True),
    (Choice("m", "a", choices=("a", "b")), "b", "b"),
    (Choice("m", "a", choices=("a", "b"), aliases=(("bee", "b"),)), "bee", "b"),
    (Letters("l", "st", letters="stmc"), "tc", "tc"),
    (Numbers("o", (1, 0, 0), length=3), "(2,1,0)", (2, 1, 0)),
    (Numbers("o", (1, 0, 0), length=3), "[2, 1, 0]", (2, 1, 0)),
    (Numbers("o", (1, 0, 0), length=3), "2,1,0", (2, 1, 0)),
    (Numbers("o", (), length=1), "(2,)", (2,)),
    (Numbers("o", None, optional=True, whole=False, low=-9), "(-1.5, 2e0)", (-1.5, 2.0)),
]

BAD = [
    (Integer("k", 10, low=1, high=50), "51", "value between 1 and 50"),
    (Integer("k", 10, low=1, high=50), "0", "value between 1 and 50"),
    (Integer("k", 10, low=1, high=50), "1.5", "value between 1 and 50"),
    (Integer("k", 10, low=1, high=50), "ten", "value between 1 and 50"),
    (Integer("k", 10, low=1, high=50), "1_0", "value between 1 and 50"),
    (Integer("k", 10, low=1, high=50, odd=True), "8", "odd value between 1 and 50"),
    (Real("p", 0.5), "nan", "value between -1e+10 and 1e+10"),
    (Real("p", 0.5), "inf", "value between -1e+10 and 1e+10"),
    (Real("p", 0.5), "2e10", "value between -1e+10 and 1e+10"),
    (Real("p", None, optional=True), "x", "or none"),
    (Boolean("b", True), "1", "true or false"),
    (Choice("m", "a", choices=("a", "b")), "c", "one of a, b"),
    (Letters("l", "st", letters="stmc"), "ts", "letters of stmc in this order"),
    (Letters("l", "st", letters="stmc"), "", "letters of stmc in this order"),
    (Numbers("o", (1, 0, 0), length=3), "(1,0)", "a list of 3 whole numbers"),
    (Numbers("o", (1, 0, 0), length=3), "(1,0,-1)", "between 0 and 5000"),
    (Numbers("o", (1, 0, 0), length=3), "__import__('os').system('true')", "a list of 3 whole numbers"),
    (Numbers("o", (1, 0, 0), length=3), "(1,0,(0))", "a list of 3 whole numbers"),
    (Numbers("o", (1, 0, 0), length=3), "(1,0,0" + "," * 50, "a list of 3 whole numbers"),
]


@pytest.mark.parametrize(("attribute", "text", "value"), GOOD)
def test_good_texts(attribute: Attribute, text: str, value: object) -> None:
    parsed = attribute.parse(text)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(("attribute", "text", "allowed"), BAD)
def test_bad_texts_are_told(attribute: Attribute, text: str, allowed: str) -> None:
    with pytest.raises(ModelError) as refused:
        attribute.parse(text)
    message = str(refused.value)
    assert message.startswith(f"Attribute {attribute.name} expect ")
    assert allowed in message
    assert message.endswith(" instead.")
    assert len(message) < 300


TABLES = {name: statistical.module_of(name).TABLE for name in statistical.MODULES}
TABLES |= {"timer_xl": timer_xl.TABLE, "sundial": sundial.TABLE}


@pytest.mark.parametrize("model", sorted(TABLES))
def test_every_default_is_allowed(model: str) -> None:
    for attribute in TABLES[model]:
        for family in "EH":
            value = attribute.default_for(family)
            text = "none" if value is None else str(value)
            assert attribute.parse(text) == value, attribute.name
    assert len(table_rows(TABLES[model])) == len(TABLES[model])


@pytest.mark.parametrize("model", sorted(TABLES))
def test_every_attribute_refuses_nonsense(model: str) -> None:
    for attribute in TABLES[model]:
        with pytest.raises(ModelError, match=f"Attribute {attribute.name} expect .* got no sense! instead"):
            Attributes(model, TABLES[model], json.dumps({attribute.name: "no  sense!"}))


def test_defaults_of_the_release() -> None:
    table = TABLES["arima"]
    assert Attributes("arima", table, json.dumps({FAMILY_KEY: "E"}))["maxiter"] == 1
    assert Attributes("arima", table, json.dumps({FAMILY_KEY: "H"}))["maxiter"] == 50
    assert Attributes("arima", table, json.dumps({FAMILY_KEY: "H", "maxiter": "3"}))["maxiter"] == 3
    assert not Attributes("arima", table, None).later


def test_unknown_names_are_ignored_with_a_hint(capfd: pytest.CaptureFixture[str]) -> None:
    attributes = Attributes("naive_forecaster", TABLES["naive_forecaster"], json.dumps({"strateggy": "mean"}))
    assert attributes["strategy"] == "last"
    assert "no attribute strateggy: it is ignored; did you mean strategy?" in capfd.readouterr().err
    Attributes("naive_forecaster", TABLES["naive_forecaster"], json.dumps({"strateggy": "mean"}))
    assert capfd.readouterr().err == ""  # said once


def test_the_misspelt_word_of_old_releases() -> None:
    attributes = Attributes("gmm_hmm", TABLES["gmm_hmm"], json.dumps({"covariance_type": "sperical"}))
    assert attributes["covariance_type"] == "spherical"


def test_options_must_be_texts() -> None:
    with pytest.raises(ModelError, match="names with texts"):
        Attributes("arima", TABLES["arima"], json.dumps({"maxiter": 3}))


@pytest.mark.parametrize("model", sorted(TABLES))
def test_the_manual_lists_every_attribute(model: str) -> None:
    manual = (HERE.parent.parent / "docs" / "MODELS.md").read_text()
    section = manual.split(f"\n### {model}\n")[1].split("\n### ")[0]
    for name, default, allowed in table_rows(TABLES[model]):
        assert f"| `{name}` | {default} | {allowed} |\n" in section
