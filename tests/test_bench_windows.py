"""Other forms of networks with attention in windows compute the same, so that timing them means something."""

import pytest

torch = pytest.importorskip("torch", reason="needs edgesr[torch]")
pytest.importorskip("torchao", reason="needs edgesr[export]")
pytest.importorskip("onnx", reason="needs edgesr[export]")

from test_window_networks import network  # noqa: E402

from edgesr.bench import windows  # noqa: E402
from edgesr.bench.official import TokenAttention, official  # noqa: E402
from edgesr.interleave import Plan, Samples, speedup  # noqa: E402
from edgesr.models.ditn import DITN  # noqa: E402

TOLERANCE = 1e-5


def image() -> "torch.Tensor":
    return torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(2))


def difference(first: "torch.nn.Module", second: "torch.nn.Module") -> float:
    with torch.no_grad():
        return float((first(image()) - second(image())).abs().max())


@pytest.mark.parametrize("small", ["ditn-real", "ditn", "elan", "elan-light"])
def test_every_form_computes_the_network(small: str) -> None:
    folded = network(small).fold()
    forms = windows.SUBJECTS["elan-light" if small.startswith("elan") else "ditn-real"].forms
    for name, form in forms.items():
        changed = form(folded)
        kinds = [[type(module) for module in each.modules()] for each in (changed, folded)]
        assert kinds[0] != kinds[1], f"{name} changed nothing"
        assert difference(changed, folded) < TOLERANCE, name


def test_official_graph_of_ditn_takes_tokens() -> None:
    given = network("ditn-real")
    assert isinstance(given, DITN)
    graph = official(given, given.fold())
    assert any(isinstance(module, TokenAttention) for module in graph.modules())
    assert difference(graph, given) < TOLERANCE


def test_the_table_says_how_much_faster_the_folded_form_is() -> None:
    samples = {"folded": Samples((10, 10, 10)), "joined": Samples((20, 20, 20))}
    rows = [
        windows.Row("ditn-real", "torch", "fp32", form, each.median_ms, ratio, each.raw_ns)
        for form, each in samples.items()
        for ratio in [speedup(each.raw_ns, samples["folded"].raw_ns)]
    ]
    assert [round(row.speedup.value, 2) for row in rows] == [1.0, 2.0]
    assert windows.table(rows).row_count == 2
    content = windows.report(rows, Plan(3), threads=1)
    assert content["sizes"]["ditn-real"] == (184, 320)
    assert [row["form"] for row in content["rows"]] == ["folded", "joined"]
