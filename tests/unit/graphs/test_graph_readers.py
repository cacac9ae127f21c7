"""Graphs from arrays, networkx and files: the direction of edges, the numbers of agents, and what is refused."""

import networkx as nx
import numpy as np
import pytest
import scipy.sparse

from consilience import graphs
from consilience.errors import DataError, InvalidSpec


@pytest.fixture
def edges(tmp_path):
    def write(content):
        file = tmp_path / "edges.csv"
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return file

    return write


def test_from_adjacency_takes_sparse_matrices():
    q = np.array([[0, 1.5], [0, 0]])
    np.testing.assert_array_equal(graphs.from_adjacency(scipy.sparse.csr_array(q)).adjacency, q)


def test_the_target_of_a_networkx_edge_listens_to_its_source():
    graph = graphs.from_networkx(nx.DiGraph([(0, 1, {"weight": 2.0}), (1, 2, {"weight": 3.0})]))
    np.testing.assert_array_equal(graph.adjacency, [[0, 0, 0], [2, 0, 0], [0, 3, 0]])


def test_networkx_edges_without_direction_set_both_weights():
    graph = graphs.from_networkx(nx.Graph([(0, 1, {"trust": 2.0}), (1, 2)]), weight="trust")
    np.testing.assert_array_equal(graph.adjacency, [[0, 2, 0], [2, 0, 1], [0, 1, 0]])


def test_networkx_integers_keep_their_numbers_and_other_nodes_their_order():
    assert list(nx.Graph([(2, 0), (0, 1)])) == [2, 0, 1]
    by_number = graphs.from_networkx(nx.Graph([(2, 0), (0, 1)]))
    np.testing.assert_array_equal(by_number.num_neighbours, [2, 1, 1])
    by_order = graphs.from_networkx(nx.Graph([("x", "c"), ("c", "a")]))
    np.testing.assert_array_equal(by_order.num_neighbours, [1, 2, 1])


def test_names_of_read_graphs():
    assert graphs.from_networkx(nx.path_graph(3)).name == "networkx(3)"
    assert graphs.from_networkx(nx.karate_club_graph()).name == "Zachary's Karate Club"
    assert graphs.from_networkx(nx.path_graph(3), name="mine").name == "mine"
    assert graphs.from_adjacency([[0]]).name == "adjacency(1)"


def test_parallel_networkx_edges_add_up():
    graph = graphs.from_networkx(nx.MultiDiGraph([(0, 1, {"weight": 2.0}), (0, 1, {"weight": 0.5})]))
    assert graph.adjacency[1, 0] == 2.5


@pytest.mark.parametrize(
    ("graph", "complaint"),
    [
        (np.eye(2), "type ndarray"),
        (nx.Graph(), "no nodes"),
        (nx.Graph([(0, 0)]), r"adjacency\[0, 0\]=1"),
        (nx.Graph([(0, 1, {"weight": -1.0})]), r"adjacency\[0, 1\]=-1"),
        (nx.Graph([(0, 1, {"weight": "heavy"})]), "weight='heavy'"),
        (nx.Graph([(0, 1, {"weight": None})]), "weight=None"),
        (nx.Graph([(0, 1, {"weight": float("nan")})]), r"holds nan at \(0, 1\)"),
    ],
)
def test_from_networkx_refuses(graph, complaint):
    with pytest.raises(InvalidSpec, match=complaint):
        graphs.from_networkx(graph)


@pytest.mark.parametrize(
    "content",
    [
        "0,1,2\n1,2,3",
        "source,target,weight\n0,1,2\n1,2,3\n",
        "\ufeffSource, Target, Weight\r\n0, 1, 2\r\n\r\n1, 2, 3.0\r\n",
        "weight,target,source\n2,1,0\n3,2,1\n",
    ],
)
def test_csv_formats(edges, content):
    directed = graphs.from_edges_csv(edges(content), directed=True)
    np.testing.assert_array_equal(directed.adjacency, [[0, 0, 0], [2, 0, 0], [0, 3, 0]])
    undirected = graphs.from_edges_csv(edges(content), directed=False)
    np.testing.assert_array_equal(undirected.adjacency, [[0, 2, 0], [2, 0, 3], [0, 3, 0]])
    assert directed.name == "edges"


def test_csv_without_weights_has_unit_weights(edges):
    np.testing.assert_array_equal(
        graphs.from_edges_csv(edges("1,0\n2,0"), directed=False).adjacency, graphs.star(3).adjacency
    )


