"""States what is done with entries that cannot be used as they are, one policy a kind."""

from dataclasses import asdict, dataclass, fields

from extensions.base.errors import UserError

CHOICES = {
    "duplicates": ("refuse", "first"),
    "missing": ("refuse", "skip"),
    "bad_size": ("refuse", "skip"),
    "empty_text": ("keep", "refuse", "skip"),
}
WHAT = {
    "duplicates": "ids that occur again",
    "missing": "ids without latents",
    "bad_size": "bad sizes",
    "empty_text": "images without any text",
}
# Not a policy: what a list (EXCLUDE=) names is left out.
EXCLUDED, UNKNOWN = "excluded", "not_in_metadata"


@dataclass(frozen=True)
class Policies:
    """duplicates, missing, bad_size, empty_text: one of CHOICES each, the first unless given."""

    duplicates: str = "refuse"
    missing: str = "refuse"
    bad_size: str = "refuse"
    empty_text: str = "keep"

    def __post_init__(self):
        for each in fields(self):
            value = getattr(self, each.name)
            if value not in CHOICES[each.name]:
                raise UserError(f"{each.name}={value}: choose one of {', '.join(CHOICES[each.name])}")

    def leaves_out(self, kind: str) -> bool:
        """Tell whether such entries are left out rather than kept or refused."""
        return getattr(self, kind) not in ("refuse", "keep")

    def refuses(self, kind: str) -> bool:
        """Tell whether one such entry is an error."""
        return getattr(self, kind) == "refuse"

    def as_dict(self) -> dict[str, str]:
        """For the index and the report."""
        return asdict(self)

    def mending(self, kinds: list[str]) -> str:
        """Return the POLICY= that lets these kinds pass by leaving them out."""
        return " ".join(f"{kind}={CHOICES[kind][-1]}" for kind in kinds)
