"""The method robust for nst, as it is shown in its help; the loss is in `loss`."""

from nst_cli.checks import positive
from nst_cli.plugins import Method, Option

METHOD = Method(
    loss="nst_robust.loss:RobustMeans",
    beta=6e4,
    help="Channel means; large differences pull no harder than small ones.",
    options={
        "knee": Option(
            default=10.0,
            check=positive,
            help="Difference of means from which the pull stays the same.",
        ),
    },
)
