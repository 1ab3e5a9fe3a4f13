"""The parts of the configuration that only the service reads: sockets, queues, limits."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    """A part of the configuration: frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class Transport(Section):
    """Where frames come in and scores go out; loopback unless configured."""

    frames: str = "tcp://127.0.0.1:5555"
    scores: str = "tcp://127.0.0.1:5556"
    control: str = "tcp://127.0.0.1:5557"
    queue: Annotated[int, Field(ge=1)] = 64
    when_full: Literal["drop_oldest", "drop_newest", "block"] = "drop_oldest"
    insecure: bool = False
