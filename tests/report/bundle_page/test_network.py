import xml.etree.ElementTree as ElementTree

from bundle.formats.fold import FoldBox, FoldNet
from report.bundle_page.network import HEIGHT, WIDTH, draw_network


def box(label: str, count: int = 1) -> FoldBox:
    return FoldBox(label=label, channels=8, positions=49, count=count, kind="inside")


def test_boxes_do_not_overlap_and_arrows_go_from_left_to_right() -> None:
    arrows = ((0, 2, False), (1, 2, True), (2, 3, False), (0, 3, False))
    drawing = draw_network(FoldNet(boxes=(box("a"), box("b"), box("c"), box("d")), arrows=arrows), "four")
    root = ElementTree.fromstring(drawing)
    places = [(int(rect.attrib["x"]), int(rect.attrib["y"])) for rect in root.iter("rect")]
    for one, (x, y) in enumerate(places):
        assert not any(abs(x - other) < WIDTH and abs(y - below) < HEIGHT for other, below in places[one + 1 :])
    assert all(places[source][0] < places[target][0] for source, target, _ in arrows)
    assert [path.attrib["class"] for path in root.iter("path")] == ["arrow", "arrow gates", "arrow", "arrow"]


def test_names_cannot_leave_their_place_in_the_page() -> None:
    drawing = draw_network(FoldNet(boxes=(box("<script>alert(1)</script>", 6),), arrows=()), '"><script>')
    root = ElementTree.fromstring(drawing)
    assert not list(root.iter("script"))
    assert [text.text for text in root.iter("text")][1] == "8 × 49, 6 alike"


def test_a_circle_of_arrows_ends() -> None:
    assert draw_network(FoldNet(boxes=(box("a"), box("b")), arrows=((0, 1, False), (1, 0, False))), "two")
