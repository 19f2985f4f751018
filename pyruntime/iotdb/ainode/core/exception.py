"""Errors by the names of the official AINode: those of 2.0.8 and later end in Exception, older ones in Error."""

from typing import Any


class _BaseException(Exception):
    """An error with a sentence."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        """The sentence."""
        return self.message


class InferenceModelInternalException(_BaseException):
    """The model failed."""

    def __init__(self, msg: str) -> None:
        super().__init__(f"Inference model internal error: {msg}")


class ModelNotExistException(_BaseException):
    """There is no such model."""

    def __init__(self, msg: str) -> None:
        super().__init__(f"there is no model [{msg}]")


class InvalidModelUriException(_BaseException):
    """The files of a model are not where they should be."""


class BadConfigValueException(_BaseException):
    """A value of a configuration that is not allowed."""

    def __init__(self, config_name: str, config_value: Any, hint: str = "") -> None:
        super().__init__(f"Bad value [{config_value}] for config {config_name}. {hint}".rstrip())


class WrongAttributeTypeException(_BaseException):
    """An attribute of the wrong type."""

    def __init__(self, attribute_name: str, expected_type: str) -> None:
        super().__init__(f"Wrong type for attribute: {attribute_name}, expected: {expected_type}")


class NumericalRangeException(_BaseException):
    """A number out of its range."""

    def __init__(self, attribute_name: str, min_value: Any, max_value: Any, value: Any) -> None:
        range_text = f"between {min_value} and {max_value}"
        super().__init__(f"Attribute {attribute_name} expect value {range_text}, got {value} instead.")


class StringRangeException(_BaseException):
    """A text that is none of those allowed."""

    def __init__(self, attribute_name: str, value: Any, expect_value: Any) -> None:
        super().__init__(f"Attribute {attribute_name} expect value in {expect_value}, got {value} instead.")


class ListRangeException(_BaseException):
    """A list with an element of the wrong type."""

    def __init__(self, attribute_name: str, value: Any, expected_type: str) -> None:
        super().__init__(f"Attribute {attribute_name} expect value type list[{expected_type}], got {value} instead.")


class AttributeNotSupportException(_BaseException):
    """An attribute that the model does not know."""

    def __init__(self, model_name: str, attribute_name: str) -> None:
        super().__init__(f"Attribute {attribute_name} is not supported in model {model_name}")


InferenceModelInternalError = InferenceModelInternalException
ModelNotExistError = ModelNotExistException
BadConfigValueError = BadConfigValueException
WrongAttributeTypeError = WrongAttributeTypeException
StringRangeError = StringRangeException
ListRangeError = ListRangeException
AttributeNotSupportError = AttributeNotSupportException
