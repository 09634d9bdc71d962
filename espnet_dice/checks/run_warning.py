"""A fault that stops nothing: what is wrong, where, why that may be, and what to do."""

from dataclasses import dataclass


@dataclass(frozen=True)
class RunWarning:
    """One warning.

    Attributes:
        where: the directory or system.
        what: with the figures that say so.
        causes: the likely ones, most likely first.
        do: the way out.
    """

    where: str
    what: str
    causes: tuple[str, ...]
    do: str

    def __str__(self) -> str:
        causes = "; ".join(self.causes)
        return f"{self.where}: {self.what}\n    perhaps: {causes}\n    what to do: {self.do}"

    @property
    def markdown(self) -> str:
        """An item of a list."""
        causes = "; ".join(self.causes)
        return f"- **{self.where}**: {self.what}. Perhaps: {causes}. What to do: {self.do}."


def percent(share: float) -> str:
    """A share for people: ``0.4 %``, ``12 %``."""
    return f"{100 * share:.1f} %" if share < 0.1 else f"{100 * share:.0f} %"
