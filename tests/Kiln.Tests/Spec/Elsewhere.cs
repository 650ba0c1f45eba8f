namespace Kiln.Tests.Spec;

/// <summary>
/// Requirements that no client can see a registry keep, or not in the time that a run has: which tests of Kiln look at
/// them (<c>CLASS.METHOD</c>), or why there is nothing to see.
/// </summary>
internal static class Elsewhere
{
    /// <summary>By test. Those of <c>Kiln.EndToEnd</c> build with a real engine.</summary>
    public static IReadOnlyDictionary<string, string[]> Tests { get; } =
        new Dictionary<string, string[]>(StringComparer.Ordinal)
        {
            ["D-4"] =
            [
                "BuildClientTests.A_registry_without_the_extension_has_no_info",
                "ForeignRegistryTests.A_registry_without_the_extension_fails_nothing_of_it",
            ],
            ["R-11"] =
            [
                "DefinitionTests.What_is_wrong_is_said_with_its_line",
                "ApptainerContextTests.A_source_that_leads_out_of_the_context_is_found",
                "DefinitionRequestTests.A_definition_that_cannot_be_built_is_refused",
                "DefinitionBuildTests.Failing_post_and_test_are_told_and_nothing_is_published",
            ],
            ["J-8"] = ["RefusalTests.Too_many_jobs_are_429_with_a_time_to_come_again"],
            ["J-12"] =
            [
                "PinnedBaseTests.The_node_is_told_and_another_pin_is_another_build",
                "PinnedBaseTests.A_product_on_another_base_is_refused",
            ],
            ["N-1"] =
            [
                "ResourceTests.A_node_of_several_types_gets_what_fits_one_of_them",
                "TypedClaimTests.A_node_gets_what_one_of_its_types_builds",
                "TypedClaimTests.A_type_has_what_the_claim_has_where_it_does_not_say_and_nothing_where_it_says_so",
            ],
            ["N-17"] =
            [
                "ArchitectureTests.Node_of_a_level_builds_for_the_levels_below_it",
                "ArchitectureTests.Micro_architecture_is_had_where_a_node_says_one_that_runs_it",
            ],
            ["N-18"] =
            [
                "EmulationTests.What_nobody_builds_natively_is_emulated_and_marked_everywhere",
                "EmulationTests.Node_that_builds_natively_is_waited_for_but_not_for_long",
                "EmulationTests.What_must_not_be_emulated_waits_for_a_native_node_and_is_not_answered_by_what_was",
                "EmulationTests.Registry_may_want_none",
                "TypedClaimTests.What_only_an_emulating_type_builds_is_marked_and_what_another_builds_is_not",
                "TypeChoiceTests.Emulation_is_for_what_no_type_runs_by_itself_and_for_what_may_be_emulated",
            ],
            ["N-19"] =
            [
                "TargetArgumentsTests.A_recipe_that_names_them_gets_all_of_them",
                "ArchitectureTests.Three_platforms_are_one_index_with_the_generic_images_first_and_what_was_emulated_marked",
            ],
            ["P-11"] = ["ImageChoiceTests.Image_for_a_machine_is_the_one_that_makes_most_of_it"],
            ["F-1"] =
            [
                "FormatTests.What_cannot_be_is_refused_before_anything_is_built",
                "FormatTests.Format_that_no_node_makes_is_refused_with_what_it_would_take",
            ],
            ["F-2"] =
            [
                "FormatTests.Formats_are_made_of_the_image_once_it_is_there_and_delivered_with_it",
                "FormatTests.What_was_made_of_an_image_is_the_answer_whatever_it_was_built_from",
            ],
            ["F-3"] =
            [
                "FormatTests.Product_that_is_not_what_it_is_called_is_refused",
                "FormatTests.Lease_attaches_to_its_own_image_only",
            ],
            ["F-4"] =
            [
                "FormatTests.Each_of_several_targets_has_a_tag_of_its_own",
                "FormatTests.Side_tags_are_held_against_the_policy_of_the_request_too",
            ],
            ["F-5"] = ["LayerMergeTests.Merged"],
            ["F-6"] =
            [
                "FormatTests.Flattened_image_stands_in_the_place_of_the_one_that_was_built",
                "FormatTests.Image_that_still_has_other_ids_is_not_taken_for_flattened",
            ],
            ["F-7"] = ["FormatTests.Cancelled_and_failed_formats_deliver_nothing"],
            ["S-6"] = ["CrashTests.Server_killed_at_any_time_of_a_build_loses_nothing"],
            ["L-5"] = ["HostileRecipeTests.Log_flood_is_cut_at_the_limit_and_the_build_goes_on"],
            ["L-6"] = ["TerminalTextTests.Nothing_in_a_text_can_steer_the_terminal"],
            ["K-7"] = ["RequestTests.Steps_of_one_repository_are_not_used_by_another"],
            ["B-3"] =
            [
                "BuildKeyTests.The_published_vector_holds",
                "RunnerKeyTests.The_published_vector_holds_for_the_runner",
            ],
            ["X-4"] = ["HostileRecipeTests.Secret_is_seen_by_the_run_that_asks_and_stays_nowhere"],
            ["T-3"] = ["CrashTests.Push_that_was_acknowledged_is_whole_after_a_kill_at_any_time"],
            ["T-5"] = ["RequestOptionTests.A_storm_of_pushes_is_broken_and_passes"],
            ["N-9"] =
            [
                "RemoteLeaseTests.A_server_that_was_away_takes_the_build_of_a_node_elsewhere_as_if_nothing_had_been",
            ],
            ["W-3"] = ["WaitingPullTests.More_pulls_than_may_be_held_are_told_at_once"],
            ["W-4"] = ["WaitingPullTests.A_recipe_that_declares_the_tag_is_built_when_it_is_pulled"],
            ["H-3"] = ["HookTests.A_name_that_leads_elsewhere_a_moment_later_is_not_followed"],
            ["M-1"] =
            [
                "BaseMoveTests.A_product_is_built_anew_by_the_same_request_once_for_each_move_of_its_base",
                "BaseMoveTests.A_base_of_this_registry_is_known_by_all_of_its_names",
                "BaseMoveTests.A_base_of_an_upstream_is_looked_after",
                "BaseChangeTests.An_image_follows_its_base",
            ],
            ["M-2"] =
            [
                "BaseMoveTests.What_is_pinned_was_delivered_by_others_or_stands_on_another_tag_stays",
                "BaseMoveTests.Of_several_tags_a_job_gets_those_that_no_later_one_has_moved",
            ],
            ["M-3"] = ["BaseMoveTests.A_product_is_built_anew_by_the_same_request_once_for_each_move_of_its_base"],
            ["M-4"] = ["BaseMoveAccessTests.Only_who_may_still_build_and_pull_the_base_gets_another_build"],
            ["M-5"] =
            [
                "BaseMoveTests.What_nobody_can_build_now_is_built_after_a_restart",
                "BaseMoveTests.A_base_that_moves_while_it_is_built_on_is_followed_afterwards",
            ],
            ["M-6"] =
            [
                "BaseMoveTests.What_is_too_much_for_an_hour_is_built_later",
                "BaseMoveTests.Images_that_stand_on_each_other_are_each_built_once",
            ],
            ["H-10"] = ["HookTests.A_repository_has_so_many_hooks_at_most"],
            ["P-7"] =
            [
                "HintsTests.A_product_has_its_hints_attached_as_soon_as_the_job_is_done",
                "HintsTests.Inspect_measures_what_the_registry_has_not_and_says_the_same_as_the_registry",
                "MeasuredImageTests.Files_that_matter_to_others_are_named_and_lists_are_cut",
            ],
            ["P-8"] = ["HintsTests.A_product_has_its_hints_attached_as_soon_as_the_job_is_done"],
            ["P-9"] =
            [
                "HintsTests.A_pushed_image_is_measured_on_request_once_and_stays_as_it_is",
                "HintsTests.What_is_no_image_or_not_there_is_refused_with_a_sentence",
            ],
            ["P-10"] =
            [
                "ElfTests.The_level_of_the_psABI_is_that_of_the_note",
                "ElfTests.Names_are_found_wherever_a_linker_puts_them",
                "MeasuredImageTests.The_highest_level_counts_and_files_say_why_but_not_those_that_the_loader_may_leave",
                "MeasuredImageTests.A_loader_that_nothing_but_hwloc_needs_says_nothing_of_a_GPU",
            ],
            ["V-1"] =
            [
                "ProvenanceTests.A_product_has_its_provenance_and_its_log_as_soon_as_the_job_is_done",
                "ProvenanceTests.Whoever_lists_referrers_finds_both",
            ],
            ["V-2"] =
            [
                "ProvenanceTests.A_product_has_its_provenance_and_its_log_as_soon_as_the_job_is_done",
                "ProvenanceTests.Nothing_is_attached_to_what_failed",
                "ProvenanceTests.A_quota_counts_what_is_attached_and_refuses_all_of_it_or_nothing",
            ],
            ["V-3"] =
            [
                "ProvenanceTests.A_shared_and_a_reused_build_have_one_provenance",
                "ProvenanceTests.A_refresh_that_finds_the_same_bases_names_the_first_provenance",
            ],
            ["V-4"] =
            [
                "ProvenanceTests.A_product_has_its_provenance_and_its_log_as_soon_as_the_job_is_done",
                "ProvenanceTests.The_statement_names_everything_that_went_in_by_digest",
            ],
            ["V-5"] = ["ProvenanceTests.The_builder_is_who_its_credential_says_at_the_registrys_public_address"],
            ["V-6"] = ["ProvenanceTests.Secrets_are_neither_in_the_statement_nor_in_the_log"],
            ["V-7"] = ["ProvenanceTests.A_quota_counts_what_is_attached_and_refuses_all_of_it_or_nothing"],
            ["V-8"] =
            [
                "SigningTests.With_a_key_the_statement_is_attached_signed_as_well",
                "ProvenanceTests.The_real_cosign_verifies_what_the_registry_has_signed_and_not_with_another_key",
            ],
            ["V-9"] =
            [
                "SigningTests.Info_tells_the_public_key",
                "SigningTests.Without_a_key_nothing_is_signed_and_info_says_so",
            ],
            ["V-10"] =
            [
                "VerifyTests.An_image_of_this_registry_is_verified_with_its_key_and_without",
                "VerifyTests.A_statement_that_somebody_has_changed_is_not_believed",
            ],
            ["V-11"] =
            [
                "VerifyTests.Rebuild_asks_for_the_same_build_delivered_nowhere_and_tells_what_differs",
                "ProvenanceTests.A_build_with_a_source_date_and_pinned_bases_gives_the_same_digest_twice_and_rebuild_says_so",
            ],
        };

    /// <summary>What nobody can test, and why.</summary>
    public static IReadOnlyDictionary<string, string> Reasons { get; } =
        new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["H-9"] = "It promises nothing that could be seen to be broken.",
        };
}
