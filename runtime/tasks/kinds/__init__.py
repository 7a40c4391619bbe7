"""What tasks of one kind share: how batches are drawn, the loss, and the validation metric."""

from .classification import Classification
from .language import ByteLanguage
from .reconstruction import Reconstruction
from .regression import Regression
from .supervised import Supervised

__all__ = ["ByteLanguage", "Classification", "Reconstruction", "Regression", "Supervised"]
