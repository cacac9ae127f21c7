"""Nothing is claimed that is not tested: every entry of the catalog has a test for each limit that it says it has.

Claims are separated by semicolons. Tests of the first methods say themselves which entries they are about
(`test_reductions.reduces`); those of the others are listed here.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import test_adaptive_reductions as adaptive
import test_compressed_reductions as compressed
import test_matched_reductions as matched
import test_method_reductions as methods
from test_reductions import REDUCTIONS

import consilience as cs
from consilience.algorithms import Entry

PROOFS: dict[str, tuple[Callable[..., None], ...]] = {
    "gradient_tracking": (
        methods.test_with_full_averaging_there_is_nothing_to_correct,
        methods.test_the_first_round_corrects_nothing,
        methods.test_the_identity_matrix_isolates,
        methods.test_one_agent_does_sgd,
    ),
    "exact_diffusion": (
        methods.test_with_full_averaging_there_is_nothing_to_correct,
        methods.test_the_first_round_corrects_nothing,
        methods.test_the_identity_matrix_isolates,
        methods.test_one_agent_does_sgd,
    ),
    "push_sum": (
        methods.test_push_sum_with_a_doubly_stochastic_matrix_is_adapt_then_combine,
        methods.test_push_sum_without_learning_averages_initial_parameters,
        methods.test_the_identity_matrix_isolates,
        methods.test_one_agent_does_sgd,
    ),
    "relay_sum": (
        methods.test_relay_sum_of_two_is_adapt_then_combine,
        methods.test_relay_sum_without_learning_is_a_mean_over_delayed_parameters,
        methods.test_one_agent_does_sgd,
    ),
    "variance_corrected": (
        methods.test_no_correction_of_variance_is_adapt_then_combine,
        methods.test_single_numbers_have_no_variance_to_correct,
        methods.test_the_identity_matrix_isolates,
        methods.test_one_agent_does_sgd,
    ),
    "decaying_coupling": (
        methods.test_coupling_that_does_not_decay_is_diffusive_coupling,
        methods.test_nothing_has_decayed_in_the_first_round,
        methods.test_no_coupling_that_does_not_decay_isolates,
        methods.test_one_agent_does_sgd,
    ),
    "decentralised_adam": (
        adaptive.test_decentralised_adam_without_links_is_adam_each,
        adaptive.test_decentralised_adam_descends_along_signs,
        adaptive.test_decentralised_adam_that_does_not_learn_gossips,
    ),
    "local_sgd": (
        adaptive.test_synchronous_local_sgd_of_one_step_is_sgd_on_the_union,
        adaptive.test_local_steps_are_rounds_between_means,
    ),
    "scaled_local_sgd": (
        adaptive.test_no_scaling_is_local_sgd_to_the_bit,
        adaptive.test_a_floor_above_all_that_is_measured_only_divides_the_rate,
        adaptive.test_one_adam_scaled_step_is_parallel_adam_without_a_mean_of_gradients,
    ),
    "fed_sgd": (
        adaptive.test_fed_sgd_is_parallel_sgd_with_equal_shards,
        adaptive.test_fed_sgd_is_gradient_descent_on_the_union_of_all_data,
    ),
    "fed_prox": (
        methods.test_fed_prox_without_proximity_is_federated_averaging,
        methods.test_the_first_step_feels_no_proximity,
        methods.test_one_agent_does_sgd,
    ),
    "scaffold": (
        methods.test_scaffold_in_its_first_round_is_federated_averaging,
        methods.test_scaffold_with_one_step_of_everybody_is_federated_averaging,
        methods.test_one_agent_does_sgd,
    ),
    "matched_averaging": (
        matched.test_without_hidden_layers_it_is_federated_averaging,
        matched.test_while_units_are_matched_it_is_federated_averaging,
        matched.test_permutations_of_one_network_average_to_it,
        matched.test_one_agent_does_sgd,
    ),
    "partial_averaging": (compressed.test_averaging_of_all_parts_is_federated_averaging,),
    "fed_dip": (compressed.test_fed_dip_without_pruning_is_federated_averaging,),
    "sign_sgd": (compressed.test_sign_sgd_of_one_agent_is_sign_descent,),
    "error_feedback_sgd": (compressed.test_error_feedback_of_everything_is_parallel_sgd,),
    "qsgd": (compressed.test_qsgd_with_many_levels_is_parallel_sgd,),
    "tern_grad": (compressed.test_tern_grad_of_single_numbers_is_parallel_sgd,),
    "distributed_lion": (
        compressed.test_distributed_lion_of_one_agent_is_lion,
        compressed.test_distributed_lion_without_a_mean_is_sign_sgd,
    ),
    "power_sgd": (
        compressed.test_power_sgd_sends_small_matrices_as_they_are,
        compressed.test_power_sgd_is_exact_on_matrices_of_low_rank,
        compressed.test_power_sgd_of_one_agent_is_sgd_on_matrices_of_low_rank,
    ),
    "fish_mask": (compressed.test_a_mask_of_everything_is_adapt_then_combine_one_round_later,),
    "one_byte": (compressed.test_one_exact_slope_of_one_agent_is_sgd_along_the_direction,),
    "random_pairwise_gossip": (
        adaptive.test_pairs_that_never_meet_and_no_budget_isolate,
        adaptive.test_two_agents_that_take_turns_are_a_random_pair_that_learns,
    ),
    "matcha": (
        adaptive.test_a_full_budget_of_matchings_is_a_constant_matrix,
        adaptive.test_pairs_that_never_meet_and_no_budget_isolate,
    ),
    "one_peer_exponential": (
        adaptive.test_one_peer_reaches_the_mean,
        adaptive.test_one_peer_leaves_a_single_agent_alone,
    ),
    "single_merging": (
        adaptive.test_a_merge_is_its_schedule_until_then,
        adaptive.test_a_merge_without_a_schedule_is_one_shot_averaging,
    ),
}
ELSEWHERE = ("distributed_nearest_neighbour", "reduced_mixture_of_experts")
"""Their limits are tested in tests/unit/algorithms."""

EVERYTHING = {**cs.algorithms.catalog(), **cs.algorithms.other_methods()}


@pytest.mark.parametrize("entry", EVERYTHING.values(), ids=lambda entry: entry.name)
def test_every_claim_of_the_catalog_has_a_test(entry: Entry) -> None:
    if entry.name in ELSEWHERE:
        return
    claims = [claim.strip() for claim in entry.sections["Reduces to"].split(";")]
    tests = [*REDUCTIONS.get(entry.name, ()), *(test.__name__ for test in PROOFS.get(entry.name, ()))]
    # Parallel SGD in the mean: `tests/laws/test_compressors.py` has that for the compressors.
    tests += ["test_unbiased_compressors_keep_the_mean"] if entry.name in ("qsgd", "tern_grad", "one_byte") else []
    assert len(tests) >= len(claims), f"{entry.name} claims {claims}, and only {tests} test them"


def test_reductions_are_filed_under_names_of_the_catalog() -> None:
    assert {*REDUCTIONS, *PROOFS, *ELSEWHERE} == set(EVERYTHING)
