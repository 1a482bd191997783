"""What each occupation wears and carries: garment, outfit over it, hat, and a prop at the lower left."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from .pen import Colour, Pen

_WHITE, _BLACK, _STEEL = (248, 248, 250), (24, 24, 30), (176, 182, 192)
_WOOD, _GOLD = (168, 112, 60), (226, 180, 50)


def _nothing(_: Pen) -> None:
    """No outfit, hat or prop."""


@dataclasses.dataclass(frozen=True)
class Look:
    """How an occupation is drawn; the hooks run after torso, head and everything else, in this order."""

    garment: Colour
    outfit: Callable[[Pen], None] = _nothing
    hat: Callable[[Pen], None] = _nothing
    prop: Callable[[Pen], None] = _nothing


def _apron(pen: Pen, colour: Colour) -> None:
    pen.rect((22, 51, 42, 72), colour)
    pen.line([(23, 52), (20, 44)], colour, 2.2)
    pen.line([(41, 52), (44, 44)], colour, 2.2)


def _coat(pen: Pen, colour: Colour, shirt: Colour) -> None:
    pen.shape([(24, 46), (40, 46), (32, 66)], shirt)
    pen.line([(24, 46), (32, 66)], colour, 2)
    pen.line([(40, 46), (32, 66)], colour, 2)


def _cap(pen: Pen, colour: Colour, peak: Colour) -> None:
    pen.slice((19.5, 5, 44.5, 29), 180, 360, colour)
    pen.rect((18, 15.6, 46, 18.6), peak)


def _nurse_hat(pen: Pen) -> None:
    pen.shape([(22, 15), (24, 4), (40, 4), (42, 15)], _WHITE)
    pen.rect((30.6, 5.4, 33.4, 13.4), (30, 110, 200))
    pen.rect((28, 8, 36, 10.8), (30, 110, 200))


def _nurse_prop(pen: Pen) -> None:  # a plaster box
    pen.rect((2, 46, 17, 61), _WHITE)
    pen.rect((8, 48, 11, 59), (30, 110, 200))
    pen.rect((4, 52, 15, 55), (30, 110, 200))


def _secretary_prop(pen: Pen) -> None:  # a telephone
    pen.shape([(4, 62), (6, 52), (15, 52), (17, 62)], (40, 160, 120))
    pen.oval((7.5, 54, 13.5, 60), _WHITE)
    pen.rect((1, 46, 20, 50), (30, 130, 96))
    pen.oval((0, 45, 6, 52), (30, 130, 96))
    pen.oval((15, 45, 21, 52), (30, 130, 96))


def _secretary_outfit(pen: Pen) -> None:
    _coat(pen, (200, 70, 130), _WHITE)


def _comb(pen: Pen) -> None:
    pen.rect((3, 36, 8, 62), (120, 50, 160))
    for y in range(37, 62, 4):
        pen.rect((7, y, 16, y + 2.2), (120, 50, 160))


def _books(pen: Pen) -> None:
    for i, colour in enumerate(((60, 90, 200), (226, 180, 50), (40, 140, 90))):
        y = 44 + 6 * i
        pen.rect((1 + i, y, 18 - i % 2, y + 5.4), colour)
        pen.rect((4 + i, y + 1.6, 7 + i, y + 3.8), _WHITE)


def _librarian_outfit(pen: Pen) -> None:
    pen.oval((24, 41, 40, 50), (230, 224, 240))


def _broom(pen: Pen) -> None:
    pen.line([(12, 14), (9, 46)], _WOOD, 2.6)
    pen.shape([(5, 46), (13, 46), (18, 63), (0, 63)], (240, 206, 70))
    pen.rect((4, 45, 14, 48.6), (60, 120, 200))


def _cleaner_hat(pen: Pen) -> None:
    pen.slice((19.5, 6.5, 44.5, 28), 180, 360, (60, 120, 200))
    for x in (25, 32, 39):
        pen.oval((x - 1.5, 11, x + 1.5, 14), _WHITE)


def _chalkboard(pen: Pen) -> None:
    pen.rect((0, 40, 20, 58), _WOOD)
    pen.rect((2, 42, 18, 56), (28, 92, 66))
    for y, end in ((45.5, 15), (49.5, 12), (53, 15)):
        pen.line([(4, y), (end, y)], _WHITE, 1.4)


def _teacher_outfit(pen: Pen) -> None:
    _coat(pen, (112, 74, 44), (236, 228, 206))


def _baker_hat(pen: Pen) -> None:
    pen.rect((22, 7, 42, 16), _WHITE)
    for x in (23, 32, 41):
        pen.oval((x - 6.5, -2, x + 6.5, 10), _WHITE)


def _bread(pen: Pen) -> None:
    pen.oval((1, 47, 21, 61), (200, 128, 50))
    for x in (6, 11, 16):
        pen.line([(x - 2, 50), (x + 2, 57)], (250, 214, 140), 1.8)


def _beret(pen: Pen) -> None:
    pen.oval((16, 5, 43, 16.5), (30, 70, 60))
    pen.rect((30, 2.6, 32.4, 6), (30, 70, 60))


def _paper(pen: Pen) -> None:
    pen.rect((2, 44, 16, 62), _WHITE)
    for y in (48, 52, 56):
        pen.line([(4, y), (13, y)], (90, 100, 170), 1.3)
    pen.line([(10, 60), (21, 38)], (30, 50, 150), 2.6)


def _doctor_outfit(pen: Pen) -> None:
    _coat(pen, (214, 220, 226), (120, 190, 220))
    pen.arc((23, 38, 41, 62), 10, 170, (50, 54, 62), 2)
    pen.oval((28, 58, 33, 63), (50, 54, 62))


def _clipboard(pen: Pen) -> None:
    pen.rect((2, 42, 18, 62), (120, 82, 48))
    pen.rect((4, 46, 16, 60), _WHITE)
    pen.rect((7, 40, 13, 45), _STEEL)
    pen.line([(5, 54), (8, 54), (9.6, 49), (11.6, 58), (13, 54), (15, 54)], (20, 150, 110), 1.4)


def _lawyer_outfit(pen: Pen) -> None:
    pen.shape([(28.5, 46), (35.5, 46), (37, 58), (27, 58)], _WHITE)


def _scales(pen: Pen) -> None:
    pen.rect((9.8, 38, 12.2, 60), _GOLD)
    pen.rect((5, 59, 17, 62), _GOLD)
    pen.line([(3, 42), (19, 42)], _GOLD, 2.2)
    pen.slice((-1, 44, 8, 54), 0, 180, _GOLD)
    pen.slice((14, 44, 23, 54), 0, 180, _GOLD)


def _manager_outfit(pen: Pen) -> None:
    _coat(pen, (34, 38, 52), _WHITE)
    pen.shape([(30, 47), (34, 47), (35.4, 60), (32, 64), (28.6, 60)], (40, 90, 190))


def _briefcase(pen: Pen) -> None:
    pen.oval((6, 42, 16, 52), None, (80, 46, 24), 2.2)
    pen.rect((0, 47, 21, 62), (128, 76, 40))
    pen.rect((0, 52, 21, 53.8), (80, 46, 24))
    pen.rect((8.6, 50.6, 12.4, 55.6), _GOLD)


def _straw_hat(pen: Pen) -> None:
    pen.oval((11, 11.5, 53, 19), (232, 196, 96))
    pen.slice((21, 2, 43, 28), 180, 360, (232, 196, 96))
    pen.rect((21, 12.4, 43, 15), (150, 96, 40))


def _overalls(pen: Pen, colour: Colour) -> None:
    pen.rect((22, 53, 42, 72), colour)
    pen.rect((20, 44, 25, 58), colour)
    pen.rect((39, 44, 44, 58), colour)


def _corn(pen: Pen) -> None:
    for x in (5, 14):
        pen.oval((x - 3.6, 40, x + 3.6, 58), (250, 206, 50))
        pen.shape([(x - 5, 62), (x - 4.6, 48), (x, 58), (x + 4.6, 48), (x + 5, 62)], (70, 150, 60))


def _headphones(pen: Pen) -> None:
    pen.arc((18, 6, 46, 40), 185, 355, (40, 40, 50), 2.8)
    pen.oval((16, 22, 22.6, 33), (230, 90, 40))
    pen.oval((41.4, 22, 48, 33), (230, 90, 40))


def _laptop(pen: Pen) -> None:
    pen.rect((0, 44, 20, 58), (70, 76, 88))
    pen.rect((2, 46, 18, 56), (18, 40, 46))
    for y, end in ((48.4, 11), (51, 15), (53.6, 9)):
        pen.line([(4, y), (end, y)], (90, 250, 160), 1.4)
    pen.rect((-2, 58, 23, 61.6), _STEEL)


def _driver_hat(pen: Pen) -> None:
    pen.oval((17, 4, 47, 15), (24, 40, 92))
    pen.rect((20, 12, 44, 16.6), (24, 40, 92))
    pen.rect((19, 16, 45, 18.8), _BLACK)
    pen.oval((30, 9, 34, 14.6), _GOLD)


def _steering_wheel(pen: Pen) -> None:
    pen.oval((0, 41, 21, 62), None, _BLACK, 3)
    pen.line([(2, 51), (19, 51)], _BLACK, 2.6)
    pen.line([(10.5, 51), (10.5, 61)], _BLACK, 2.6)
    pen.oval((7, 48, 14, 55), (90, 94, 104))


def _hammer(pen: Pen) -> None:
    pen.line([(10, 40), (10, 63)], _WOOD, 3.6)
    pen.rect((2, 37, 18, 44), (84, 90, 102))


def _carpenter_hat(pen: Pen) -> None:
    _cap(pen, (220, 120, 30), (180, 90, 20))


def _mechanic_hat(pen: Pen) -> None:
    _cap(pen, (60, 66, 78), (36, 40, 48))


def _wrench(pen: Pen) -> None:
    pen.line([(10, 46), (10, 62)], (150, 158, 170), 4.2)
    pen.oval((3, 36, 17, 50), (150, 158, 170))
    pen.shape([(7, 34), (13, 34), (12, 43), (8, 43)], (60, 66, 78))


def _register(pen: Pen) -> None:
    pen.rect((1, 50, 20, 62), (92, 98, 112))
    pen.rect((9, 42, 19, 49), (40, 190, 120))
    for x in (4, 9, 14):
        pen.rect((x, 53, x + 3, 56), _WHITE)


def _visor(pen: Pen) -> None:
    pen.rect((20, 13, 44, 17), (40, 150, 90))
    pen.oval((18, 15, 46, 20), (30, 120, 70))


def _tape_measure(pen: Pen) -> None:
    for x in (24, 38):
        pen.rect((x, 45, x + 3.4, 72), (250, 220, 60))
        for y in range(48, 66, 5):
            pen.rect((x, y, x + 3.4, y + 1.4), _BLACK)


def _spool(pen: Pen) -> None:
    pen.rect((3, 42, 18, 46), _WOOD)
    pen.rect((5, 46, 16, 58), (90, 60, 200))
    pen.rect((3, 58, 18, 62), _WOOD)


def _vest(pen: Pen) -> None:
    for x in (22, 38):
        pen.rect((x, 46, x + 4, 72), (246, 246, 120))
    pen.rect((13, 58, 51, 61), (246, 246, 120))


def _helmet(pen: Pen) -> None:
    pen.slice((18.5, 3, 45.5, 30), 180, 360, (250, 214, 30))
    pen.rect((16, 15.4, 48, 18.6), (226, 186, 20))


def _cone(pen: Pen) -> None:
    pen.shape([(10.5, 38), (18, 60), (3, 60)], (250, 120, 20))
    pen.rect((6.4, 48, 14.6, 52), _WHITE)
    pen.rect((0, 59, 21, 62.6), (250, 120, 20))


def _bell(pen: Pen) -> None:
    pen.slice((2, 46, 20, 68), 180, 360, _GOLD)
    pen.rect((0, 57, 22, 60.6), (110, 70, 40))
    pen.oval((9, 42, 13, 47), _GOLD)


LOOKS: dict[str, Look] = {
    "nurse": Look((80, 190, 184), _nothing, _nurse_hat, _nurse_prop),
    "secretary": Look((226, 110, 160), _secretary_outfit, _nothing, _secretary_prop),
    "hairdresser": Look((30, 30, 36), lambda pen: _apron(pen, (214, 60, 150)), _nothing, _comb),
    "librarian": Look((110, 80, 160), _librarian_outfit, _nothing, _books),
    "cleaner": Look((250, 226, 110), lambda pen: _apron(pen, (60, 120, 200)), _cleaner_hat, _broom),
    "teacher": Look((152, 104, 64), _teacher_outfit, _nothing, _chalkboard),
    "baker": Look((240, 236, 228), lambda pen: _apron(pen, (206, 150, 90)), _baker_hat, _bread),
    "writer": Look((44, 96, 84), _nothing, _beret, _paper),
    "doctor": Look((246, 248, 250), _doctor_outfit, _nothing, _clipboard),
    "lawyer": Look((22, 20, 26), _lawyer_outfit, _nothing, _scales),
    "manager": Look((56, 62, 84), _manager_outfit, _nothing, _briefcase),
    "farmer": Look((204, 96, 70), lambda pen: _overalls(pen, (62, 96, 170)), _straw_hat, _corn),
    "developer": Look((128, 134, 142), _nothing, _headphones, _laptop),
    "driver": Look((36, 56, 120), _nothing, _driver_hat, _steering_wheel),
    "carpenter": Look((236, 226, 200), lambda pen: _overalls(pen, (150, 108, 60)), _carpenter_hat, _hammer),
    "mechanic": Look((70, 96, 130), lambda pen: _overalls(pen, (40, 60, 88)), _mechanic_hat, _wrench),
    "cashier": Look((120, 200, 150), lambda pen: _apron(pen, (40, 150, 90)), _visor, _register),
    "tailor": Look((140, 120, 170), _tape_measure, _nothing, _spool),
    "construction_worker": Look((250, 130, 30), _vest, _helmet, _cone),
    "receptionist": Look((150, 40, 70), _librarian_outfit, _nothing, _bell),
}
"""The occupations that the renderer can draw: 20 of the 36 of the occupation prompt set."""

PLAIN_GARMENTS: tuple[Colour, ...] = (
    (186, 110, 96),
    (110, 140, 190),
    (150, 170, 120),
    (196, 170, 120),
    (130, 120, 150),
)
"""What a person without an occupation wears."""
