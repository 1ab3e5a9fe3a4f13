"""What is wrong with a value, told without the value."""

import ipaddress

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError


def untold(text: str) -> ValidationError:
    """To be raised by a validator: an error that says `text`, and nothing of what was given."""
    what = PydanticCustomError("value_error", "{text}", {"text": text})
    return ValidationError.from_exception_data("", [InitErrorDetails(type=what, input={})])


def is_ipv6(host: str) -> bool:
    """Whether what has colons is an address, and not a user with a password; without brackets."""
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True
