"""Warnings about views that do not suit the images."""

from byol.report.suitability import view_warnings


def test_warnings_are_those_of_the_images() -> None:
    from byol.config import Config, replaced
    from byol.data.profile import DataProfile
    from byol.recipes import recipe

    def told(config: Config, channels: int, side: int, mean: tuple[float, ...] = (0.5, 0.4, 0.3)) -> str:
        mean = mean[:channels]
        return " ".join(view_warnings(config, DataProfile(channels, side, mean, tuple(0.2 + m / 10 for m in mean))))

    paper, small = recipe("imagenet-300").config, recipe("small").config
    assert told(paper, 3, 400) == ""
    assert "antialiasing" in told(paper, 3, 1000)
    assert "is enlarged" in told(paper, 3, 32)
    assert "9 px wide" in told(paper, 3, 32)
    assert "1 channel" in told(paper, 1, 400)
    assert "stored as colour" in told(paper, 3, 400, (0.5, 0.5, 0.5))
    assert told(replaced(small, {"views.size": 224}), 3, 1000) == ""
    tiny = replaced(small, {"views.size": 32})
    assert "view1: a blur of up to 0.8 px" in told(tiny, 3, 32)
    assert told(replaced(tiny, {f"views.view{n}.blur_probability": 0.0 for n in (1, 2)}), 3, 32) == ""
    assert "no effect" in told(replaced(small, {"views.size": 16}), 3, 40)
    plain = {f"views.view{n}.{kind}_probability": 0.0 for n in (1, 2) for kind in ("jitter", "grayscale")}
    assert "histogram" in told(replaced(paper, plain), 3, 400)
    satellite = replaced(recipe("satellite").config, {"views.size": 224})
    assert told(satellite, 13, 400, tuple(0.01 * band for band in range(13))) == ""
