"""The exceptions a user can meet. Each message is one line: what, the value, what was expected."""


class MuscError(Exception):
    """Base of every error a user can cause or mend; command lines print it as one line."""

    def __str__(self) -> str:
        # It names files and ids, and these may hold a line break or a terminal's sequence.
        return "".join(
            character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
            for character in super().__str__()
        )


class ConfigError(MuscError):
    """A configuration key or value is wrong."""


class WeightsError(MuscError):
    """Backbone weights are missing, foreign or damaged."""


class CapacityError(MuscError):
    """The ring asked for does not fit in `ring.max_bytes`."""


class FrameError(MuscError):
    """One frame (or its tokens, or its id) cannot be used; the detector's state is unchanged."""


class DataError(MuscError):
    """A dataset, image or mask on disk is not what its layout says."""


class SnapshotError(MuscError):
    """A snapshot is damaged, foreign or of another schema; nothing of it was loaded."""


class UnreadableError(MuscError):
    """A snapshot cannot be opened for a reason that is not in the file: no descriptor left, no permission."""
