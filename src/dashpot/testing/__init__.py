"""The laws that every technique keeps, for third parties too::

from dashpot.testing import LAWS, Row, run_laws

def test_my_technique():
    run_laws(Row(MyTechnique(strength=0.5)))
"""

from dashpot.testing.laws import AT_WORK, LAWS, applies, run_laws
from dashpot.testing.pairs import refused_by_name, stand_together
from dashpot.testing.row import Pure, Row
from dashpot.testing.toys import Toy, train

__all__ = ["AT_WORK", "LAWS", "Pure", "Row", "Toy", "applies", "refused_by_name", "run_laws", "stand_together", "train"]
