"""How much teachers count: the weights of a student's loss, numbers or (ours) schedules.

The paper gives α and β one value each.
"""

from collections.abc import Mapping
from typing import Any

from espnet_dice.hubert.models import schedule
from espnet_dice.hubert.models.schedule import Schedule

WEIGHTS = ("kd_alpha", "kd_beta", "kd_ctc")


def weights(model_conf: Mapping[str, Any]) -> dict[str, Schedule]:
    """α, β and the share of KD in the CTC loss of a config's ``model_conf``; 0 where it has none.

    Raises:
        ConfigError: see :func:`schedule.parse`.
    """
    numbers = {key: model_conf.get(key, 0.0) for key in WEIGHTS}
    return schedule.read(numbers, model_conf.get(schedule.UPDATES))
