"""Which frames are asked for: the same in the gallery and in its CSV."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from streamer.page.bodies import StreamName, printable_text

_Time = Annotated[float, Field(ge=0, le=1e14, allow_inf_nan=False)]


class Wanted(BaseModel):
    """Of frames: stream, time of capture (milliseconds since 1970), verdict, review, and part of an id."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    stream: StreamName | None = None
    start: _Time | None = Field(None, alias="from")
    end: _Time | None = Field(None, alias="to")
    verdict: Literal["any", "anomalous", "normal", "none"] = "any"
    reviewed: Literal["any", "yes", "no"] = "any"
    q: Annotated[str, Field(max_length=256), AfterValidator(printable_text)] = ""
    sort: Literal["time", "score"] = "time"
    since: Annotated[int, Field(ge=0, le=2**62)] | None = None


class Filters(Wanted):
    """A part of them: `limit` from the place that the last part's `next` says."""

    cursor: Annotated[str, Field(max_length=200)] | None = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50


def scores_filters(filters: Wanted) -> dict[str, Any]:
    """As `Queries.scores` and `Queries.export` take them."""
    return filters.model_dump()
