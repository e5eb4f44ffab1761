"""The config tree and its defaults."""

from byol.config import RUN_SETTINGS, Config, dotted_names, to_dict
from byol.views.policy import T_PRIME, T


def test_view_defaults_equal_the_papers_table() -> None:
    assert (Config().views.view1, Config().views.view2) == (T, T_PRIME)
    assert (T.blur_probability, T.solarize_probability) == (1.0, 0.0)
    assert (T_PRIME.blur_probability, T_PRIME.solarize_probability) == (0.1, 0.2)


def test_settings_that_a_resumed_run_may_change_are_settings() -> None:
    assert dotted_names(to_dict(Config())).keys() >= RUN_SETTINGS