def test_csv_labels(edges):
    names = graphs.from_edges_csv(edges("zoe,10\n10,9"), directed=True)
    np.testing.assert_array_equal(names.adjacency, [[0, 0, 1], [1, 0, 0], [0, 0, 0]])  # sorted: "10", "9", "zoe"
    numbers = graphs.from_edges_csv(edges("10,9\n9,10"), directed=True, num_agents=12)
    assert numbers.num_agents == 12
    assert numbers.adjacency[10, 9] == numbers.adjacency[9, 10] == 1
    assert graphs.from_edges_csv(edges("00,1\n01,2"), directed=True).num_agents == 3
    assert graphs.from_edges_csv(edges(""), directed=True, num_agents=3).num_edges == 0


def test_csv_edges_without_direction_may_be_listed_both_ways(edges):
    graph = graphs.from_edges_csv(edges("a,b,2\nb,a,2"), directed=False)
    np.testing.assert_array_equal(graph.adjacency, [[0, 2], [2, 0]])


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "holds no edges"),
        ("source,target\n", "holds no edges"),
        ("0 1\n1 2", "line 1: '0 1' is neither an edge"),
        ("0;1;2", "line 1: '0;1;2' is neither an edge"),
        ("source,target,colour\n0,1,red", "line 1: 'source,target,colour' is neither"),
        ("source,target,source\n0,1,1", "line 1: 'source,target,source' is neither"),
        ("0,1,2,3", "line 1: '0,1,2,3' is neither"),
        ("0,1,2\n1,2", r"line 2: '1,2' has 2 column\(s\), but the first line has 3"),
        ("source,target\n\n0,1\n1,2,5", r"line 4: '1,2,5' has 3 column\(s\), but the first line has 2"),
        ("0,1\n,2", "line 2: the source is empty"),
        ("0,1,2\n1,2,heavy", "line 2: the weight is 'heavy'"),
        ("0,1,2\n1,2,", "line 2: the weight is ''"),
        ("0,1,2\n1,2,nan", "line 2: the weight is 'nan'"),
        ("0,1,2\n1,2,-1", "line 2: the weight is '-1'"),
        ("0,1,0", "line 1: the weight is '0'"),
        ("0,1\n1,1", "line 2: the edge 1 → 1 is a loop"),
        ("0,1\n1,2\n0,1", r"line 3: the edge 0 → 1 was given before \(.*line 1\)"),
        ("0,1,2\n1,0,3", r"line 2: the edge 1 → 0 has weight 3, but in the other direction 2 \(.*line 1\)"),
        ("1,2\n2,3", "labels an agent 3, but 3 agents are numbered 0 … 2. Count from 0"),
        ("-1,0", "labels an agent -1"),
        ("0," + "9" * 5000, "labels an agent 9{100}…, a number of 5,000 characters"),
        ('0,1\n"0,2', "line 2: unexpected end of data"),
        (b"\xff\xfe0,1", "not text in UTF-8"),
    ],
)
def test_csv_errors_name_the_line(edges, content, complaint):
    with pytest.raises(DataError, match=complaint):
        graphs.from_edges_csv(edges(content), directed=False)


def test_csv_refuses_wrong_numbers_of_agents(edges, tmp_path):
    with pytest.raises(DataError, match="labels an agent 2, but 2 agents"):
        graphs.from_edges_csv(edges("0,1\n1,2"), directed=True, num_agents=2)
    with pytest.raises(DataError, match="2 labels, which are names, but num_agents=3"):
        graphs.from_edges_csv(edges("a,b"), directed=True, num_agents=3)
    with pytest.raises(InvalidSpec, match="num_agents=0"):
        graphs.from_edges_csv(edges("a,b"), directed=True, num_agents=0)
    with pytest.raises(DataError, match=r"missing\.csv cannot be read: No such file"):
        graphs.from_edges_csv(tmp_path / "missing.csv", directed=True)


def test_csv_refuses_too_many_agents_before_there_is_a_matrix(edges):
    assert graphs.from_edges_csv(edges("0,1\n1,2"), directed=True, most_agents=3).num_agents == 3
    for content, options in (("0,1\n1,2", {}), ("a,b\nc,d", {}), ("0,1", {"num_agents": 10**9})):  # 8 EB
        with pytest.raises(DataError, match="agents, more than the 2 that are accepted"):
            graphs.from_edges_csv(edges(content), directed=True, most_agents=2, **options)
