"""Who listens to whom: graphs, and the mixing matrices with which agents average over them.

graph = graphs.watts_strogatz(100, 4, rewiring=0.1)
graph.coupling_limit(0.005)                     # above this coupling Eq. (2) of paper 001 diverges
graphs.metropolis(graph).spectral_gap           # how fast averaging agents agree
"""

from __future__ import annotations

from consilience.graphs.catalog import FAMILIES, make
from consilience.graphs.edge_lists import from_edges_csv
from consilience.graphs.families import (
    complete,
    complete_bipartite,
    cycle,
    exponential,
    grid,
    hypercube,
    path,
    star,
    torus,
)
from consilience.graphs.gossip import Matchings, Merge, OnePeerExponential, RandomPairs
from consilience.graphs.graph import Graph
from consilience.graphs.mixing import MixingMatrix, check_support, from_matrix
from consilience.graphs.neighbours import Neighbours
from consilience.graphs.random_families import (
    barabasi_albert,
    erdos_renyi,
    random_regular,
    stochastic_block,
    watts_strogatz,
)
from consilience.graphs.readers import from_adjacency, from_networkx
from consilience.graphs.schedules import Absent, Bernoulli, Interpolated, Periodic, RandomSubset, Schedule, Schedules
from consilience.graphs.triggers import Early, EveryRounds, Late, WithProbability
from consilience.graphs.weightings import (
    column_stochastic,
    default_mixing,
    diffusive,
    lazy,
    max_degree,
    metropolis,
    row_stochastic,
    uniform,
)

__all__ = [
    "FAMILIES",
    "Absent",
    "Bernoulli",
    "Early",
    "EveryRounds",
    "Graph",
    "Interpolated",
    "Late",
    "Matchings",
    "Merge",
    "MixingMatrix",
    "Neighbours",
    "OnePeerExponential",
    "Periodic",
    "RandomPairs",
    "RandomSubset",
    "Schedule",
    "Schedules",
    "WithProbability",
    "barabasi_albert",
    "check_support",
    "column_stochastic",
    "complete",
    "complete_bipartite",
    "cycle",
    "default_mixing",
    "diffusive",
    "erdos_renyi",
    "exponential",
    "from_adjacency",
    "from_edges_csv",
    "from_matrix",
    "from_networkx",
    "grid",
    "hypercube",
    "lazy",
    "make",
    "max_degree",
    "metropolis",
    "path",
    "random_regular",
    "row_stochastic",
    "star",
    "stochastic_block",
    "torus",
    "uniform",
    "watts_strogatz",
]
