"""Buttons that do something to the running population: cut and add edges, freeze and thaw, swap data, restart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import panel_material_ui as pmui

from consilience.dashboard.session import Snapshot
from consilience.simulation import Freeze, Intervention, Restart, SetEdge, SwapData, Thaw

Make = Callable[[int], Intervention]
ONE_AGENT = {"Freeze i": Freeze, "Thaw i": Thaw}


class Actions:
    """The buttons, and the two agents that they are about.

    Args:
        intervene: what is called with an intervention, given its round.
    """

    def __init__(self, intervene: Callable[[Make], None]) -> None:
        self._intervene = intervene
        agent: dict[str, Any] = {"options": [0, 1], "size": "small", "sizing_mode": "stretch_width", "margin": (6, 6)}
        self.first = pmui.Select(label="Agent i", value=0, **agent)
        self.second = pmui.Select(label="Agent j", value=1, **agent)
        self.buttons = {
            "Cut edge i – j": lambda r: SetEdge(r, self.first.value, self.second.value, 0.0),
            "Add edge i – j": lambda r: SetEdge(r, self.first.value, self.second.value, 1.0),
            "Swap data i ↔ j": lambda r: SwapData(r, self.first.value, self.second.value),
            "Freeze i": lambda r: Freeze(r, self.first.value),
            "Thaw i": lambda r: Thaw(r, self.first.value),
            "Restart all": Restart,
        }

    def panel(self) -> Any:
        """The widgets."""
        made = [self._button(label, make) for label, make in self.buttons.items()]
        return pmui.Column(
            pmui.Row(self.first, self.second, sizing_mode="stretch_width", margin=0),
            pmui.FlexBox(*made, margin=0),
            sizing_mode="stretch_width",
            margin=0,
        )

    def _button(self, label: str, make: Make) -> Any:
        button = pmui.Button(label=label, variant="outlined", size="small", margin=(4, 4))
        button.on_click(lambda _: self._intervene(self._now(make)))
        return button

    def _now(self, make: Make) -> Make:
        """`make` with the agents that are chosen now, whenever its round comes."""
        chosen = make(0)
        return lambda round: type(chosen)(**{**vars(chosen), "round": round})

    def update(self, snapshot: Snapshot) -> None:
        """Offer the agents that there are."""
        if snapshot.stage is None:
            return
        agents = list(range(snapshot.stage.experiment.num_agents))
        if agents != self.first.options:
            for widget, value in ((self.first, 0), (self.second, 1)):
                widget.param.update(options=agents, value=value)
