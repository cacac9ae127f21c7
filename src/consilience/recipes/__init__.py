"""Named, complete experiments: the figures of the papers, and studies beyond them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from consilience.errors import UnknownName
from consilience.recipes import (
    comparison,
    figure_2,
    figure_3,
    finite_size,
    graph_families,
    methods,
    peer_to_peer,
    phase_diagram,
    wide_transition,
)
from consilience.recipes.recipe import Execute, Recipe, Table

_ALL = (
    Recipe(
        name="figure-2",
        summary="disorder, order, disorder: the effective theory (paper 001, Fig. 2)",
        presets=MappingProxyType({"quick": figure_2.quick, "default": figure_2.Figure2, "full": figure_2.Figure2}),
        module=figure_2,
    ),
    Recipe(
        name="figure-3",
        summary="the collective-learning transition in coupled networks (paper 001, Fig. 3)",
        presets=MappingProxyType({"quick": figure_3.quick, "default": figure_3.Figure3, "full": figure_3.full}),
        module=figure_3,
    ),
    Recipe(
        name="theory-and-experiment",
        summary="the effective theory held against simulations of four data sets",
        presets=MappingProxyType(
            {"quick": comparison.quick, "default": comparison.Comparison, "full": comparison.Comparison}
        ),
        module=comparison,
    ),
    Recipe(
        name="finite-size",
        summary="finite-size scaling of the effective theory at D = 1: crossings, exponents, critical couplings",
        presets=MappingProxyType(
            {"quick": finite_size.quick, "default": finite_size.FiniteSize, "full": finite_size.FiniteSize}
        ),
        module=finite_size,
    ),
    Recipe(
        name="graphs",
        summary="how the transition of the effective theory moves with the graph, at equal mean degree",
        presets=MappingProxyType(
            {
                "quick": graph_families.quick,
                "default": graph_families.GraphFamilies,
                "full": graph_families.GraphFamilies,
            }
        ),
        module=graph_families,
    ),
    Recipe(
        name="peer-to-peer",
        summary="learning of wide networks over graphs, predicted and trained (paper 003, Figs. 1 and 2)",
        presets=MappingProxyType(
            {
                "quick": peer_to_peer.quick,
                "default": peer_to_peer.PeerToPeer,
                "full": peer_to_peer.full,
            }
        ),
        module=peer_to_peer,
    ),
    Recipe(
        name="wide-transition",
        summary="the collective-learning transition of wide networks, predicted by their kernel",
        presets=MappingProxyType(
            {
                "quick": wide_transition.quick,
                "default": wide_transition.WideTransition,
                "full": wide_transition.full,
            }
        ),
        module=wide_transition,
    ),
    Recipe(
        name="methods",
        summary="methods of the catalog compared, each at its best learning rate, on one graph and one budget",
        presets=MappingProxyType({"quick": methods.quick, "default": methods.Methods, "full": methods.full}),
        module=methods,
    ),
    Recipe(
        name="phase-diagram",
        summary="the collective-learning transition of each method, in the parameter by which its agents are coupled",
        presets=MappingProxyType(
            {"quick": phase_diagram.quick, "default": phase_diagram.PhaseDiagram, "full": phase_diagram.full}
        ),
        module=phase_diagram,
    ),
)

RECIPES: Mapping[str, Recipe] = MappingProxyType({recipe.name: recipe for recipe in _ALL})
"""All recipes, by name."""


def get(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        UnknownName: if there is none.

    Example:
        >>> get("figure-3").presets["quick"]().dataset
        'digits'
    """
    if name not in RECIPES:
        raise UnknownName.among("recipe", name, RECIPES)
    return RECIPES[name]


__all__ = [
    "RECIPES",
    "Execute",
    "Recipe",
    "Table",
    "comparison",
    "figure_2",
    "figure_3",
    "finite_size",
    "get",
    "graph_families",
    "methods",
    "peer_to_peer",
    "phase_diagram",
    "wide_transition",
]
