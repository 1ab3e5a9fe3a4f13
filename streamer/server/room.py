"""How much of the history is taken, by what: complaints have a part of it, and each peer's a part of that."""

from dataclasses import dataclass

_SHARE = 4
"""Complaints take at most a quarter of the history, and errors of one peer a quarter of that."""


@dataclass(frozen=True)
class Room:
    """So many messages, of so many bytes in all."""

    messages: int = 0
    n_bytes: int = 0

    def plus(self, messages: int, n_bytes: int) -> "Room":
        """More, or with negative numbers less."""
        return Room(self.messages + messages, self.n_bytes + n_bytes)

    def part(self) -> "Room":
        """What complaints may take of it, at least one message."""
        return Room(max(1, self.messages // _SHARE), self.n_bytes // _SHARE)

    def overfull(self, used: "Room") -> bool:
        """Whether the oldest must go; a message larger than its part alone is kept until the next."""
        return used.messages > self.messages or (used.messages > 1 and used.n_bytes > self.n_bytes)


@dataclass
class Used:
    """What is kept: in all, complaints, and errors by peer."""

    total: Room
    complaints: Room
    peers: dict[str, Room]

    def copy(self) -> "Used":
        """To count on, and to drop if what is counted fails."""
        return Used(self.total, self.complaints, dict(self.peers))

    def enter(self, messages: int, n_bytes: int, peer: str | None) -> None:
        """Count what comes, or with negative numbers what goes."""
        self.total = self.total.plus(messages, n_bytes)
        if peer is not None:
            self.complaints = self.complaints.plus(messages, n_bytes)
        if peer:
            of_peer = self.peers.get(peer, Room()).plus(messages, n_bytes)
            self.peers[peer] = of_peer
            if not of_peer.messages:
                del self.peers[peer]
