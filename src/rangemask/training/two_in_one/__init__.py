"""Learning depth for one eye and for two from pairs without labels (TiO-Depth)."""

from rangemask.training.two_in_one.augmentation import AugmentationConfig, AugmentedPair
from rangemask.training.two_in_one.batch import PairBatch, check_batch
from rangemask.training.two_in_one.losses import LossConfig
from rangemask.training.two_in_one.objective import StageResult, TwoInOneObjective
from rangemask.training.two_in_one.photometric import PerceptualFeatures, load_perceptual
from rangemask.training.two_in_one.schedule import (
    STAGES,
    ScheduleConfig,
    StageName,
    StageSchedule,
    make_optimizers,
    parameter_groups,
    set_rates,
)

__all__ = [
    "STAGES",
    "AugmentationConfig",
    "AugmentedPair",
    "LossConfig",
    "PairBatch",
    "PerceptualFeatures",
    "ScheduleConfig",
    "StageName",
    "StageResult",
    "StageSchedule",
    "TwoInOneObjective",
    "check_batch",
    "load_perceptual",
    "make_optimizers",
    "parameter_groups",
    "set_rates",
]
