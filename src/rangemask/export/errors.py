"""What goes wrong in an export, other than its input."""

from rangemask.errors import RangemaskError


class ExportError(RangemaskError):
    """A network could not be exported, or the export does not do what the network does."""
